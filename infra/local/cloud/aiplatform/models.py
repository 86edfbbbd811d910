"""ModelService: upload, get, list, versions, patch, delete, version aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform import container_spec, masks
from infra.local.cloud.aiplatform.context import (
    EMPTY_RESPONSE,
    MODELS,
    Api,
    check_etag,
    check_required,
    generic_operation,
    make_etag,
    response,
)
from infra.local.cloud.aiplatform.filters import Fields, page
from infra.local.cloud.aiplatform.messages import MESSAGES
from infra.local.cloud.aiplatform.names import (
    MODEL_ID,
    VERSION_ALIAS,
    Fault,
    Scope,
    display_name_faults,
    found_errors,
    label_faults,
    new_number,
    parse_model,
    split_version,
)
from infra.local.cloud.aiplatform.registry import Registry
from infra.local.cloud.errors import GoogleError, already_exists, failed_precondition, invalid
from infra.local.cloud.operations import Kind, Operation

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]

#: Fields of a model that its versions share; everything else belongs to one version.
_SHARED = frozenset({"displayName", "description", "labels", "encryptionSpec"})
_MUTABLE = ("displayName", "description", "labels", "versionDescription")

_FIELDS = Fields(
    values={
        "model": lambda item: str(item["name"]).rpartition("/")[2].partition("@")[0],
        "displayName": lambda item: str(item.get("displayName", "")),
        "baseModelName": lambda item: str(
            item.get("baseModelSource", {}).get("modelGardenSource", {}).get("publicModelName", "")
        ),
    },
    operators={"model": ("=", "!="), "displayName": ("=", "!="), "baseModelName": ("=",)},
    order=("displayName", "createTime", "updateTime"),
)
_VERSION_FIELDS = Fields(values={}, operators={}, order=("createTime", "updateTime"))


class Models:
    """The models of every project and location."""

    def __init__(self, cloud: Cloud, registry: Registry) -> None:
        self.cloud, self.registry = cloud, registry
        cloud.operations.register("uploadModel", Kind(on_finish=self._uploaded))
        cloud.operations.register("deleteModel", Kind(on_finish=self._deleted, cancellable=False))
        cloud.operations.register(
            "deleteModelVersion", Kind(on_finish=self._version_deleted, cancellable=False)
        )
        cloud.on_summary("models", lambda: [name for name, _ in cloud.store.items(MODELS)])

    # Methods ---------------------------------------------------------------------------------------------------

    def upload(self, api: Api) -> Json:
        """`models:upload`: a new model, or with `parentModel` a new version of one."""
        request = api.body("UploadModelRequest")
        scope = api.enter("aiplatform.models.upload")
        if "model" not in request:
            raise found_errors([("model", "Required field is not set.")])
        model = api.messages.without_output_only("Model", request["model"])
        check_required(api, "Model", model, "model")
        faults = _faults(model) + container_spec.faults(model)
        model_id = request.get("modelId", "")
        if model_id and not MODEL_ID.fullmatch(model_id):
            faults.append(
                ("model_id", "The model ID may be up to 63 characters, and valid characters are [a-z0-9_-]. "
                             "The first character cannot be a number or hyphen.")
            )  # fmt: skip
        if faults:
            raise found_errors(faults)
        name = self._place(scope, request, model_id)
        aliases = [alias for alias in model.pop("versionAliases", []) if alias != "default"]
        args = {
            "name": name,
            "model": {**model, "versionAliases": aliases},
            "default": "default" in request["model"].get("versionAliases", []),
            "version": scope.version,
            "new": not request.get("parentModel"),
        }
        if request.get("serviceAccount"):
            check_act_as(api, scope, request["serviceAccount"])
        metadata = generic_operation(api.messages, "UploadModelOperationMetadata")
        return self.cloud.operations.create(name, metadata, kind="uploadModel", args=args)

    def _place(self, scope: Scope, request: Json, model_id: str) -> str:
        """The full name of the model that is uploaded to."""
        parent = request.get("parentModel", "")
        if parent:
            reference = parse_model(parent, "parent_model")
            if model_id and model_id != reference.model_id:
                raise found_errors([("model_id", "model_id must not be set when parent_model is set.")])
            name = scope.model(reference.model_id)
            self.registry.document(name)
            return name
        name = scope.model(model_id or new_number())
        uploading = any(
            each.args["name"] == name for each in self.cloud.operations.running(f"{name}/", "uploadModel")
        )
        if uploading or self.cloud.store.get(MODELS, name) is not None:
            raise already_exists(f"The Model {name} already exists.")
        return name

    async def _uploaded(self, operation: Operation) -> Json:
        args = operation.args
        name, model = args["name"], dict(args["model"])
        now = self.cloud.clock.timestamp()
        document = self.cloud.store.get(MODELS, name)
        if document is None:
            shared = {key: model[key] for key in _SHARED if key in model}
            document = {"name": name, **shared, "createTime": now, "versions": {}, "next": 1, "revision": 0}
        elif args["new"]:
            # The server died after the document was stored and before the operation's end was.
            return self._upload_response(args, name, "1")
        version_id = str(document["next"])
        first = not document["versions"]
        aliases = list(model["versionAliases"])
        if first or args["default"]:
            aliases.insert(0, "default")
        for version in document["versions"].values():
            version["versionAliases"] = [each for each in version["versionAliases"] if each not in aliases]
        own = {key: value for key, value in model.items() if key not in _SHARED}
        if not first and model.get("labels"):
            own["labels"] = model["labels"]
        document["versions"][version_id] = {
            **own,
            "versionId": version_id,
            "versionAliases": aliases,
            "versionCreateTime": now,
            "versionUpdateTime": now,
            "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"],
            "supportedInputStorageFormats": [
                "jsonl",
                "bigquery",
                "csv",
                "tf-record",
                "tf-record-gzip",
                "file-list",
            ],
            "supportedOutputStorageFormats": ["jsonl", "bigquery"],
            "modelSourceInfo": {"sourceType": "MODEL_GARDEN" if "baseModelSource" in model else "CUSTOM"},
        }
        document["next"] += 1
        self.registry.save(document)
        return self._upload_response(args, name, version_id)

    def _upload_response(self, args: Json, name: str, version_id: str) -> Json:
        value = {"model": name, "modelVersionId": version_id}
        return response(MESSAGES[args["version"]], "UploadModelResponse", value)

    def get(self, api: Api) -> Json:
        """`models.get`; the id may carry "@version" or "@alias"."""
        api.query("GetModelRequest")
        model_id, version = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.get", f"models/{model_id}")
        document = self.registry.document(scope.model(model_id))
        found = self.registry.version(document, version)
        return api.answer("Model", self.registry.shape(document, found, versioned_name=bool(version)))

    def list_models(self, api: Api) -> Json:
        """`models.list`: the default version of each model."""
        query = api.query("ListModelsRequest")
        scope = api.enter("aiplatform.models.list")
        shaped = [
            self.registry.shape(document, self.registry.version(document, ""))
            for _, document in self.cloud.store.items(MODELS, f"{scope.parent}/models/")
        ]
        return self._page(api, query, shaped, _FIELDS)

    def list_versions(self, api: Api) -> Json:
        """`models.listVersions`."""
        query = api.query("ListModelVersionsRequest")
        model_id, _ = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.list", f"models/{model_id}")
        document = self.registry.document(scope.model(model_id))
        shaped = [
            self.registry.shape(document, version, versioned_name=True) for version in document["versions"]
        ]
        for item in shaped:
            item["createTime"], item["updateTime"] = item["versionCreateTime"], item["versionUpdateTime"]
        return self._page(api, query, shaped, _VERSION_FIELDS)

    def _page(self, api: Api, query: Json, shaped: list[Json], fields: Fields) -> Json:
        chosen = masks.paths(query.get("readMask", ""), api.messages.descriptor("Model"), "read_mask")
        items, token = page(shaped, query, fields)
        rendered = [masks.select(api.answer("Model", item), chosen) for item in items]
        return {**({"models": rendered} if rendered else {}), **({"nextPageToken": token} if token else {})}

    def patch(self, api: Api) -> Json:
        """`models.patch`: display name, description, labels; the version's description and labels with "@version"."""
        model = api.body("Model", "model")
        query = api.query("UpdateModelRequest")
        model_id, wanted = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.update", f"models/{model_id}")
        document = self.registry.document(scope.model(model_id))
        version_id = self.registry.version(document, "" if wanted == "-" else wanted)
        paths = masks.paths(query.get("updateMask", ""), api.messages.descriptor("Model"), "update_mask")
        if not paths:
            raise found_errors([("update_mask", "Required field is not set.")])
        paths = list(_MUTABLE) if paths == ["*"] else paths
        wrong = [path for path in paths if path.split(".")[0] not in _MUTABLE]
        if wrong:
            raise found_errors(
                [("update_mask", f"Field {_snake(path)} is immutable; mutable: {', '.join(map(_snake, _MUTABLE))}.")
                 for path in wrong]
            )  # fmt: skip
        if not model.get("displayName") and "displayName" in paths:
            raise found_errors([("model.display_name", "Required field is not set.")])
        faults = _faults(model)
        if faults:
            raise found_errors(faults)
        check_etag(model.get("etag", ""), make_etag(document["name"], document["revision"]))
        version = document["versions"][version_id]
        only_version = bool(wanted) and wanted != "-"
        if only_version and (set(paths) & {"displayName", "description"}):
            raise failed_precondition(
                "display_name and description belong to the Model; update them with a name that has no version."
            )
        if not only_version and "versionDescription" in paths and len(paths) > 1:
            raise failed_precondition("A Model and one of its versions cannot be updated in one request.")
        for path in paths:
            target = version if only_version or path == "versionDescription" else document
            masks.write(target, path, masks.read(model, path))
        if only_version or "versionDescription" in paths:
            version["versionUpdateTime"] = self.cloud.clock.timestamp()
        self.registry.save(document)
        return api.answer("Model", self.registry.shape(document, version_id, versioned_name=only_version))

    def delete(self, api: Api) -> Json:
        """`models.delete`: all versions; refused while one of them is deployed."""
        api.query("DeleteModelRequest")
        model_id, version = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.delete", f"models/{model_id}")
        if version:
            raise invalid("A model version is deleted with models.deleteVersion.")
        name = scope.model(model_id)
        self.registry.document(name)
        self._check_unused(name)
        metadata = generic_operation(api.messages, "DeleteOperationMetadata")
        return self.cloud.operations.create(name, metadata, kind="deleteModel", args={"name": name})

    def _check_unused(self, name: str, version: str = "") -> None:
        users = self.registry.users(name, version)
        if users:
            raise failed_precondition(
                "The Model is deployed or being deployed at the following Endpoint(s): "
                f"{', '.join(users)}. Please undeploy the model before retry."
            )

    async def _deleted(self, operation: Operation) -> Json:
        self._check_unused(operation.args["name"])
        self.cloud.store.delete(MODELS, operation.args["name"])
        return dict(EMPTY_RESPONSE)

    def delete_version(self, api: Api) -> Json:
        """`models.deleteVersion`: one version that is neither the only nor the default one."""
        api.query("DeleteModelVersionRequest")
        model_id, wanted = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.delete", f"models/{model_id}")
        if not wanted:
            raise found_errors([("name", "A version ID must be included, e.g. models/MODEL@1.")])
        document = self.registry.document(scope.model(model_id))
        version = self.registry.version(document, wanted)
        self._check_version_deletable(document, version)
        metadata = generic_operation(api.messages, "DeleteOperationMetadata")
        args = {"name": document["name"], "version": version}
        return self.cloud.operations.create(document["name"], metadata, kind="deleteModelVersion", args=args)

    def _check_version_deletable(self, document: Json, version: str) -> None:
        name = f"{document['name']}@{version}"
        if len(document["versions"]) == 1:
            raise failed_precondition(
                f"Deleting the only version of Model {name} is not allowed. Use models.delete to delete the Model."
            )
        self._check_unused(document["name"], version)
        if "default" in document["versions"][version]["versionAliases"]:
            raise failed_precondition(
                f"Model version {name} has the default alias. Move the alias to another version before deleting it."
            )

    async def _version_deleted(self, operation: Operation) -> Json:
        document = self.cloud.store.get(MODELS, operation.args["name"])
        version = operation.args["version"]
        if document is not None and version in document["versions"]:
            self._check_version_deletable(document, version)
            del document["versions"][version]
            self.registry.save(document)
        return dict(EMPTY_RESPONSE)

    def merge_version_aliases(self, api: Api) -> Json:
        """`models.mergeVersionAliases`: adds aliases to a version, removes those with a leading "-"."""
        request = api.body("MergeVersionAliasesRequest")
        model_id, wanted = split_version(api.call.path["model"])
        scope = api.enter("aiplatform.models.update", f"models/{model_id}")
        if not wanted:
            raise found_errors([("name", "A version ID must be included, e.g. models/MODEL@1.")])
        if not request.get("versionAliases"):
            raise found_errors([("version_aliases", "Required field is not set.")])
        document = self.registry.document(scope.model(model_id))
        version_id = self.registry.version(document, wanted)
        _check_aliases([alias.removeprefix("-") for alias in request["versionAliases"]])
        self._merge(document, version_id, request["versionAliases"])
        self.registry.save(document)
        return api.answer("Model", self.registry.shape(document, version_id, versioned_name=True))

    def _merge(self, document: Json, version_id: str, changes: list[str]) -> None:
        added = {alias for alias in changes if not alias.startswith("-")}
        removed = {alias[1:] for alias in changes if alias.startswith("-")}
        both = added & removed
        added, removed = added - both, removed - both
        if "default" in removed:
            raise invalid('The alias "default" cannot be removed; add it to another version to move it.')
        for other_id, version in document["versions"].items():
            keep = [
                each
                for each in version["versionAliases"]
                if each not in (added if other_id != version_id else removed)
            ]
            version["versionAliases"] = keep
        own = document["versions"][version_id]["versionAliases"]
        own += sorted(added - set(own))


def check_act_as(api: Api, scope: Scope, email: str) -> None:
    """Raises unless the service account exists and the caller may act as it."""
    cloud = api.cloud
    keys = [f"projects/{scope.project.id}", f"serviceAccounts/{email}"]
    exists = cloud.policies.account_exists(email)
    if not exists or not cloud.policies.allows(api.call.principal, "iam.serviceAccounts.actAs", keys):
        raise GoogleError(
            "PERMISSION_DENIED",
            f"You do not have permission to act as service account: {email}. (or it may not exist).",
        )


def _faults(model: Mapping[str, Any]) -> list[Fault]:
    faults = display_name_faults(model, "model") + label_faults(model, "model")
    for alias in model.get("versionAliases", []):
        if not VERSION_ALIAS.fullmatch(alias):
            faults.append(
                ("model.version_aliases", f"Invalid alias {alias!r}: it must match {VERSION_ALIAS.pattern}.")
            )
    return faults


def _check_aliases(aliases: list[str]) -> None:
    wrong = [alias for alias in aliases if not VERSION_ALIAS.fullmatch(alias)]
    if wrong:
        raise found_errors(
            [
                ("version_aliases", f"Invalid alias {alias!r}: it must match {VERSION_ALIAS.pattern}.")
                for alias in wrong
            ]
        )


def _snake(path: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), path)

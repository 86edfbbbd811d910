"""The stored models: their versions, how answers show them, where they are deployed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform.context import ENDPOINTS, MODELS, make_etag
from infra.local.cloud.aiplatform.names import ModelReference
from infra.local.cloud.errors import not_found

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]


class Registry:
    """The models of every project and location.

    A document holds what all versions share, `versions` by id, `next` (the next version's number) and `revision`.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def document(self, name: str) -> Json:
        """The stored model.

        Raises:
            GoogleError: NOT_FOUND.
        """
        found = self.cloud.store.get(MODELS, name)
        if found is None:
            raise not_found(f"The Model {name} does not exist.")
        return found

    def version(self, document: Json, wanted: str) -> str:
        """The version id that an id or alias ("" means the default version) names.

        Raises:
            GoogleError: NOT_FOUND.
        """
        versions: dict[str, Json] = document["versions"]
        if wanted in versions:
            return wanted
        alias = wanted or "default"
        for version_id, version in versions.items():
            if alias in version["versionAliases"]:
                return version_id
        raise not_found(f"The Model {document['name']}@{wanted} does not exist.")

    def find(self, reference: ModelReference) -> tuple[str, str, Json]:
        """(full name, version id, the version as answered) of a model named in a request, wherever it lies.

        Raises:
            GoogleError: NOT_FOUND.
        """
        project = self.cloud.projects.find(reference.project)
        number = project.number if project else reference.project
        name = f"projects/{number}/locations/{reference.location}/models/{reference.model_id}"
        document = self.document(name)
        version = self.version(document, reference.version)
        return name, version, self.shape(document, version)

    def shape(self, document: Json, version_id: str, *, versioned_name: bool = False) -> Json:
        """One version of a model as answers show it."""
        version = document["versions"][version_id]
        shared = {
            key: value for key, value in document.items() if key not in {"versions", "revision", "next"}
        }
        shaped = {**shared, **version}
        shaped["labels"] = {**document.get("labels", {}), **version.get("labels", {})}
        shaped["name"] = f"{document['name']}@{version_id}" if versioned_name else document["name"]
        shaped["etag"] = make_etag(document["name"], document["revision"])
        shaped["deployedModels"] = [
            {"endpoint": endpoint, "deployedModelId": deployed}
            for endpoint, deployed, used in self._deployments(document["name"])
            if used in ("", version_id)
        ]
        return shaped

    def _deployments(self, name: str) -> Iterator[tuple[str, str, str]]:
        """(endpoint, deployed model id, version) of each deployed model that serves the model."""
        for endpoint, document in self.cloud.store.items(ENDPOINTS):
            for deployed in document["deployedModels"].values():
                if deployed["model"] == name:
                    yield endpoint, deployed["id"], deployed.get("modelVersionId", "")

    def users(self, name: str, version: str = "") -> list[str]:
        """Endpoints on which the model (or one version) is deployed or being deployed."""
        found = {each for each, _, used in self._deployments(name) if version in ("", used)}
        for operation in self.cloud.operations.running(kind="deployModel"):
            deployed = operation.args["deployed"]
            if deployed["model"] == name and version in ("", deployed.get("modelVersionId")):
                found.add(operation.args["endpoint"])
        return sorted(found)

    def save(self, document: Json) -> None:
        """Stores a changed model with a new etag and update time."""
        document["revision"] += 1
        document["updateTime"] = self.cloud.clock.timestamp()
        self.cloud.store.put(MODELS, document["name"], document)

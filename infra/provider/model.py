"""The resource Model: a model in Vertex AI's registry, that is, a container with its arguments.

Everything of a model but its display name and labels is fixed when it is uploaded, so any other change makes a new
model beside the old one. Its id is derived from its content: an upload that is repeated after a crash finds its own
earlier work, and a changed model never collides with the one it replaces.

With `keepVersions` the id is the resource's own and stays: a change uploads another version, in place, and the earlier
ones stay in the registry until the resource is destroyed. A version is found again by an alias made of its content.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from infra.plugin import (
    UNKNOWN,
    Check,
    Context,
    Diff,
    PartialFailure,
    Resource,
    ResourceError,
    State,
    contains_unknown,
)
from infra.plugin.resource import Properties
from infra.provider import adoption, content, projects
from infra.provider.connect import Connector
from infra.provider.failures import ApiError, Kind, Request, classify, redact, remedy
from infra.provider.fields import Failures, known
from infra.provider.inputs import MODEL
from infra.provider.living import Living
from infra.provider.names import Name, model_name, stack_labels, still_in_project
from infra.provider.retry import CHANGE, Interrupted, Patience
from infra.provider.schemas import resource_schema

if TYPE_CHECKING:
    from infra.provider.operations import StillRunning
    from infra.provider.rest import Json
    from infra.provider.vertex import Vertex

_UPLOAD = "UploadModelOperationMetadata"
_UNDEPLOY = "UndeployModelOperationMetadata"
_NOT_YET = "Model {} is not there yet: its upload goes on at Google (operation {}). `pulumi up` waits for it."
_MAY_EXIST = "It may be uploaded: `pulumi up` goes on from there, `pulumi destroy` deletes it."
_MUTABLE = ("displayName", "labels")
_FIXED = ("project", "location", "modelId")


class Model(Resource):
    """vertexserving:index:Model."""

    token: ClassVar[str] = "vertexserving:index:Model"

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._living = Living()

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        """Validates the inputs, adds the stack's labels and, once everything is known, the model id."""
        self._living.checked(ctx.urn)
        failures = Failures(news, secrets=("hfToken",))
        MODEL.check("", news, failures)
        _check_environment(news, failures)
        found = failures.found()
        if found:
            return Check(news, found)
        inputs = {key: value for key, value in news.items() if value is not None}
        labels = inputs.get("labels", {})
        if labels is not UNKNOWN:
            inputs["labels"] = {**labels, **stack_labels(ctx.project, ctx.stack)}
        if "modelId" not in inputs and not contains_unknown(_content(inputs)):
            # Kept while the content stays: an imported model may have an id that is not ours. Its token is not read
            # back; whether that is another one is for the difference, which knows its digest.
            keeps = bool(inputs.get("keepVersions"))
            kept = (
                olds.get("modelId")
                if olds and _keeps(olds) == keeps and (keeps or _same_content(olds, inputs))
                else None
            )
            inputs["modelId"] = kept or (
                content.stable_model_id(ctx.project, ctx.stack, ctx.name)
                if keeps
                else content.derived_model_id(ctx.project, ctx.stack, ctx.name, inputs)
            )
        return Check(inputs)

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        """Display name and labels change in place, everything else replaces the model; with versions kept, adds one."""
        olds = old_inputs or state
        replaces = [key for key in _FIXED if key in news and news[key] != olds.get(key)]
        named = model_name(id)
        if named and still_in_project(news.get("project"), olds.get("project"), named.project):
            replaces = [key for key in replaces if key != "project"]
        changed = [key for key in _MUTABLE if (news.get(key) or None) != (olds.get(key) or None)]
        if news.get("keepVersions") and _keeps(olds):
            changed += _changed_content(state, olds, news)
        else:
            replaces += _changed_content(state, olds, news)
        # With the id fixed by the program, old and new cannot exist side by side.
        collides = (
            bool(replaces) and "modelId" in news and not {"project", "location", "modelId"} & {*replaces}
        )
        if "hfToken" in replaces and "hfToken" not in olds:
            collides = False  # imported: the id was only kept until the tokens were compared
        if not replaces:
            self._living.stays(ctx.urn, id)
        unfinished = bool(state.get("operation"))  # a refresh takes the engine's own mark of it away
        return Diff(
            bool(replaces or changed or unfinished),
            tuple(replaces),
            tuple(changed),
            delete_before_replace=collides,
        )

    def preview(self, ctx: Context, inputs: Properties) -> Properties:
        """The inputs without the token, which no output repeats."""
        return _echo(inputs)

    def preview_update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        """The present outputs with the new display name and labels; what names another version is not known yet."""
        outputs = {**state, **_echo(news)}
        if _changed_content(state, old_inputs or state, news):
            outputs |= dict.fromkeys(("name", "versionId", "createTime"), UNKNOWN)
        return outputs

    def create(self, ctx: Context, inputs: Properties) -> State:
        """Uploads the model, or adopts the one that an interrupted run uploaded."""
        return self._settle(ctx, inputs, {}, None)

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        """Changes display name and labels; first finishes an upload that another run began."""
        return self._settle(ctx, {**news, "modelId": _name(id).id}, state, id)

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        """The model as it is, or None when it is gone. Its token is neither read into inputs nor into outputs."""
        name = _name(id)
        vertex = self._connector.connect(ctx, name.location)
        try:
            operation = state.get("operation")
            under_way = bool(operation) and _under_way(vertex, str(operation))
            live = vertex.get_model(str(state.get("name") or id)) or vertex.get_model(id)
            project = name.project
            if live is not None and "project" not in inputs:
                project = projects.spelling(ctx, name, "models", vertex.get_model)
        except (ApiError, Interrupted) as e:
            raise _error("read", name, Request(name.project, name.location), e) from None
        if live is None:
            if under_way:
                # Without an error of its own it would pass for uploaded, and the next `up` would not wait for it.
                raise PartialFailure(id, state, [_NOT_YET.format(name.id, operation)], inputs)
            return None
        spec, token = content.container_from_api(live.get("containerSpec") or {})
        read = dict(inputs)
        read.setdefault("project", project)
        read.setdefault("location", name.location)
        read["modelId"] = name.id
        read["displayName"] = live.get("displayName", "")
        if live.get("artifactUri"):
            read["artifactUri"] = live["artifactUri"]
        if spec and spec != _spec(inputs):
            read["containerSpec"] = content.without_secrets(spec)
        labels = adoption.own_labels(live, inputs)
        if labels != (inputs.get("labels") or {}):
            read["labels"] = labels
        # An imported one that is not the first version is named with it, as its deployment is.
        named = bool(_version(state)) or (not state and str(live.get("versionId", "1")) != "1")
        outputs = _outputs(read, live, named=named)
        if token is None and "hfTokenDigest" in state:
            outputs["hfTokenDigest"] = state["hfTokenDigest"]
        else:
            outputs["hfTokenDigest"] = content.digest(token, outputs["name"].partition("@")[0])
        return State(outputs["name"].partition("@")[0], outputs, read)

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        """Deletes the model with all its versions."""
        if id in self._living:
            ctx.info(f"{id} stays: what was to be deleted is in use again, its content is the same.")
            return
        name = _name(id)
        request = Request(name.project, name.location)
        vertex = self._connector.connect(ctx, name.location)
        try:
            self._delete(ctx, vertex, id, state.get("operation"))
        except (ApiError, Interrupted) as e:
            raise _error("delete", name, request, e) from None

    def schema(self) -> Mapping[str, Any]:
        """The entry in the package schema."""
        outputs = {"name": "string", "versionId": "string", "createTime": "string", "hfTokenDigest": "string"}
        return resource_schema("A model in Vertex AI's registry.", MODEL, outputs, secret="hfToken")

    def _delete(self, ctx: Context, vertex: Vertex, id: str, operation: str | None) -> None:
        from infra.provider.operations import StillRunning, wait

        limit = ctx.timeout or vertex.pace.remove
        patience = Patience(ctx, CHANGE, vertex.pace.scale)
        begun = time.monotonic()
        try:
            if operation and _under_way(vertex, operation):
                wait(ctx, vertex, operation, "waiting for the upload to end, then deleting", limit)
            while True:
                try:
                    ended = wait(ctx, vertex, vertex.delete_model(id)["name"], "deleting", limit)
                    error = ended.error
                except ApiError as e:
                    error = e
                if error is None or classify(error) is Kind.MISSING:
                    return
                waited = time.monotonic() - begun
                if classify(error) is Kind.BUSY and waited > vertex.pace.in_use * vertex.pace.scale:
                    live = vertex.get_model(id) or {}
                    if not _being_undeployed(vertex, live):
                        raise _still_deployed(live, id, error)
                if not patience.again(error):
                    raise error
        except StillRunning as e:
            raise ResourceError(
                f"The deletion of {id} goes on at Google, but the wait for it is over after "
                f"{e.seconds:.0f} s. Run `pulumi destroy` again: it goes on from there."
            ) from None

    def _settle(self, ctx: Context, inputs: Properties, state: Properties, id: str | None) -> State:
        name = _name(id) if id else Name(inputs["project"], inputs["location"], inputs["modelId"])
        vertex = self._connector.connect(ctx, name.location)
        full = id or f"{name.parent}/models/{name.id}"
        request = Request(name.project, name.location)
        begun = time.monotonic()
        upload = _Upload(state.get("operation"))
        try:
            live, adopted = self._ensure(ctx, vertex, inputs, name, full, state, upload)
            if id is None:
                adoption.must_be_ours(ctx, live, inputs)
            upload.exists = True
            live = adoption.agree(vertex, live, inputs)
            if _keeps(inputs) and "default" not in live.get("versionAliases", ()):
                vertex.make_default(f"{full}@{live['versionId']}")
        except _Unfinished as e:
            self._living.add(e.id or full)
            raise PartialFailure(
                e.id or full,
                {**_echo(inputs), "name": e.id or full, "operation": e.running.operation},
                [_unfinished(e.running, name.id)],
            ) from None
        except (ApiError, Interrupted) as e:
            doing = "upload" if id is None else "change"
            error = _error(doing, name, request, e, inputs.get("hfToken"))
            if id is None and upload.exists:
                resource = _model_of(upload.operation) or full
                self._living.add(resource)
                saved = {**_echo(inputs), "name": resource, "operation": upload.operation}
                raise PartialFailure(resource, saved, [f"{error}\n  {_MAY_EXIST}"]) from None
            raise error from None
        outputs = _outputs(inputs, live, named=bool(_version(state)))
        resource = outputs["name"].partition("@")[0]
        self._living.add(resource)
        if _keeps(inputs) and not adopted:
            ctx.info(
                f"model {name.id} has version {outputs['versionId']}, uploaded in {time.monotonic() - begun:.0f}s; "
                "earlier versions stay"
            )
        elif id is None:
            what = (
                "adopted, it was there already" if adopted else f"uploaded in {time.monotonic() - begun:.0f}s"
            )
            ctx.info(f"model {name.id} {what}")
        return State(resource, outputs)

    def _ensure(
        self,
        ctx: Context,
        vertex: Vertex,
        inputs: Properties,
        name: Name,
        full: str,
        state: Properties,
        upload: _Upload,
    ) -> tuple[Json, bool]:
        """The model as it is, uploaded if need be, and whether it was there before this call."""
        from infra.provider.operations import StillRunning, running, wait

        patience = Patience(ctx, CHANGE, vertex.pace.scale)
        limit = ctx.timeout or vertex.pace.upload
        uploaded, operation = False, upload.operation
        alias = content.version_alias(f"{ctx.project}/{ctx.stack}", inputs) if _keeps(inputs) else ""
        wanted = f"{full}@{alias}" if alias else f"{full}{_version(state)}"
        while True:
            # Operations first: one that ends between the two looks has left what the second one sees.
            if operation and not _under_way(vertex, operation):
                operation = None
            operation = operation or next(iter(running(vertex, full, _UPLOAD)), None)
            upload.operation = operation or upload.operation
            live = vertex.get_model(wanted)
            if live is not None:
                return live, not uploaded
            beside = vertex.get_model(full) if alias else None
            if (
                beside is not None and not state
            ):  # one that the state has is ours, whatever its labels are now
                adoption.must_be_ours(ctx, beside, inputs)
            try:
                if operation is None:
                    body = _to_api(inputs, alias, another=beside is not None)
                    version_of = full if beside is not None else ""
                    operation = vertex.upload_model(name.parent, name.id, body, version_of=version_of)["name"]
                    uploaded = True
                upload.operation, upload.exists = operation, True
                error = wait(ctx, vertex, operation, "uploading", limit).error
                upload.exists = error is None or classify(error) is Kind.LOST
            except StillRunning as e:
                raise _Unfinished(e) from None
            except ApiError as e:
                error = e
                upload.exists = upload.exists or not e.answered
            operation = None
            if error is None:
                live = vertex.get_model(wanted)
                if live is not None:
                    return live, not uploaded
                error = ApiError("ALREADY_EXISTS", "uploaded, but not to be seen yet")
            if not patience.again(error):
                raise error


@dataclass
class _Upload:
    """What is known of the upload of a model, for the state of a create that fails.

    Attributes:
        operation: The last one seen.
        exists: The model is there, or may be: it was begun, or Google did not answer, and it has not failed since.
    """

    operation: str | None
    exists: bool = False


class _Unfinished(Exception):
    """The upload goes on at Google, and the wait for it is over."""

    def __init__(self, running: StillRunning) -> None:
        super().__init__(running.operation)
        self.running = running
        self.id = _model_of(running.operation)


def _model_of(operation: str | None) -> str:
    """The model that an operation uploads, in Google's spelling; empty where its name does not tell."""
    prefix = (operation or "").partition("/operations/")[0]
    return prefix if model_name(prefix) else ""


def _unfinished(running: StillRunning, id: str) -> str:
    why = "you interrupted it" if running.interrupted else f"the limit of {running.limit:.0f} s is reached"
    return (
        f"The upload of model {id} goes on at Google (operation {running.operation}), but the wait for it is over: "
        f"{why}. Run `pulumi up` again: it goes on from there."
    )


def _check_environment(news: Properties, failures: Failures) -> None:
    spec = news.get("containerSpec")
    environment = spec.get("env") if isinstance(spec, Mapping) else None
    for variable in environment if isinstance(environment, Mapping) else ():
        path = f"containerSpec.env.{variable}"
        if variable in content.TOKEN_VARIABLES:
            failures(path, "would be readable in the state; give the token as hfToken, which is a secret.")
        elif variable.startswith("AIP_"):
            failures(path, "begins with AIP_, which Vertex AI keeps for its own variables; rename it.")


def _name(id: str) -> Name:
    name = model_name(id)
    if name is None:
        raise ResourceError(
            f"{id!r} is not the id of a model. Give projects/PROJECT/locations/LOCATION/models/MODEL, as "
            "`gcloud ai models list --region LOCATION` shows it."
        )
    return name


def _spec(inputs: Mapping[str, Any]) -> Any:
    spec = inputs.get("containerSpec")
    return UNKNOWN if spec is UNKNOWN else content.container_of(spec)


def _keeps(inputs: Mapping[str, Any]) -> bool:
    """Whether changes are versions of one model."""
    return bool(inputs.get("keepVersions"))


def _changed_content(state: Properties, olds: Properties, news: Properties) -> list[str]:
    """What differs of that which is fixed in an uploaded model."""
    found = []
    if news.get("artifactUri") != olds.get("artifactUri"):
        found.append("artifactUri")
    if not _same_spec(news, olds):
        found.append("containerSpec")
    if _token_changed(state, olds, news):
        found.append("hfToken")
    return found


def _content(inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    return _spec(inputs), inputs.get("artifactUri"), inputs.get("hfToken")


def _same_spec(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    specs = _spec(one), _spec(other)
    return UNKNOWN not in specs and content.same_container(*specs)


def _same_content(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    token = "hfToken" not in olds or olds.get("hfToken") == news.get("hfToken")
    return token and _same_spec(olds, news) and olds.get("artifactUri") == news.get("artifactUri")


def _token_changed(state: Properties, olds: Properties, news: Properties) -> bool:
    token = news.get("hfToken")
    if token is UNKNOWN:
        return True
    if "hfTokenDigest" in state and known(state.get("name")):
        key = str(state["name"]).partition("@")[0]
        return bool(content.digest(token, key) != state["hfTokenDigest"])
    return bool(token != olds.get("hfToken"))


def _echo(inputs: Properties) -> Properties:
    return {key: value for key, value in inputs.items() if key != "hfToken"}


def _version(state: Properties) -> str:
    """The version that the name in a state has, as ``@2``; empty where it has none."""
    name = state.get("name")
    found = model_name(name) if isinstance(name, str) else None
    return f"@{found.version}" if found and found.version else ""


def _outputs(inputs: Properties, live: Json, *, named: bool) -> Properties:
    """The outputs; `named` says that the name has the version although the resource does not keep versions."""
    name = str(live["name"]).partition("@")[0]
    outputs = {key: value for key, value in _echo(inputs).items() if value is not None}
    return {
        **outputs,
        "name": f"{name}@{live.get('versionId', '1')}" if _keeps(inputs) or named else name,
        "modelId": name.rpartition("/")[2],
        "versionId": live.get("versionId", "1"),
        "createTime": live.get("createTime", ""),
        "hfTokenDigest": content.digest(inputs.get("hfToken"), name),
        "operation": None,
    }


def _to_api(inputs: Properties, alias: str = "", *, another: bool = False) -> Json:
    """The API's Model; with an alias one version of it, which becomes the default one where it is not the first."""
    model: Json = {
        "displayName": inputs["displayName"],
        "containerSpec": content.container_to_api(inputs["containerSpec"], inputs.get("hfToken")),
    }
    if alias:
        model["versionAliases"] = [alias, "default"] if another else [alias]
    if not another:  # labels belong to the model; a version's own would hide them
        model["labels"] = inputs.get("labels") or {}
    if inputs.get("artifactUri"):
        model["artifactUri"] = inputs["artifactUri"]
    return model


def _under_way(vertex: Vertex, operation: str) -> bool:
    answer = vertex.operation(operation)
    return answer is not None and not answer.get("done")


def _being_undeployed(vertex: Vertex, live: Json) -> bool:
    """Whether an undeployment is under way where the model is deployed: a destroy may do both at the same time."""
    from infra.provider.operations import running

    endpoints = {str(each.get("endpoint")) for each in live.get("deployedModels", ())}
    return any(running(vertex, endpoint, _UNDEPLOY) for endpoint in endpoints)


def _still_deployed(live: Json, id: str, error: ApiError) -> ResourceError:
    places = [
        f"{each.get('endpoint')} ({each.get('deployedModelId')})" for each in live.get("deployedModels", ())
    ]
    where = ", ".join(places) or error.message
    return ResourceError(
        f"Model {id} is still deployed: {where}.\n  Undeploy it there, then run `pulumi destroy` again."
    )


def _error(
    doing: str, name: Name, request: Request, error: ApiError | Interrupted, token: str | None = None
) -> ResourceError:
    if isinstance(error, Interrupted):
        return ResourceError(
            f"Interrupted during the {doing} of model {name.id}. Run the command again to go on."
        )
    kind = classify(error)
    return ResourceError(
        f"Could not {doing} model {name.id} in {name.location}: {kind.value}.\n"
        f"  Google's answer: {error.status}: {redact(error.message, token)}\n"
        f"  {remedy(kind, error.message, request)}"
    )

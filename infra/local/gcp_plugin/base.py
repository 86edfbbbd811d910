"""What the resource types share: checks and comparisons from their property table, refresh, labels."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from infra.local.gcp_plugin.operations import OperationFailed
from infra.local.gcp_plugin.properties import Property, problems
from infra.local.gcp_plugin.rest import ApiError, Json, Rest
from infra.local.gcp_plugin.settings import Settings
from infra.plugin import Check, Context, Diff, PartialFailure, Resource, ResourceError, State
from infra.plugin.resource import Properties
from infra.plugin.values import contains_unknown

VISIBLE_POLLS = 40
VISIBLE_POLL_SECONDS = 0.25


class Gcp:
    """The configured provider, shared by its resource types."""

    def __init__(self) -> None:
        self._rest = Rest(Settings())

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._rest = Rest(settings)

    @property
    def rest(self) -> Rest:
        """The way to the APIs."""
        return self._rest

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._rest.settings


class GcpResource(Resource):
    """A resource type described by a table of properties."""

    properties: ClassVar[tuple[Property, ...]]
    computed: ClassVar[Mapping[str, str]] = {}
    """Outputs that are no inputs, with their kinds; for the schema."""

    absent: ClassVar[tuple[str, ...]] = ()
    """Properties of the official type that this one does not support; as outputs they are null.

    An output that a state lacks would count as unknown in a preview.
    """

    auto_name: ClassVar[bool] = False
    """Whether an absent `name` is made up from the resource's name and seven random digits."""

    replace_deletes_first: ClassVar[bool] = False
    """Whether a replacement under the same `name` has to delete the old resource first."""

    def __init__(self, gcp: Gcp) -> None:
        self.gcp = gcp

    def api(self, ctx: Context, api: str, method: str, path: str, **rest: Any) -> Json:
        """Call an API; see `Rest.call`."""
        return self.gcp.rest.call(ctx, api, method, path, **rest)

    # Resource

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        inputs = {name: value for name, value in news.items() if value is not None}
        names = {each.name for each in self.properties}
        if "project" in names and "project" not in inputs and self.gcp.settings.project:
            inputs["project"] = self.gcp.settings.project
        if self.auto_name and "name" not in inputs:
            # An old name is kept: a new one would replace the resource at every update.
            inputs["name"] = olds.get("name") or f"{ctx.name}-{secrets.token_hex(4)[:7]}".lower()
        failures = problems(self.token, self.properties, inputs)
        if "project" in names and "project" not in inputs:
            failures.append(
                (
                    "project",
                    "no project is set: give it here, or run `pulumi config set gcp:project PROJECT`.",
                )
            )
        return Check(inputs, tuple(failures or self.validate(inputs)))

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        """Problems that the table cannot express, as (property, reason). Values may be UNKNOWN."""
        return []

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        changed: list[str] = []
        replaces: list[str] = []
        for each in self.properties:
            if not each.equal(old_inputs.get(each.name), news.get(each.name)):
                (replaces if each.replaces else changed).append(each.name)
        same_name = "name" in news and news["name"] == old_inputs.get("name")
        return Diff(
            changes=bool(changed or replaces),
            replaces=tuple(replaces),
            changed=tuple(changed),
            delete_before_replace=bool(replaces) and self.replace_deletes_first and same_name,
        )

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        live = self.find(ctx, id, state, inputs)
        if live is None:
            return None
        found_id, outputs, values = live
        return State(found_id, outputs, self.live_inputs(inputs, values, importing=not state))

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        policy = state.get("deletionPolicy", "DELETE")
        if policy == "PREVENT":
            raise ResourceError(
                f"{id} has deletion_policy PREVENT. To delete it, set deletion_policy to DELETE, run "
                "`pulumi up`, then delete it."
            )
        if policy != "ABANDON":
            self.remove(ctx, id, state)

    @contextmanager
    def exists(self, id: str, inputs: Properties) -> Iterator[None]:
        """Around what a create does once the thing is being made: failing saves it, for an update to finish.

        Only an operation that failed has made nothing.
        """
        try:
            yield
        except OperationFailed:
            raise
        except ResourceError as e:
            raise PartialFailure(id, self.all_outputs(inputs), [str(e)]) from e

    def until_visible(self, ctx: Context, api: str, path: str) -> Json:
        """What has just been made, as the API shows it; reads may lag behind a create by seconds."""
        for _ in range(VISIBLE_POLLS):
            try:
                return self.api(ctx, api, "GET", path)
            except ApiError as e:
                if e.status != 404:
                    raise
            if ctx.cancelled.wait(VISIBLE_POLL_SECONDS):
                break
        raise ResourceError(f"{path} is being made but is not visible yet; run `pulumi up` again.")

    # What a type implements

    @abstractmethod
    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        """The live resource: its id, outputs, and the inputs that the service keeps; or None."""

    @abstractmethod
    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        """Delete the live resource; one that is gone already is fine."""

    # Refresh

    def live_inputs(self, inputs: Properties, values: Properties, importing: bool) -> Properties:
        """The inputs that would have made the live resource.

        Properties that the service does not keep stay as they are; those that differ from the inputs are
        taken from the live resource, so that the next update sees the drift and puts it right.
        """
        result = dict(inputs)
        for each in self.properties:
            if each.name not in values:
                continue
            live = values[each.name]
            if each.name == "labels":
                live = _managed_labels(live or {}, inputs.get("labels"), importing)
            given = inputs.get(each.name)
            if given is None and not importing and each.computed:
                continue
            if each.equal(given, live) and not (importing and each.required):
                continue
            if live is None or live == {} or live == each.default:
                result.pop(each.name, None)
            else:
                result[each.name] = live
        return result

    def all_outputs(self, outputs: Properties) -> Properties:
        """The outputs, with everything that is neither given nor known at its default."""
        blank = {each.name: each.default for each in self.properties}
        given = {name: value for name, value in outputs.items() if value is not None}
        return {**dict.fromkeys(self.absent), **blank, **given}

    def labels_wanted(self, inputs: Properties) -> dict[str, str]:
        """The labels to put on the resource: the inputs' over the provider's defaults."""
        return {**self.gcp.settings.default_labels, **(inputs.get("labels") or {})}

    def label_outputs(self, inputs: Properties, live: Mapping[str, str]) -> Properties:
        """The three label outputs of every labelled type."""
        return {
            "labels": {key: value for key, value in live.items() if key in (inputs.get("labels") or {})},
            "pulumiLabels": {key: value for key, value in live.items() if key in self.labels_wanted(inputs)},
            "effectiveLabels": dict(live),
        }

    def schema(self) -> Mapping[str, Any]:
        inputs = {each.name: _schema_type(each.kind) for each in self.properties}
        computed = {name: _schema_type(kind) for name, kind in self.computed.items()}
        return {
            "inputProperties": inputs,
            "requiredInputs": [each.name for each in self.properties if each.required],
            "properties": {**inputs, **computed},
        }


def known(value: Any) -> bool:
    """Whether a value is given and holds nothing unknown."""
    return value is not None and not contains_unknown(value)


def _managed_labels(
    live: Mapping[str, str], given: Mapping[str, str] | None, importing: bool
) -> dict[str, str]:
    # Labels are non-authoritative in the official plugin: somebody else's are left alone.
    if importing:
        return {key: value for key, value in live.items() if not key.startswith("goog-")}
    return {key: value for key, value in live.items() if key in (given or {})}


def _schema_type(kind: str) -> dict[str, Any]:
    if kind == "object":
        return {"type": "object", "additionalProperties": {"$ref": "pulumi.json#/Any"}}
    if kind == "asset":
        return {"$ref": "pulumi.json#/Asset"}
    if kind == "array":
        return {"type": "array", "items": {"$ref": "pulumi.json#/Any"}}
    return {"type": kind}

"""The resource BucketDisposal: on destroy, deletes a stack's buckets that are empty and keeps those that are not.

Its policies are `if_empty`, `keep`, and `delete`, under which the bucket's own resource deletes it with all it holds.

Whether a bucket has objects is known only when the stack is destroyed, long after its program ran. So the bucket
itself is kept by the engine (`retain_on_delete`), and this resource, which exists in the state only, decides in its
own delete. It knows the buckets by the stack's two labels and is made before them: so it also finds one whose creation
was killed before the engine knew its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from infra.plugin import Check, Context, Diff, ResourceError, State
from infra.plugin.resource import Properties, changed_keys
from infra.provider.connect import Connector
from infra.provider.failures import ApiError, Request, classify, remedy
from infra.provider.fields import Failures
from infra.provider.inputs import BUCKET_DISPOSAL
from infra.provider.names import stack_labels
from infra.provider.retry import Interrupted
from infra.provider.schemas import resource_schema
from infra.provider.state_only import StateOnly

if TYPE_CHECKING:
    from infra.provider.rest import Rest

_ID = "bucket-disposal/"
_COUNT_UP_TO = 1000  # one page of a listing


class BucketDisposal(StateOnly):
    """vertexserving:index:BucketDisposal."""

    token: ClassVar[str] = "vertexserving:index:BucketDisposal"

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        """Validates the inputs; the policy is `if_empty` unless given."""
        failures = Failures(news)
        BUCKET_DISPOSAL.check("", news, failures)
        found = failures.found()
        inputs = {key: value for key, value in news.items() if value is not None}
        return Check(news, found) if found else Check({"policy": "if_empty", **inputs})

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        """Another policy changes in place; another project replaces, which disposes of the buckets in the old one."""
        changed = changed_keys(old_inputs or state, news)
        return Diff(
            bool(changed), replaces=tuple(key for key in changed if key == "project"), changed=changed
        )

    def create(self, ctx: Context, inputs: Properties) -> State:
        """Remembers the policy; nothing is called."""
        return State(_ID + inputs["project"], dict(inputs))

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        """Deletes the stack's buckets that hold nothing and keeps, with a warning, those that hold anything."""
        project = str(state["project"])
        rest = self._connector.rest(ctx)
        where = f"the buckets of stack {ctx.stack} in project {project}"
        try:
            for bucket in self._buckets(ctx, rest, project):
                where = f"bucket gs://{bucket}"
                if state.get("policy") == "keep":
                    ctx.info(f"Bucket gs://{bucket} is kept, as asked for; {_removal(bucket)}")
                else:
                    self._delete_if_empty(ctx, rest, bucket)
        except Interrupted:
            raise ResourceError(f"Interrupted before {where} was looked at. Run the command again.") from None
        except ApiError as e:
            kind = classify(e)
            raise ResourceError(
                f"Could not dispose of {where}: {kind.value}.\n  Google's answer: {e.status}: {e.message}\n"
                f"  {remedy(kind, e.message, Request(project))}"
            ) from None

    def schema(self) -> Mapping[str, Any]:
        """The entry in the package schema."""
        return resource_schema("Decides on destroy whether the stack's buckets go.", BUCKET_DISPOSAL, {})

    def _buckets(self, ctx: Context, rest: Rest, project: str) -> list[str]:
        """Names of the buckets with the stack's labels; a page of a listing has no filter for labels."""
        ours = stack_labels(ctx.project, ctx.stack).items()
        found: list[str] = []
        query = {"project": project, "maxResults": "1000", "fields": "items(name,labels),nextPageToken"}
        while True:
            page = rest.reading(partial(rest.request, "GET", f"{rest.way.storage_url}/b", query))
            found += [
                each["name"] for each in page.get("items") or () if ours <= (each.get("labels") or {}).items()
            ]
            if not page.get("nextPageToken"):
                return found
            query = {**query, "pageToken": page["nextPageToken"]}

    def _delete_if_empty(self, ctx: Context, rest: Rest, bucket: str) -> None:
        url = f"{rest.way.storage_url}/b/{quote(bucket, safe='')}"
        # Noncurrent versions and soft-deleted objects do not show in a plain listing; the former keep a bucket alive.
        query = {"versions": "true", "maxResults": str(_COUNT_UP_TO), "fields": "items/name,nextPageToken"}
        try:
            listing = rest.reading(lambda: rest.request("GET", f"{url}/o", query))
            count = len(listing.get("items") or ())
            if not count:
                # Repeated without another look: Google deletes no bucket that holds anything.
                rest.repeating(lambda: rest.request("DELETE", url))
                ctx.info(f"bucket gs://{bucket} was empty and is deleted")
                return
        except ApiError as e:
            if e.status == "NOT_FOUND":
                return
            if not _not_empty(e):
                raise
            count, listing = 0, {}  # an object came between the listing and the deletion
        some = (
            f"{count}{' or more' if listing.get('nextPageToken') else ''} object{'s' if count != 1 else ''}"
        )
        ctx.warn(f"Bucket gs://{bucket} is kept: it holds {some if count else 'objects'}. {_removal(bucket)}")


def _not_empty(error: ApiError) -> bool:
    return (
        error.status in ("ABORTED", "ALREADY_EXISTS", "FAILED_PRECONDITION")
        or "not empty" in error.message.lower()
    )


def _removal(bucket: str) -> str:
    return f"`gcloud storage rm --recursive gs://{bucket}` removes it with all it holds."

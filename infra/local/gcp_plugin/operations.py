"""Waiting for a long-running operation."""

from __future__ import annotations

from infra.local.gcp_plugin.rest import ApiError, Json, Rest
from infra.plugin import Context, ResourceError

FIRST_POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 2.0
DEFAULT_WAIT_SECONDS = 20 * 60.0  # the official plugin's time-out for these resources


class OperationFailed(ResourceError):
    """The operation ended with an error: what it was to make does not exist."""


def wait(rest: Rest, ctx: Context, api: str, operation: Json, doing: str) -> Json:
    """Poll an operation until it is done; its response, an empty object if it has none.

    Args:
        rest: The way to the API.
        ctx: Interrupting the run ends the wait; its time-out, if the program set one, limits it.
        api: The API that the operation came from.
        operation: The operation as first answered, possibly done already.
        doing: What is waited for, for the texts.

    Raises:
        OperationFailed: when it failed.
        ResourceError: when it takes too long or the user interrupts the run; it then goes on by itself.
    """
    left = ctx.timeout or DEFAULT_WAIT_SECONDS
    delay = FIRST_POLL_SECONDS
    while not operation.get("done"):
        if left <= 0:
            raise ResourceError(
                f"{doing}: not done after {ctx.timeout or DEFAULT_WAIT_SECONDS:.0f} s; the operation "
                f"{operation.get('name')} goes on. Run `pulumi up` again, with a longer custom_timeouts if "
                "need be."
            )
        if ctx.cancelled.wait(delay):
            raise ResourceError(
                f"{doing}: interrupted; the operation {operation.get('name')} goes on by itself."
            )
        left -= delay
        delay = min(delay * 1.5, LONGEST_POLL_SECONDS)
        try:
            operation = rest.call(ctx, api, "GET", operation["name"])
        except ApiError as e:
            if e.status != 404:
                raise
            raise e.because(
                f"The operation is lost ({doing}). Run `pulumi up` again: it looks at what there is."
            ) from e
    if "error" in operation:
        error = operation["error"]
        raise OperationFailed(
            f"{doing} failed: {error.get('message', 'no message')} (code {error.get('code')}). Correct what the "
            "message names, if anything, then run `pulumi up` again."
        )
    response = operation.get("response")
    return response if isinstance(response, dict) else {}

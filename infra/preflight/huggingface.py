"""The model's repository on the Hugging Face hub: there, at its revision, readable with the container's token, whole.

What the container will do is done in small, by huggingface_hub: the repository is looked up and its ``config.json`` is
read, with the token that the container gets and no other (never that of a login on this machine). A status alone is no
answer: what the hub says of itself has ``X-Error-Code`` or ``X-Error-Message``, and what a proxy says has not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from infra.preflight import checkpoint
from infra.preflight.finding import Finding, Status
from infra.preflight.hub import About, Hub, Listing, No
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Subject
from infra.recipes.arguments import parse_arguments

__all__ = ["CHECKS", "huggingface"]

_REPOSITORY: Final = "huggingface-repository"
_REVISION: Final = "huggingface-revision"
_ACCESS: Final = "huggingface-access"
_SIZE: Final = "huggingface-size"

_ABOUT: Final[Mapping[About, str]] = {"repository": _REPOSITORY, "revision": _REVISION, "access": _ACCESS}
_MARKS: Final = frozenset({"architectures", "model_type", "dim"})
"""One of them stands in every config.json or, the last, in every params.json."""


async def huggingface(subject: Subject, net: Net) -> Sequence[Finding]:
    """The repository exists, has the revision, may be read with the token, and has the catalogue's size.

    Nothing to say where the weights come from a bucket.
    """
    plan = subject.plan
    if plan.weights_uri is not None:
        return ()
    if not subject.hf_endpoint:
        return (
            _skip(
                _REPOSITORY,
                "This stack is on the local Google Cloud, whose containers have a simulated hub; huggingface.co is not "
                "asked (HF_ENDPOINT names a hub on this machine)",
            ),
        )
    hub = Hub(subject, plan.model.id, parse_arguments(plan.container.args).get("--revision"))
    try:
        listing = await net.thread(lambda: hub.listing(net.left_s))
    except Unread as reason:
        return (_skip(_REPOSITORY, f"{hub.host} cannot be asked for {hub.id}: {reason}", hub.by_hand()),)
    except No as no:
        return (no.finding(_ABOUT[no.about], hub.by_hand()),)
    return (
        *_found(hub, listing),
        await _access(hub, listing, net),
        checkpoint.size(_SIZE, hub.id, listing.weights, plan.model, by_hand=hub.by_hand())
        if listing.weights
        else _skip(_SIZE, f"{hub.host} lists no weight files of {hub.id} with their sizes"),
    )


async def _access(hub: Hub, listing: Listing, net: Net) -> Finding:
    """Whether the token may read a file: anybody may read the listing of a gated repository."""
    name = next((name for name in checkpoint.CONFIGS if name in listing.names), None)
    if name is None:
        return Finding(
            check=_ACCESS,
            status=Status.FAIL,
            evidence=f"{hub.id} has no {' and no '.join(checkpoint.CONFIGS)} among its {len(listing.names)} files.",
            remedy="name a repository that vLLM can load, or a revision that has one of them",
            by_hand=hub.by_hand(),
        )
    by_hand = hub.by_hand(f"/resolve/{hub.revision or 'main'}/{name}")
    try:
        content = await net.thread(lambda: hub.read(name, listing.commit, net.left_s))
        if not _MARKS & json.loads(content).keys():
            raise Unread("it answers something else than a model's configuration")
    except Unread as reason:
        return _skip(_ACCESS, f"{name} of {hub.id} cannot be read from {hub.host}: {reason}", by_hand)
    except No as no:
        return no.finding(_ACCESS, by_hand)
    how = f"with {hub.token}" if hub.has_token else "without a token"
    gate = f"gated ({listing.gated})" if listing.gated else "not gated"
    return Finding(
        check=_ACCESS,
        status=Status.PASS,
        evidence=f"{name} of {hub.id} ({len(content)} bytes) can be read {how}; the repository is {gate}.",
        by_hand=by_hand,
    )


def _found(hub: Hub, listing: Listing) -> tuple[Finding, ...]:
    """What a listing shows: the repository, and the revision where one is named."""
    at = listing.commit[:12]
    # Llama 3.1's repositories, for one, were renamed; their old names lead to the new ones, also for downloads.
    renamed = f", which is called {listing.name} now" if listing.name.lower() != hub.id.lower() else ""
    newest = "" if hub.revision else f"; without a revision its newest commit is served, now {at}"
    repository = Finding(
        check=_REPOSITORY,
        status=Status.PASS,
        evidence=f"{hub.host} has {hub.id}{renamed} with {len(listing.names)} files{newest}.",
        by_hand=hub.by_hand(),
    )
    if not hub.revision:
        return (repository,)
    return (
        repository,
        Finding(
            check=_REVISION,
            status=Status.PASS,
            evidence=f"{hub.at} is commit {at}.",
            by_hand=hub.by_hand(),
        ),
    )


CHECKS: Final = (huggingface,)


def _skip(check: str, why: str, by_hand: str = "") -> Finding:
    return Finding(check=check, status=Status.SKIP, evidence=f"{why}.", by_hand=by_hand)

"""The model's repository on the Hugging Face hub: there, at its revision, readable with the container's token, whole.

What the container will do is done in small, by huggingface_hub: the repository is looked up and its ``config.json`` is
read, with the token that the container gets and no other (never that of a login on this machine). A status alone is no
answer: what the hub says of itself has ``X-Error-Code`` or ``X-Error-Message``, and what a proxy says has not.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from infra.preflight import checkpoint
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Net, Unread
from infra.preflight.subject import HUGGING_FACE, Subject
from infra.recipes.arguments import parse_arguments

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = ["CHECKS", "huggingface"]

_T = TypeVar("_T")

_REPOSITORY: Final = "huggingface-repository"
_REVISION: Final = "huggingface-revision"
_ACCESS: Final = "huggingface-access"
_SIZE: Final = "huggingface-size"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MARKS: Final = frozenset({"architectures", "model_type", "dim"})
"""One of them stands in every config.json or, the last, in every params.json."""

_TOKENS: Final = "https://huggingface.co/settings/tokens"
_SET_TOKEN: Final = "pulumi config set --secret vertex-vllm:hfToken"


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
    hub = _Hub(subject)
    try:
        listing = await net.thread(lambda: hub.listing(net.left_s))
    except Unread as reason:
        return (_skip(_REPOSITORY, f"{hub.host} cannot be asked for {hub.id}: {reason}", hub.by_hand()),)
    except _No as no:
        return (no.finding(no.check or _REPOSITORY, hub.by_hand()),)
    return (
        *hub.found(listing),
        await _access(hub, listing, net),
        checkpoint.size(_SIZE, hub.id, listing.weights, plan.model, by_hand=hub.by_hand())
        if listing.weights
        else _skip(_SIZE, f"{hub.host} lists no weight files of {hub.id} with their sizes"),
    )


async def _access(hub: _Hub, listing: _Listing, net: Net) -> Finding:
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
        read = await net.thread(lambda: hub.config(name, listing.commit, net.left_s))
    except Unread as reason:
        return _skip(_ACCESS, f"{name} of {hub.id} cannot be read from {hub.host}: {reason}", by_hand)
    except _No as no:
        return no.finding(_ACCESS, by_hand)
    how = f"with {hub.token}" if hub.has_token else "without a token"
    gate = f"gated ({listing.gated})" if listing.gated else "not gated"
    return Finding(
        check=_ACCESS,
        status=Status.PASS,
        evidence=f"{name} of {hub.id} ({read} bytes) can be read {how}; the repository is {gate}.",
        by_hand=by_hand,
    )


CHECKS: Final = (huggingface,)


class _No(Exception):
    """The hub's own no. ``check`` is the finding that it belongs to, None for the one that asked."""

    def __init__(self, evidence: str, remedy: str, check: str | None = None) -> None:
        super().__init__(evidence)
        self.evidence, self.remedy, self.check = evidence, remedy, check

    def finding(self, check: str, by_hand: str) -> Finding:
        return Finding(
            check=check, status=Status.FAIL, evidence=self.evidence, remedy=self.remedy, by_hand=by_hand
        )


@dataclass(frozen=True)
class _Listing:
    """What the hub says of the repository at one commit; ``weights`` are the files that are loaded, in bytes."""

    name: str
    commit: str
    gated: str
    names: frozenset[str]
    weights: dict[str, int]


class _Hub:
    """One repository on the hub, with the container's token."""

    def __init__(self, subject: Subject) -> None:
        self.id = subject.plan.model.id
        self.revision = parse_arguments(subject.plan.container.args).get("--revision")
        self.endpoint = subject.hf_endpoint
        self.host = self.endpoint.partition("://")[2]
        self.has_token = bool(subject.hf_token)
        self.token = "the token of vertex-vllm:hfToken"
        self._secret = subject.hf_token or None
        self._at = f"{self.id} at revision {self.revision}" if self.revision else self.id
        self._page = f"{HUGGING_FACE}/{self.id}"

    def by_hand(self, path: str = "") -> str:
        """The curl line that shows the listing, or a file."""
        token = '-H "Authorization: Bearer $HF_TOKEN" ' if self.has_token else ""
        url = f"{self.endpoint}/{self.id}{path}" if path else f"{self.endpoint}/api/models/{self.id}"
        return f"curl -sSLi {token}{url}"

    # What is asked; runs in a thread

    def listing(self, timeout: float) -> _Listing:
        """The repository at its revision.

        Raises:
            _No: The hub says that it is not there, or that the token is not valid.
            Unread: No answer of the hub.
        """

        def ask() -> Any:
            from huggingface_hub import HfApi

            # Its hints would stand between the engine's lines.
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
            # False: without a token, rather than with that of whoever is logged in here.
            api = HfApi(endpoint=self.endpoint, token=self._secret or False)
            return api.model_info(self.id, revision=self.revision, timeout=timeout, files_metadata=True)

        info = self._call(ask)
        files = {file.rfilename: file.size for file in info.siblings or () if isinstance(file.rfilename, str)}
        sized = {name: size for name, size in files.items() if isinstance(size, int) and size > 0}
        if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha) or not isinstance(info.id, str):
            raise Unread("it answers something else than a model")
        if not files:
            raise Unread("it lists no files of it")
        loaded = checkpoint.weight_files({name: sized.get(name, 0) for name in files})
        return _Listing(
            name=info.id,
            commit=info.sha,
            gated=info.gated if isinstance(info.gated, str) else "yes" if info.gated else "",
            names=frozenset(files),
            weights=loaded if all(loaded.values()) else {},
        )

    def config(self, name: str, commit: str, timeout: float) -> int:
        """Read a JSON file of the repository as the container will; returns its bytes.

        Raises:
            _No: The hub says that the token may not.
            Unread: No answer of the hub.
        """

        def ask() -> bytes:
            from huggingface_hub import get_session, hf_hub_url
            from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not in its __all__
                build_hf_headers,
                hf_raise_for_status,
            )

            url = hf_hub_url(self.id, name, revision=commit, endpoint=self.endpoint)
            headers = build_hf_headers(token=self._secret or False)
            response = get_session().get(url, headers=headers, timeout=timeout)
            hf_raise_for_status(response)
            content: bytes = response.content
            return content

        content = self._call(ask)
        try:
            document = json.loads(content)
        except ValueError:
            what = "a web page" if content.lstrip()[:1] == b"<" else f"{len(content)} bytes"
            raise Unread(f"it answers {what} instead of JSON (a proxy or a sign-in page?)") from None
        if not isinstance(document, dict) or not _MARKS & document.keys():
            raise Unread("it answers something else than a model's configuration")
        return len(content)

    def found(self, listing: _Listing) -> tuple[Finding, ...]:
        """What a listing shows: the repository, and the revision where one is named."""
        at = listing.commit[:12]
        # Llama 3.1's repositories, for one, were renamed; their old names lead to the new ones, also for downloads.
        renamed = f", which is called {listing.name} now" if listing.name.lower() != self.id.lower() else ""
        newest = "" if self.revision else f"; without a revision its newest commit is served, now {at}"
        repository = Finding(
            check=_REPOSITORY,
            status=Status.PASS,
            evidence=f"{self.host} has {self.id}{renamed} with {len(listing.names)} files{newest}.",
            by_hand=self.by_hand(),
        )
        if not self.revision:
            return (repository,)
        return (
            repository,
            Finding(
                check=_REVISION,
                status=Status.PASS,
                evidence=f"{self._at} is commit {at}.",
                by_hand=self.by_hand(),
            ),
        )

    # What its refusals mean

    def _call(self, ask: Callable[[], _T]) -> _T:
        """Ask the hub. No text of another error is shown, and none is chained: some hold the token."""
        try:
            return ask()
        except Exception as error:
            explained = self._explain(error)
        raise explained from None

    def _explain(self, error: Exception) -> Exception:
        import httpx2  # the client of huggingface_hub
        from huggingface_hub import errors

        if isinstance(error, errors.HfHubHTTPError):
            return self._refusal(error)
        if isinstance(error, errors.OfflineModeIsEnabled):
            return Unread("HF_HUB_OFFLINE is set")
        if isinstance(error, httpx2.TimeoutException):
            return Unread("no answer in time")
        if isinstance(error, httpx2.LocalProtocolError | UnicodeEncodeError):
            return _No(
                f"{self.token} cannot be sent: it has a character that no token has.",
                f"{_SET_TOKEN}, with a token of {_TOKENS}",
                _ACCESS,
            )
        if isinstance(error, httpx2.RequestError):
            return Unread(f"it cannot be reached ({type(error).__name__})")
        return Unread(f"it answers something else than the hub does ({type(error).__name__})")

    def _refusal(self, error: HfHubHTTPError) -> Exception:
        response = error.response
        status = response.status_code
        code = response.headers.get("X-Error-Code", "")
        said = " ".join(response.headers.get("X-Error-Message", "").split())
        if self._secret:
            said = said.replace(self._secret, "(the token)")
        if status in (401, 403) and code == "GatedRepo":
            return self._gated(said)
        if status == 404 and code == "RevisionNotFound":
            return _No(
                f"{self._at}: the repository has no such revision.",
                "name a branch, tag or commit that it has in --revision of vllm.extra_args, or leave it out",
                _REVISION,
            )
        if status == 401 and said.startswith("Invalid credentials") and self.has_token:
            return _No(
                f"{self.host} answers 401 for {self.id}: {self.token} is not valid (wrong, revoked or expired).",
                f"{_SET_TOKEN}, with a new token of {_TOKENS}",
                _ACCESS,
            )
        if (status in (401, 404) and code == "RepoNotFound") or (status == 401 and said and not code):
            private = (
                "the token may not read it" if self.has_token else "it is private, and there is no token"
            )
            remedy = f"compare the id with {self._page}"
            if not self.has_token:
                remedy += f"; for a private one: {_SET_TOKEN}"
            return _No(f"{self.host} has no model {self.id}, or {private} (it answers {status}).", remedy)
        if status == 403 and said and "fine-grained" in said.lower():
            return _No(
                f"{self.host} answers 403 for {self.id}: {self.token} is fine-grained and lacks the right to read "
                "gated repositories.",
                f'at {_TOKENS} edit the token: "Read access to contents of all public gated repos you can access"; or '
                f"{_SET_TOKEN} with a token of the type Read",
                _ACCESS,
            )
        if status == 403 and said and self.has_token:
            return _No(
                f"{self.host} answers 403 for {self.id}: {said[:200]}",
                f"give the token read access to it at {_TOKENS}",
                _ACCESS,
            )
        after = response.headers.get("Retry-After", "")
        wait = f", retry after {after} s" if after.isdecimal() and status == 429 else ""
        return Unread(f"it answers {status}{wait}")

    def _gated(self, said: str) -> _No:
        if not self.has_token:
            return _No(
                f"{self.id} is gated, and there is no token.",
                f"accept its terms at {self._page}, then: {_SET_TOKEN}",
                _ACCESS,
            )
        if "awaiting a review" in said:
            return _No(
                f"{self.id} is gated; the token's account has asked for access, which its authors have not given yet.",
                f"wait for their answer ({HUGGING_FACE}/settings/gated-repos), or use the token of an account that has "
                "access",
                _ACCESS,
            )
        if "rejected" in said:
            return _No(
                f"{self.id} is gated; its authors have refused access to the token's account.",
                f"{_SET_TOKEN}, with the token of an account that has access",
                _ACCESS,
            )
        return _No(
            f"{self.id} is gated, and the token's account is not among those that may read it.",
            f"accept its terms at {self._page} with the token's account, or {_SET_TOKEN} with the token of an account "
            "that has",
            _ACCESS,
        )


def _skip(check: str, why: str, by_hand: str = "") -> Finding:
    return Finding(check=check, status=Status.SKIP, evidence=f"{why}.", by_hand=by_hand)

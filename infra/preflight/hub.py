"""A repository on the Hugging Face hub, asked with the container's token and no other (never that of a login here).

A status alone is no answer: what the hub says of itself has ``X-Error-Code`` or ``X-Error-Message``, and what a proxy
says has not.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from infra.preflight import checkpoint
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Unread
from infra.preflight.subject import HUGGING_FACE, Subject

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

__all__ = ["Hub", "Listing", "No"]

_T = TypeVar("_T")

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TOKENS: Final = "https://huggingface.co/settings/tokens"
_SET_TOKEN: Final = "pulumi config set --secret vertex-vllm:hfToken"


About = Literal["repository", "revision", "access"]


class No(Exception):
    """The hub's own no, and what it is about: whether there is such a repository, revision, or right to read it."""

    def __init__(self, evidence: str, remedy: str, about: About = "repository") -> None:
        super().__init__(evidence)
        self.evidence, self.remedy, self.about = evidence, remedy, about

    def finding(self, check: str, by_hand: str) -> Finding:
        return Finding(
            check=check, status=Status.FAIL, evidence=self.evidence, remedy=self.remedy, by_hand=by_hand
        )


@dataclass(frozen=True)
class Listing:
    """What the hub says of the repository at one commit; ``weights`` are the files that are loaded, in bytes."""

    name: str
    commit: str
    gated: str
    names: frozenset[str]
    weights: dict[str, int]


class Hub:
    """One repository on the hub, with the container's token; ``what`` it should be, in a word."""

    def __init__(self, subject: Subject, id: str, revision: str | None = None, what: str = "model") -> None:
        self.id, self.revision, self._what = id, revision, what
        self.endpoint = subject.hf_endpoint
        self.host = self.endpoint.partition("://")[2]
        self.has_token = bool(subject.hf_token)
        self.token = "the token of vertex-vllm:hfToken"
        self._secret = subject.hf_token or None
        self.at = f"{self.id} at revision {self.revision}" if self.revision else self.id
        self._page = f"{HUGGING_FACE}/{self.id}"

    def by_hand(self, path: str = "") -> str:
        """The curl line that shows the listing, or a file."""
        token = '-H "Authorization: Bearer $HF_TOKEN" ' if self.has_token else ""
        url = f"{self.endpoint}/{self.id}{path}" if path else f"{self.endpoint}/api/models/{self.id}"
        return f"curl -sSLi {token}{url}"

    # What is asked; runs in a thread

    def listing(self, timeout: float) -> Listing:
        """The repository at its revision.

        Raises:
            No: The hub says that it is not there, or that the token is not valid.
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
        return Listing(
            name=info.id,
            commit=info.sha,
            gated=info.gated if isinstance(info.gated, str) else "yes" if info.gated else "",
            names=frozenset(files),
            weights=loaded if all(loaded.values()) else {},
        )

    def read(self, name: str, commit: str, timeout: float) -> bytes:
        """Read a file of the repository that holds a JSON object, as the container will.

        Raises:
            No: The hub says that the token may not.
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
        if not isinstance(document, dict):
            raise Unread("it answers something else than a configuration")
        return content

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
            return No(
                f"{self.token} cannot be sent: it has a character that no token has.",
                f"{_SET_TOKEN}, with a token of {_TOKENS}",
                "access",
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
            return No(
                f"{self.at}: the repository has no such revision.",
                "name a branch, tag or commit that it has in --revision of vllm.extra_args, or leave it out",
                "revision",
            )
        if status == 401 and said.startswith("Invalid credentials") and self.has_token:
            return No(
                f"{self.host} answers 401 for {self.id}: {self.token} is not valid (wrong, revoked or expired).",
                f"{_SET_TOKEN}, with a new token of {_TOKENS}",
                "access",
            )
        if (status in (401, 404) and code == "RepoNotFound") or (status == 401 and said and not code):
            private = (
                "the token may not read it" if self.has_token else "it is private, and there is no token"
            )
            remedy = f"compare the id with {self._page}"
            if not self.has_token:
                remedy += f"; for a private one: {_SET_TOKEN}"
            return No(
                f"{self.host} has no {self._what} {self.id}, or {private} (it answers {status}).", remedy
            )
        if status == 403 and said and "fine-grained" in said.lower():
            return No(
                f"{self.host} answers 403 for {self.id}: {self.token} is fine-grained and lacks the right to read "
                "gated repositories.",
                f'at {_TOKENS} edit the token: "Read access to contents of all public gated repos you can access"; or '
                f"{_SET_TOKEN} with a token of the type Read",
                "access",
            )
        if status == 403 and said and self.has_token:
            return No(
                f"{self.host} answers 403 for {self.id}: {said[:200]}",
                f"give the token read access to it at {_TOKENS}",
                "access",
            )
        after = response.headers.get("Retry-After", "")
        wait = f", retry after {after} s" if after.isdecimal() and status == 429 else ""
        return Unread(f"it answers {status}{wait}")

    def _gated(self, said: str) -> No:
        if not self.has_token:
            return No(
                f"{self.id} is gated, and there is no token.",
                f"accept its terms at {self._page}, then: {_SET_TOKEN}",
                "access",
            )
        if "awaiting a review" in said:
            return No(
                f"{self.id} is gated; the token's account has asked for access, which its authors have not given yet.",
                f"wait for their answer ({HUGGING_FACE}/settings/gated-repos), or use the token of an account that has "
                "access",
                "access",
            )
        if "rejected" in said:
            return No(
                f"{self.id} is gated; its authors have refused access to the token's account.",
                f"{_SET_TOKEN}, with the token of an account that has access",
                "access",
            )
        return No(
            f"{self.id} is gated, and the token's account is not among those that may read it.",
            f"accept its terms at {self._page} with the token's account, or {_SET_TOKEN} with the token of an account "
            "that has",
            "access",
        )

"""The container image: its tag or digest exists, and it is built for the machine's processor.

Asks the image's registry by the protocol that every registry has (OCI distribution, ``/v2/``): without credentials
first, then with the anonymous token that the registry offers, then, at Google's registries, as the caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

from infra import naming
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Answer, Net, Unread
from infra.preflight.subject import Subject
from infra.recipes import catalog

__all__ = ["CHECKS", "Reference", "image", "reference"]

_IMAGE: Final = "image"
_ARCHITECTURE: Final = "image-architecture"

_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT: Final = ", ".join((*_INDEXES, *_MANIFESTS))

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Registries keep blobs elsewhere and send their readers there."""

_MOVES: Final = 3

_GONE: Final = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"})
"""Error codes: github.com/opencontainers/distribution-spec, "Error Codes"; Artifact Registry has NOT_FOUND besides."""

_PROCESSORS: Final[Mapping[str, str]] = {"x86": "amd64", "arm": "arm64"}
"""The catalogue's architectures in the words of images, which are Go's."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Reference:
    """An image's address in parts.

    Attributes:
        host: The registry's host, with a port where there is one.
        name: The repository, without the host.
        version: Tag or digest; a digest where both are named.
        uri: As it was written.
    """

    host: str
    name: str
    version: str
    uri: str

    @property
    def google(self) -> bool:
        """Whether the registry is Google's, so that it takes a Google access token."""
        host = self.host.partition(":")[0]
        return host.endswith(".pkg.dev") or host == "gcr.io" or host.endswith(".gcr.io")


def reference(uri: str) -> Reference:
    """An image's address in parts, with Docker's defaults: Docker Hub, and the tag ``latest``."""
    rest, _, digest = uri.partition("@")
    head, slash, tail = rest.rpartition("/")
    last, _, tag = tail.partition(":")
    path = f"{head}{slash}{last}"
    first, slash, below = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Reference(first, below, digest or tag or "latest", uri)
    return Reference(
        "registry-1.docker.io", path if slash else f"library/{path}", digest or tag or "latest", uri
    )


async def image(subject: Subject, net: Net) -> Sequence[Finding]:
    """The image exists, and is for the processor of the machine."""
    found = reference(subject.plan.container.image_uri)
    if subject.hosts.local and subject.hosts.registry is None:
        return _by_catalogue(subject, found)
    registry = _Registry(subject, net, found)
    try:
        manifest = await registry.manifest()
    except Unread as reason:
        return (
            Finding(
                check=_IMAGE,
                status=Status.SKIP,
                evidence=f"{found.uri} cannot be looked up: {reason}.",
                by_hand=_by_hand(found),
            ),
        )
    if manifest is None:
        kind = "digest" if _DIGEST.fullmatch(found.version) else "tag"
        return (
            Finding(
                check=_IMAGE,
                status=Status.FAIL,
                evidence=f"{found.host} has no {kind} {found.version} of {found.name}.",
                remedy="name one that exists in container.image_uri, or leave it out for the oldest of Google's images "
                "that serves the model",
                by_hand=_by_hand(found),
            ),
        )
    digest = manifest.headers.get("docker-content-digest", "")
    now = f" ({digest[:19]}…)" if _DIGEST.fullmatch(digest) and digest != found.version else ""
    there = Finding(
        check=_IMAGE,
        status=Status.PASS,
        evidence=f"{found.host} has {found.name} {found.version}{now}.",
        by_hand=_by_hand(found),
    )
    try:
        processors = await registry.processors(manifest.data)
    except Unread as reason:
        evidence = f"It cannot be seen which processor {found.uri} is for: {reason}."
        return there, Finding(check=_ARCHITECTURE, status=Status.SKIP, evidence=evidence)
    return there, _suits(subject, processors)


CHECKS: Final = (image,)


def _suits(subject: Subject, processors: frozenset[str]) -> Finding:
    plan = subject.plan
    wanted = _PROCESSORS[plan.accelerator.cpu_arch]
    machine = f"{plan.machine.machine_type} is an {wanted} machine"
    evidence = f"The image is for {', '.join(sorted(processors))}; {machine}."
    if wanted in processors:
        return Finding(check=_ARCHITECTURE, status=Status.PASS, evidence=evidence)
    return Finding(
        check=_ARCHITECTURE,
        status=Status.FAIL,
        evidence=evidence,
        remedy=f"name an image for {wanted} in container.image_uri, or choose a machine for "
        f"{', '.join(sorted(processors))} in hardware",
    )


def _by_catalogue(subject: Subject, found: Reference) -> tuple[Finding, ...]:
    """What can be said on a local Google Cloud, which has no registry and runs no image."""
    here = "this stack is on the local Google Cloud, which has no registry"
    known = catalog().container(found.uri)
    of = f"the catalogue has {found.uri}" if known else "the catalogue does not have it either"
    skipped = Finding(
        check=_IMAGE,
        status=Status.SKIP,
        evidence=f"{found.host} is not asked: {here}; {of}.",
        by_hand=_by_hand(found),
    )
    processor = _PROCESSORS.get(known.arch) if known else None
    wanted = _PROCESSORS[subject.plan.accelerator.cpu_arch]
    if processor != wanted:  # another one that is known is refused by the plan
        return (skipped,)
    machine = subject.plan.machine.machine_type
    evidence = f"By the catalogue the image is for {processor}; {machine} is an {wanted} machine."
    return skipped, Finding(check=_ARCHITECTURE, status=Status.PASS, evidence=evidence)


def _by_hand(found: Reference) -> str:
    if found.google:
        return f"gcloud artifacts docker images describe {found.uri}"
    return f"docker manifest inspect {found.uri}"


class _Registry:
    """One repository of a registry."""

    def __init__(self, subject: Subject, net: Net, of: Reference) -> None:
        replaced = subject.hosts.registry
        self._net = net
        self._of = of
        self._base = f"{replaced or f'https://{of.host}'}/v2/{of.name}"
        # A token of Google's goes to Google, or to a registry of the local cloud.
        self._google = subject.hosts.local if replaced else of.google
        self._authorization: Mapping[str, str] = {}
        self._as_caller = False

    async def manifest(self) -> Answer | None:
        """The manifest of the tag or digest; None when the registry says that there is none.

        Raises:
            Unread: The registry cannot be read, or not by the caller.
        """
        url = f"{self._base}/manifests/{self._of.version}"
        answer = await self._get(url)
        if answer.status in (401, 403):
            token = await self._anonymous_token(answer.headers.get("www-authenticate", ""))
            if token:
                self._authorization = {"authorization": f"Bearer {token}"}
                answer = await self._get(url)
        if answer.status in (401, 403) and self._google:
            self._authorization, self._as_caller = {}, True
            answer = await self._get(url)
        codes = _codes(answer)
        if answer.status == 404 and codes & _GONE:
            return None
        if not answer.ok:
            said = f" {', '.join(sorted(codes))}" if codes else ""
            raise Unread(f"{self._of.host} answers {answer.status}{said}")
        data = answer.data
        whole = isinstance(data, dict) and data.get("schemaVersion") == 2
        if not whole or not (isinstance(data.get("manifests"), list) or isinstance(data.get("config"), dict)):
            raise Unread(f"{self._of.host} answers something else than an image's manifest")
        return answer

    async def processors(self, manifest: Mapping[str, Any]) -> frozenset[str]:
        """The processors that an image is built for, from the list in its manifest or from its configuration.

        Raises:
            Unread: They cannot be read.
        """
        strange = Unread(f"{self._of.host} answers something else than an image's manifest")
        listed = manifest.get("manifests")
        if isinstance(listed, list):
            platforms = [part.get("platform") for part in listed if isinstance(part, dict)]
            named = {
                platform.get("architecture")
                for platform in platforms
                if isinstance(platform, dict) and platform.get("os") == "linux"
            }
            found = frozenset(name for name in named if isinstance(name, str) and name)
            if not found:
                raise strange
            return found
        digest = manifest["config"].get("digest")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise strange
        configuration = (await self._blob(digest)).data
        processor = configuration.get("architecture") if isinstance(configuration, dict) else None
        if not isinstance(processor, str) or not isinstance(configuration.get("rootfs"), dict):
            raise Unread(f"{self._of.host} answers something else than an image's configuration")
        return frozenset({processor})

    async def _blob(self, digest: str) -> Answer:
        url = f"{self._base}/blobs/{digest}"
        answer = await self._get(url)
        for _ in range(_MOVES):
            if answer.status not in _REDIRECTS:
                break
            try:
                url = urljoin(url, answer.headers.get("location", ""))
            except ValueError:
                raise Unread(f"{self._of.host} leads to an address that is none") from None
            if not self._secure(url):
                raise Unread(f"{self._of.host} leads to {url[:80]}, which is not encrypted")
            # The address itself says that it may be read; credentials are not for it.
            answer = await self._net.get(url, expect=_REDIRECTS, google=False)
        if not answer.ok:
            raise Unread(f"the image's configuration answers {answer.status}")
        return answer

    async def _get(self, url: str) -> Answer:
        return await self._net.get(
            url,
            headers={"accept": f"{_ACCEPT}, application/json", **self._authorization},
            expect={401, *_REDIRECTS} if "/blobs/" in url else {401},
            google=self._as_caller,
        )

    async def _anonymous_token(self, challenge: str) -> str | None:
        """The token that a registry gives to anybody, by the challenge of its 401; None where it gives none."""
        scheme, _, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if scheme.lower() != "bearer" or not self._secure(realm):
            return None
        asked = {"scope": parameters.get("scope") or f"repository:{self._of.name}:pull"}
        if parameters.get("service"):
            asked["service"] = parameters["service"]
        answer = await self._net.get(realm, params=asked, expect={401}, google=False)
        data = answer.data if answer.ok and isinstance(answer.data, dict) else {}
        token = data.get("token") or data.get("access_token")
        return token if isinstance(token, str) and token.isascii() and token.isprintable() else None

    def _secure(self, url: str) -> bool:
        """Whether a registry may lead to an address: an encrypted one, or on this machine from a registry on it."""
        return url.startswith("https://") or (naming.is_loopback(url) and naming.is_loopback(self._base))


def _codes(answer: Answer) -> frozenset[str]:
    """The codes of a registry's own errors; empty for what has not its form."""
    errors = answer.data.get("errors") if isinstance(answer.data, dict) else None
    parts = errors if isinstance(errors, list) else []
    codes = (part.get("code") for part in parts if isinstance(part, dict))
    return frozenset(code for code in codes if isinstance(code, str))

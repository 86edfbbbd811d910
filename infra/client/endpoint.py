"""Which endpoint is asked, and at which addresses: by stack, by a stack's outputs, or by its id or name.

Shared and dedicated endpoints have different hosts, and each refuses what is meant for the other; `infra.recipes.urls`
writes the addresses, here they are only found.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from infra import naming
from infra.client.errors import BadTarget, ClientError, NoAnswer
from infra.client.pulumi import ROOT, Pulumi
from infra.client.rest import TIMEOUT_S, ask, http_client
from infra.client.token import Token
from infra.preflight.subject import hosts
from infra.recipes.urls import api_host, endpoint_urls

__all__ = [
    "DEDICATED_TIMEOUT_S",
    "MAX_DEDICATED_TIMEOUT_S",
    "ROOT",
    "SHARED_TIMEOUT_S",
    "Deployed",
    "Endpoint",
    "find",
    "read",
    "stack_outputs",
    "with_time_out",
]

SHARED_TIMEOUT_S: Final = 60.0
DEDICATED_TIMEOUT_S: Final = 600.0
MAX_DEDICATED_TIMEOUT_S: Final = 3600.0
"""Longest that a request may take: on the shared host; on a dedicated one whose ``inferenceTimeout`` is not set; and
the most it can be set to (Vertex AI's documentation, choose an endpoint type)."""

_NAME: Final = re.compile(r"projects/([a-z0-9.:-]+)/locations/([a-z0-9-]+)/endpoints/([A-Za-z0-9_-]+)")
"""Strict, for a region becomes part of a host, and a token is sent there."""
_DNS: Final = re.compile(r"[a-z0-9][a-z0-9.-]*\.prediction\.vertexai\.goog")
_ID: Final = re.compile(r"[1-9][0-9]*|[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Deployed:
    """One deployed model.

    Attributes:
        id: Its id on the endpoint.
        display_name: As the console shows it; empty where it was not read.
        model: Resource name of the model; empty where it was not read.
        traffic: Percent of the requests; None where it was not read.
    """

    id: str
    display_name: str = ""
    model: str = ""
    traffic: int | None = None


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One endpoint and its addresses.

    Attributes:
        name: ``projects/P/locations/REGION/endpoints/ID``.
        project: Project id or number, as the name has it.
        region: Its region.
        openai_base_url: For OpenAI's clients; the key is an access token, the model an empty string.
        predict_url: For the default route, ``{"instances": […]}``.
        raw_predict_url: For the default route, the body as it is.
        stream_raw_predict_url: As ``raw_predict_url``, the answer while it comes.
        api: Base address of Vertex AI for everything but predictions, without a version.
        dns: Host of a dedicated endpoint, None for a shared one.
        timeout_s: Longest that a request may take, None where it was not read.
        deployed: The deployed models.
        outputs: The stack's outputs, empty where it was not found by them.
        stack: Name of the stack, None where it was not found by it.
    """

    name: str
    project: str
    region: str
    openai_base_url: str
    predict_url: str
    raw_predict_url: str
    stream_raw_predict_url: str
    api: str
    dns: str | None
    timeout_s: float | None
    deployed: tuple[Deployed, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stack: str | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def dedicated(self) -> bool:
        """Whether it has a host of its own: streaming, 10 MB a request, up to an hour."""
        return self.dns is not None

    @property
    def stopped(self) -> str:
        """What to say where the stack's outputs say that `vertex-vllm stop` took its deployment away; else empty."""
        if self.outputs.get("stopped") is not True:
            return ""
        whose, stack = (self.stack or "of these outputs"), (self.stack or "STACK")
        return f"The stack {whose} is stopped; vertex-vllm start --stack {stack} deploys it again."

    @property
    def local(self) -> bool:
        """Whether it is on this machine: then no credential is sent, and no proxy asked."""
        return naming.is_loopback(self.openai_base_url)

    def token(self, environ: Mapping[str, str] | None = None) -> Token:
        """The token to call it with."""
        return Token(local=self.local, environ=environ, project=self.project)


def find(
    *,
    stack: str | None = None,
    outputs: str | Path | None = None,
    endpoint: str | None = None,
    project: str | None = None,
    region: str | None = None,
    environ: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> Endpoint:
    """Find an endpoint by exactly one of ``stack``, ``outputs`` and ``endpoint``.

    The first two ask nothing of Google; :func:`read` does, for the deployed models and the time-out.

    Args:
        stack: Name of a stack, whose outputs ``pulumi`` is asked for.
        outputs: A file with the JSON of ``pulumi stack output --json``; ``-`` is stdin.
        endpoint: Id, display name or whole resource name; read from Vertex AI.
        project: Project of ``endpoint``, unless its name has it.
        region: Region of ``endpoint``, unless its name has it.
        environ: Environment variables.
        root: Folder of `Pulumi.yaml`.

    Raises:
        BadTarget: It is not there, or what was given does not say which.
        NoAnswer: Pulumi or Vertex AI cannot be asked.
    """
    environ = os.environ if environ is None else environ
    options = {"--stack": stack, "--outputs": outputs, "--endpoint": endpoint}
    named = [option for option, value in options.items() if value is not None]
    if len(named) != 1:
        two = f", not {' and '.join(named)}" if named else ""
        raise BadTarget(f"Say which endpoint: one of --stack NAME, --outputs FILE and --endpoint ID{two}.")
    if not str(options[named[0]]).strip():
        raise BadTarget(
            f"{named[0]} is empty: a variable that is not set?"
        )  # pulumi would take the selected stack
    if stack is not None:
        return _of_outputs(
            stack_outputs(stack, environ=environ, root=root), f"the stack {stack}", stack=stack
        )
    if outputs is not None:
        return _of_outputs(_load(outputs), f"{outputs}", trusted=_override(environ) or "")
    return _of_api(endpoint or "", project, region, environ)


# By the outputs of a stack -----------------------------------------------------------------------------------------


def stack_outputs(
    stack: str, *, environ: Mapping[str, str] | None = None, root: Path = ROOT
) -> Mapping[str, Any]:
    """The outputs of a stack, by the ``pulumi`` on PATH.

    For the stack ``local`` of `make up` its own engine and state are asked, unless this shell has a backend set.

    Raises:
        BadTarget: There is no such stack.
        NoAnswer: There is no ``pulumi``, or it cannot answer.
    """
    pulumi = Pulumi(stack, root, os.environ if environ is None else environ)
    try:
        text = pulumi.ask("stack", "output", "--json")
    except NoAnswer as error:
        raise NoAnswer(
            f"The outputs of the stack {stack} cannot be read: {error}\n"
            "  --outputs FILE reads them from what `pulumi stack output --json` wrote elsewhere;\n"
            "  --endpoint ID --project PROJECT --region REGION needs no stack."
        ) from None
    return _mapping(text, f"pulumi's outputs of the stack {stack}")


def _load(outputs: str | Path) -> Mapping[str, Any]:
    try:
        text = Path("/dev/stdin" if str(outputs) == "-" else outputs).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise BadTarget(f"{outputs} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _mapping(text, str(outputs))


def _mapping(text: str, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadTarget(f"{what}: this is no JSON of `pulumi stack output --json`.")
    return value


def _of_outputs(
    outputs: Mapping[str, Any], what: str, *, stack: str | None = None, trusted: str | None = None
) -> Endpoint:
    """An endpoint by the outputs of its stack.

    Args:
        outputs: The outputs.
        what: Where they come from, for errors.
        stack: Name of the stack.
        trusted: A token may go to this address besides Google's and this machine's; None: to any.
    """
    name, base = outputs.get("endpoint"), outputs.get("openai_base_url")
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or not isinstance(base, str) or not isinstance(outputs.get("predict_url"), str):
        up = (
            f"pulumi up --stack {stack}"
            if stack and stack != "local"
            else "make up"
            if stack
            else "pulumi up"
        )
        raise BadTarget(
            f"{what} has no endpoint among its outputs: nothing is deployed yet. {up} deploys it."
        )
    dns = outputs.get("dedicated_endpoint_dns") or None
    # endpoint_urls' two forms: on a host of its own, or below an override of the API's address.
    host = re.split(r"/v1(?:beta1)?/projects/", base, maxsplit=1)[0]
    override: str | None = host.partition("/dedicated/")[0] if dns and "/dedicated/" in host else host
    if override in (api_host(match[2]), f"https://{dns}"):
        override = None
    if trusted is not None and override is not None and not _may_have_token(override, trusted):
        raise BadTarget(
            f"{what} names {urlsplit(override).netloc or override}, which is neither Google's nor on this machine: no "
            f"token is sent there.\n  If it is yours: export GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT={override}"
        )
    if dns and not override and not _DNS.fullmatch(dns):
        raise BadTarget(f"{what}: {dns} is no host of a dedicated endpoint (….prediction.vertexai.goog).")
    deployed = outputs.get("deployed_model_id")
    return _endpoint(
        match,
        dns,
        override,
        timeout_s=None if dns else SHARED_TIMEOUT_S,
        deployed=(Deployed(str(deployed), model=str(outputs.get("model") or "")),) if deployed else (),
        outputs=outputs,
        stack=stack,
    )


def _may_have_token(base: str, trusted: str) -> bool:
    parts = urlsplit(base)
    if parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com"):
        return True
    return naming.is_loopback(base) or (bool(trusted) and base == trusted)


def _endpoint(name: re.Match[str], dns: str | None, override: str | None, **rest: Any) -> Endpoint:
    urls = endpoint_urls(name[0], region=name[2], dedicated_dns=dns, api_endpoint=override)
    return Endpoint(
        name=name[0],
        project=name[1],
        region=name[2],
        openai_base_url=urls.openai_base_url,
        predict_url=urls.predict_url,
        raw_predict_url=urls.raw_predict_url,
        stream_raw_predict_url=urls.stream_raw_predict_url,
        api=override or api_host(name[2]),
        dns=dns,
        **rest,
    )


# By Vertex AI ------------------------------------------------------------------------------------------------------


def read(endpoint: Endpoint, token: Token) -> Endpoint:
    """The same endpoint with what Vertex AI says of it now: host, time-out, deployed models.

    Raises:
        BadTarget: It is no more.
        NoAnswer: Vertex AI cannot be asked.
    """
    override = None if endpoint.api == api_host(endpoint.region) else endpoint.api
    document = _ask(endpoint.api, endpoint.name, token, local=endpoint.local)
    if document is None:
        raise BadTarget(f"There is no endpoint {endpoint.name} any more.")
    return replace(_of_document(document, override), outputs=endpoint.outputs, stack=endpoint.stack)


def with_time_out(endpoint: Endpoint, token: Token) -> Endpoint:
    """The same endpoint with its time-out, which the outputs of a stack do not have; as it was where nobody says it."""
    if endpoint.timeout_s is not None:
        return endpoint
    try:
        return read(endpoint, token)
    except ClientError:
        return endpoint


def _override(environ: Mapping[str, str]) -> str | None:
    """Another address of Vertex AI than Google's, without a version; None where the environment has none."""
    nowhere = "no-region"
    base = hosts({}, environ, region=nowhere).vertex.removesuffix("/v1")
    return None if base == api_host(nowhere) else base


def _of_api(given: str, project: str | None, region: str | None, environ: Mapping[str, str]) -> Endpoint:
    override = _override(environ)
    match = _NAME.fullmatch(given.strip())
    if match is not None:
        project, region, wanted = match[1], match[2], match[3]
    else:
        wanted = given.strip()
        project = project or _first(
            environ, "GOOGLE_CLOUD_PROJECT", "GOOGLE_PROJECT", "CLOUDSDK_CORE_PROJECT"
        )
        region = region or _first(environ, "GOOGLE_REGION", "CLOUDSDK_AI_REGION")
    missing = [option for option, value in (("--project", project), ("--region", region)) if not value]
    if missing or not wanted:
        raise BadTarget(
            f"--endpoint {given or 'ID'} needs {' and '.join(missing) or 'an id'}; or give the whole name: "
            "--endpoint projects/PROJECT/locations/REGION/endpoints/ID"
        )
    assert project
    assert region
    if not _NAME.fullmatch(f"projects/{project}/locations/{region}/endpoints/1"):
        raise BadTarget(
            f"--project {project} --region {region}: these are no names of a project and a region."
        )
    api = override or api_host(region)
    local = naming.is_loopback(api)
    token = Token(local=local, environ=environ, project=project)
    parent = f"projects/{quote(project, safe=':')}/locations/{quote(region, safe='')}"
    document: Mapping[str, Any] | None = None
    if _ID.fullmatch(wanted):
        # A name that cannot be an id may be an invalid argument instead of one that is not found.
        document = _ask(api, f"{parent}/endpoints/{wanted}", token, local=local, absent=(400, 404))
    if document is None:
        document = _by_display_name(api, parent, wanted, token, local=local)
    return _of_document(document, override)


def _by_display_name(api: str, parent: str, wanted: str, token: Token, *, local: bool) -> Mapping[str, Any]:
    quoted = wanted.replace("\\", "\\\\").replace('"', '\\"')
    where = parent.replace("projects/", "project ").replace("/locations/", ", region ")
    answer = _ask(api, f"{parent}/endpoints", token, local=local, filter=f'display_name="{quoted}"')
    found = [item for item in (answer or {}).get("endpoints", ()) if isinstance(item, dict)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(item.get("name", "")).rpartition("/")[2] for item in found[:8])
        raise BadTarget(f"{len(found)} endpoints are called {wanted!r} ({where}). Name one by its id: {ids}")
    everything = (_ask(api, f"{parent}/endpoints", token, local=local) or {}).get("endpoints", ())
    known = [f"{str(item['name']).rpartition('/')[2]} ({item.get('displayName', '')})" for item in everything]
    there = f"There are: {', '.join(known[:8])}" if known else "There is none there."
    raise BadTarget(f"There is no endpoint {wanted!r} ({where}). {there}")


def _of_document(document: Mapping[str, Any], override: str | None) -> Endpoint:
    match = _NAME.fullmatch(str(document.get("name", "")))
    if match is None:
        raise NoAnswer("Vertex AI answers an endpoint without a name; a proxy between here and there?")
    dns = str(document.get("dedicatedEndpointDns") or "").removeprefix("https://").rstrip("/") or None
    own = str((document.get("clientConnectionConfig") or {}).get("inferenceTimeout") or "").removesuffix("s")
    split = document.get("trafficSplit") or {}
    return _endpoint(
        match,
        dns,
        override,
        timeout_s=(float(own) if own else DEDICATED_TIMEOUT_S) if dns else SHARED_TIMEOUT_S,
        deployed=tuple(
            Deployed(
                str(item.get("id", "")),
                str(item.get("displayName", "")),
                str(item.get("model", "")),
                int(split.get(item.get("id"), 0)),
            )
            for item in document.get("deployedModels") or ()
        ),
    )


def _ask(
    api: str, path: str, token: Token, *, local: bool, absent: tuple[int, ...] = (404,), **query: str
) -> dict[str, Any] | None:
    """A GET of Vertex AI's v1; None for what does not exist, by the status of the answer."""
    with http_client(local=local, timeout_s=TIMEOUT_S) as http:
        url = f"{api}/v1/{path}"
        role = "roles/aiplatform.user"
        return ask(http, "GET", url, token, local=local, role=role, absent=absent, params=query)


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    found: Callable[[str], str] = lambda name: (environ.get(name) or "").strip()  # noqa: E731
    return next((value for value in map(found, names) if value), None)

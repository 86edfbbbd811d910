"""Google's services as a recovery asks them: plain reads at the addresses and with the credentials of the stack."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from infra import naming
from infra.client import NoAnswer
from infra.client.rest import TIMEOUT_S, document_of, http_client, refused, request, without_json
from infra.client.token import Token
from infra.preflight.net import LOGIN_REMEDY
from infra.preflight.subject import hosts
from infra.provider.failures import retry_after
from infra.recovery.strays import ServiceDisabled, Stray

if TYPE_CHECKING:
    import httpx

__all__ = ["Google"]

Json = dict[str, Any]

_PAUSES_S: Final = (0.5, 2.0, 5.0)
"""Pauses before a call is repeated."""

_LONGEST_S: Final = 30.0
"""A longer Retry-After is not waited for."""

_PASSING: Final = frozenset({429, 500, 502, 503, 504})

_REMEDIES: Final = {
    401: LOGIN_REMEDY,
    403: "Run it with the account that runs pulumi up: it has to read what that made.",
}


class Google:
    """What exists in Google Cloud, for one stack.

    Args:
        config: The stack's configuration by full key, as Pulumi.STACK.yaml has it.
        environ: Environment variables: addresses and credentials, as of Google's Pulumi and Terraform provider.

    Raises of every method: `NoAnswer` where a service cannot be asked, or refuses.
    """

    def __init__(self, config: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._config, self._environ = config, environ
        region = config.get("gcp:region", "us-central1")
        self._hosts = hosts(config, environ, region=region)
        self._local = naming.is_loopback(self._hosts.vertex)
        self._token = Token(local=self._local, environ=_login(config, environ))
        self._http: httpx.Client = http_client(local=self._local, timeout_s=TIMEOUT_S)

    def vertex(self, location: str, path: str, **query: str) -> Json | None:
        """A resource of Vertex AI, None where there is none. `path` is below the version."""
        base = hosts(self._config, self._environ, region=location).vertex
        return self._send("GET", f"{base}/{path}", params=query)

    def operations(self, location: str, parent: str, kind: str) -> list[str]:
        """Names of the operations under way on a resource, by the name of their metadata message."""
        found = self.vertex(location, f"{parent}/operations", pageSize="100") or {}
        return [
            str(each.get("name"))
            for each in found.get("operations") or ()
            if not each.get("done")
            and str((each.get("metadata") or {}).get("@type", "")).rpartition(".")[2] == kind
        ]

    def account(self, name: str) -> Json | None:
        """A service account, `projects/P/serviceAccounts/EMAIL`."""
        return self._send("GET", f"{self._hosts.iam}/{name}")

    def project_policy(self, project: str) -> Json | None:
        """The IAM policy of a project."""
        body = {"options": {"requestedPolicyVersion": 3}}
        return self._send(
            "POST", f"{self._hosts.resource_manager}/projects/{project}:getIamPolicy", json=body
        )

    def bucket(self, name: str) -> Json | None:
        """A bucket."""
        return self._send("GET", f"{self._hosts.storage}/b/{quote(name, safe='')}")

    def object(self, bucket: str, name: str) -> Json | None:
        """An object's metadata."""
        return self._send("GET", f"{self._hosts.storage}/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}")

    def bucket_policy(self, name: str) -> Json | None:
        """The IAM policy of a bucket."""
        query = {"optionsRequestedPolicyVersion": "3"}
        return self._send("GET", f"{self._hosts.storage}/b/{quote(name, safe='')}/iam", params=query)

    def objects(self, bucket: str, prefix: str) -> list[str]:
        """The contents of a bucket's objects whose names begin with `prefix`, at most 1000 of them."""
        url = f"{self._hosts.storage}/b/{quote(bucket, safe='')}/o"
        found = self._send("GET", url, params={"prefix": prefix}) or {}
        names = [str(each["name"]) for each in found.get("items") or ()]
        return [self._text(f"{url}/{quote(name, safe='')}") for name in names]

    def dashboards(self, project: str) -> list[Json]:
        """The dashboards of a project, at most 1000."""
        base = self._hosts.monitoring.removesuffix("/v3")
        url = f"{base}/v1/projects/{project}/dashboards"
        return list((self._send("GET", url, params={"pageSize": "1000"}) or {}).get("dashboards") or ())

    def alert_policies(self, project: str) -> list[Json]:
        """The alert policies of a project, at most 1000."""
        url = f"{self._hosts.monitoring}/projects/{project}/alertPolicies"
        return list((self._send("GET", url, params={"pageSize": "1000"}) or {}).get("alertPolicies") or ())

    def buckets(self, project: str) -> list[Json]:
        """The buckets of a project, at most 1000."""
        query = {"project": project, "maxResults": "1000"}
        return list((self._send("GET", f"{self._hosts.storage}/b", params=query) or {}).get("items") or ())

    def holds_objects(self, bucket: str) -> bool:
        """Whether a bucket holds anything, older versions included."""
        query = {"versions": "true", "maxResults": "1"}
        return bool(
            (self._send("GET", f"{self._hosts.storage}/b/{bucket}/o", params=query) or {}).get("items")
        )

    def remove(self, stray: Stray) -> None:
        """Deletes a stray; one that is gone already is fine."""
        base = {
            "endpoint": self._hosts.vertex,
            "bucket": f"{self._hosts.storage}/b",
            "dashboard": f"{self._hosts.monitoring.removesuffix('/v3')}/v1",
            "alert policy": self._hosts.monitoring,
        }[stray.kind]
        self._send("DELETE", f"{base}/{stray.name}")

    def _text(self, url: str) -> str:
        answer = self._request("GET", url, params={"alt": "media"})
        return answer.text if answer.is_success else ""

    def _send(self, method: str, url: str, **content: Any) -> Json | None:
        answer = self._request(method, url, **content)
        document = document_of(answer)
        if document is None:  # a 404, too: a proxy's, or a load balancer's, says nothing of what exists
            raise NoAnswer(without_json(url, answer))
        if answer.is_success:
            return document
        if answer.status_code == 404 and document:
            return None
        details = [each for each in _list(document.get("error"), "details") if isinstance(each, dict)]
        disabled = any(each.get("reason") == "SERVICE_DISABLED" for each in details)
        if disabled:
            raise ServiceDisabled(refused(url, answer, document))
        hint = _REMEDIES.get(answer.status_code)
        raise NoAnswer(refused(url, answer, document) + (f"\n  {hint}" if hint else ""))

    def _request(self, method: str, url: str, **content: Any) -> httpx.Response:
        """One answer. What is asked here only reads, or deletes, so that it is repeated while nobody answers."""
        self._token.get()  # without credentials nothing is repeated
        for pause in (*_PAUSES_S, None):
            try:
                answer = request(self._http, method, url, self._token, local=self._local, **content)
            except NoAnswer:
                if pause is None:
                    raise
            else:
                asked = retry_after(answer.headers) or 0.0
                if pause is None or answer.status_code not in _PASSING or asked > _LONGEST_S:
                    return answer
                pause = max(pause, asked)
            time.sleep(pause)
        raise AssertionError("the last try answers or raises")


def _list(document: Any, key: str) -> list[Any]:
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, list) else []


def _login(config: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, with the credentials that the configuration names before it."""
    own = {
        "GOOGLE_OAUTH_ACCESS_TOKEN": config.get("gcp:accessToken"),
        "GOOGLE_CREDENTIALS": config.get("gcp:credentials"),
        "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": config.get("gcp:impersonateServiceAccount"),
    }
    return {**environ, **{key: value for key, value in own.items() if value}}

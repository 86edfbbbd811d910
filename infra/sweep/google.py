"""How the sweep asks Google: plain REST with the caller's credentials, at the addresses of Google's own provider."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from infra import naming
from infra.client.errors import NoAnswer
from infra.client.rest import TIMEOUT_S, document_of, http_client, refused, request, without_json
from infra.client.token import Token
from infra.preflight.subject import hosts
from infra.sweep.look import Place, Unanswered

__all__ = ["Google", "place_of"]

Json = dict[str, Any]

_PAUSES_S: Final = (0.5, 2.0)  # before a question is asked again that nobody answered
_DISABLED: Final = ("SERVICE_DISABLED", "accessNotConfigured")


def place_of(
    project: str, regions: Sequence[str], config: Mapping[str, str], environ: Mapping[str, str]
) -> Place:
    """Where the services of a project are.

    Args:
        project: Project id.
        regions: Regions to look at.
        config: Settings of a stack, by full key; addresses among them.
        environ: Environment variables.
    """
    found = {region: hosts(config, environ, region=region) for region in regions}
    one = next(iter(found.values()))
    return Place(
        project=project,
        vertex={region: each.vertex for region, each in found.items()},
        storage=one.storage,
        iam=one.iam,
        monitoring=one.monitoring.removesuffix("/v3"),
        resource_manager=one.resource_manager,
    )


class Google:
    """Asks; an `infra.sweep.look.Ask`. Safe to use from several threads.

    Args:
        place: Where the services are. With Vertex AI on this machine no credential is sent.
        environ: Environment variables, for the credentials.
    """

    def __init__(self, place: Place, environ: Mapping[str, str]) -> None:
        self.local = naming.is_loopback(next(iter(place.vertex.values())))
        self._token = Token(local=self.local, environ=environ, project=place.project)
        self._http = http_client(local=self.local, timeout_s=TIMEOUT_S)
        self._place = place

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def __call__(self, method: str, url: str, query: Mapping[str, str], body: Json | None) -> Json:
        """One answer; a question (not a change) is repeated where nobody answered.

        Raises:
            Unanswered: With which service and why.
        """
        pauses = _PAUSES_S if method == "GET" else ()
        for pause in (*pauses, None):
            try:
                return self._once(method, url, query, body)
            except Unanswered as error:
                if pause is None or error.status not in (0, 429, 500, 502, 503, 504):
                    raise
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, url: str, query: Mapping[str, str], body: Json | None) -> Json:
        try:
            response = request(
                self._http, method, url, self._token, local=self.local, params=dict(query), json=body
            )
        except NoAnswer as error:
            raise Unanswered(str(error)) from None
        document = document_of(response)
        if document is None:
            status = response.status_code if response.status_code >= 400 else 502
            raise Unanswered(without_json(url, response), status)
        if response.is_success:
            return document
        refusal = document.get("error")
        refusal = refusal if isinstance(refusal, dict) else {}
        reasons = [
            str(each.get("reason"))
            for each in (*(refusal.get("details") or ()), *(refusal.get("errors") or ()))
            if isinstance(each, dict)
        ]
        if response.status_code == 403 and any(reason in _DISABLED for reason in reasons):
            service = urlsplit(url).netloc
            consumer = _consumer(refusal)
            if self._is_here(consumer):
                raise Unanswered(f"{service} is not enabled in this project", 403, disabled=True)
            # Of some services the project of the credentials is asked, and what the other one has is not known.
            raise Unanswered(
                f"{service} is not enabled in {consumer}, which these credentials are counted for; "
                f"gcloud auth application-default set-quota-project {self._place.project}, or enable it there",
                403,
            )
        raise Unanswered(refused(url, response, document), response.status_code)

    def _is_here(self, consumer: str) -> bool:
        """Whether a project that Google names, by its number mostly, is the one that is looked at."""
        project = self._place.project
        if self.local or consumer in ("", f"projects/{project}"):
            return True
        if self._token.headers().get("x-goog-user-project") == project:
            return True
        url = f"{self._place.resource_manager}/projects/{project}"
        try:
            response = request(self._http, "GET", url, self._token, local=self.local)
        except NoAnswer:
            return False
        known = document_of(response) or {}
        return response.is_success and consumer == f"projects/{known.get('projectNumber')}"


def _consumer(refusal: Mapping[str, Any]) -> str:
    """The project in which a refusal says that the service is not enabled; empty where it does not say."""
    for each in refusal.get("details") or ():
        if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
            return str(each["metadata"].get("consumer") or "")
    return ""

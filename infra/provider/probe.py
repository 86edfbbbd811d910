"""Asking the deployed models of an endpoint, and counting how one of them answers.

Vertex AI sends a request to whichever deployed model the traffic split chooses; nobody can choose. `rawPredict` says in
the header `X-Vertex-AI-Deployed-Model-Id` which one it was, with errors of the container too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from infra.plugin import Context
from infra.provider.failures import ApiError, from_response, redact
from infra.provider.retry import READ, READ_BUDGET, Patience, sleep

if TYPE_CHECKING:
    from infra.provider.vertex import Vertex

HEADER: Final = "X-Vertex-AI-Deployed-Model-Id"
QUESTION: Final = {"instances": [{"prompt": "A car is", "max_tokens": 1}]}
"""One token: it proves the route, the model and its answer, and costs other requests next to nothing."""

_NAMED: Final = re.compile(r"deployed_model_id: (\d+)")
_FEW: Final = 5
"""Answers of others, where the new one has all the traffic: a changed split may take a moment to work."""
_MISSED: Final = 1e-6
"""How unlikely it shall be that one which has its share of the traffic is not asked at all."""
_PAUSE: Final = 0.1
_RESPONSES: Final = "aiplatform.googleapis.com/prediction/online/response_count"


class NotServing(Exception):
    """The deployed model did not answer as it should; `str(e)` says how."""


class NeverAsked(NotServing):
    """All answers were given by others."""


@dataclass(frozen=True)
class Answer:
    """How one request was answered.

    Attributes:
        by: The deployed model that answered; empty where the answer does not say.
        status: The HTTP status; 0: no answer.
        said: What was wrong; empty where nothing was.
        error: Why it is no answer of a deployed model that is named; None where it is one.
    """

    by: str
    status: int
    said: str = ""
    error: ApiError | None = None


@dataclass
class Count:
    """Answers of one deployed model, and how many of them were errors of the server (5xx)."""

    answers: int = 0
    errors: int = 0
    said: str = field(default="", compare=False)

    def add(self, answer: Answer) -> None:
        """One more answer."""
        self.answers += 1
        if answer.status >= 500:
            self.errors += 1
            self.said = answer.said

    @property
    def percent(self) -> float:
        """Errors of a hundred answers."""
        return 100 * self.errors / self.answers if self.answers else 0.0


def ask(vertex: Vertex, endpoint: dict[str, Any]) -> Answer:
    """One prediction of the endpoint.

    Raises:
        Interrupted: the user interrupted.
    """
    try:
        response = vertex.raw_predict(endpoint, dict(QUESTION))
    except ApiError as e:
        return Answer("", 0, e.message, e)
    by = response.headers.get(HEADER, "")
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.status_code < 400:
        good = isinstance(content, Mapping) and isinstance(content.get("predictions"), list)
        wrong = "" if good else f"the answer has no predictions: {_short(response.text)}"
        # A page of a proxy, for example: neither good news of the new one nor bad.
        why = wrong or f"the answer does not say in {HEADER} which deployed model gave it"
        error = None if by else ApiError("INTERNAL", why, answered=False)
        return Answer(by, response.status_code, wrong, error)
    # A container's own error comes as it is; one of Google's in its envelope.
    envelope = isinstance(content, Mapping) and isinstance(content.get("error"), Mapping)
    error = from_response(response.status_code, content, response.text, response.headers)
    message = error.message if envelope else response.text
    named = _NAMED.search(message)
    by = by or (named[1] if named else "")
    return Answer(by, response.status_code, _short(message), None if by else error)


def smoke(ctx: Context, vertex: Vertex, endpoint: dict[str, Any], id: str, share: int) -> int:
    """Asks until the deployed model has given one good answer; answers how many requests that took.

    What names no deployed model says nothing of this one: it is repeated as a call without effects is, and a conclusive
    no of Google's is not.

    Raises:
        NotServing: it answered wrongly.
        NeverAsked: the others answered all the time.
        ApiError: The endpoint could not be asked, or had too many requests all the time.
        Interrupted: the user interrupted.
    """
    patience = Patience(ctx, READ, vertex.pace.scale, budget=READ_BUDGET)
    bound = _FEW if share >= 100 else math.ceil(math.log(_MISSED) / math.log(1 - share / 100))
    number = others = 0
    while others < bound:
        number += 1
        ctx.status(f"smoke test: request {number}, until deployed model {id} with {share} % has answered")
        answer = ask(vertex, endpoint)
        error = answer.error
        if answer.by == id and answer.status == 429:
            error = ApiError("RESOURCE_EXHAUSTED", f"HTTP 429 of deployed model {id}: {answer.said}")
        if error is not None:
            if not patience.again(error):
                raise error
            continue
        if answer.by == id:
            if answer.status >= 400 or answer.said:
                raise NotServing(f"its first answer was HTTP {answer.status}: {answer.said}")
            return number
        others += 1
        sleep(ctx, _PAUSE * vertex.pace.scale)
    raise NeverAsked(f"none of {bound} requests was answered by it, though it had {share} % of the traffic")


def responses(
    vertex: Vertex, endpoint: Mapping[str, Any], id: str, since: datetime, until: datetime
) -> Count:
    """What Cloud Monitoring has counted of a deployed model's answers to all clients.

    It is some minutes late, so a short time has few of them or none.

    Raises:
        ApiError, Interrupted: it could not be asked; `NOT_FOUND`: it has no such figures yet.
    """
    _, project, _, _, _, endpoint_id = str(endpoint["name"]).split("/")
    seconds = max(60, math.ceil((until - since).total_seconds()))
    query = {
        "filter": f'metric.type = "{_RESPONSES}" AND resource.labels.endpoint_id = "{endpoint_id}" '
        f'AND metric.labels.deployed_model_id = "{id}"',
        "interval.startTime": since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "interval.endTime": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aggregation.alignmentPeriod": f"{seconds}s",
        "aggregation.perSeriesAligner": "ALIGN_SUM",
        "aggregation.crossSeriesReducer": "REDUCE_SUM",
        "aggregation.groupByFields": "metric.labels.response_code",
    }
    url = f"{vertex.way.monitoring_url}/projects/{project}/timeSeries"
    return counted(vertex.reading(lambda: vertex.request("GET", url, query)))


def counted(answer: Mapping[str, Any]) -> Count:
    """The answers in what `timeSeries:list` says, a series for each response code."""
    count = Count()
    for series in answer.get("timeSeries") or ():
        code = str(((series.get("metric") or {}).get("labels") or {}).get("response_code", ""))
        for point in series.get("points") or ():
            value = point.get("value") or {}
            number = round(float(value.get("int64Value", value.get("doubleValue", 0))))
            count.answers += number
            if code.startswith("5"):
                count.errors += number
                count.said = f"Cloud Monitoring counted {count.errors} answers with HTTP 5xx"
    return count


def _short(text: str) -> str:
    line = redact(" ".join(text.split()))
    return line if len(line) <= 300 else line[:297] + "..."

"""Predictions by the default route, one instance a request."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from infra.client.advice import message_of, timed_out
from infra.client.endpoint import MAX_DEDICATED_TIMEOUT_S, Endpoint
from infra.client.rest import CONNECT_S
from infra.client.token import Token

if TYPE_CHECKING:
    import httpx

__all__ = ["DEFAULT_MAX_TOKENS", "Answer", "Predictor"]

DEFAULT_MAX_TOKENS: Final = 16
"""What vLLM makes of a request without ``max_tokens`` (``SamplingParams``)."""

RETRIES: Final = 4
"""More tries of a request that met a busy or starting server, after about 1, 2, 4 and 8 s, or as long as it says."""

_BUSY: Final = frozenset({429, 502, 503})
_LONGEST_WAIT_S: Final = 60.0


@dataclass(frozen=True)
class Answer:
    """How one request ended.

    Attributes:
        prediction: Text, or a list of texts where several were asked for; None where there is an error.
        status: HTTP status, None where there was no answer.
        error: What was said instead of a prediction, empty where there is one.
        seconds: How long the last try took.
        deployed_model_id: Which deployment answered.
        connected: Whether there was a connection.
    """

    prediction: Any
    status: int | None
    error: str
    seconds: float
    deployed_model_id: str = ""
    connected: bool = True

    @property
    def ok(self) -> bool:
        """Whether there is a prediction."""
        return not self.error


class Predictor:
    """Asks one endpoint. ``async with Predictor(endpoint, token) as predictor`` closes its connections.

    Args:
        endpoint: Which is asked.
        token: To ask it with.
        concurrency: Most requests at once.
        retries: More tries where the server is busy.
        sleep: Waits between them, seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        token: Token,
        *,
        concurrency: int = 1,
        retries: int = RETRIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        import httpx

        self._endpoint, self._token, self._retries, self._sleep = endpoint, token, retries, sleep
        # The endpoint's time-out is what ends a request; this one is for a connection that died.
        patience = (endpoint.timeout_s or MAX_DEDICATED_TIMEOUT_S) + 30
        self._http = httpx.AsyncClient(
            trust_env=not endpoint.local,
            timeout=httpx.Timeout(patience, connect=CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    async def __aenter__(self) -> Predictor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, fields: Mapping[str, Any]) -> Answer:
        """Ask for the prediction of one instance; again where the server is busy.

        Raises:
            NoAnswer: There are no credentials.
        """
        tried = 0
        while True:
            answer, wait = await self._once(fields)
            busy = answer.status in _BUSY or answer.status is None
            too_slow = timed_out(answer.status, answer.error, self._endpoint, answer.seconds)
            if answer.ok or not busy or too_slow or tried >= self._retries:
                return answer
            await self._sleep(wait if wait is not None else 2**tried * random.uniform(0.75, 1.25))
            tried += 1

    async def _once(self, fields: Mapping[str, Any]) -> tuple[Answer, float | None]:
        """One try, and how many seconds the server asks to wait."""
        import httpx

        token = await asyncio.to_thread(self._token.get)
        begun = time.monotonic()
        try:
            response = await self._http.post(
                self._endpoint.predict_url,
                content=json.dumps({"instances": [fields]}).encode(),
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            )
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return Answer(None, None, why, time.monotonic() - begun, connected=connected), None
        return _answer(response, time.monotonic() - begun), _retry_after(response)


def _answer(response: httpx.Response, seconds: float) -> Answer:
    if not response.is_success:
        said = message_of(response.content) or f"HTTP {response.status_code}"
        return Answer(None, response.status_code, said, seconds)
    try:
        document = response.json()
        (prediction,) = document["predictions"]
    except (ValueError, KeyError, TypeError):
        said = f"an answer without one prediction: {message_of(response.content)}"
        return Answer(None, response.status_code, said, seconds)
    return Answer(prediction, response.status_code, "", seconds, str(document.get("deployedModelId") or ""))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), _LONGEST_WAIT_S)
    except (KeyError, ValueError):
        return None

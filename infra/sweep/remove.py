"""Removes what a sweep found, one thing after another, each after a second look; goes on after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from infra.provider import traffic
from infra.sweep.found import KINDS, Thing, belongs_to, described
from infra.sweep.judge import Case, Verdict
from infra.sweep.look import Ask, Place, Unanswered, objects_in, runs_as

__all__ = ["Done", "Outcome", "Remover", "in_order"]

Json = dict[str, Any]

WAIT_S: Final = 1800.0
"""Longest that one operation is waited for; an undeployment takes minutes."""


class Outcome:
    """How a removal ended."""

    REMOVED: Final = "removed"
    GONE: Final = "gone already"
    KEPT: Final = "kept"
    FAILED: Final = "failed"


@dataclass(frozen=True)
class Done:
    """A case after its removal.

    Attributes:
        case: The case.
        outcome: One of `Outcome`.
        why: Of what was kept or failed.
    """

    case: Case
    outcome: str
    why: str = ""


class _Kept(Exception):
    """It stays, and why."""


def in_order(cases: Iterable[Case]) -> list[Case]:
    """What goes, in the order in which it can: deployments first, since they bill."""
    return sorted(
        (case for case in cases if case.goes),
        key=lambda case: (KINDS.index(case.thing.kind), case.thing.name),
    )


class Remover:
    """Removes things.

    Args:
        ask: How Google is asked.
        place: Where the services are.
        again: The verdict on a thing now, after its stack's state was read anew.
        say: Told what happens, a line at a time.
        wait_s: Longest wait for one operation, seconds.
        poll_s: Seconds between two looks at it, at most.
    """

    def __init__(
        self,
        ask: Ask,
        place: Place,
        again: Callable[[Thing], Case],
        say: Callable[[str], None],
        *,
        wait_s: float = WAIT_S,
        poll_s: float = 5.0,
    ) -> None:
        self._ask = ask
        self._place = place
        self._again = again
        self._say = say
        self._wait_s = wait_s
        self._poll_s = poll_s

    def remove(self, cases: Iterable[Case]) -> Iterator[Done]:
        """Each in order, after a second look; what fails does not keep the others."""
        for case in in_order(cases):
            try:
                now = self._again(case.thing)
                if now.verdict is not case.verdict:
                    raise _Kept(f"it is {now.verdict.value} by now: {now.why}")
                removed = self._remove(case)
            except _Kept as kept:
                yield Done(case, Outcome.KEPT, str(kept))
            except Unanswered as error:
                if error.status == 404:
                    yield Done(case, Outcome.GONE)
                else:
                    yield Done(case, Outcome.FAILED, str(error))
            else:
                yield Done(case, Outcome.REMOVED if removed else Outcome.GONE)

    def _remove(self, case: Case) -> bool:
        thing = case.thing
        if thing.kind == "deployment":
            return self._undeploy(case)
        if thing.kind == "endpoint":
            return self._endpoint(thing)
        if thing.kind == "model":
            return self._model(thing)
        if thing.kind == "bucket":
            return self._bucket(thing)
        if thing.kind == "service account":
            return self._account(thing)
        if thing.kind == "alert policy":
            return self._plain(f"{self._place.monitoring}/v3/{thing.name}", thing, "userLabels")
        return self._plain(f"{self._place.monitoring}/v1/{thing.name}", thing, "labels")

    # Vertex AI

    def _undeploy(self, case: Case) -> bool:
        """A deployment, at whatever stage it is."""
        thing = case.thing
        base = self._place.vertex[thing.region]
        known = set[str]()
        if thing.operation:
            endpoint = self._endpoint_of(base, thing)
            known = {str(each.get("id")) for each in endpoint.get("deployedModels") or ()}
            self._cancel(base, thing)
        endpoint = self._endpoint_of(base, thing)
        live = [str(each.get("id")) for each in endpoint.get("deployedModels") or ()]
        wanted = (
            [thing.id] if "/deployedModels/" in thing.name else [each for each in live if each not in known]
        )
        ids = [each for each in wanted if each in live]
        for id in ids:
            if thing.operation:  # its id is known only now: it may be somebody's
                again = self._again(
                    Thing(
                        kind="deployment",
                        name=f"{thing.endpoint}/deployedModels/{id}",
                        project_label=thing.project_label,
                        stack_label=thing.stack_label,
                    )
                )
                if again.verdict is not Verdict.NO_STATE:
                    raise _Kept(f"deployed model {id} is {again.verdict.value} by now: {again.why}")
            body: Json = {"deployedModelId": id}
            split = traffic.without(endpoint, id)
            if split:
                body["trafficSplit"] = split
            started = self._ask("POST", f"{base}/{thing.endpoint}:undeployModel", {}, body)
            self._wait(base, str(started.get("name")), f"undeploying {id}")
        return bool(ids) or bool(thing.operation)

    def _endpoint_of(self, base: str, thing: Thing) -> Json:
        """A deployment's endpoint; where that is another owner's, the model has to be ours still.

        Raises:
            Unanswered: It cannot be read; with status 404 it is gone.
        """
        if not thing.shared:
            return self._ours(f"{base}/{thing.endpoint}", thing)
        model = thing.deployment.model.partition("@")[0] if thing.deployment else ""
        self._ours(f"{base}/{model}", thing)
        return self._ask("GET", f"{base}/{thing.endpoint}", {}, None)

    def _cancel(self, base: str, thing: Thing) -> None:
        """End a deployment under way; Google may or may not heed a cancellation, so its end is waited for."""
        try:
            self._ask("POST", f"{base}/{thing.operation}:cancel", {}, {})
        except Unanswered as error:
            self._say(f"the deployment under way cannot be cancelled ({error}); its end is waited for")
        self._wait(base, thing.operation, "waiting for the deployment under way to end", failed=True)

    def _endpoint(self, thing: Thing) -> bool:
        url = f"{self._place.vertex[thing.region]}/{thing.name}"
        endpoint = self._ours(url, thing)
        left = [str(each.get("id")) for each in endpoint.get("deployedModels") or ()]
        if left:
            raise _Kept(f"deployed model {', '.join(left)} is on it")
        return self._deleted(thing, url)

    def _model(self, thing: Thing) -> bool:
        """A model with all its versions."""
        url = f"{self._place.vertex[thing.region]}/{thing.name.partition('@')[0]}"
        model = self._ours(url, thing)
        used = [str(each.get("deployedModelId")) for each in model.get("deployedModels") or ()]
        if used:
            raise _Kept(f"deployed model {', '.join(used)} serves it")
        return self._deleted(thing, url)

    def _deleted(self, thing: Thing, url: str) -> bool:
        started = self._ask("DELETE", url, {}, None)
        self._wait(
            self._place.vertex[thing.region], str(started.get("name")), f"deleting {thing.kind} {thing.id}"
        )
        return True

    def _wait(self, base: str, operation: str, doing: str, *, failed: bool = False) -> None:
        """Until an operation ends.

        Raises:
            Unanswered: It failed, unless `failed` is fine, or it goes on after the wait.
        """
        if not operation or operation == "None":
            return
        end, pause = time.monotonic() + self._wait_s, min(0.25, self._poll_s)
        self._say(doing)
        while True:
            try:
                answer = self._ask("GET", f"{base}/{operation}", {}, None)
            except Unanswered as error:
                if error.status == 404:
                    return  # Google has forgotten it
                raise
            if answer.get("done"):
                error_ = answer.get("error")
                if error_ and not failed:
                    raise Unanswered(f"{doing}: {error_.get('message') or error_}")
                return
            if time.monotonic() >= end:
                raise Unanswered(
                    f"{doing} goes on at Google after {self._wait_s / 60:.0f} min; look again later ({operation})"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, self._poll_s)

    # Everything else

    def _bucket(self, thing: Thing) -> bool:
        name = quote(thing.name, safe="")
        url = f"{self._place.storage}/b/{name}"
        self._ours(url, thing)
        if objects_in(self._ask, self._place.storage, name):
            raise _Kept(
                f"it holds objects; gcloud storage rm --recursive gs://{thing.name} removes it with all it holds"
            )
        self._ask("DELETE", url, {}, None)
        return True

    def _account(self, thing: Thing) -> bool:
        """A service account, unless something runs as it, whoever deployed that."""
        for region, base in self._place.vertex.items():
            try:
                user = next(runs_as(self._ask, base, self._place.project, region, thing.id), None)
            except Unanswered as error:
                if error.disabled:
                    continue
                raise Unanswered(f"whether a model in {region} runs as it is not known: {error}") from None
            if user is not None:
                raise _Kept(f"deployed model {user[0]} on endpoint {user[1]} in {region} runs as it")
        url = f"{self._place.iam}/{thing.name}"
        self._ours(url, thing, described)
        try:
            self._ungrant(f"serviceAccount:{thing.id}")
        except Unanswered as error:
            if error.status != 403:
                raise Unanswered(f"its grants on the project are not removed: {error}") from None
            self._say(
                f"the grants of {thing.id} stay in the project's policy as deleted: entries, which grant nothing "
                f"({error})"
            )
        return self._plain(url, thing, described)

    def _ungrant(self, member: str) -> None:
        """Take an account out of the project's policy, which afterwards would name it without granting anything.

        Raises:
            Unanswered: The policy cannot be read or written, or was written by another meanwhile.
        """
        project = f"{self._place.resource_manager}/projects/{self._place.project}"
        # A lower version hides conditions, and writing such an answer back would drop them.
        policy = self._ask("POST", f"{project}:getIamPolicy", {}, {"options": {"requestedPolicyVersion": 3}})
        before = policy.get("bindings") or []
        left = [{**each, "members": [one for one in each["members"] if one != member]} for each in before]
        if left == before:
            return
        policy = {**policy, "bindings": [each for each in left if each["members"]]}  # with its etag
        self._ask("POST", f"{project}:setIamPolicy", {}, {"policy": policy})

    def _plain(self, url: str, thing: Thing, labels: str | Callable[[Mapping[str, Any]], Any]) -> bool:
        self._ours(url, thing, labels)
        self._ask("DELETE", url, {}, None)
        return True

    def _ours(
        self, url: str, thing: Thing, labels: str | Callable[[Mapping[str, Any]], Any] = "labels"
    ) -> Json:
        """The thing as it is now, with our labels still.

        Raises:
            Unanswered: It cannot be read; with status 404 it is gone.
        """
        found = self._ask("GET", url, {}, None)
        now = labels(found) if callable(labels) else found.get(labels)
        if belongs_to(now) != (thing.project_label, thing.stack_label):
            raise _Kept("its labels are not this stack's any more")
        return found

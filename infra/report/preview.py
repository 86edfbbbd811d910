"""What ``pulumi preview --json`` wrote, as plain values.

Reads both forms: the digest, one document at the end, and the engine's events, one a line, which
``PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true`` asks for. Only events hold the policies and the stack's new outputs. Owns
what is no preview, and that no secret leaves this module: what Pulumi marks as one is gone, and so is what looks like a
token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "EVENTS",
    "UNKNOWN",
    "Diagnostic",
    "Policies",
    "Preview",
    "Resource",
    "Step",
    "Unreadable",
    "Violation",
    "clean",
    "json_documents",
    "read_preview",
]

EVENTS: Final = "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
"""Variable by which ``pulumi preview --json`` writes events."""

UNKNOWN: Final = "(known after the update)"
"""Stands for a value that only the update will know."""

_STACK: Final = "pulumi:pulumi:Stack"
_DIGEST: Final = frozenset({"config", "steps", "diagnostics", "duration", "changeSummary", "maybeCorrupt"})
_OURS: Final = ("vertex-vllm:", "vertexserving:")

# Pulumi's own markers, sdk/go/common/resource: the key of a special value, its kind, and the unknown values by type.
_SPECIAL: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
_UNKNOWNS: Final = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)

_TOKEN: Final = re.compile(
    # Hugging Face, of a user; hf_overrides is a flag of vLLM's
    r"\bhf_(?:(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6,}|[a-z]{20,})"
    r"|\bapi_org_[A-Za-z0-9]{6,}"  # and of an organisation
    r"|\bpul-[0-9a-f]{40}"  # Pulumi Cloud
    r"|\bya29\.[\w-]{8,}"  # Google
    r"|\bgh[a-z]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}"
)
# Invisible, or turning the direction of what follows; lone surrogates cannot be written at all.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_URN: Final = re.compile(
    r"urn:pulumi:(?P<stack>.*?)::(?P<project>.*?)::(?P<types>.*?)::(?P<name>.*)", re.DOTALL
)


class Unreadable(Exception):
    """An input that is not what it should be; the text says which, how, and what to do."""


@dataclass(frozen=True)
class Resource:
    """One resource before or after: its id ("" before it exists), inputs and outputs, without secrets."""

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What happens to one resource.

    Attributes:
        op: ``create``, ``update``, ``replace``, ``delete``, ``same``, ``import``, ``read``, ``refresh``, ...
        urn: Its URN.
        old: Before, None where it is not there.
        new: After, None where it is gone.
        reasons: Properties that change.
        replaces: Those of them that force a replacement.
        gap: A replacement takes the old one away first.
    """

    op: str
    urn: str
    old: Resource | None
    new: Resource | None
    reasons: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    gap: bool = False

    @property
    def type(self) -> str:
        """Its type, such as ``vertexserving:index:Deployment``."""
        return type_of(self.urn)

    @property
    def name(self) -> str:
        """Its name in the program."""
        return name_of(self.urn)


@dataclass(frozen=True)
class Diagnostic:
    """One message; ``severity`` is error, warning or info."""

    severity: str
    message: str
    urn: str = ""


@dataclass(frozen=True)
class Violation:
    """One policy that one resource does not keep; ``level`` is mandatory, advisory or remediate."""

    policy: str
    level: str
    message: str
    urn: str = ""

    @property
    def mandatory(self) -> bool:
        """Whether the update is refused for it."""
        return self.level == "mandatory"


@dataclass(frozen=True)
class Policies:
    """What the policy packs said: their names with versions, the policies that were asked, what violates them."""

    packs: Mapping[str, str]
    asked: frozenset[str]
    violations: tuple[Violation, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Policies that were asked and found no violation."""
        violated = {violation.policy for violation in self.violations}
        return tuple(sorted(self.asked - violated))


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One preview.

    Attributes:
        project: Pulumi project; "" where the preview ended before anything was looked at.
        stack: Pulumi stack, likewise.
        config: The stack's configuration as it was used.
        steps: What happens, in the engine's order; a replacement is one step.
        counts: How many resources by operation.
        diagnostics: Messages in their order, without debug lines and without repetition.
        policies: None in the digest, which has none.
        outputs_before: The stack's outputs as they are, None where there is no stack yet.
        outputs_after: As they will be; None where the preview failed, and in the digest.
    """

    project: str
    stack: str
    config: Mapping[str, str]
    steps: tuple[Step, ...]
    counts: Mapping[str, int]
    diagnostics: tuple[Diagnostic, ...]
    policies: Policies | None
    outputs_before: Mapping[str, Any] | None
    outputs_after: Mapping[str, Any] | None

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Errors; where there is one, the preview failed."""
        return tuple(each for each in self.diagnostics if each.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """Warnings."""
        return tuple(each for each in self.diagnostics if each.severity == "warning")

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return bool(self.errors)

    def of_type(self, kind: str) -> tuple[Step, ...]:
        """Steps of resources of one type."""
        return tuple(step for step in self.steps if step.type == kind)


def type_of(urn: str) -> str:
    """The resource's own type in a URN, without those of its parents."""
    match = _URN.fullmatch(urn)
    return match["types"].rpartition("$")[2] if match else urn


def name_of(urn: str) -> str:
    """The resource's name in a URN."""
    match = _URN.fullmatch(urn)
    return match["name"] if match else urn


def read_preview(data: bytes, name: str) -> Preview:
    """Read a preview of either form.

    Args:
        data: what ``pulumi preview --json`` wrote to its standard output.
        name: what to call it in errors, such as the file's name.

    Raises:
        Unreadable: it is no JSON, is cut off, or is no preview of this program.
    """
    documents = json_documents(data, name, hint="its standard error says why")
    if any("sequence" in each for each in documents):
        preview = _of_events([each for each in documents if "sequence" in each], name)
    else:
        preview = _of_digest(_one(documents, name), name)
    _refuse_another_program(preview, name)
    return preview


def json_documents(data: bytes, name: str, *, hint: str = "") -> list[dict[str, Any]]:
    """Every JSON object in some text, one after the other; lines of text between them are passed over.

    Pulumi prints such lines while it installs a policy pack or a plugin.

    Raises:
        Unreadable: there is none, or one is not whole.
    """
    text = _text(data, name)
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    found: list[dict[str, Any]] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            break
        if text[at] != "{":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
                raise Unreadable(
                    f"{name}: ends in the middle of its JSON (line {error.lineno}): whatever wrote it was cut off.\n"
                    "    fix: write it again"
                ) from None
            raise Unreadable(
                f"{name}: is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
            ) from None
        except RecursionError:
            raise Unreadable(f"{name}: is nested too deeply to be a preview.") from None
        except ValueError as error:  # a number of thousands of digits, NaN
            raise Unreadable(f"{name}: is not JSON: {clean(str(error))[:200]}.") from None
        found.append(value)
    if found:
        return found
    start = clean(text.strip())[:120]
    if not start:
        why = f"; {hint}" if hint else ""
        raise Unreadable(f"{name}: is empty: the command that should have written it ended before{why}.")
    raise Unreadable(f"{name}: is not JSON; it begins with: {start.splitlines()[0]}")


def clean(text: str) -> str:
    """Text without colours, control characters and anything that looks like a token."""
    return _CONTROL.sub("\ufffd", _TOKEN.sub("[secret]", _ANSI.sub("", text).replace("\r\n", "\n")))


def _text(data: bytes, name: str) -> str:
    # PowerShell's > writes UTF-16.
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name}: is not text: {error.reason} at byte {error.start}.") from None


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON's")


def _one(documents: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    digests = [
        each for each in documents if each.keys() & {"steps", "changeSummary"} or each.keys() <= _DIGEST
    ]
    if len(digests) == 1:
        return digests[0]
    if digests:
        raise Unreadable(f"{name}: holds {len(digests)} previews.\n    fix: give one")
    found = documents[0]
    if "deployment" in found:
        what = "is a stack's state (pulumi stack export)"
    elif "findings" in found:
        what = "is what `vertex-vllm preflight --json` writes; that goes to --preflight"
    else:
        what = f"is JSON, but no preview; its keys: {_listed(found)}"
    raise Unreadable(f"{name}: {what}.\n    fix: pulumi preview --json > preview.json")


def _listed(found: Mapping[str, Any]) -> str:
    keys = [clean(key)[:40] for key in found][:8]
    return ", ".join(keys) or "none"


def _of_digest(digest: Mapping[str, Any], name: str) -> Preview:
    read = [_step(each, f"{name}: steps[{place}]") for place, each in enumerate(_rows(digest, "steps", name))]
    # What a refresh before it read comes first; a program's own step says what it found, and what comes of it.
    planned = {step.urn for step in read if step.op != "refresh"}
    steps = [step for step in read if step.op != "refresh" or step.urn not in planned]
    project, stack = _names(step.urn for step in steps)
    root = next((step for step in steps if step.type == _STACK), None)
    return Preview(
        project=project,
        stack=stack,
        config=_config(digest.get("config")),
        steps=tuple(steps),
        counts=_counts(digest.get("changeSummary")),
        diagnostics=_diagnostics(_rows(digest, "diagnostics", name)),
        policies=None,
        outputs_before=root.old.outputs if root and root.old else None,
        outputs_after=None,
    )


def _step(found: Any, where: str) -> Step:
    if not isinstance(found, Mapping):
        raise Unreadable(f"{where}: is no object.")
    op, urn = found.get("op"), found.get("urn")
    if not isinstance(op, str) or not isinstance(urn, str) or not _URN.fullmatch(urn):
        missing = "urn" if isinstance(op, str) else "op"
        raise Unreadable(
            f"{where}: has no {missing} as Pulumi 3 writes it; an older Pulumi, or something else, wrote this.\n"
            "    fix: write it with the version of Pulumi that requirements.txt names"
        )
    return Step(
        op=clean(op),
        urn=clean(urn),
        old=_resource(found.get("oldState")),
        new=_resource(found.get("newState")),
        reasons=_strings(found.get("diffReasons")),
        replaces=_strings(found.get("replaceReasons")),
    )


def _resource(found: Any) -> Resource | None:
    if not isinstance(found, Mapping):
        return None
    inputs, outputs = _plain(found.get("inputs") or {}), _plain(found.get("outputs") or {})
    return Resource(
        id=clean(str(found.get("id") or "")),
        inputs=inputs if isinstance(inputs, Mapping) else {},
        outputs=outputs if isinstance(outputs, Mapping) else {},
    )


@dataclass
class _Events:
    """What is gathered from the events, one resource by its URN; what a refresh found stands apart."""

    steps: dict[str, list[Step]] = field(default_factory=dict)
    refreshed: dict[str, Step] = field(default_factory=dict)
    diagnostics: list[Mapping[str, Any]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    packs: dict[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    outputs_after: Mapping[str, Any] | None = None
    ended: bool = False


def _of_events(events: Sequence[Mapping[str, Any]], name: str) -> Preview:
    found = _Events()
    for event in events:
        _take(found, event, name)
    if not found.ended:
        raise Unreadable(
            f"{name}: ends before the preview does: it has no summaryEvent.\n    fix: write it again, to its end"
        )
    # A program's own step says what a refresh before it found, and what comes of it.
    gathered = found.steps | {urn: [step] for urn, step in found.refreshed.items() if urn not in found.steps}
    steps = [step for same in gathered.values() for step in _merged(same)]
    project, stack = _names(step.urn for step in steps)
    root = next((step for step in steps if step.type == _STACK), None)
    diagnostics = _diagnostics(found.diagnostics)
    failed = any(each.severity == "error" for each in diagnostics)
    return Preview(
        project=project,
        stack=stack,
        config=found.config,
        steps=tuple(steps),
        counts=found.counts,
        diagnostics=diagnostics,
        policies=Policies(found.packs, frozenset(found.asked), tuple(dict.fromkeys(found.violations))),
        outputs_before=root.old.outputs if root and root.old else None,
        outputs_after=None if failed else found.outputs_after,
    )


def _take(found: _Events, event: Mapping[str, Any], name: str) -> None:
    where = f"{name}: event {event.get('sequence')}"
    kind, body = next(((key, value) for key, value in event.items() if key.endswith("Event")), ("", None))
    if not isinstance(body, Mapping):
        return
    if kind == "preludeEvent":
        found.config = _config(body.get("config"))
    elif kind in ("resourcePreEvent", "resOutputsEvent"):
        step = _event_step(body.get("metadata"), where)
        if kind == "resourcePreEvent":
            if step.op == "refresh":
                found.refreshed[step.urn] = step
            else:
                found.steps.setdefault(step.urn, []).append(step)
        else:
            if step.type == _STACK and step.new is not None:
                found.outputs_after = step.new.outputs
            # A refresh says only at its end what it found.
            if step.op in ("update", "delete") and step.urn in found.refreshed:
                found.refreshed[step.urn] = step
    elif kind == "diagnosticEvent":
        if not body.get("ephemeral"):
            prefix = body.get("prefix") or ""
            found.diagnostics.append({**body, "message": f"{prefix}{body.get('message') or ''}"})
    elif kind == "policyEvent":
        violation = Violation(
            policy=clean(str(body.get("policyName") or "")),
            level=clean(str(body.get("enforcementLevel") or "")),
            message=clean(str(body.get("message") or "")).strip(),
            urn=clean(str(body.get("resourceUrn") or "")),
        )
        found.violations.append(violation)
        found.asked.add(violation.policy)
    elif kind in ("policyAnalyzeSummaryEvent", "policyAnalyzeStackSummaryEvent"):
        found.asked.update(_strings(body.get("passed")), _strings(body.get("failed")))
    elif kind == "summaryEvent":
        if body.get("isPreview") is False:
            raise Unreadable(
                f"{name}: are the events of an update, not of a preview.\n    fix: pulumi preview --json"
            )
        found.ended = True
        found.counts = _counts(body.get("resourceChanges"))
        packs = body.get("PolicyPacks")
        found.packs = _config(packs)


def _event_step(metadata: Any, where: str) -> Step:
    if not isinstance(metadata, Mapping):
        raise Unreadable(f"{where}: has no metadata as Pulumi 3 writes it; an older Pulumi wrote this.")
    return _step(
        {
            "op": metadata.get("op"),
            "urn": metadata.get("urn"),
            "oldState": metadata.get("old"),
            "newState": metadata.get("new"),
            "diffReasons": metadata.get("diffs"),
            "replaceReasons": metadata.get("keys"),
        },
        where,
    )


def _merged(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps of one resource; the three of a replacement become one."""
    replacing = [step for step in steps if step.op in ("replace", "create-replacement")]
    if not replacing:
        yield from (step for step in steps if step.op not in ("remove-pending-replace", "discard-replaced"))
        return
    chosen = next((step for step in replacing if step.op == "replace"), replacing[0])
    old = chosen.old or next((step.old for step in steps if step.old), None)
    new = chosen.new or next((step.new for step in steps if step.new), None)
    ops = [step.op for step in steps]
    made = min(ops.index(op) for op in ("replace", "create-replacement") if op in ops)
    gap = "delete-replaced" in ops[:made]
    yield Step("replace", chosen.urn, old, new, chosen.reasons, chosen.replaces, gap)


def _rows(digest: Mapping[str, Any], key: str, name: str) -> list[Any]:
    found = digest.get(key) or []
    if not isinstance(found, list):
        raise Unreadable(f"{name}: {key} is no list; an older Pulumi, or something else, wrote this.")
    return found


def _names(urns: Iterable[str]) -> tuple[str, str]:
    """Project and stack of the first URN; empty where there is none."""
    for urn in urns:
        if match := _URN.fullmatch(urn):
            return match["project"], match["stack"]
    return "", ""


def _diagnostics(found: Iterable[Any]) -> tuple[Diagnostic, ...]:
    made = []
    for each in found:
        if not isinstance(each, Mapping):
            continue
        severity = str(each.get("severity") or "info").partition("#")[0]
        message = clean(str(each.get("message") or "")).strip()
        message = message.removeprefix(f"{severity}: ").strip()
        if severity in ("error", "warning", "info") and message:
            made.append(Diagnostic(severity, message, clean(str(each.get("urn") or ""))))
    return tuple(dict.fromkeys(made))


def _config(found: Any) -> dict[str, str]:
    if not isinstance(found, Mapping):
        return {}
    return {clean(str(key)): clean(str(value)) for key, value in found.items()}


def _counts(found: Any) -> dict[str, int]:
    if not isinstance(found, Mapping):
        return {}
    return {clean(str(key)): value for key, value in found.items() if isinstance(value, int)}


def _strings(found: Any) -> tuple[str, ...]:
    return tuple(clean(each) for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def _plain(value: Any) -> Any:
    """A value without Pulumi's wrappers, secrets and tokens."""
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWNS else clean(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        if _SPECIAL in value:
            if value[_SPECIAL] == _SECRET or value.get("secret"):
                return "[secret]"
            return _plain(value["value"]) if "value" in value else UNKNOWN
        return {clean(str(key)): _plain(each) for key, each in value.items()}
    return value


def _refuse_another_program(preview: Preview, name: str) -> None:
    if any(key.startswith(_OURS) for key in preview.config):
        return
    if any(step.type.startswith(_OURS) for step in preview.steps):
        return
    types = sorted({step.type for step in preview.steps if step.type != _STACK})
    shown = ", ".join(types[:4]) or "none"
    of = f"the Pulumi project {preview.project}" if preview.project else "another program"
    raise Unreadable(
        f"{name}: is a preview of {of}, not of vertex-vllm; its resources: {shown}.\n"
        "    fix: run pulumi preview --json in the folder of vertex-vllm's Pulumi.yaml"
    )

"""The comment: what stands in it, that nothing a user wrote does anything in it, that GitHub takes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from infra.preflight.finding import Finding, Status
from infra.report.content import Memory, Report, build, read_preflight
from infra.report.markdown import LIMIT, marker, render
from infra.report.preview import Preview, read_preview

Json = dict[str, Any]
Made = Callable[..., Preview]
Step = Callable[..., Json]
Fixture = Callable[[str], bytes]
Reported = Callable[[str], Report]

#: What the report itself makes of Markdown; everything else would be a user's.
TAGS = {
    "h3",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "ul",
    "li",
    "p",
    "pre",
    "code",
    "strong",
    "em",
    "br",
}
TAGS |= {"details", "summary", "sub"}


class Shown(HTMLParser):
    """What a reader sees: tags, text, and the text outside of code, where GitHub looks for mentions."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.active = ""
        self.comments: list[str] = []
        self._code = 0
        self.feed(
            MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._code += tag in ("code", "pre")
        self.text += "\n" if tag == "br" else ""
        self.active += "\n" if tag == "br" else ""
        assert {name for name, _ in attrs} <= {"class", "style", "open"}

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        self.text += data
        if not self._code:
            self.active += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def words(text: str) -> list[str]:
    return text.split()


def full(text: str) -> Report:
    """A report with one text wherever a user's or a cloud's text can come to stand."""
    preview = read_preview(
        _json(
            {
                "config": {"vertex-vllm:maxUsdPerHour": "1"},
                "steps": [
                    {
                        "op": "replace",
                        "urn": f"urn:pulumi:dev::vertex-vllm::vertexserving:index:Model::{text}",
                        "oldState": {"inputs": {"containerSpec": {"args": ["a", text], "imageUri": text}}},
                        "newState": {
                            "inputs": {"containerSpec": {"args": [text, "b"], "imageUri": f"{text}2"}}
                        },
                        "replaceReasons": [text],
                    },
                    {
                        "op": "update",
                        "urn": f"urn:pulumi:dev::vertex-vllm::vertexserving:index:Deployment::{text}",
                        "oldState": {"inputs": {"location": text, "machineSpec": {"machineType": text}}},
                        "newState": {"inputs": {"location": "r", "serviceAccount": text}},
                        "diffReasons": [text],
                    },
                ],
                "diagnostics": [
                    {"severity": severity, "message": text} for severity in ("error", "warning", "info")
                ],
            }
        ),
        "full",
    )
    findings = [
        Finding(check=text or "x", status=status, evidence=text, remedy=text, by_hand=text)
        for status in Status
    ]
    return build(
        preview, findings, Memory(text, False, False, True, text, text, ((text, text, text),), (text,))
    )


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


HOSTILE = (
    "@octocat and @org/team",
    "fixes #1, owner/repo#2, GH-3",
    "https://github.com/o/r/issues/4 www.example.com",
    "[link](https://evil.example) ![image](x.png) <https://a.b>",
    "<script>alert(1)</script> <img src=x onerror=y> </details></table>",
    "a | b || c \\| d",
    "`code` ``` fence ~~~ ``",
    "**bold** _em_ ~~gone~~ __x__ a*b*c",
    "# heading",
    "- item\n- item",
    "1. one",
    "> quote",
    "    indented",
    "--- \n***",
    "$x^2$ :tada: &lt;b&gt; &amp; &#64;",
    "<!-- comment --> -->",
    "```\n@octocat\n```",
    "- [ ] task",
    "line\n\n<b>html block</b>\n\n| a |\n|---|\n| b |",
    "me@example.com",
    "0123456789012345678901234567890123456789",
    "\u202eevil\u2028line",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_a_user_wrote_does_anything(text: str) -> None:
    report = full(text)
    shown = Shown(render(report))
    assert set(shown.tags) <= TAGS, set(shown.tags) - TAGS
    assert shown.comments == [marker(report)[4:-3]]
    active = r"@\w|#\d|GH-\d|://|www\.|:\w+:|\$|\b[0-9a-f]{40}\b"
    assert not re.search(active, shown.active), shown.active
    # And all of it can be read.
    seen = words(shown.text)
    for word in words(re.sub("[\u202e\u2028]", "\ufffd", text)):
        assert any(word in each for each in seen), word


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("`*_[]()<>|\\#@!~$&:;-+=.1 a\n\t\"'/"), max_size=30))
@example("#\n")  # a line break keeps a mark from the next line's digit
def test_whatever_a_user_writes(text: str) -> None:
    shown = Shown(render(full(text)))
    assert set(shown.tags) <= TAGS
    # Every table has as many cells as it has columns: no cell broke out of its own.
    assert shown.tags.count("table") == len(
        re.findall(r"^\|(?::--|--:|\|)*\|$", render(full("x")), re.MULTILINE)
    )
    assert not re.search(r"@\w|#\d", shown.active)


@pytest.mark.parametrize(
    "name",
    ["first", "same", "replicas", "container", "hardware", "several", "violation", "budget", "destroy"],
)
def test_the_summary_stands_on_top(name: str, reported: Reported) -> None:
    report = reported(f"{name}.events.json")
    lines = render(report).splitlines()
    assert lines[0] == "<!-- vertex-vllm report vertex-vllm/local -->"
    assert re.fullmatch(r"### (✅|⚠️|❌) <code>vertex-vllm/local</code>: .+", lines[1])
    text = render(report)
    assert text.index("| **GPUs** |") < text.index("| **cost") < text.index("<details")
    shown = Shown(text)
    assert shown.tags.count("details") == text.count("\n</details>")
    # Everything but what is worth a look is folded.
    assert ("<details open>" in text) is (name in ("violation", "several", "destroy"))


def test_a_diff_of_the_arguments(reported: Reported) -> None:
    text = render(reported("hardware.json"))
    start = text.index("```diff\n")
    block = text[start : text.index("\n```\n", start)].splitlines()
    assert "- --tensor-parallel-size=1" in block
    assert "+ --tensor-parallel-size=2" in block
    assert "  --max-model-len=4096" in block


def test_preflight_by_status_with_remedies_and_lines(reported: Reported, fixture: Fixture) -> None:
    findings = read_preflight(fixture("preflight-checks.json"), "x")
    text = render(build(reported("first.events.json").preview, findings))
    passed = sum(finding.status is Status.PASS for finding in findings)
    assert f"{passed} passed" in text
    assert "- **preflight failed**: quota-gpu: " in text
    failed = text.index("\nFailed: 1\n")
    assert failed < text.index(f"\nPassed: {passed}\n") < text.index("\nSkipped: ")
    (quota,) = (finding for finding in findings if finding.status is Status.FAIL)
    assert f"```sh\n# {quota.check}\n{quota.by_hand}\n" in text[failed:]
    assert "gcloud" in quota.by_hand


@pytest.mark.parametrize("size", [2_000, 20_000, 1_000_000])
@pytest.mark.parametrize("text", ["x", "é", "\U0001f4a5", "|", "`", "a\n"])
def test_it_stays_below_what_github_takes(size: int, text: str) -> None:
    shown = render(full(text * size))
    assert len(shown.encode()) < LIMIT
    assert Shown(shown).tags.count("details") == shown.count("</details>")


def test_many_of_everything_are_cut_with_a_notice(made: Made, step: Step) -> None:
    kind = "gcp:storage/bucket:Bucket"
    steps = [step("create", None, {}, kind=kind, name=f"bucket-{place}") for place in range(3000)]
    said = [{"severity": "warning", "message": f"warning: {place} {'w' * 300}"} for place in range(500)]
    text = render(build(made(*steps, diagnostics=said)))
    assert len(text.encode()) < LIMIT
    assert "_Cut here: a comment has only so much room." in text
    shown = Shown(text)
    assert set(shown.tags) <= TAGS
    assert "Resources" in shown.text
    assert shown.text.rstrip().endswith("Written by vertex-vllm report.")


def test_the_marker_is_one_comment_whatever_the_stack_is_called() -> None:
    report = full("x")
    assert marker(report) == "<!-- vertex-vllm report vertex-vllm/dev -->"
    odd = read_preview(
        _json({"steps": [{"op": "same", "urn": "urn:pulumi:a-->b::vertex-vllm::vertexserving:x::y"}]}), "x"
    )
    assert marker(build(odd)) == "<!-- vertex-vllm report vertex-vllm/a---b -->"


def test_equal_reports_are_equal_texts(reported: Reported) -> None:
    assert render(reported("several.json")) == render(reported("several.json"))

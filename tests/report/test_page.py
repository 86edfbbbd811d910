"""The page: whole, escaped, and all that the report says."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.cli.page import CHARTS
from infra.cli.report_page import report_page
from infra.recipes import load_stack_file, plan
from infra.report.content import Memory, Report, build
from infra.report.preview import read_preview

Reported = Callable[[str], Report]
ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "br", "rect"}


class Page(HTMLParser):
    """Checks that every tag is closed where it should be; gathers tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href", "onload", "onerror"), (name, value)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


NAMES = [
    "first",
    "same",
    "replicas",
    "container",
    "hardware",
    "several",
    "violation",
    "budget",
    "crash",
    "destroy",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [".json", ".events.json"])
def test_it_is_whole_and_needs_nothing_else(name: str, form: str, reported: Reported) -> None:
    report = reported(name + form)
    text = report_page(report)
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "a"} & set(page.tags)
    assert "default-src 'none'" in text
    assert report.title[1:] in page.text
    assert all(change.text in page.text for change in report.deployments)
    assert all(reason.text in page.text for reason in report.reasons)
    assert report_page(reported(name + form)) == text


def test_arguments_in_colour(reported: Reported) -> None:
    text = report_page(reported("hardware.json"))
    assert "<span class='gone'>- --tensor-parallel-size=1</span>" in text
    assert "<span class='new'>+ --tensor-parallel-size=2</span>" in text
    assert "<tr class='own'><td class='name'>machine type</td><td>g2-standard-12</td>" in text


def test_it_escapes() -> None:
    text = "<script>alert(1)</script> & \"'"
    urn = f"urn:pulumi:dev::vertex-vllm::vertexserving:index:Deployment::{text}"
    import json

    data = {
        "steps": [{"op": "create", "urn": urn, "newState": {"inputs": {"location": text}}}],
        "diagnostics": [{"severity": severity, "message": text} for severity in ("error", "warning", "info")],
    }
    page = Page(report_page(build(read_preview(json.dumps(data).encode(), "x"))))
    assert "script" not in page.tags
    assert page.text.count(text) >= 4


def test_the_chart_of_the_memory(reported: Reported) -> None:
    path = ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
    planned = plan(load_stack_file(path), region="us-central1", source=str(path))
    preview = reported("first.json").preview
    report = build(preview, None, Memory("x.yaml", True, False, True, "starts", "there is room."))
    with_chart, without = report_page(report, planned), report_page(report)
    assert "<svg class='bar'" in with_chart
    assert "<svg" not in without
    assert "x.yaml starts: there is room." in without
    assert re.search(r"weights.*GiB", Page(with_chart).text)
    assert CHARTS in with_chart

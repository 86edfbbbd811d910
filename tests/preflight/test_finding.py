"""A finding as JSON, and what a preview says of many."""

from __future__ import annotations

import pytest

from infra.preflight import words
from infra.preflight.finding import Finding, Status
from infra.preflight.run import Report


def found(status: Status, check: str = "quota-gpu", **more: str) -> Finding:
    return Finding(check=check, status=status, evidence="1 needed, 0 left.", **more)


def test_as_dict_holds_every_field_as_text() -> None:
    finding = found(Status.FAIL, remedy="ask for more", by_hand="gcloud beta quotas info list")
    assert finding.as_dict() == {
        "check": "quota-gpu",
        "status": "FAIL",
        "evidence": "1 needed, 0 left.",
        "remedy": "ask for more",
        "by_hand": "gcloud beta quotas info list",
    }


def test_report_counts_by_status() -> None:
    findings = tuple(found(status, status.value) for status in Status)
    report = Report(findings, 1.23456)
    assert [each.check for each in (*report.passed, *report.failed, *report.warnings, *report.skipped)] == [
        "PASS",
        "FAIL",
        "WARN",
        "SKIP",
    ]
    assert report.as_dict() == {
        "findings": [each.as_dict() for each in findings],
        "counts": {"PASS": 1, "FAIL": 1, "WARN": 1, "SKIP": 1},
        "took_s": 1.235,
    }


@pytest.mark.parametrize(
    ("findings", "text"),
    [
        ([found(Status.PASS)], "preflight: 1 passed, in 0.3 s"),
        (
            [found(Status.PASS), found(Status.FAIL), found(Status.WARN), found(Status.SKIP, "image")],
            "preflight: 1 passed, 1 failed, 1 to look at, 1 skipped (image), in 0.3 s",
        ),
        (
            [found(Status.SKIP, f"c{number}") for number in range(8)],
            "preflight: 0 passed, 8 skipped (c0, c1, c2, c3, c4, c5 and 2 more), in 0.3 s",
        ),
    ],
)
def test_summary_is_one_line(findings: list[Finding], text: str) -> None:
    assert words.summary(Report(tuple(findings), 0.3)) == text


def test_refusal_names_only_what_failed() -> None:
    report = Report(
        (found(Status.FAIL), found(Status.FAIL, "apis", by_hand="gcloud x"), found(Status.WARN)), 1
    )
    assert words.refusal(report, "prod").splitlines() == [
        "preflight: 2 checks failed, nothing was registered.",
        "  quota-gpu: 1 needed, 0 left.",
        "  apis: 1 needed, 0 left.",
        "    by hand: gcloud x",
        "  All checks: ./vertex-vllm preflight --stack prod. To see them as warnings only: pulumi config set"
        " vertex-vllm:preflight warn",
    ]

"""What a preview says of the preflight checks: one line in all, one for each that is worth a look. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.preflight.finding import Finding

if TYPE_CHECKING:
    from infra.preflight.run import Report

__all__ = ["line", "refusal", "summary"]

_SKIPS_NAMED: Final = 6


def line(finding: Finding) -> str:
    """One finding as a warning of a preview."""
    text = f"preflight: {finding.check}: {finding.evidence}"
    return f"{text}\n    fix: {finding.remedy}" if finding.remedy else text


def refusal(report: Report, stack: str) -> str:
    """The one error of a preview that a check has failed, with everything that failed."""
    count = len(report.failed)
    lines = [f"preflight: {count} check{'s' if count != 1 else ''} failed, nothing was registered."]
    for finding in report.failed:
        lines.append(f"  {finding.check}: {finding.evidence}")
        if finding.remedy:
            lines.append(f"    fix: {finding.remedy}")
        if finding.by_hand:
            lines.append(f"    by hand: {finding.by_hand}")
    lines.append(
        f"  All checks: ./vertex-vllm preflight --stack {stack}. To see them as warnings only: "
        f"pulumi config set vertex-vllm:preflight warn"
    )
    return "\n".join(lines)


def summary(report: Report) -> str:
    """How many checks said what; the names of those that could not say anything."""
    parts = [f"{len(report.passed)} passed"]
    parts += [f"{len(report.failed)} failed"] if report.failed else []
    parts += [f"{len(report.warnings)} to look at"] if report.warnings else []
    if report.skipped:
        names = [finding.check for finding in report.skipped]
        more = f" and {len(names) - _SKIPS_NAMED} more" if len(names) > _SKIPS_NAMED else ""
        parts.append(f"{len(names)} skipped ({', '.join(names[:_SKIPS_NAMED])}{more})")
    return f"preflight: {', '.join(parts)}, in {report.took_s:.1f} s"

"""Until when a stack is wanted: what a label means, and what a preview says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.expiry import Expiry, warning

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "deployed", "end"),
    [
        ("8h", NOON, NOON + timedelta(hours=8)),
        ("3d", NOON, NOON + timedelta(days=3)),
        ("8h", None, None),
        ("2026-11-30", None, datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-11-30", NOON, datetime(2026, 12, 1, tzinfo=UTC)),
        ("never", NOON, None),
        ("", NOON, None),
        ("9999-12-31", NOON, None),
    ],
)
def test_a_duration_counts_from_the_deployment_and_a_day_ends_at_midnight(
    label: str, deployed: datetime | None, end: datetime | None
) -> None:
    assert Expiry.of(label).end(deployed) == end


@pytest.mark.parametrize("label", ["2026-02-30", "20261130", "0h", "8", "8m", "8 h", "12345h", "soon", "٣d"])
def test_what_means_nothing_never_ends(label: str) -> None:
    assert not Expiry.of(label).known
    assert Expiry.of(label).end(NOON) is None
    assert not Expiry.of(label).passed(NOON, NOON + timedelta(days=10_000))


def test_the_end_itself_is_over() -> None:
    assert Expiry.of("8h").passed(NOON, NOON + timedelta(hours=8))
    assert not Expiry.of("8h").passed(NOON, NOON + timedelta(hours=7, minutes=59))


@pytest.mark.parametrize(
    ("label", "after", "said"),
    [
        ("10h", timedelta(hours=8), ""),
        ("10h", timedelta(hours=9), "expires soon (10h): 2026-11-26 22:00 UTC"),
        ("10h", timedelta(hours=10), "expired (10h): 2026-11-26 22:00 UTC has passed"),
        ("90d", timedelta(days=87), ""),
        ("90d", timedelta(days=88, hours=1), "expires soon (90d)"),
        ("2026-11-30", timedelta(days=2), ""),
        (
            "2026-11-30",
            timedelta(days=3),
            "expires soon (2026-11-30): the end of 2026-11-30 UTC, then a sweep undeploys it",
        ),
        ("2026-11-30", timedelta(days=5), "expired (2026-11-30): 2026-11-30 has passed"),
        ("never", timedelta(days=5000), ""),
        ("", timedelta(days=5000), ""),
    ],
)
def test_a_preview_warns_when_it_is_near_or_over(label: str, after: timedelta, said: str) -> None:
    text = warning(label, NOON, NOON + after)
    assert said in text
    assert bool(text) is bool(said)


def test_a_warning_says_what_to_change() -> None:
    assert "raise expires_after in the stack file" in warning("8h", NOON, NOON + timedelta(days=1))
    assert "set a later day (expires_after in the stack file, or" in warning("2026-01-01", None, NOON)

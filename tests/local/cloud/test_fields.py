from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.errors import GoogleError
from infra.local.cloud.fields import apply, parse

_VALUE = {
    "services": [{"name": "a", "config": {"name": "A", "title": "T"}}, {"name": "b"}],
    "nextPageToken": "t",
    "labels": {"k": "v"},
    "count": 0,
}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("services/name,nextPageToken", {"services": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"}),
        (
            "services(name,config/title)",
            {"services": [{"name": "a", "config": {"title": "T"}}, {"name": "b"}]},
        ),
        ("services.name", {"services": [{"name": "a"}, {"name": "b"}]}),
        ("*", _VALUE),
        ("services/*", {"services": _VALUE["services"]}),
        ("labels", {"labels": {"k": "v"}}),
        ("count", {"count": 0}),
        ("services/name,services", {"services": _VALUE["services"]}),
        ("services,services/name", {"services": _VALUE["services"]}),
        ("nothing", {}),
    ],
)
def test_masks_keep_what_they_name(mask: str, expected: Any) -> None:
    assert apply(_VALUE, parse(mask)) == expected


@pytest.mark.parametrize("mask", [",", "a,,b", "a(b", "a(b))", "a/", "(a)", "a b"])
def test_malformed_masks_are_refused(mask: str) -> None:
    with pytest.raises(GoogleError, match="Invalid field selection"):
        parse(mask)

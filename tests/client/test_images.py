"""Images by path and by address."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from infra.client import BadTarget
from infra.client.images import DEDICATED_BYTES, SHARED_BYTES, image_part

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("begin", "kind"),
    [(PNG, "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"RIFF\0\0\0\0WEBPVP8 ", "webp")],
)
def test_the_first_bytes_say_what_it_is(tmp_path: Path, begin: bytes, kind: str) -> None:
    file = tmp_path / "image.txt"
    file.write_bytes(begin)
    url = image_part(str(file), dedicated=False)["image_url"]["url"]
    head, _, text = url.partition(",")
    assert head == f"data:image/{kind};base64"
    assert base64.b64decode(text) == begin


@pytest.mark.parametrize("url", ["https://e.example/a.png", "gs://b/a.png", "data:image/png;base64,AAAA"])
def test_an_address_stays_one(url: str) -> None:
    assert image_part(url, dedicated=True) == {"type": "image_url", "image_url": {"url": url}}


def test_what_is_no_image_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    file.write_bytes(b"<html>")
    with pytest.raises(BadTarget, match="no image that vLLM reads"):
        image_part(str(file), dedicated=False)
    with pytest.raises(BadTarget, match="cannot be read: No such file"):
        image_part(str(tmp_path / "none.png"), dedicated=False)


@pytest.mark.parametrize(("dedicated", "limit"), [(False, SHARED_BYTES), (True, DEDICATED_BYTES)])
def test_one_too_large_for_a_request_is_refused_before_it_is_sent(
    tmp_path: Path, dedicated: bool, limit: int
) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(PNG + b"\0" * (limit * 3 // 4))
    with pytest.raises(BadTarget, match=r"takes (10|1\.5) MB"):
        image_part(str(file), dedicated=dedicated)
    file.write_bytes(PNG + b"\0" * (limit * 3 // 4 - 100))
    assert image_part(str(file), dedicated=dedicated)["type"] == "image_url"

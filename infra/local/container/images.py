"""Which vLLM an image carries."""

from __future__ import annotations

import re
from typing import Final

from infra.recipes.catalog import catalog

_DATE: Final = re.compile(r":(\d{8})_")
_NUMBER: Final = re.compile(r":v?(\d+\.\d+\.\d+(?:\.post\d+)?)(?:[-_].*)?$")


def vllm_version(image_uri: str) -> str:
    """Return the vLLM version of an image.

    From the catalogue; else from a tag that is a version (``vllm/vllm-openai:v0.9.2``); else, for a tag that is a
    date, that of the last documented image before it; else the newest version of the catalogue.
    """
    known = catalog().container(image_uri)
    if known is not None and known.vllm_version:
        return known.vllm_version
    number = _NUMBER.search(image_uri)
    if number is not None:
        return number.group(1)
    date = _DATE.search(image_uri)
    documented = sorted(
        (image.date.replace("-", ""), image.vllm_version)
        for image in catalog().containers()
        if image.vllm_version and image.date and image.flavour == "standard"
    )
    if date is not None and documented:
        older = [version for day, version in documented if day <= date.group(1)]
        return older[-1] if older else documented[0][1]
    return catalog().flag_versions()[-1]

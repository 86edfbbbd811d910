"""Flags that exist only in Google's builds of vLLM: warns where nobody has seen the image take them.

Their sources are not public. What is known is which images Google's notebooks pass each of them to; that an image
built between two of those has the flag is taken for granted, anything else is not known.
"""

from __future__ import annotations

from infra.recipes.catalog import ContainerImage, catalog
from infra.recipes.checks.report import Report
from infra.recipes.flags import ForkFlag

__all__ = ["check_fork_flag", "seen_with"]


def seen_with(flag: ForkFlag, image: ContainerImage | None) -> bool:
    """Whether an image is one that has been seen with a flag, or was built between two of those.

    Args:
        flag: the flag.
        image: the image; None for one that the catalogue does not have.
    """
    if image is None:
        return False
    if image.uri in flag.images:
        return True
    first, last = _dates(flag)
    return image.flavour in _flavours(flag) and bool(image.date) and first <= image.date <= last


def check_fork_flag(report: Report, key: str, name: str, value: str, image: ContainerImage | None) -> None:
    """Warn of a flag, or of one of its values, that the image may not have.

    Args:
        report: the stack file; takes the warning.
        key: the key of the stack file.
        name: the flag, with dashes.
        value: its value.
        image: the stack file's image; None for one that the catalogue does not have.
    """
    flag = catalog().fork_flags().get(name)
    if flag is None or (flag.values and value not in flag.values) or seen_with(flag, image):
        return
    first, last = _dates(flag)
    when = f"of {first}" if first == last else f"of {first} to {last}"
    what = f"{name}={value}" if flag.values else name
    report.warn(
        f"{key}: {what} exists only in Google's own builds of vLLM and has been seen only in images {when}; without it"
        f" the container ends at its start. Delete it, or use image_uri: {flag.images[-1]}"
    )


def _seen(flag: ForkFlag) -> list[ContainerImage]:
    return [image for image in map(catalog().container, flag.images) if image is not None]


def _dates(flag: ForkFlag) -> tuple[str, str]:
    dates = [image.date for image in _seen(flag)]
    return min(dates), max(dates)


def _flavours(flag: ForkFlag) -> frozenset[str]:
    return frozenset(image.flavour for image in _seen(flag))

"""Reads the stack file that a command names; a wrong one ends the command with the text that repairs it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra.cli.common import fail
from infra.recipes import ServingPlan, StackError, StackFile, catalog, load_stack_file, plan
from infra.recipes.errors import DoesNotFit, SettingsError, show_file
from infra.recipes.yamlfile import parse_yaml, read_text

__all__ = ["plan_of", "planned"]

DEFAULT_REGION: Final = "us-central1"


def planned(
    file: Path, *, region: str | None = None, stack_config: Path | None = None
) -> tuple[ServingPlan, DoesNotFit | None]:
    """The checked plan of a stack file; exits with 2 where there is none.

    Without a region, that of ``stack_config``; without either, us-central1 or else the first one that has the GPU.

    Returns:
        The plan, also where a preview would refuse it for its memory only; then with the refusal.
    """
    try:
        if region is None and stack_config is not None:
            region = _region_of(stack_config)
        return plan_of(file, region=region)
    except StackError as error:
        fail(error)


def plan_of(file: Path, *, region: str | None = None) -> tuple[ServingPlan, DoesNotFit | None]:
    """What :func:`planned` does, for one who goes on without a plan.

    Raises:
        StackError: there is none.
    """
    stack = load_stack_file(file)
    region = region or _some_region(stack)
    try:
        return plan(stack.model_copy(update={"fit": "refuse"}), region=region, source=str(file)), None
    except DoesNotFit as refusal:
        return plan(stack.model_copy(update={"fit": "warn"}), region=region, source=str(file)), refusal


def _region_of(stack_config: Path) -> str:
    file = show_file(stack_config)
    raw, lines = parse_yaml(read_text(stack_config), file)
    config = raw.get("config") if isinstance(raw, dict) else None
    region = config.get("gcp:region") if isinstance(config, dict) else None
    if not isinstance(region, str):
        raise SettingsError(
            "names no region.",
            file=file,
            key="gcp:region",
            line=lines.get("config"),
            remedy="pulumi config set gcp:region us-central1, or give --region",
        )
    return region


def _some_region(stack: StackFile) -> str:
    books, kind = catalog(), stack.hardware.accelerator_type
    having = books.regions_with(kind)
    return DEFAULT_REGION if DEFAULT_REGION in having or not having else having[0]

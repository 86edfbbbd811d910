"""Fills in what a stack file leaves out: hardware and vLLM options from the model's recommended recipe.

Works on the parsed YAML before it is validated, so wrong values pass through untouched and are reported as they stand.
"""

from __future__ import annotations

from typing import Any

from infra.recipes.cards import ModelCard
from infra.recipes.catalog import catalog
from infra.recipes.errors import UnknownModel, nearest
from infra.recipes.yamlfile import Lines

__all__ = ["with_defaults"]


def with_defaults(raw: dict[str, Any], *, file: str, lines: Lines) -> dict[str, Any]:
    """Return a copy of ``raw`` with defaults filled in.

    A missing ``hardware`` section is that of the model's first recommended recipe. A missing accelerator is the
    machine's own when it has only one. Missing vLLM options and image are those of the recipe for this hardware, else
    of the first recipe.

    Raises:
        UnknownModel: ``hardware`` is missing and the model is unknown, or has no recommended recipe (``choices`` are
            the models that have one, closest first).
    """
    filled = dict(raw)
    card = _card(raw.get("model"))
    if "hardware" not in raw and isinstance(raw.get("model"), str):
        filled["hardware"] = _recommended_hardware(raw["model"], card, file=file, lines=lines)
    hardware = filled.get("hardware")
    if isinstance(hardware, dict):
        filled["hardware"] = hardware = _own_accelerator(hardware)
    if card is None or not card.recommended or not isinstance(hardware, dict):
        return filled
    machine, kind, count = (
        hardware.get(f) for f in ("machine_type", "accelerator_type", "accelerator_count")
    )
    recipe = card.recipe_for(str(machine), str(kind), count if isinstance(count, int) else 0)
    if recipe is None:
        return filled
    vllm = raw.get("vllm", {})
    if isinstance(vllm, dict):
        filled["vllm"] = {**recipe.vllm, **vllm}
    container = raw.get("container", {})
    if isinstance(container, dict) and recipe.image_uri:
        filled["container"] = {"image_uri": recipe.image_uri, **container}
    return filled


def _card(model: object) -> ModelCard | None:
    if not isinstance(model, str):
        return None
    try:
        return catalog().model(model)
    except UnknownModel:
        return None


def _recommended_hardware(model: str, card: ModelCard | None, *, file: str, lines: Lines) -> dict[str, Any]:
    line = lines.get("model")
    if card is None:
        try:
            catalog().model(model)
        except UnknownModel as error:
            raise UnknownModel(
                error.problem,
                file=file,
                line=line,
                key="model",
                value=model,
                choices=error.choices,
                remedy=error.remedy,
            ) from error
    if card is None or not card.recommended:
        have = (other for other in catalog().models() if catalog().model(other).recommended)
        raise UnknownModel(
            "there is no recommended hardware for this model; the choices are the models that have one.",
            file=file,
            line=line,
            key="model",
            value=model,
            choices=nearest(model, have),
            remedy="add a hardware: section with machine_type, accelerator_type and accelerator_count",
        )
    recipe = card.recommended[0]
    return {
        "machine_type": recipe.machine_type,
        "accelerator_type": recipe.accelerator_type,
        "accelerator_count": recipe.accelerator_count,
    }


def _own_accelerator(hardware: dict[str, Any]) -> dict[str, Any]:
    machine = next((m for m in catalog().machines() if m.machine_type == hardware.get("machine_type")), None)
    if machine is None or len(machine.accelerators) != 1:
        return hardware
    kind, count = machine.accelerators[0]
    return {"accelerator_type": kind, "accelerator_count": count, **hardware}

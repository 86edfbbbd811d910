"""Fills in what a stack file leaves out: from the model's recommended recipe where it is for exactly this hardware,
else the neutral defaults of the types.

Works on the parsed YAML before it is validated, so wrong values pass through untouched and are reported as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.cards import ModelCard, RecommendedRecipe
from infra.recipes.catalog import Accelerator, catalog
from infra.recipes.errors import UnknownModel, nearest
from infra.recipes.images import DEFAULT_IMAGE, default_image
from infra.recipes.yamlfile import Lines

__all__ = ["LENGTH", "NO_FLOAT16", "SEQUENCES_WITH_IMAGES", "Filled", "with_defaults"]

LENGTH: Final = 4096  # Google's guide: max_model_len of all its models
# Google's guide for Llama 3.2: vLLM's memory profile holds an image for each of max_num_seqs.
SEQUENCES_WITH_IMAGES: Final = 12

MOST_GPUS: Final = 16  # of one machine type: a2-megagpu-16g
# _FLOAT16_NOT_SUPPORTED_MODELS of vllm/config since 0.9.1: gemma2, gemma3, gemma3_text, glm4
NO_FLOAT16: Final = ("Gemma2For", "Gemma3For", "Glm4ForCausalLM")

# What only the builds of one image may take; all else of a recipe is vLLM's own, which checks hold against the version.
_OF_THE_IMAGE: Final[tuple[str, ...]] = ("extra_args", "model_type")


@dataclass(frozen=True, slots=True)
class Filled:
    """A parsed stack file with its defaults; ``taken`` of them, by dotted key, come from ``recipe``.

    ``left_out`` is what the recipe has and the file's image may not take. ``followed`` are the defaults that follow
    from the model and the GPU, where they are not the guide's.
    """

    raw: dict[str, Any]
    followed: Mapping[str, Any] = field(default_factory=dict)
    recipe: RecommendedRecipe | None = None
    taken: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, Any] = field(default_factory=dict)

    def notes(self, plain: Mapping[str, Any]) -> tuple[str, ...]:
        """Sentences that say what the model and the recipe gave, and what the recipe could not give.

        Args:
            plain: the defaults of the types, by dotted key; what equals them needs no mention.
        """
        recipe, found = self.recipe, []
        if self.followed:
            found.append(f"defaults that follow from the model and the GPU: {_shown(self.followed)}.")
        if recipe is None:
            return tuple(found)
        taken = {key: value for key, value in self.taken.items() if value != plain.get(key)}
        if taken:
            found.append(
                f"defaults from the published recipe for {recipe.accelerator_count} {recipe.accelerator_type} on"
                f" {recipe.machine_type} ({recipe.source}): {_shown(taken)}."
            )
        if self.left_out:
            image = f"the image {recipe.image_uri}" if recipe.image_uri else "an image that is not known"
            found.append(
                f"left out of the recipe, which was published with {image}: {_shown(self.left_out)}."
            )
        return tuple(found)


def with_defaults(raw: dict[str, Any], *, file: str, lines: Lines) -> Filled:
    """Return a copy of ``raw`` with defaults filled in.

    A missing ``hardware`` section is that of the model's first recommended recipe. A missing accelerator is the
    machine's own when it has only one. Missing vLLM options and image are those of the recipe for exactly this
    hardware; its ``extra_args`` and ``model_type`` only if the image is the recipe's too. Without such a recipe they
    are the types' own, within the model's limits (:func:`_neutral`), and the image is the oldest that can serve the
    model there (:func:`infra.recipes.images.default_image`).

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
    vllm, container = raw.get("vllm", {}), raw.get("container", {})
    if card is None or not isinstance(hardware, dict):
        return Filled(filled)
    neutral = _neutral(card, _accelerator(hardware))
    if isinstance(vllm, dict):
        filled["vllm"] = {**neutral, **vllm}
    recipe = _recipe(card, hardware)
    image = (recipe.image_uri if recipe else None) or _image(card, hardware)
    followed: dict[str, Any] = {}
    given = dict(recipe.vllm) if recipe else {}
    if isinstance(vllm, dict) and "dtype" in neutral and not {"dtype"} & (vllm.keys() | given.keys()):
        followed["vllm.dtype"] = neutral["dtype"]
    if isinstance(container, dict):
        if image is not None:
            filled["container"] = {"image_uri": image, **container}
            if not ("image_uri" in container or image == DEFAULT_IMAGE or (recipe and recipe.image_uri)):
                followed["container.image_uri"] = image
        image = container.get("image_uri", image)
    if recipe is None:
        return Filled(filled, followed)
    left_out: dict[str, Any] = {}
    if recipe.image_uri is None or str(image).partition("@")[0] != recipe.image_uri:
        left_out = {key: given.pop(key) for key in _OF_THE_IMAGE if key in given}
    taken: dict[str, Any] = {}
    if isinstance(vllm, dict):
        filled["vllm"] = {**neutral, **given, **vllm}
        taken = {f"vllm.{key}": value for key, value in given.items() if key not in vllm}
        left_out = {f"vllm.{key}": value for key, value in left_out.items() if key not in vllm}
    if recipe.image_uri and isinstance(container, dict) and "image_uri" not in container:
        taken["container.image_uri"] = recipe.image_uri
    return Filled(filled, followed, recipe, taken, left_out)


def _neutral(card: ModelCard, accelerator: Accelerator | None) -> dict[str, Any]:
    """The defaults that the limits of a model and a kind of GPU change; the rest are the types'."""
    own: dict[str, Any] = {}
    if card.architecture.max_position_embeddings < LENGTH:
        own["max_model_len"] = card.architecture.max_position_embeddings
    if card.multimodal:
        own["max_num_seqs"] = SEQUENCES_WITH_IMAGES
    if card.architecture.kinds.cross:
        own["enforce_eager"] = (
            True  # Google's guide: the first vLLM with Llama 3.2 Vision has no CUDA graphs for it
        )
    if (
        card.weights.dtype == "bfloat16"
        and accelerator is not None
        and accelerator.compute_capability < (8, 0)
    ):
        own["dtype"] = "float32" if card.architecture.name.startswith(NO_FLOAT16) else "half"
    return own


def _image(card: ModelCard, hardware: dict[str, Any]) -> str | None:
    """The image for a model on this hardware; None for an unknown accelerator or count, of which the checks speak."""
    accelerator, count = _accelerator(hardware), hardware.get("accelerator_count")
    if accelerator is None or not isinstance(count, int) or not 1 <= count <= MOST_GPUS:
        return None
    return default_image(card, accelerator, count)


def _accelerator(hardware: dict[str, Any]) -> Accelerator | None:
    kind = hardware.get("accelerator_type")
    return next((a for a in catalog().accelerators() if a.accelerator_type == kind), None)


def _recipe(card: ModelCard, hardware: dict[str, Any]) -> RecommendedRecipe | None:
    machine, kind, count = (
        hardware.get(f) for f in ("machine_type", "accelerator_type", "accelerator_count")
    )
    return card.recipe_for(str(machine), str(kind), count if isinstance(count, int) else 0)


def _shown(values: Mapping[str, Any]) -> str:
    def text(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)

    return ", ".join(f"{key}: {text(value)}" for key, value in values.items())


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

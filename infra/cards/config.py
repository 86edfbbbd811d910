"""Reads a Hugging Face ``config.json``: the shape of the language model, its image encoder, how it is quantised.

It follows what vLLM and transformers make of the file, not what the file looks like: a key that is left out has
transformers' default (``config_defaults.json``, read out of its sources by ``scripts/read_config_defaults.py``),
``null`` is a value like any other, and the window of a Qwen2 model counts only with ``use_sliding_window``. What
differs between families of models is in ``infra/cards/families.py``. Pure: no network, no file but that table.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from infra.cards.families import (
    FAMILIES,
    NAMES,
    OTHER_KEYS,
    ConfigError,
    Dtype,
    Family,
    Section,
    dtype_of,
    no_experts,
)
from infra.cards.types import Architecture, Mla, Vision

__all__ = ["COMPOSITES", "KEYS", "ConfigError", "ConfigFacts", "Quantization", "read_config"]

Modality = Literal["text", "image", "audio", "video"]

_DEFAULTS: Final = Path(__file__).with_name("config_defaults.json")


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint is quantised: vLLM's name of the method, bits of one weight, weights that share a scale.

    ``group_size`` is None where one scale serves a channel or a tensor; a block of 128 x 128 weights counts 16384.
    """

    method: str
    bits: int | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class ConfigFacts:
    """What a ``config.json`` says of a model.

    ``model_type`` is that of the language model, ``dtype`` the type of unquantised weights (None: not said),
    ``needs_remote_code`` whether the configuration class is neither in transformers nor in vLLM. ``notes`` name the
    values that the file leaves out, with what stands for them.
    """

    architecture: Architecture
    vision: Vision | None
    modalities: tuple[Modality, ...]
    dtype: Dtype | None
    quantization: Quantization | None
    model_type: str
    needs_remote_code: bool
    notes: tuple[str, ...]


# vLLM takes the smallest of these; model_max_length overrides (derive_max_model_len_and_key in the same file).
_POSITIONS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# What vLLM assumes where the file has none of them (_get_and_verify_max_len in vllm/config/model.py).
_NO_POSITIONS: Final = 2048
# Rotary scalings that leave max_position_embeddings as it is; the others multiply it by their factor (same function).
_NOT_SCALED: Final = frozenset(
    {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope", "default"}
)


@dataclass(frozen=True)
class _Composite:
    """A model that reads more than text.

    ``text`` is the section of the language model (empty: the file itself), ``text_type`` and ``vision_type`` the types
    of the sections that do not say theirs. ``image_tokens`` gives the positions of the largest image, where vLLM's
    start-up run is known to use them.
    """

    text: str
    text_type: str | None
    vision_type: str | None
    modalities: tuple[Modality, ...] = ("text", "image")
    image_tokens: Callable[[Section, Vision, Mapping[str, Any]], int | None] = lambda config, vision, images: (
        None
    )
    remote_code: bool = False


def _patches(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """LLaVA 1.5: one position a patch; the class position is dropped (``vision_feature_select_strategy``)."""
    if not (vision.image_size and vision.patch_size):
        return None
    extra = 1 if config.get("vision_feature_select_strategy") == "full" else 0
    return (vision.image_size // vision.patch_size) ** 2 + extra


def _soft_tokens(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """Gemma: an image always takes this many (256 in Gemma 3n: ``TOKENS_PER_IMAGE`` of vLLM's gemma3n_mm.py)."""
    if config.values.get("model_type") == "gemma3n":
        return 256
    return config.integer("mm_tokens_per_image", "vision_soft_tokens_per_image")


def _pinpoints(config: Section) -> list[tuple[int, int]]:
    """The grids of LLaVA 1.6, height and width in pixels."""
    return [(height, width) for height, width in config.values.get("image_grid_pinpoints") or ()]


def _grid(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """LLaVA 1.6: the whole image, then the tiles of the largest grid with a position at the end of each row."""
    base = _patches(config, vision, images)
    if not (base and vision.image_size and vision.patch_size):
        return None
    side = vision.image_size // vision.patch_size
    grids = (
        (height // vision.image_size * side, width // vision.image_size * side)
        for height, width in _pinpoints(config)
    )
    return base + max((rows * columns + rows for rows, columns in grids), default=0)


def _rows(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """Pixtral: merged patches of the largest square image, with a position at the end of each row."""
    if not (vision.image_size and vision.patch_size):
        return None
    side = vision.image_size // (vision.patch_size * (config.integer("spatial_merge_size") or 1))
    return side * (side + 1)


def _intern_tiles(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """InternVL: ``max_dynamic_patch`` tiles and, with ``use_thumbnail``, one of the whole image."""
    tiles = config.integer("max_dynamic_patch")
    ratio = config.values.get("downsample_ratio")
    if not (tiles and ratio and vision.image_size and vision.patch_size):
        return None
    tiles += 1 if config.values.get("use_thumbnail") and tiles > 1 else 0
    return int(tiles * (vision.image_size // vision.patch_size) ** 2 * ratio**2)


def _merged_patches(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """Qwen VL: the pixels of the largest image by those of a token, ``spatial_merge_size`` squared patches."""
    size = images.get("size")
    pixels = size.get("longest_edge") if isinstance(size, Mapping) else None
    pixels = images.get("max_pixels", pixels)
    merge = config.values.get("vision_config", {}).get("spatial_merge_size", 2)
    if not (isinstance(pixels, int) and isinstance(merge, int) and vision.patch_size):
        return None
    return int(pixels // (vision.patch_size * merge) ** 2)


def _tiles(config: Section, vision: Vision, images: Mapping[str, Any]) -> int | None:
    """Llama 4: ``max_patches`` tiles and one of the whole image; pixel shuffle leaves a part of a tile's patches."""
    tiles = images.get("max_patches")
    ratio = config.values.get("vision_config", {}).get("pixel_shuffle_ratio", 0.5)
    if not (isinstance(tiles, int) and vision.image_size and vision.patch_size):
        return None
    return int((tiles + 1) * (vision.image_size // vision.patch_size) ** 2 * ratio**2)


_TEXT_IMAGE_VIDEO: Final[tuple[Modality, ...]] = ("text", "image", "video")

COMPOSITES: Final[Mapping[str, _Composite]] = {
    "llava": _Composite("text_config", "llama", "clip_vision_model", image_tokens=_patches),
    "llava_next": _Composite("text_config", "llama", "clip_vision_model", image_tokens=_grid),
    "llava_onevision": _Composite("text_config", "qwen2", "siglip_vision_model", _TEXT_IMAGE_VIDEO),
    "mistral3": _Composite("text_config", "mistral", "pixtral", image_tokens=_rows),
    "mllama": _Composite("text_config", "mllama_text_model", "mllama_vision_model"),
    "llama4": _Composite("text_config", "llama4_text", "llama4_vision_model", image_tokens=_tiles),
    "gemma3": _Composite("text_config", "gemma3_text", "siglip_vision_model", image_tokens=_soft_tokens),
    "gemma3n": _Composite("text_config", "gemma3n_text", None, ("text", "image", "audio"), _soft_tokens),
    "gemma4": _Composite("text_config", "gemma4_text", "gemma4_vision", image_tokens=_soft_tokens),
    "paligemma": _Composite("text_config", "gemma", "siglip_vision_model"),
    "qwen2_vl": _Composite("", "qwen2_vl_text", "qwen2_vl_vision", _TEXT_IMAGE_VIDEO, _merged_patches),
    "qwen2_5_vl": _Composite("", "qwen2_5_vl_text", "qwen2_5_vl_vision", _TEXT_IMAGE_VIDEO, _merged_patches),
    "qwen3_vl": _Composite(
        "text_config", "qwen3_vl_text", "qwen3_vl_vision", _TEXT_IMAGE_VIDEO, _merged_patches
    ),
    "qwen3_vl_moe": _Composite(
        "text_config", "qwen3_vl_moe_text", "qwen3_vl_moe_vision", _TEXT_IMAGE_VIDEO, _merged_patches
    ),
    "qwen3_5": _Composite(
        "text_config", "qwen3_5_text", "qwen3_5_vision", _TEXT_IMAGE_VIDEO, _merged_patches
    ),
    "qwen3_5_moe": _Composite(
        "text_config", "qwen3_5_moe_text", "qwen3_5_moe_vision", _TEXT_IMAGE_VIDEO, _merged_patches
    ),
    "internvl_chat": _Composite(
        "llm_config", None, "intern_vit_6b", image_tokens=_intern_tiles, remote_code=True
    ),
    "internvl": _Composite("text_config", "qwen2", "internvl_vision"),
    "deepseek_vl_v2": _Composite("language_config", "deepseek_v2", None),
    "kimi_vl": _Composite("text_config", "deepseek_v3", "moonvit"),
    "kimi_k25": _Composite("text_config", "kimi_k2", "moonvit"),
    "glm4v": _Composite("text_config", "glm4v_text", "glm4v_vision", _TEXT_IMAGE_VIDEO),
    "idefics3": _Composite("text_config", "llama", "idefics3_vision"),
    "smolvlm": _Composite("text_config", "llama", "smolvlm_vision"),
    "phi3_v": _Composite("", "phi3_v", None, remote_code=True),
    "phi4mm": _Composite("", "phi4mm", None, ("text", "image", "audio"), remote_code=True),
}

# Names of one number of the image encoder, the first that is there counts.
_VISION_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    # embed_dim first: with it (Qwen2-VL) hidden_size is the width of the output
    "hidden_size": ("embed_dim", "hidden_size", "vt_hidden_size", "width"),
    "intermediate_size": ("intermediate_size", "vt_intermediate_size"),
    "num_attention_heads": (
        "num_attention_heads",
        "num_heads",
        "attention_heads",
        "vt_num_attention_heads",
        "heads",
    ),
    "num_hidden_layers": ("num_hidden_layers", "depth", "vt_num_hidden_layers", "layers"),
    "num_global_layers": ("num_global_layers",),
    "image_size": ("image_size",),
    "patch_size": ("patch_size",),
    "max_num_tiles": ("max_num_tiles",),
}
# Sections that hold a language model, whatever the model_type; the first that is there counts.
_TEXT_SECTIONS: Final = ("text_config", "llm_config", "language_config")

# Every key that is read above or below and may be left out: what scripts/read_config_defaults.py collects.
KEYS: Final[frozenset[str]] = frozenset(
    name for names in (*NAMES.values(), *_VISION_NAMES.values(), _POSITIONS, OTHER_KEYS) for name in names
)


@functools.cache
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(_DEFAULTS.read_text(encoding="utf-8"))["defaults"]
    return found


def read_config(
    config: Mapping[str, Any],
    *,
    preprocessor: Mapping[str, Any] | None = None,
    quantization: Mapping[str, Any] | None = None,
) -> ConfigFacts:
    """Read a ``config.json``.

    Args:
        config: the file's content.
        preprocessor: that of ``preprocessor_config.json``, which has the largest size of an image.
        quantization: that of ``hf_quant_config.json``, where ModelOpt writes what others write into ``config.json``.

    Raises:
        ConfigError: it is of an unknown kind, or lacks a number that has no default, or a number is something else.
    """
    outer_type = config.get("model_type")
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError(
            'config.json has no "architectures". Add the name of the model\'s class as vLLM knows it, such as '
            '"architectures": ["LlamaForCausalLM"].'
        )
    composite = COMPOSITES.get(outer_type) if isinstance(outer_type, str) else None
    section, values = _text_section(config, composite)
    model_type = values.get("model_type") if section else None
    if model_type is None and composite is not None:
        model_type = composite.text_type
    if model_type is None:
        model_type = outer_type
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None or not isinstance(model_type, str):
        raise ConfigError(
            f"{names[0]}: this reader does not know {section + '.' if section else ''}model_type {model_type!r} "
            f"(it knows {', '.join(sorted(FAMILIES, key=str.lower))}). Write the card by hand from a neighbour "
            "(infra/catalog/README.md): architecture needs " + ", ".join(_BY_HAND) + "."
        )
    text = Section(
        values, _defaults().get(family.defaults_of or model_type, {}), f"{section}." if section else ""
    )
    outer = Section(config, _defaults().get(outer_type or "", {}))
    architecture = _architecture(names[0], text, outer, model_type, family)
    vision = _vision(config, composite, outer, preprocessor or {})
    auto_map = config.get("auto_map")
    remote = isinstance(auto_map, Mapping) and "AutoConfig" in auto_map
    notes = list(text.notes)
    if text.assumed:
        shown = ", ".join(f"{name} {value}" for name, value in text.assumed.items())
        notes.append(f"left out of config.json, so transformers' default for {model_type}: {shown}")
    return ConfigFacts(
        architecture=architecture,
        vision=vision,
        modalities=_modalities(config, composite, vision),
        dtype=dtype_of(config.get("dtype", config.get("torch_dtype")))
        or dtype_of(values.get("dtype", values.get("torch_dtype"))),
        quantization=_quantization(config.get("quantization_config") or config.get("compression_config"))
        or _quantization(values.get("quantization_config"))
        or _quantization(quantization),
        model_type=model_type,
        needs_remote_code=remote and (family.remote_code or bool(composite and composite.remote_code)),
        notes=tuple(notes),
    )


_BY_HAND: Final = (
    "name",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "tie_word_embeddings",
    "max_position_embeddings",
    "and sliding_window, layer_kinds, mla, experts, state where it has them",
)


def _text_section(config: Mapping[str, Any], composite: _Composite | None) -> tuple[str, Mapping[str, Any]]:
    """The language model's section with its name (empty: the file itself)."""
    for name in (composite.text if composite else "", *_TEXT_SECTIONS):
        if name and isinstance(config.get(name), Mapping):
            return name, config[name]
    return "", config


def _architecture(name: str, text: Section, outer: Section, model_type: str, family: Family) -> Architecture:
    layers = family.layers(text)
    hidden, heads = text.hidden, text.heads
    mla = _mla(text)
    if mla is not None:
        head_dim = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    else:
        head_dim = text.integer(*NAMES["head_dim"]) or hidden // heads
    experts = family.experts(text)
    number = text.integer(*(name for name in NAMES["experts"] if name in text.values))
    if family.experts is no_experts and number is not None and number > 1:
        raise ConfigError(
            f"{name}: config.json has {number} experts, and this reader does not know which layers of {model_type} "
            "have them. Write the card by hand with architecture.experts."
        )
    inner = text.integer("intermediate_size_mlp") or text.integer(*NAMES["inner"])
    if inner and family.halved_mlp:
        inner //= 2
    if model_type == "granitemoehybrid" and experts is None:
        inner = text.integer("shared_intermediate_size")  # without experts its MLP is the shared one
    if not inner and family.inner_factor:
        inner = hidden * (text.integer("expansion_ratio") or family.inner_factor)
    full_dim, full_kv = None, None
    if model_type == "gemma4_text":
        full_dim = text.integer("global_head_dim") or 512  # transformers Gemma4TextConfig
        full_kv = text.integer("num_global_key_value_heads") if text.get("attention_k_eq_v") else None
    kv_heads = family.kv_heads(text) or heads
    values = text.integer("v_head_dim") if mla is None else None
    return Architecture(
        name=name,
        num_hidden_layers=text.layers,
        hidden_size=hidden,
        intermediate_size=inner or None,
        gated_mlp=family.gated_mlp,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=values if values and values != head_dim else None,
        full_head_dim=full_dim if full_dim != head_dim else None,
        full_num_key_value_heads=full_kv if full_kv != kv_heads else None,
        rotary_dim=None if mla else _rotary_dim(text, family, model_type, head_dim),
        rotary_positions=_rotary_positions(text, model_type),
        vocab_size=text.need(*NAMES["vocab"], card="architecture.vocab_size"),
        tie_word_embeddings=_tied(text, outer),
        max_position_embeddings=_positions(text, model_type),
        sliding_window=layers.sliding_window,
        attention_chunk_size=layers.attention_chunk_size,
        layer_kinds=layers.kinds,
        mla=mla,
        experts=experts,
        state=family.state(text),
    )


def _mla(text: Section) -> Mla | None:
    rank = text.integer("kv_lora_rank")
    if not rank:
        return None

    def number(name: str) -> int:
        return text.need(name, card=f"architecture.mla.{name}")

    return Mla(
        kv_lora_rank=rank,
        q_lora_rank=text.integer("q_lora_rank") or None,
        qk_nope_head_dim=number("qk_nope_head_dim"),
        qk_rope_head_dim=number("qk_rope_head_dim"),
        v_head_dim=number("v_head_dim"),
        index_head_dim=text.integer("index_head_dim"),
        index_n_heads=text.integer("index_n_heads"),
    )


def _tied(text: Section, outer: Section) -> bool:
    for values in (text.values, outer.values):
        if "tie_word_embeddings" in values:
            return bool(values["tie_word_embeddings"])
    return bool(text.get("tie_word_embeddings"))


def _rope(text: Section) -> Mapping[str, Any]:
    for name in ("rope_parameters", "rope_scaling"):
        found = text.values.get(name)
        if isinstance(found, Mapping):
            return found
    return {}


def _rotary_dim(text: Section, family: Family, model_type: str, head_dim: int) -> int | None:
    """The rotated width of a head; None for the whole head (vLLM's ``get_rope``)."""
    alibi = text.get("alibi") is True or (model_type == "baichuan" and text.hidden != 4096)
    if not family.rotary or alibi or text.get("position_embedding_type") in ("nope", "alibi"):
        return 0
    width = text.integer("rotary_dim")
    if width is None:
        share = _rope(text).get("partial_rotary_factor")
        for name in NAMES["rotary_share"]:
            share = text.values.get(name) if share is None else share
        width = int(head_dim * (family.rotary if share is None else share))
    return width if width != head_dim else None


def _rotary_positions(text: Section, model_type: str) -> int | None:
    """Gemma 3 has two tables: of the layers with a window, and of the others, stretched by its linear scaling."""
    if model_type not in ("gemma3_text", "gemma3n_text"):
        return None
    longest = _positions(text, model_type)
    rope = _rope(text)
    kind = rope.get("rope_type", rope.get("type"))
    factor = rope.get("factor", 1) if kind == "linear" else 1
    return longest + int(longest * factor)


def _positions(text: Section, model_type: str) -> int:
    """The longest context that vLLM derives (``_get_and_verify_max_len`` in vllm/config/model.py): scalings of the
    rotary embedding that stretch ``max_position_embeddings`` (linear, dynamic) are multiplied in."""
    longest = text.integer("model_max_length")
    if not longest:
        found = [value for name in _POSITIONS if (value := text.integer(name))]
        longest = min(found) if found else None
    if not longest:
        text.notes.append(f"config.json has no context length; vLLM assumes {_NO_POSITIONS} tokens")
        longest = _NO_POSITIONS
    rope = _rope(text)
    kind = rope.get("rope_type", rope.get("type", "default"))
    factor = rope.get("factor")
    if kind in _NOT_SCALED or not isinstance(factor, int | float) or "gemma3" in model_type:
        return longest
    text.notes.append(
        f"max_position_embeddings {longest} times the factor {factor} of its {kind} rotary scaling"
    )
    return int(longest * factor)


def _vision(
    config: Mapping[str, Any], composite: _Composite | None, outer: Section, images: Mapping[str, Any]
) -> Vision | None:
    section = config.get("vision_config")
    if not isinstance(section, Mapping):
        return None
    kind = section.get("model_type") if section.get("model_type") in _defaults() else None
    kind = kind or (composite.vision_type if composite else None)
    read = Section(section, _defaults().get(kind or "", {}), "vision_config.")
    numbers: dict[str, int | None] = {}
    for name, aliases in _VISION_NAMES.items():
        value = read.get(*aliases)
        value = value[0] if isinstance(value, list) and value else value
        numbers[name] = value if isinstance(value, int) and value > 0 else None
    forced = config.get("force_image_size")
    if isinstance(forced, int):
        numbers["image_size"] = forced
    ratio = section.get("mlp_ratio")
    if numbers["intermediate_size"] is None and isinstance(ratio, int | float) and numbers["hidden_size"]:
        numbers["intermediate_size"] = int(numbers["hidden_size"] * ratio)
    if numbers["num_hidden_layers"] is None:
        numbers = {}  # no transformer: MobileNet in Gemma 3n
    elif (grids := _pinpoints(outer)) and numbers["image_size"]:
        numbers["max_num_tiles"] = max(h * w for h, w in grids) // numbers["image_size"] ** 2
    elif isinstance(images.get("max_patches"), int):
        numbers["max_num_tiles"] = images["max_patches"]
    vision = Vision(**numbers)
    tokens = composite.image_tokens(outer, vision, images) if composite else None
    return vision.model_copy(update={"max_tokens_per_image": tokens})


def _modalities(
    config: Mapping[str, Any], composite: _Composite | None, vision: Vision | None
) -> tuple[Modality, ...]:
    found: list[Modality] = list(composite.modalities) if composite else ["text"]
    if vision is not None and "image" not in found:
        found.append("image")
    if isinstance(config.get("audio_config"), Mapping) and "audio" not in found:
        found.append("audio")
    return tuple(found)


# Bits of one weight where the method decides them.
_BITS: Final[Mapping[str, int]] = {
    "fp8": 8,
    "fbgemm_fp8": 8,
    "experts_int8": 8,
    "mxfp4": 4,
    "modelopt": 8,
    "modelopt_fp4": 4,
}
_GROUPS: Final[Mapping[str, int]] = {"mxfp4": 32, "modelopt_fp4": 16}


def _quantization(section: object) -> Quantization | None:
    """``quantization_config``, with the method's name as vLLM normalises it (``_normalize_quantization_config``)."""
    if not isinstance(section, Mapping):
        return None
    method = (
        str(section.get("quant_method") or "").lower().replace("compressed_tensors", "compressed-tensors")
    )
    producer = section.get("producer")
    inner = section.get("quantization")
    algorithm = str(section.get("quant_algo") or (inner or {}).get("quant_algo")).upper()
    if (isinstance(producer, Mapping) and producer.get("name") == "modelopt") or method == "modelopt":
        if algorithm == "MIXED_PRECISION":  # each layer its own way
            return Quantization("modelopt_mixed")
        method = "modelopt_fp4" if "NVFP4" in algorithm else "modelopt"
    if not method:
        raise ConfigError(
            "config.json has a quantization_config without quant_method. Add it, as vLLM names the method, such as "
            '"quant_method": "awq", or write the card by hand with weights.quantization.'
        )
    bits: Any = next((section[key] for key in ("bits", "w_bit", "nbits") if key in section), None)
    group: Any = next((section[key] for key in ("group_size", "q_group_size") if key in section), None)
    groups = section.get("config_groups")
    if isinstance(groups, Mapping) and groups:
        weights = next(iter(groups.values())).get("weights") or {}
        bits, group = weights.get("num_bits", bits), weights.get("group_size", group)
        if isinstance(weights.get("block_structure"), list):
            group = weights["block_structure"][0] * weights["block_structure"][1]
    block = section.get("weight_block_size")
    if isinstance(block, list) and len(block) == 2:
        group = block[0] * block[1]
    if method == "bitsandbytes":
        bits = 4 if section.get("load_in_4bit") else 8
        group = 64 if bits == 4 else None  # the block of bitsandbytes' NF4 and FP4; int8 has one scale a row
    return Quantization(
        method,
        bits if isinstance(bits, int) and bits > 0 else _BITS.get(method),
        group if isinstance(group, int) and group > 0 else _GROUPS.get(method),
    )

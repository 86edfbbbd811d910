"""LoRA adapters: which the stack uploads, and what a model and vLLM's options take of them.

A rule here is vLLM's: what it refuses when a request first names the adapter, minutes or weeks after the deployment.
Sources: ``vllm/lora/peft_helper.py`` (validate_legal), ``lora_model.py`` and ``models.py`` (from_local_checkpoint),
``utils.py`` (parse_fine_tuned_lora_name) of 0.6.2 to 0.32.0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.cards import ModelCard
from infra.cards.adapter import WEIGHTS, AdapterConfig
from infra.cards.checkpoint import Tensor
from infra.recipes.arguments import MAX_LORA_RANK, passed
from infra.recipes.errors import show_file
from infra.recipes.stackfile import VllmOptions
from infra.versions import version_key

__all__ = [
    "DEFAULT_RANK",
    "Objection",
    "StagedAdapter",
    "is_local",
    "is_repository",
    "lora_ranks",
    "max_lora_rank",
    "objections",
    "objections_to_tensors",
]

DEFAULT_RANK: Final = 16  # of --max-lora-rank

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_RANKS: Final = (
    # EngineArgs and LoRAConfig: from which version, which ranks can be set.
    ((0, 12), (1, 8, 16, 32, 64, 128, 256, 320, 512)),
    ((0, 6, 4), (8, 16, 32, 64, 128, 256)),
    ((0,), (8, 16, 32, 64)),
)

_PLAIN: Final = frozenset(
    {
        "Gemma2ForCausalLM",
        "GemmaForCausalLM",
        "GraniteForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "SeedOssForCausalLM",
    }
)
"""Architectures whose layers are alike and have just these seven matrices, under these names."""
_PLAIN_MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_EMBEDDINGS: Final = ("embed_tokens", "lm_head")
_LAYER: Final = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_WEIGHT: Final = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_embedding_[AB])")
_BASE: Final = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
_CHANGES_WEIGHTS: Final = ("pissa", "olora", "corda", "loftq")
_COPIES: Final = re.compile(
    r"(-unsloth)?-(bnb-4bit|4bit|8bit|awq(-int4)?|gptq(-int[48])?|fp8(-dynamic)?|w\da\d+|hf)$"
)
_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing about an adapter: ``fatal`` where vLLM refuses every request that names it, else worth a look."""

    fatal: bool
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class StagedAdapter:
    """An adapter beside the stack file, which the stack uploads into its bucket.

    ``name`` is that of the stack file. ``files`` are the names in ``folder`` that a server reads, ``bytes`` what they
    have together.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    bytes: int

    def digest(self) -> str:
        """16 hexadecimal digits of a hash of the files' names and bytes. Reads all of them: 1 to 2 s a GB."""
        whole = hashlib.sha256()
        for name in self.files:
            with (self.folder / name).open("rb") as file:
                whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return whole.hexdigest()[:16]

    def path(self, name: str) -> str:
        """Path of a file, relative to the working directory if it lies below it: a state must not tell clones apart."""
        return show_file(self.folder / name)


def is_local(place: str) -> bool:
    """Whether an adapter's place is a folder beside the stack file: ``adapters/sql`` could be a repository's id."""
    return place in (".", "..") or place.startswith(("./", "../"))


def is_repository(place: str) -> bool:
    """Whether an adapter's place is a Hugging Face id."""
    return _REPOSITORY.fullmatch(place) is not None


def lora_ranks(version: str | None) -> tuple[int, ...]:
    """The values of ``--max-lora-rank`` that a vLLM version takes; those of the newest where it is not known."""
    key = version_key(version) if version else (99,)
    return next(ranks for since, ranks in _RANKS if key >= since)


def max_lora_rank(vllm: VllmOptions) -> int:
    """``--max-lora-rank`` of the container; vLLM's default where it is not given or no number (refused elsewhere)."""
    given = passed(vllm).get(MAX_LORA_RANK) or ""
    return int(given) if given.isdecimal() else DEFAULT_RANK


def objections(
    config: AdapterConfig,
    card: ModelCard,
    *,
    max_rank: int,
    version: str | None,
    biases: bool = False,
) -> list[Objection]:
    """What an adapter's configuration says against it.

    Args:
        config: the adapter's.
        card: the model that is served.
        max_rank: ``--max-lora-rank`` of the container.
        version: the image's vLLM version; None when it is not known.
        biases: whether biases are loaded too (``--enable-lora-bias``, 0.7 to 0.11).
    """
    found: list[Objection] = []
    if config.peft_type not in ("", "LORA"):
        text = f"its peft_type is {config.peft_type}; vLLM loads LORA only."
        return [Objection(True, text, "train it with peft.LoraConfig, or merge it into the weights")]
    if config.use_dora:
        text = "it is a DoRA adapter (use_dora), which vLLM does not load."
        found.append(Objection(True, text, "train it with use_dora=False, or merge it into the weights"))
    if config.modules_to_save:
        text = f"it replaces whole modules (modules_to_save: {', '.join(config.modules_to_save)}), which vLLM does not."
        found.append(Objection(True, text, "train it without modules_to_save, or merge it into the weights"))
    if config.bias != "none" and not biases:
        text = f"it has biases (bias: {config.bias}), which vLLM does not load."
        found.append(Objection(True, text, 'train it with bias="none", or merge it into the weights'))
    found += _rank(config.rank, max_rank, version)
    if config.init_lora_weights.lower().startswith(_CHANGES_WEIGHTS):
        text = (
            f"init_lora_weights is {config.init_lora_weights}, which changes the model's own weights: on the plain ones"
            " its answers are wrong, and newer vLLM refuses it."
        )
        remedy = "convert it with PEFT's save_pretrained(…, path_initial_model_for_weight_conversion=…)"
        found.append(Objection(False, text, remedy))
    if card.architecture.name in _PLAIN:
        named = {each.rpartition(".")[2] for each in config.target_modules}
        strange = sorted(named - {*_PLAIN_MODULES, *_EMBEDDINGS})
        if strange:
            text = f"its target_modules name {', '.join(strange[:_SHOWN])}, which {card.id} has not."
            found.append(Objection(False, text, f"look whether it was trained on {card.id}"))
    if config.base_model and not _same_model(config.base_model, card.id):
        text = f"it was trained on {config.base_model}, and {card.id} is served."
        found.append(Objection(False, text, f"serve {config.base_model}, or train it on {card.id}"))
    return found


def objections_to_tensors(
    tensors: Iterable[Tensor], card: ModelCard, *, max_rank: int, version: str | None, biases: bool = False
) -> list[Objection]:
    """What the weights of an adapter say against it: names, layers and shapes that the model has not, too high a rank.

    Args:
        tensors: those of the adapter.
        card: the model that is served.
        max_rank: ``--max-lora-rank`` of the container.
        version: the image's vLLM version; None when it is not known.
        biases: whether biases are loaded too.
    """
    tensors = tuple(tensors)
    other = f"serve the model that it was trained on, or train it on {card.id}"
    plain = card.architecture.name in _PLAIN
    modules: dict[str, None] = {}
    shapes: dict[str, str] = {}
    rank, layers = 0, 0
    for tensor in tensors:
        match = _WEIGHT.fullmatch(tensor.name)
        if match is None:
            if tensor.name.endswith(_BASE) or (biases and tensor.name.endswith(".bias")):
                continue
            text = f"{WEIGHTS} holds {tensor.name}, which vLLM does not take for a LoRA weight."
            return [Objection(True, text, "save it as plain LoRA: no DoRA, no bias, no modules_to_save")]
        module = match["module"].rpartition(".")[2]
        modules.setdefault(module)
        layer = _LAYER.search(tensor.name)
        layers = max(layers, int(layer[1]) + 1 if layer else 0)
        if match["part"] == "lora_A.weight" and tensor.shape:
            rank = max(rank, tensor.shape[0])
        wrong = _shape(module, match["part"], tensor.shape, card) if plain else ""
        if wrong:
            shapes.setdefault(module, wrong)
    found = _rank(rank, max_rank, version)
    if layers > card.architecture.num_hidden_layers:
        text = f"it has {layers} layers, {card.id} has {card.architecture.num_hidden_layers}."
        found.append(Objection(True, text, other))
    strange = [each for each in modules if each not in (*_PLAIN_MODULES, *_EMBEDDINGS)] if plain else []
    if strange:
        text = f"it adapts {', '.join(strange[:_SHOWN])}, which {card.id} has not."
        found.append(Objection(True, text, other))
    if shapes:
        text = f"its shapes are not those of {card.id}: {'; '.join(list(shapes.values())[:2])}."
        found.append(Objection(True, text, other))
    return found


def _rank(rank: int, max_rank: int, version: str | None) -> list[Objection]:
    if rank <= max_rank:
        return []
    text = f"its rank is {rank}, and the container takes at most {max_rank} ({MAX_LORA_RANK})."
    enough = next((each for each in lora_ranks(version) if each >= rank), None)
    if enough is None:
        most = lora_ranks(version)[-1]
        return [Objection(True, text, f"train it with r={most} or less, the most that this vLLM takes")]
    return [Objection(True, text, f'in vllm.extra_args write - "{MAX_LORA_RANK}={enough}"')]


def _shape(module: str, part: str, shape: tuple[int, ...], card: ModelCard) -> str:
    """How a tensor's outer width differs from the model's; empty where it does not, or cannot be told."""
    if module not in _PLAIN_MODULES or len(shape) != 2:
        return ""
    arch = card.architecture
    hidden, heads = arch.hidden_size, arch.num_attention_heads * arch.head_dim
    keys = arch.num_key_value_heads * arch.head_dim
    inner = arch.intermediate_size or 0
    inputs, outputs = {
        "q_proj": (hidden, heads),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (heads, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }[module]
    has, wanted, word = (shape[1], inputs, "inputs") if "_A" in part else (shape[0], outputs, "outputs")
    return "" if not wanted or has == wanted else f"{module} has {has} {word}, the model's {wanted}"


def _same_model(one: str, other: str) -> bool:
    """Whether two ids or paths name the same model, be it a copy of another owner's or in another precision."""
    return _plain_name(one) == _plain_name(other)


def _plain_name(model: str) -> str:
    name = model.rstrip("/").rpartition("/")[2].lower()
    if "--" in name:  # a folder of the hub's cache
        name = name.rpartition("--")[2]
    shorter = None
    while shorter != name:
        name, shorter = shorter or name, _COPIES.sub("", shorter or name)
    return name.removeprefix("meta-").replace("_", "-").replace(".", "-")

"""One observed start-up as a row of text, and what the arithmetic says of it.

The columns are those of ``benchmarks/data/fit_truth.csv`` and ``benchmarks/data/model_arch.csv``, which its README
names. Observed columns (weights, activation, cache, tokens, outcome ...) are never read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from pydantic import ValidationError

from infra.cards import Architecture, LayerKinds, ModelCard, Vision, Weights
from infra.fit import Fit, Gpu, Options, Outcome, predict
from infra.fit.accounting import Constants
from infra.observed.gpus import gpu_named
from infra.recipes import catalog
from infra.recipes.checks.flag_values import read_size
from infra.versions import version_key

# Versions that stand for all where a row names none. The first is the answer, since its sampler takes the most: V1 with
# the sorting sampler; then V0, and V1 with the filter. The interval holds those of all three.
_ANY_VERSION: Final = ("0.11.0", "0.6.6", "0.19.0")
# The same for architectures that came later.
_LATER_VERSION: Final = ("0.19.0", "0.15.0", "0.21.0", "0.30.0")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_SIZE: Final = re.compile(r"\d+(?:\.\d+)?[kKmM]")
_FLAG: Final = re.compile(r"--([a-z][a-z0-9-]*)")
# What a column may say of weights that are not quantised, and words that every method of vLLM has one of.
_NOT_QUANTISED: Final = frozenset({"none", "null", "no", "false", "-", "auto"})
_SIXTEEN_BITS: Final = re.compile(r"(torch\.)?(bf16|fp16|bfloat16|float16|half|16[ -]?bits?)")
_METHOD: Final = re.compile(
    r"awq|gptq|marlin|fp[468]|int[348]|[234568]-?bit|w[48]a|bnb|bitsandbytes|compressed|modelopt|aqlm|auto-?round"
    r"|gguf|hqq|quark|torchao|qqq|inc\b|quip|squeezellm|bitblas|qat|nf4"
)
_UNGATED: Final = frozenset({"Starcoder2ForCausalLM", "OPTForCausalLM", "PhiForCausalLM", "FalconForCausalLM",
    "GPTNeoXForCausalLM", "GPT2LMHeadModel", "BloomForCausalLM", "MPTForCausalLM", "GPTBigCodeForCausalLM",
    "NemotronHForCausalLM", "NemotronForCausalLM", "MptForCausalLM"})  # fmt: skip

_METHOD_OF_WORD: Final = {
    "w8a8": "compressed-tensors",
    "w8a16": "compressed-tensors",
    "w4a16": "compressed-tensors",
    "int8": "gptq",
    "int4": "gptq",
    "autoround": "gptq",
    "bnb-4bit": "bitsandbytes",
}


@dataclass(frozen=True)
class RowPrediction:
    """What is predicted for one row; None where an input that it needs is unknown. GiB on one GPU, tokens."""

    id: str
    weights_gib_per_gpu: float | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    kv_gib: float | None = None
    kv_gib_low: float | None = None
    kv_gib_high: float | None = None
    kv_tokens: int | None = None
    estimated_max_len: int | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Observed:
    """A row as the arithmetic takes it; ``versions`` are several where the row names none."""

    card: ModelCard
    gpu: Gpu | None
    options: Options
    versions: tuple[str, ...]


def predict_row(
    row: Mapping[str, str], arch: Mapping[str, str] | None, constants: Constants | None = None
) -> RowPrediction:
    """Predict one row.

    Args:
        row: the row, by column.
        arch: the model's row of the architecture table; None when it has none.
        constants: other constants than the catalogue's; for the calibration.

    Raises:
        ValueError: a value is not of its kind; the text names column and value.
    """
    name = row.get("id") or ""
    observed = read_row(row, arch)
    if observed is None:
        return RowPrediction(name)
    gpu = observed.gpu or Gpu("unknown", 80.0, 9.0, 132)
    fits = [
        predict(observed.card, gpu, observed.options, version, constants) for version in observed.versions
    ]
    fit = fits[0]
    weights = round(fit.weights, 4)
    if observed.gpu is None:
        return RowPrediction(name, weights)
    return RowPrediction(
        name,
        weights,
        round(fit.activation, 4),
        round(fit.non_torch, 4),
        round(fit.kv_first_stage, 4),
        round(min(one.kv_low - one.kv_cache + one.kv_first_stage for one in fits), 4),
        round(max(one.kv_high - one.kv_cache + one.kv_first_stage for one in fits), 4),
        fit.kv_tokens,
        fit.estimated_max_len,
        _known_outcome(row, fit),
    )


def _known_outcome(row: Mapping[str, str], fit: Fit) -> str | None:
    """The verdict; None where it hangs on a length that the row does not name."""
    if fit.outcome is Outcome.KV_TOO_SMALL and not (row.get("max_model_len") or "").strip():
        return None
    return outcome_word(fit)


def outcome_word(fit: Fit) -> str:
    """The verdict in the table's words: ``ok``, ``kv_too_small`` or ``oom``."""
    if fit.outcome is Outcome.OK:
        return "ok"
    return "oom" if fit.outcome is Outcome.OUT_OF_MEMORY else "kv_too_small"


def read_row(row: Mapping[str, str], arch: Mapping[str, str] | None) -> Observed | None:
    """Read a row; None when the model's architecture is not known.

    Raises:
        ValueError: a value is not of its kind; the text names column and value.
    """
    # Flags as vLLM's command line has them are read like its Python arguments.
    args = _FLAG.sub(lambda flag: flag[1].replace("-", "_"), row.get("other_args") or "")
    card = card_of(row, arch)
    if card is None:
        return None
    gpu = gpu_named(row.get("gpu") or "", _float(row, "gpu_mem_gib"))
    versions, engine = _versions(row, args, card.architecture.name)
    method = method_of(row)
    options = Options(
        max_model_len=_whole(row, "max_model_len"),
        max_num_seqs=_whole(row, "max_num_seqs"),
        max_num_batched_tokens=_arg(args, "max_num_batched_tokens"),
        gpu_memory_utilization=_share(row, "gpu_memory_utilization"),
        tensor_parallel_size=_whole(row, "tp") or 1,
        pipeline_parallel_size=_whole(row, "pp") or 1,
        dtype=(row.get("dtype") or "").strip().removeprefix("torch.") or "auto",
        quantization=None if method == card.weights.quantization else method,
        kv_cache_dtype=(row.get("kv_cache_dtype") or "auto").strip() or "auto",
        enforce_eager=_yes(row, "enforce_eager"),
        enable_lora=_yes(row, "enable_lora"),
        max_loras=_arg(args, "max_loras") or 1,
        max_lora_rank=_arg(args, "max_lora_rank") or 16,
        enable_chunked_prefill=_chunked(args),
        enable_prefix_caching=_off(args, "enable_prefix_caching"),
        block_size=_arg(args, "block_size"),
        images_per_prompt=_arg(args, "image") or 1,
        kv_cache_memory_bytes=_cache_bytes(args),
        cpu_offload_gb=float(_arg(args, "cpu_offload_gb") or 0),
        compiled="compiled before" in args,
        engine=engine,
        usage="llm" if "LLM()" in args else "openai",
    )
    return Observed(card, gpu, options, versions)


def _number(text: str | None) -> float | None:
    match = _NUMBER.search((text or "").replace(",", ""))
    return float(match[0]) if match else None


def _float(row: Mapping[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    number = _number(text)
    if number is None and not re.search(r"[a-z]", text, re.IGNORECASE):
        raise ValueError(f"{column}: {text!r} is not a number")
    return number


def _share(row: Mapping[str, str], column: str) -> float | None:
    number = _float(row, column)
    if number is not None and not 0 < number <= 1:
        raise ValueError(f"{column}: {row[column]!r} is not above 0 and at most 1")
    return number


def _yes(row: Mapping[str, str], column: str) -> bool:
    return (row.get(column) or "").strip().lower() in ("true", "yes", "1")


def _whole(row: Mapping[str, str], column: str) -> int | None:
    text = (row.get(column) or "").strip()
    if _SIZE.fullmatch(text):
        return read_size(text)
    number = _float(row, column)
    return None if number is None or number <= 0 else int(number)


def _arg(args: str, name: str) -> int | None:
    match = re.search(rf"(?<![\w-]){name}['\"]?[=: ]+(\d+)", args)
    return int(match[1]) if match else None


def _off(args: str, name: str) -> bool | None:
    """False where a switch is off, None where nothing says so."""
    return False if f"no_{name}" in args or re.search(rf"{name}[= ]+false", args, re.IGNORECASE) else None


def _chunked(args: str) -> bool | None:
    if "chunked prefill off" in args or _off(args, "enable_chunked_prefill") is False:
        return False
    if re.search(r"enable-chunked-prefill|enable_chunked_prefill(=True)?", args):
        return True
    return None


def _cache_bytes(args: str) -> int | None:
    match = re.search(r"kv_cache_memory_bytes ?[= ] ?([\d.]+) GiB", args)
    return int(float(match[1]) * 2**30) if match else _arg(args, "kv_cache_memory_bytes")


def _versions(row: Mapping[str, str], args: str, architecture: str) -> tuple[tuple[str, ...], str | None]:
    """Return the vLLM versions that a row may mean, and the engine where it says which.

    Where it names no version they are those of the representative ones that have the architecture.
    """
    text = (row.get("vllm_version") or "").strip()
    said = f"{text} {args}"
    engine = "V0" if re.search(r"\bV0\b|VLLM_USE_V1=0", said) else None
    if re.search(r"\(V1\)|VLLM_USE_V1(=1|\b(?!=))|; V1\b|^V1\b", said):
        engine = "V1"
    match = re.search(r"(\d+\.\d+)(\.\d+|\.x)?(\.post\d+)?", text)
    if match is None:
        match = re.search(r"(?:V0|V1|vLLM|vllm)[ (]+(0\.\d+)(\.\d+|\.x)?(\.post\d+)?", args)
    if match is not None:
        version = match[1] + (match[2] or ".0").replace(".x", ".0") + (match[3] or "")
        if engine == "V0" and version_key(version) >= version_key("0.11.0"):
            engine = None
        return (version,), engine
    if engine == "V0":
        return ("0.6.6",), engine
    runs = catalog().architecture_runs(architecture)
    if not runs or any(run.holds(_ANY_VERSION[0]) for run in runs):
        return _ANY_VERSION, None
    having = tuple(version for version in _LATER_VERSION if any(run.holds(version) for run in runs))
    if having:
        return having, None
    old = tuple(version for version in _ANY_VERSION if any(run.holds(version) for run in runs))
    return old or (runs[-1].first,), None


def method_of(row: Mapping[str, str]) -> str | None:
    """The quantization method: the column's, else what the model's name says; None for 16 bits.

    Raises:
        ValueError: the column has a word that no method of vLLM has.
    """
    method = (row.get("quantization") or "").strip()
    if _SIXTEEN_BITS.fullmatch(method.lower()):
        return None
    if method and method.lower() not in _NOT_QUANTISED:
        if not _METHOD.search(method.lower()):
            raise ValueError(f"quantization: {method!r} is no method that is known")
        return method
    found = re.search(
        r"(w8a8|w8a16|w4a16|awq|gptq|fp8|int8|int4|bnb-4bit|mxfp4|nvfp4|autoround)",
        row.get("model_id") or "",
        re.I,
    )
    if found is None:
        return None
    word = found[1].lower()
    return _METHOD_OF_WORD.get(word, word)


def bits_of(name: str, method: str | None) -> int | None:
    """Bits of a quantised weight, by the words in the model's name and the method; None when they say nothing."""
    if method is None:
        return None
    text = f"{name} {method}".lower()
    if re.search(r"w4a16|int4|4-?bit|awq|nvfp4|mxfp4|autoround", text) and not re.search(
        r"int8|8-?bit", text
    ):
        return 4
    if re.search(r"w8a|int8|fp8|8-?bit", text):
        return 8
    if "2bit" in text:
        return 2
    return 4 if "gptq" in text or "bitsandbytes" in text else None


# Cards


def card_of(row: Mapping[str, str], arch: Mapping[str, str] | None) -> ModelCard | None:
    """Return the model of a row: the catalogue's card, else one of the same shape, else one made from the numbers.

    A fine-tune has its base's shape, so a card with the same architecture, layers, widths and heads tells what the
    table's columns leave out (kinds of layers, latent attention, experts).
    """
    name = (row.get("model_id") or "").strip()
    if name in catalog().models():
        return catalog().model(name)
    if arch is None or not (arch.get("architecture") or "").strip():
        return _called(name, method_of(row))
    shape = _shape(arch)
    method = method_of(row)
    sibling = _siblings().get(shape)
    size = _number(arch.get("weight_bytes_gib"))
    if sibling is not None:
        weights = sibling.weights
        if method != weights.quantization:
            weights = Weights(
                parameters=sibling.weights.parameters,
                bytes=int(size * 2**30) if size and method else None,
                dtype="bfloat16",
                quantization=method,
                quantization_bits=bits_of(name, method),
            )
        return sibling.model_copy(update={"id": name, "weights": weights})
    return _made(name, arch, method, size)


def _called(name: str, method: str | None) -> ModelCard | None:
    """Return the card that a name without a shape means: its id begins so (``…-119B`` means ``…-119B-2603``).

    None where cards of several shapes begin so: ``Qwen/Qwen3`` is no model.
    """
    wanted = name.partition(" (")[0].strip().casefold()
    found = [each for each in catalog().models() if f"{each.casefold()}-".startswith(f"{wanted}-")]
    cards = [catalog().model(each) for each in sorted(found, key=len)]
    if len({(card.architecture.num_hidden_layers, card.architecture.hidden_size) for card in cards}) != 1:
        return None
    card = cards[0]
    if method is None or method == card.weights.quantization:
        return card
    weights = Weights(
        parameters=card.weights.parameters,
        dtype="bfloat16",
        quantization=method,
        quantization_bits=bits_of(name, method),
    )
    return card.model_copy(update={"weights": weights})


def _shape(arch: Mapping[str, Any]) -> tuple[Any, ...]:
    columns = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "vocab_size")
    return (
        str(arch.get("architecture")).strip(),
        *(int(_number(str(arch.get(c) or "")) or 0) for c in columns),
    )


@functools.lru_cache(maxsize=1)
def _siblings() -> dict[tuple[Any, ...], ModelCard]:
    """One card for every shape of the catalogue; unquantised ones first."""
    found: dict[tuple[Any, ...], ModelCard] = {}
    books = catalog()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for name in books.models():
        raw = yaml.load(books.model_path(name).read_text(encoding="utf-8"), loader)
        try:
            card = ModelCard.model_validate(raw)
        except ValidationError:
            continue
        arch = card.architecture
        key = (
            arch.name,
            arch.num_hidden_layers,
            arch.hidden_size,
            arch.num_attention_heads,
            arch.num_key_value_heads,
            arch.vocab_size,
        )
        if key not in found or (
            card.weights.quantization is None and found[key].weights.quantization is not None
        ):
            found[key] = card
    return found


def _made(name: str, arch: Mapping[str, str], method: str | None, size: float | None) -> ModelCard | None:
    """Make a card from the architecture table's columns alone; None when a needed number is missing."""
    needed = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    numbers = {column: _number(arch.get(column)) for column in (*needed, "num_key_value_heads", "head_dim")}
    if any(not numbers[column] for column in needed):
        return None
    layers, hidden, heads, vocabulary = (int(numbers[column] or 0) for column in needed)
    kv_heads = int(numbers["num_key_value_heads"] or heads)
    width = int(numbers["head_dim"] or hidden // heads)
    window = (arch.get("sliding_window") or "").strip()
    kinds = _kinds(window, layers)
    tokens = _number(window)
    parameters = _number(arch.get("params_billion"))
    if "nominal" in (arch.get("params_billion") or ""):
        parameters = None
    vision = _number(arch.get("vision_params"))
    architecture = arch["architecture"].strip()
    try:
        return ModelCard(
            id=name,
            family=architecture,
            gated=False,
            chat_template=True,
            modalities=("text", "image") if vision else ("text",),
            architecture=Architecture(
                name=architecture,
                num_hidden_layers=layers,
                hidden_size=hidden,
                intermediate_size=int(_number(arch.get("intermediate_size")) or 4 * hidden),
                gated_mlp=architecture not in _UNGATED,
                num_attention_heads=heads,
                num_key_value_heads=kv_heads,
                head_dim=width,
                vocab_size=vocabulary,
                tie_word_embeddings=(arch.get("tie_word_embeddings") or "").strip().lower() == "true",
                max_position_embeddings=int(_number(arch.get("max_position_embeddings")) or 32768),
                sliding_window=int(tokens) if kinds is not None and tokens else None,
                layer_kinds=kinds,
            ),
            vision=Vision(parameters=int(vision * 10**9)) if vision else None,
            weights=Weights(
                parameters=int(parameters * 10**9) if parameters else None,
                bytes=int(size * 2**30) if size and method else None,
                dtype="bfloat16",
                quantization=method,
                quantization_bits=bits_of(name, method),
            ),
            sources={"architecture": arch.get("source") or "the architecture table"},
        )
    except ValidationError as error:
        raise ValueError(
            f"{name}: the architecture row holds no possible model: {error.errors()[0]['msg']}"
        ) from error


def _kinds(window: str, layers: int) -> LayerKinds | None:
    """Read ``4096``, ``4096 (every 2nd layer)`` or ``512 (5 of 6 layers)``."""
    if not window:
        return None
    some = re.search(r"(\d+) of (\d+) layers", window)
    every = re.search(r"every (\d+)(?:st|nd|rd|th) layer", window)
    if some:
        sliding = layers - -(-layers // int(some[2])) * (int(some[2]) - int(some[1]))
        full = layers // int(some[2]) * (int(some[2]) - int(some[1]))
        sliding = layers - full
    elif every:
        sliding = layers // int(every[1])
    else:
        sliding = layers
    return LayerKinds(full=layers - sliding, sliding=sliding)

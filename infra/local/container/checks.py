"""vLLM's checks of model, arguments and machine before any memory is taken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from infra.cards import ModelCard
from infra.fit import Gpu
from infra.local.container.arguments import Options
from infra.local.container.contract import ContainerRequest
from infra.local.container.lines import Log
from infra.recipes.adapters import DEFAULT_RANK, lora_ranks
from infra.recipes.catalog import catalog

# Chat templates in vLLM's images, below /vllm-workspace/examples: docker image and repository of 0.6.2 and later.
_SHIPPED: Final = re.compile(
    r"^(/vllm-workspace/)?(examples/)?(tool_chat_template|template)_[a-z0-9_.]+\.jinja$"
)


@dataclass(frozen=True)
class Problem:
    """A check that fails: the exception's class and text."""

    kind: str
    text: str


def shipped_template(name: str) -> bool:
    """Say whether a chat template's path is one of those in vLLM's images."""
    return _SHIPPED.match(name) is not None


def model_type(card: ModelCard) -> str:
    """Return ``model_type`` of config.json, as far as error texts show it."""
    name = card.architecture.name
    if name.startswith("Mllama"):
        return "mllama"
    return re.sub(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel)$", "", name).lower()


def image_limit(options: Options) -> int:
    """Return how many images a request may carry: 1 unless ``--limit-mm-per-prompt`` says more."""
    given = options.given.get("limit_mm_per_prompt")
    if isinstance(given, dict):
        value = given.get("image", 1)
        return int(value.get("count", 1)) if isinstance(value, dict) else int(value)
    match = re.search(r"image['\"]?\s*[=:]\s*(\d+)", str(given)) if given else None
    return int(match.group(1)) if match else 1


def length(card: ModelCard, options: Options, env: Mapping[str, str]) -> int:
    """Return ``max_model_len``: the given one, else the model's."""
    given = options.maybe_whole("max_model_len")
    return given if given and given > 0 else card.architecture.max_position_embeddings


def dtype(card: ModelCard, options: Options, gpu: Gpu, log: Log) -> str:
    """Return the torch type that is used, as the engine's configuration line shows it."""
    asked = options.text("dtype") or "auto"
    if asked == "auto":
        asked = card.weights.dtype or "bfloat16"
        if asked == "bfloat16" and gpu.capability < 8.0 and log.dialect.since("0.9.0"):
            asked = "float16"
    names = {"half": "float16", "float": "float32"}
    return f"torch.{names.get(asked, asked)}"


def problems(
    card: ModelCard, options: Options, request: ContainerRequest, gpu: Gpu | None, log: Log
) -> Iterator[Problem]:
    """Yield the checks that fail, in vLLM's order; the caller stops at the first."""
    if card.needs_remote_code and not options.on("trust_remote_code"):
        yield Problem(
            "ValueError",
            f"Loading {options.model} requires you to execute the configuration file in that repo on your local "
            "machine. Make sure you have read the code there to avoid malicious use, then set the option "
            "`trust_remote_code=True` to remove this error.",
        )
    yield from _lengths(card, options, request.env)
    yield from _quantization(card, options, log)
    if gpu is None:
        yield Problem("RuntimeError", "Failed to infer device type")
        return
    yield from _parallel(card, options, request, log)
    yield from _lora(card, options, log)
    yield from _device(card, options, gpu, log)
    yield from _batching(card, options, log)


def _lengths(card: ModelCard, options: Options, env: Mapping[str, str]) -> Iterator[Problem]:
    given = options.maybe_whole("max_model_len")
    limit = card.architecture.max_position_embeddings
    if given is None or given <= limit or env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return
    yield Problem(
        "ValueError",
        f"User-specified max_model_len ({given}) is greater than the derived max_model_len "
        f"(max_position_embeddings={limit} or model_max_length=None in model's config.json). This may lead to "
        "incorrect model outputs or CUDA errors. To allow overriding this maximum, set the env var "
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1",
    )


def _quantization(card: ModelCard, options: Options, log: Log) -> Iterator[Problem]:
    asked, own = options.text("quantization"), card.weights.quantization
    if asked is None or asked == "None":
        return
    methods = catalog().flags(log.dialect.version).quantization
    if asked not in methods:
        shown = ", ".join(repr(name) for name in methods)
        # Before 0.9 argparse refuses it: the names are the flag's choices there.
        yield Problem("ValueError", f"Unknown quantization method: {asked}. Must be one of [{shown}].")
    elif own and own != asked and not asked.startswith(own):
        yield Problem(
            "ValueError",
            f"Quantization method specified in the model config ({own}) does not match the quantization method "
            f"specified in the `quantization` argument ({asked}).",
        )


def _parallel(card: ModelCard, options: Options, request: ContainerRequest, log: Log) -> Iterator[Problem]:
    tensor, pipeline = options.whole("tensor_parallel_size", 1), options.whole("pipeline_parallel_size", 1)
    heads = card.architecture.num_attention_heads
    if tensor < 1 or heads % tensor:
        yield Problem(
            "ValueError",
            f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({tensor}).",
        )
    if tensor * pipeline > request.accelerator_count:
        log.warning(
            "ray_utils.py",
            "The number of required GPUs exceeds the total number of available GPUs in the placement group.",
        )
        specs = [{"GPU": 1.0} for _ in range(tensor * pipeline)]
        yield Problem(
            "ValueError",
            f"Cannot provide a placement group of placement_group_specs={specs} within 1800 seconds. See `ray status` "
            f"to make sure the cluster has enough resources. ({tensor * pipeline} GPUs wanted, the machine "
            f"{request.machine_type} has {request.accelerator_count})",
        )


def _lora(card: ModelCard, options: Options, log: Log) -> Iterator[Problem]:
    if not options.on("enable_lora"):
        return
    loras, cpu = options.whole("max_loras", 1), options.maybe_whole("max_cpu_loras")
    if cpu is not None and cpu < loras:
        yield Problem("ValueError", f"max_cpu_loras ({cpu}) must be >= max_loras ({loras})")
    rank, ranks = options.whole("max_lora_rank", DEFAULT_RANK), lora_ranks(log.dialect.version)
    if rank not in ranks and not log.dialect.since("0.14.0"):
        yield Problem("ValueError", f"max_lora_rank ({rank}) must be one of {ranks}.")
    if card.architecture.name.startswith("Mllama"):
        yield Problem(
            "ValueError",
            f"Model {card.architecture.name} does not support LoRA, but LoRA is enabled. Support for this model may be "
            "added in the future. If this is important to you, please open an issue on github.",
        )


def _device(card: ModelCard, options: Options, gpu: Gpu, log: Log) -> Iterator[Problem]:
    asked = options.text("dtype") or "auto"
    wanted = card.weights.dtype if asked == "auto" else asked
    automatic = asked == "auto" and log.dialect.since("0.9.0")
    if wanted == "bfloat16" and gpu.capability < 8.0 and not automatic:
        yield Problem(
            "ValueError",
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your "
            f"{gpu.name} GPU has compute capability {gpu.capability:.1f}. You can use float16 instead by explicitly "
            "setting the`dtype` flag in CLI, for example: --dtype=half.",
        )
    method = options.text("quantization") or card.weights.quantization
    needed = catalog().quantization_capability(method, log.dialect.version) if method else None
    least, has = needed[0] * 10 + needed[1] if needed else 0, round(gpu.capability * 10)
    if has < least:
        yield Problem(
            "ValueError",
            f"The quantization method {method} is not supported for the current GPU. Minimum capability: "
            f"{least}. Current capability: {has}.",
        )


def _batching(card: ModelCard, options: Options, log: Log) -> Iterator[Problem]:
    tokens, sequences = options.maybe_whole("max_num_batched_tokens"), options.maybe_whole("max_num_seqs")
    chunked = str(options.given.get("enable_chunked_prefill", "")).lower() == "true" or log.dialect.since(
        "0.8.0"
    )
    limit = options.maybe_whole("max_model_len")
    if tokens is not None and limit is not None and tokens < limit and not chunked:
        yield Problem(
            "ValueError",
            f"max_num_batched_tokens ({tokens}) is smaller than max_model_len ({limit}). This effectively limits the "
            "maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase "
            "max_num_batched_tokens or decrease max_model_len.",
        )
    if tokens is not None and sequences is not None and tokens < sequences:
        yield Problem(
            "ValueError",
            f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({sequences}).",
        )

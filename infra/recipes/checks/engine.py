"""What vLLM's engine refuses of options that are each right alone: lengths, batches, caches, quantization.

Each rule names its place in the wheels of 0.6.2 to 0.32.0; versions are those in which it was read.
"""

from __future__ import annotations

from typing import Final

from infra.cards import ModelCard
from infra.recipes.arguments import (
    CHUNKED_PREFILL,
    KV_CACHE_DTYPE,
    LOAD_FORMAT,
    LONGER_CONTEXT,
    MAX_BATCHED_TOKENS,
    NO_SLIDING_WINDOW,
    PREFIX_CACHING,
    QUANTIZATION,
    passed,
)
from infra.recipes.checks.flag_values import read_size
from infra.recipes.checks.report import Report
from infra.recipes.errors import FlagError, ValueProblem
from infra.versions import version_key

__all__ = ["check_batch", "check_engine", "check_lengths"]

# The V1 engine, default from 0.8.0, takes chunked prefill, prefix caching and sliding windows together.
_V1: Final = (0, 8, 0, 0)
_LONG: Final = 32768  # EngineArgs.create_engine_config up to 0.7.3: a longer context turns chunked prefill on
_ENCODERS: Final = (
    "MllamaForConditionalGeneration",
)  # the catalogue's only family with an encoder and cross attention


def check_lengths(report: Report, card: ModelCard, version: str | None) -> None:
    """Check the context length against the model's positions.

    vLLM: ``_get_and_verify_max_len`` of ``vllm/config``. Positions are those of ``config.json`` with its own RoPE
    scaling applied. Up to 0.6.4 Gemma 2 is cut to its sliding window (``ModelConfig.__init__``).
    """
    vllm, shape = report.stack.vllm, card.architecture
    positions = shape.max_position_embeddings
    text = f"{card.id} has {positions} positions; vLLM refuses a longer context."
    window = shape.sliding_window
    if shape.name == "Gemma2ForCausalLM" and window and version and version_key(version) < (0, 6, 5):
        positions = min(positions, window)
        text = f"vLLM {version} cuts {card.id} to its sliding window of {positions} tokens and refuses more."
    if vllm.max_model_len > positions and not LONGER_CONTEXT & set(passed(vllm)):
        remedy = f"max_model_len: {positions} or less"
        report.refuse(ValueProblem, "vllm.max_model_len", vllm.max_model_len, text, remedy=remedy)


def check_batch(report: Report, card: ModelCard, version: str | None) -> None:
    """Check requests and context length against the tokens of one batch.

    vLLM: ``SchedulerConfig`` of every version refuses fewer tokens than requests, and fewer than max_model_len unless
    chunked prefill is on; ``EngineArgs`` up to 0.7.3 turns that on beyond 32,768 tokens for text without LoRA and
    sliding window, later versions always. Its default batch is 512 tokens with chunked prefill up to 0.6.4, 2048 up to
    0.7.3, and without it the larger of 2048 and max_model_len.
    """
    if version is None:
        return
    vllm, given = report.stack.vllm, passed(report.stack.vllm)
    v1, chunked = version_key(version) >= _V1, _chunked(report, card, version)
    tokens = _number(given.get(MAX_BATCHED_TOKENS))
    key = _key_of(report, MAX_BATCHED_TOKENS)
    if tokens is not None:
        if tokens < vllm.max_num_seqs:
            text = f"must be at least vllm.max_num_seqs ({vllm.max_num_seqs})."
            remedy = f'- "{MAX_BATCHED_TOKENS}={vllm.max_num_seqs}" or more'
            report.refuse(FlagError, key, f"{MAX_BATCHED_TOKENS}={tokens}", text, remedy=remedy)
        elif tokens < vllm.max_model_len and not chunked:
            text = f"must be at least vllm.max_model_len ({vllm.max_model_len}) without chunked prefill."
            remedy = f'- "{MAX_BATCHED_TOKENS}={vllm.max_model_len}" or more, or - "{CHUNKED_PREFILL}"'
            report.refuse(FlagError, key, f"{MAX_BATCHED_TOKENS}={tokens}", text, remedy=remedy)
        return
    if v1:
        return
    least = 4096 if card.multimodal else 2048  # _MULTIMODAL_MODEL_MAX_NUM_BATCHED_TOKENS of 0.6.2
    most = max(vllm.max_model_len, least)
    how = f"the larger of {least} and max_model_len"
    if chunked:
        most, how = (512 if version_key(version) < (0, 6, 5) else 2048), "with chunked prefill"
        if card.multimodal:
            most = max(most, least)
    if vllm.max_num_seqs > most:
        text = f"vLLM {version} batches {most} tokens, {how}, so fewer requests."
        remedy = f"max_num_seqs: {most} or less"
        report.refuse(ValueProblem, "vllm.max_num_seqs", vllm.max_num_seqs, text, remedy=remedy)


def check_engine(report: Report, card: ModelCard, version: str | None) -> None:
    """Check options that the V0 engine or a checkpoint's quantization does not take together.

    vLLM: prefix caching with a sliding window, ``CacheConfig._verify_prefix_caching`` up to 0.7.3; chunked prefill with
    it, ``create_engine_config`` of 0.6.2; both with an encoder, ``assert_enc_dec_mr_supported_scenario`` up to 0.10;
    CUDA graphs with an encoder, ``ModelConfig._verify_cuda_graph``, which turns them off by itself from 0.6.6;
    LoRA with chunked prefill, ``verify_with_scheduler_config`` up to 0.6.4; fp8_e5m2 caches of float8 checkpoints,
    ``vllm/attention/layer.py``; bitsandbytes, ``create_engine_config`` up to 0.8.1.
    """
    if version is None:
        return
    vllm, given, key = report.stack.vllm, passed(report.stack.vllm), version_key(version)

    def refuse(flag: str, text: str, remedy: str = "delete the argument") -> None:
        value = given.get(flag)
        report.refuse(
            FlagError, _key_of(report, flag), f"{flag}={value}" if value else flag, text, remedy=remedy
        )

    asked = CHUNKED_PREFILL in given and _on(given[CHUNKED_PREFILL])
    caching = PREFIX_CACHING in given and _on(given[PREFIX_CACHING])
    windowed = card.architecture.sliding_window is not None and not card.architecture.kinds.full
    if windowed and NO_SLIDING_WINDOW not in given:
        window = card.architecture.sliding_window
        remedy = f'add - "{NO_SLIDING_WINDOW}" (and max_model_len: {window} or less), or delete the argument'
        if caching and key < _V1:
            refuse(
                PREFIX_CACHING,
                f"vLLM {version} has none with the sliding window of {card.id} ({window}).",
                remedy,
            )
        if asked and key < (0, 6, 3):
            refuse(
                CHUNKED_PREFILL,
                f"vLLM {version} has none with the sliding window of {card.id} ({window}).",
                remedy,
            )
    if card.architecture.name in _ENCODERS:
        for flag, on in ((PREFIX_CACHING, caching), (CHUNKED_PREFILL, asked)):
            if on:
                refuse(flag, f"vLLM has none for models with an encoder, such as {card.id}.")
    if card.architecture.name in _ENCODERS and key < (0, 6, 6) and not vllm.enforce_eager:
        text = f"vLLM {version} has no CUDA graphs for {card.id}; from 0.6.6 on it does without by itself."
        report.refuse(ValueProblem, "vllm.enforce_eager", False, text, remedy="enforce_eager: true")
    if vllm.enable_lora and asked and key < (0, 6, 5):
        refuse(CHUNKED_PREFILL, f"vLLM {version} has none together with vllm.enable_lora; 0.6.5 has.")
    method = given.get(QUANTIZATION) or card.weights.quantization
    if given.get(KV_CACHE_DTYPE) == "fp8_e5m2" and card.weights.quantization in ("fp8", "fbgemm_fp8"):
        text = f"vLLM refuses it for a float8 checkpoint, and {card.id} is quantized as {method}."
        refuse(KV_CACHE_DTYPE, text, f'- "{KV_CACHE_DTYPE}=fp8"')
    if (
        given.get(QUANTIZATION) == "bitsandbytes"
        and given.get(LOAD_FORMAT) != "bitsandbytes"
        and key < (0, 8, 2)
    ):
        refuse(
            QUANTIZATION,
            f"vLLM {version} wants the load format to match.",
            f'add - "{LOAD_FORMAT}=bitsandbytes"',
        )


def _chunked(report: Report, card: ModelCard, version: str) -> bool:
    """Whether chunked prefill is on: asked for, or by the version's own default."""
    vllm, given = report.stack.vllm, passed(report.stack.vllm)
    if "--no-enable-chunked-prefill" in given:
        return False
    if CHUNKED_PREFILL in given:
        return _on(given[CHUNKED_PREFILL])
    if version_key(version) >= _V1:
        return True
    windowed = card.architecture.sliding_window is not None and not card.architecture.kinds.full
    return vllm.max_model_len > _LONG and not (card.multimodal or vllm.enable_lora or windowed)


def _on(value: str | None) -> bool:
    return value is None or value.lower() == "true"


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else read_size(text)
    except (ValueError, OverflowError):
        return None  # refused where the argument's value is read


def _key_of(report: Report, flag: str) -> str:
    for index, argument in enumerate(report.stack.vllm.extra_args):
        if argument.partition("=")[0].replace("_", "-") == flag:
            return f"vllm.extra_args[{index}]"
    return "vllm.extra_args"

"""The facts of one start-up, as the words that ``infra/catalog/vllm_memory.csv`` uses in its column ``when``."""

from __future__ import annotations

from typing import Final

from infra.cards import ModelCard
from infra.fit.accounting import Accounting, Constants
from infra.fit.types import Gpu, Options
from infra.fit.weights import quantization

# The sampler sorts fewer rows than this with another algorithm of torch's.
_FEW: Final = 128


def runner(card: ModelCard, gpu: Gpu, options: Options, version: str, table: Constants | None = None) -> str:
    """Return the model runner that vLLM takes by itself: ``V0``, ``V1`` or ``V2`` (V1's second runner)."""
    if options.engine is not None:
        return options.engine
    return Accounting(version, _static(card, gpu, options), table).text("runner")


def accounting(
    card: ModelCard,
    gpu: Gpu,
    options: Options,
    version: str,
    *,
    sequences: int | None = None,
    table: Constants | None = None,
) -> Accounting:
    """Return what this version does at this start-up.

    Args:
        card: the model.
        gpu: the GPU.
        options: vLLM's options.
        version: vLLM's version.
        sequences: ``max_num_seqs`` in force, once it is known.
        table: other constants than the catalogue's.
    """
    facts = set(_static(card, gpu, options))
    facts.add(runner(card, gpu, options, version, table))
    if sequences is not None and 2 <= sequences < _FEW:
        facts.add("few_sequences")
    return Accounting(version, frozenset(facts), table)


def _static(card: ModelCard, gpu: Gpu, options: Options) -> frozenset[str]:
    arch = card.architecture
    method = quantization(card, options)
    kinds = arch.kinds
    facts = {
        f"arch:{arch.name}": True,
        "cap8": gpu.capability >= 8.0,
        "cap9": 9.0 <= gpu.capability < 10.0,
        "cap10": 10.0 <= gpu.capability < 11.0,
        "hopper": gpu.hopper_or_later,
        "h100": any(name in gpu.name.lower() for name in ("h100", "h200")),
        "a100": "a100" in gpu.name.lower(),
        "mem70": gpu.total >= 70,
        "mem160": gpu.total >= 160,
        "mllama": bool(kinds.cross),
        "moe": arch.experts is not None,
        "hybrid": arch.state is not None,
        # Mamba 2's convolution runs over more than its heads; Mamba 1's does not.
        "mamba": arch.state is not None
        and not kinds.linear
        and arch.state.conv_channels > arch.state.num_heads * arch.state.head_dim,
        "image": card.vision is not None,
        "quantised": method is not None,
        "mxfp4": method is not None and "mxfp4" in method,
        "tp>1": options.tensor_parallel_size > 1,
        "tp>2": options.tensor_parallel_size > 2,
        "tp>4": options.tensor_parallel_size > 4,
        "pp>1": options.pipeline_parallel_size > 1,
        "eager": options.enforce_eager,
        "compiled": options.compiled,
        "lora": options.enable_lora,
        "kv_dtype": options.kv_cache_dtype != "auto",
        "offload": options.cpu_offload_gb > 0,
        "bitsandbytes": method is not None and ("bitsandbytes" in method or "bnb" in method),
        "prefix_caching": options.enable_prefix_caching is not False,
        "flashinfer": options.flashinfer,
        "total_known": gpu.total_known,
        "total_unknown": not gpu.total_known,
        options.usage: True,
    }
    return frozenset(word for word, holds in facts.items() if holds)

"""How a model is split over the GPUs of one machine: tensor and pipeline parallel sizes, and what forbids them.

Knows vLLM's rules, not stack files. Read from ``vllm/config``, ``vllm/distributed/utils.py`` and
``vllm/model_executor`` of the wheels of 0.6.2 to 0.32.0; each rule names its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from infra.cards import ModelCard
from infra.recipes.catalog import ArchitectureRun

__all__ = ["Split", "Splitter", "divisors"]

_VOCABULARY_PADDING = 64  # DEFAULT_VOCAB_PADDING_SIZE of vocab_parallel_embedding.py, every version
_FP8_BLOCKS = frozenset({"fp8"})
_GROUPED = frozenset({"awq", "gptq", "compressed-tensors", "auto-round", "awq_marlin", "gptq_marlin"})


@dataclass(frozen=True, slots=True)
class Split:
    """``tensor`` x ``pipeline`` GPUs hold the model once."""

    tensor: int
    pipeline: int

    @property
    def gpus(self) -> int:
        """GPUs of one copy of the model."""
        return self.tensor * self.pipeline


@dataclass(frozen=True, slots=True)
class Splitter:
    """The rules for one model in one version of vLLM.

    ``architecture`` is the model's in that version, None where either is not known. ``whole_experts``: each expert
    stays on one GPU (``--enable-expert-parallel``); ``whole_encoder``: every GPU has all of the image encoder
    (``--mm-encoder-tp-mode=data``).
    """

    card: ModelCard
    architecture: ArchitectureRun | None
    whole_experts: bool = False
    whole_encoder: bool = False

    def split(self, gpus: int, tensor: int | None = None, pipeline: int | None = None) -> Split:
        """The sizes for a number of GPUs, as far as they are not given.

        The largest tensor parallel size that the model allows, and pipeline parallelism over what remains; over
        nothing but tensors where no split is allowed. What is given is kept, whether it is allowed or not.

        Args:
            gpus: GPUs of one machine.
            tensor: the tensor parallel size, when it is given.
            pipeline: the pipeline parallel size, when it is given.
        """
        if tensor is not None:
            return Split(tensor, pipeline or max(1, gpus // tensor))
        if pipeline is not None:
            return Split(max(1, gpus // pipeline), pipeline)
        return next(self.allowed(gpus), Split(gpus, 1))

    def allowed(self, gpus: int) -> Iterator[Split]:
        """Every split of a number of GPUs that vLLM takes, the largest tensor parallel size first."""
        for tensor in reversed(divisors(gpus)):
            found = Split(tensor, gpus // tensor)
            if not any(self.tensor_problems(tensor)) and not any(self.pipeline_problems(found.pipeline)):
                yield found

    def pipeline_problems(self, size: int) -> Iterator[str]:
        """What forbids a pipeline parallel size, each a sentence without its subject.

        vLLM: ``verify_with_parallel_config`` of the model's configuration; ``get_pp_indices`` of
        ``vllm/distributed/utils.py`` gives each stage at least one layer.
        """
        layers = self.card.architecture.num_hidden_layers
        if size > layers:
            yield f"the {layers} layers of {self.card.id} cannot be split into {size} stages."
        if size > 1 and self.architecture is not None and not self.architecture.pipeline_parallel:
            name, first, gone = self.architecture.name, self.architecture.first, self.architecture.gone
            span = f"{first} and later" + (f", before {gone}" if gone else "")
            yield f"vLLM ({span}) has no pipeline parallelism for {name}; it would run in {size} stages."

    def tensor_problems(self, size: int) -> Iterator[str]:
        """What forbids a tensor parallel size, each a sentence without its subject.

        vLLM: attention heads, ``verify_with_parallel_config`` of the model's configuration; KV heads, the attention of
        each model and ``QKVParallelLinear``; vocabulary (padded to a multiple of 64) and MLP, ``divide`` of
        ``vllm/distributed/utils.py``; experts, ``FusedMoE``; image encoder, its attention; recurrent heads,
        ``mamba_mixer2.py`` and the linear attentions.
        """
        if size == 1:
            return
        card, shape = self.card, self.card.architecture
        heads = shape.num_attention_heads
        if heads % size:
            yield f"the {heads} attention heads of {card.id} cannot be split over {size} GPUs."
        if shape.mla is None:
            counts = {shape.num_key_value_heads, shape.full_num_key_value_heads or shape.num_key_value_heads}
            for count in sorted(counts):
                if count % size and size % count:
                    yield f"the {count} KV heads of {card.id} can neither be split over {size} GPUs nor copied evenly."
        padded = -(-shape.vocab_size // _VOCABULARY_PADDING) * _VOCABULARY_PADDING
        if padded % size:
            yield (
                f"the vocabulary of {card.id}, {shape.vocab_size} padded to {padded}, cannot be split over {size} GPUs."
            )
        for what, width in self._widths():
            if width % size:
                yield f"{what} of {card.id}, {width} wide, cannot be split over {size} GPUs."
        if shape.state is not None and shape.state.num_heads % size:
            yield f"the {shape.state.num_heads} recurrent heads of {card.id} cannot be split over {size} GPUs."
        seen = card.vision.num_attention_heads if card.vision is not None else None
        if seen is not None and seen % size and not self.whole_encoder:
            yield f"the {seen} heads of the image encoder of {card.id} cannot be split over {size} GPUs."
        yield from self._block_problems(size)

    def _widths(self) -> Iterator[tuple[str, int]]:
        """The MLPs that tensor parallelism splits, and their widths in elements."""
        shape = self.card.architecture
        experts = shape.experts
        dense = experts is None or experts.num_dense_layers > 0
        if shape.intermediate_size is not None and dense:
            yield "the MLP", shape.intermediate_size
        if experts is not None:
            if not self.whole_experts:
                yield "each expert", experts.moe_intermediate_size
            if experts.shared_intermediate_size is not None:
                yield "the shared experts", experts.shared_intermediate_size

    def _block_problems(self, size: int) -> Iterator[str]:
        """What the blocks or groups of a quantised checkpoint forbid.

        vLLM: ``Fp8LinearMethod`` and ``Fp8MoEMethod`` (from 0.10 ``validate_fp8_block_shape``) want every part of a
        matrix to be whole blocks; ``AWQLinearMethod``, ``GPTQLinearMethod``, the Marlin kernels and the packed scheme
        of compressed-tensors want the inputs of a row-parallel matrix (attention output, MLP down) to be whole groups.
        Experts in groups are padded instead (``moe_wna16.py``).
        """
        weights, shape = self.card.weights, self.card.architecture
        method, block = weights.quantization, weights.group_size
        if block is None or method is None:
            return
        if method in _FP8_BLOCKS:
            block = math.isqrt(block)  # a square block of weights shares one scale
            parts = [*self._widths(), *self._attention_widths(size)]
            term = "weight quantization block"
        elif method in _GROUPED and (weights.quantization_bits or 4) <= 8:
            parts = [part for part in self._widths() if "expert" not in part[0]]
            value = shape.mla.v_head_dim if shape.mla else shape.v_head_dim or shape.head_dim
            parts.append(("the attention output", shape.num_attention_heads * value))
            term = "quantization group"
        else:
            return
        for what, width in parts:
            if width % size == 0 and width // size % block:
                yield (
                    f"{what} of {self.card.id}, {width} wide, would be {width // size} on each of {size} GPUs, which is"
                    f" not divisible by the {term} of {block}."
                )

    def _attention_widths(self, size: int) -> Iterator[tuple[str, int]]:
        """The attention matrices of a layer as they are split: by whole heads, KV heads copied where they are fewer."""
        shape = self.card.architecture
        heads = shape.num_attention_heads
        if shape.mla is not None:
            nope, rope, value = shape.mla.qk_nope_head_dim, shape.mla.qk_rope_head_dim, shape.mla.v_head_dim
            yield "the queries", heads * (nope + rope)
            yield "the keys and values", heads * (nope + value)
            yield "the attention output", heads * value
            return
        yield "the queries", heads * shape.head_dim
        yield "the keys", max(shape.num_key_value_heads, size) * shape.head_dim


def divisors(number: int) -> tuple[int, ...]:
    """The whole numbers that divide a positive number, ascending."""
    return tuple(candidate for candidate in range(1, number + 1) if number % candidate == 0)

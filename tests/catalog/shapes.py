"""Parameters of a model, counted from the shapes of its card: a second opinion on ``weights.parameters``.

What a card does not say (biases, norms, the rows of an embedding) is known by architecture, as transformers builds it
(``src/transformers/models/<family>/modeling_*.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from infra.cards import Architecture, ModelCard, Vision

__all__ = ["FAMILIES", "Matrix", "matrices", "text_parameters", "vision_parameters"]

Part = Literal["embedding", "attention", "indexer", "mlp", "shared", "expert", "router"]


@dataclass(frozen=True)
class Matrix:
    """``count`` weights of ``rows x columns`` elements."""

    part: Part
    rows: int
    columns: int
    count: int

    @property
    def elements(self) -> int:
        """All elements of all of them."""
        return self.rows * self.columns * self.count


@dataclass(frozen=True)
class Family:
    """What an architecture has besides its matrices.

    ``qk_norm`` is a norm of queries and keys, over one head or over all heads together. ``norms`` are those of a layer
    of the hidden size, ``norm_bias`` says that they (and the last one) have a bias. ``extra_rows`` are rows that only
    the input embedding has.
    """

    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    router_bias: bool = False
    head_bias: bool = False
    norm_bias: bool = False
    norms: int = 2
    qk_norm: Literal["head", "all"] | None = None
    sinks: bool = False
    extra_rows: int = 0


_QWEN3: Final = Family(qk_norm="head")
_GEMMA3: Final = Family(norms=4, qk_norm="head")

FAMILIES: Final = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(),
    "MixtralForCausalLM": Family(),
    "Phi3ForCausalLM": Family(),
    "GemmaForCausalLM": Family(),
    "LlavaForConditionalGeneration": Family(),
    "LlavaNextForConditionalGeneration": Family(),
    "Llama4ForConditionalGeneration": Family(),
    "MllamaForConditionalGeneration": Family(extra_rows=8),
    "Qwen2ForCausalLM": Family(qkv_bias=True),
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3MoeForCausalLM": _QWEN3,
    "Qwen3VLForConditionalGeneration": _QWEN3,
    "Qwen3VLMoeForConditionalGeneration": _QWEN3,
    "Gemma2ForCausalLM": Family(norms=4),
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": _GEMMA3,
    "Gemma3nForConditionalGeneration": _GEMMA3,
    "DeepseekV3ForCausalLM": Family(router_bias=True),
    "DeepseekV32ForCausalLM": Family(router_bias=True),
    "MiniMaxM2ForCausalLM": Family(router_bias=True, qk_norm="all"),
    "GptOssForCausalLM": Family(qkv_bias=True, out_bias=True, mlp_bias=True, router_bias=True, sinks=True),
    "PhiMoEForCausalLM": Family(qkv_bias=True, out_bias=True, head_bias=True, norm_bias=True),
    "Phi3SmallForCausalLM": Family(qkv_bias=True, out_bias=True, mlp_bias=True, norm_bias=True),
    "GPTNeoXForCausalLM": Family(qkv_bias=True, out_bias=True, mlp_bias=True, norm_bias=True),
    "FalconForCausalLM": Family(norm_bias=True),
}


def _falcon_norms(arch: Architecture) -> int:
    """Falcon 40B and 180B have two norms a layer, 7B and 11B one (``num_ln_in_parallel_attn``)."""
    return 2 if arch.hidden_size >= 8192 else 1


def matrices(card: ModelCard) -> Iterator[Matrix]:
    """Yield the language model's matrices."""
    arch = card.architecture
    hidden, layers = arch.hidden_size, arch.num_hidden_layers
    yield Matrix("embedding", arch.vocab_size + FAMILIES[arch.name].extra_rows, hidden, 1)
    if not arch.tie_word_embeddings:
        yield Matrix("embedding", arch.vocab_size, hidden, 1)
    if arch.mla is not None:
        mla, heads = arch.mla, arch.num_attention_heads
        query = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        if mla.q_lora_rank:
            yield Matrix("attention", mla.q_lora_rank, hidden, layers)
        yield Matrix("attention", query, mla.q_lora_rank or hidden, layers)
        yield Matrix("attention", mla.kv_lora_rank + mla.qk_rope_head_dim, hidden, layers)
        yield Matrix("attention", heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank, layers)
        yield Matrix("attention", hidden, heads * mla.v_head_dim, layers)
        if mla.index_n_heads and mla.index_head_dim and mla.q_lora_rank:
            yield Matrix("indexer", mla.index_n_heads * mla.index_head_dim, mla.q_lora_rank, layers)
            yield Matrix("indexer", mla.index_head_dim, hidden, layers)
            yield Matrix("indexer", mla.index_n_heads, hidden, layers)
    else:
        query, key = (n * arch.head_dim for n in (arch.num_attention_heads, arch.num_key_value_heads))
        yield Matrix("attention", query, hidden, layers)
        yield Matrix("attention", key, hidden, 2 * layers)
        yield Matrix("attention", hidden, query, layers)
    yield from _mlps(arch)


def _mlps(arch: Architecture) -> Iterator[Matrix]:
    hidden, experts, ups = arch.hidden_size, arch.experts, 2 if arch.gated_mlp else 1
    dense = arch.num_hidden_layers if experts is None else experts.num_dense_layers
    if dense:
        assert arch.intermediate_size is not None
        yield Matrix("mlp", arch.intermediate_size, hidden, ups * dense)
        yield Matrix("mlp", hidden, arch.intermediate_size, dense)
    if experts is None:
        return
    sparse = arch.num_hidden_layers - dense
    each = sparse * experts.num_experts
    yield Matrix("expert", experts.moe_intermediate_size, hidden, ups * each)
    yield Matrix("expert", hidden, experts.moe_intermediate_size, each)
    yield Matrix("router", experts.num_experts, hidden, sparse)
    if experts.shared_intermediate_size:
        yield Matrix("shared", experts.shared_intermediate_size, hidden, ups * sparse)
        yield Matrix("shared", hidden, experts.shared_intermediate_size, sparse)


def _vectors(card: ModelCard) -> int:
    """Norms, biases, gates and sinks of the language model, in elements."""
    arch = card.architecture
    family, hidden, layers = FAMILIES[arch.name], arch.hidden_size, arch.num_hidden_layers
    norms = _falcon_norms(arch) if arch.name == "FalconForCausalLM" else family.norms
    found = (norms * layers + 1) * hidden * (2 if family.norm_bias else 1)
    query, key = (n * arch.head_dim for n in (arch.num_attention_heads, arch.num_key_value_heads))
    if arch.mla is not None:
        found += layers * ((arch.mla.q_lora_rank or 0) + arch.mla.kv_lora_rank)
        found += layers * 2 * (arch.mla.index_head_dim or 0)  # the indexer's norm has a bias
    if family.qk_norm:
        found += layers * (2 * arch.head_dim if family.qk_norm == "head" else query + key)
    if family.qkv_bias:
        found += layers * (query + 2 * key)
    if family.out_bias:
        found += layers * hidden
    if family.sinks:
        found += layers * arch.num_attention_heads
    if family.head_bias:
        found += arch.vocab_size
    cross = arch.kinds.cross
    found += cross * (2 * arch.head_dim + 2)  # norms of queries and keys, and two gates
    ups, experts = 2 if arch.gated_mlp else 1, arch.experts
    if family.mlp_bias and experts is None:
        found += layers * (ups * (arch.intermediate_size or 0) + hidden)
    if experts is not None:
        sparse = layers - experts.num_dense_layers
        if family.router_bias:
            found += sparse * experts.num_experts
        if family.mlp_bias:
            found += sparse * experts.num_experts * (ups * experts.moe_intermediate_size + hidden)
    return found


def _gemma3n(arch: Architecture) -> int:
    """What Gemma 3n has besides: inputs of each layer, alternating updates (AltUp) and low-rank ones (LAuReL)."""
    hidden, layers = arch.hidden_size, arch.num_hidden_layers
    each, rows, streams, rank = (
        256,
        262144,
        4,
        64,
    )  # per-layer input, its vocabulary, altup_num_inputs, laurel_rank
    found = (rows + hidden) * layers * each + each + 2 * (streams - 1) * hidden * hidden
    altup = 2 * hidden + streams**2 + streams**3 + hidden * streams
    return found + layers * (altup + 2 * hidden * rank + hidden + 2 * hidden * each + hidden)


def text_parameters(card: ModelCard) -> int:
    """Parameters of the language model.

    Raises:
        KeyError: the architecture is not one of :data:`FAMILIES`.
    """
    extra = _gemma3n(card.architecture) if card.architecture.name.startswith("Gemma3n") else 0
    return sum(matrix.elements for matrix in matrices(card)) + _vectors(card) + extra


def vision_parameters(card: ModelCard) -> int | None:
    """Parameters of the image encoder and what leads from it to the language model; None where it cannot be counted."""
    assert card.vision is not None
    count = _VISION.get(card.architecture.name)
    if count in (_clip, _clip_with_newline) and card.vision.hidden_size != 1024:
        return None  # a LLaVA with another encoder than CLIP ViT-L
    return None if count is None else count(card.vision, card.architecture.hidden_size)


def _sizes(vision: Vision) -> tuple[int, int, int]:
    hidden, inner, layers = vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers
    assert hidden is not None
    assert inner is not None
    assert layers is not None
    return hidden, inner, layers


def _patches(vision: Vision) -> int:
    assert vision.image_size is not None
    assert vision.patch_size is not None
    return int((vision.image_size // vision.patch_size) ** 2)


def _layer(hidden: int, inner: int, *, attention_bias: bool = True) -> int:
    """One layer of a vision transformer: two norms with bias, attention, two matrices of an MLP with bias."""
    attention = 4 * hidden * hidden + (4 * hidden if attention_bias else 0)
    return attention + 2 * hidden * inner + inner + hidden + 2 * 2 * hidden


def _pixels(vision: Vision) -> int:
    assert vision.patch_size is not None
    return int(3 * vision.patch_size**2)


def _clip(vision: Vision, text: int) -> int:
    hidden, inner, layers = _sizes(vision)
    encoder = _pixels(vision) * hidden + hidden + (_patches(vision) + 1) * hidden + 2 * 2 * hidden
    projector = hidden * text + text + text * text + text
    return encoder + layers * _layer(hidden, inner) + projector


def _clip_with_newline(vision: Vision, text: int) -> int:
    return _clip(vision, text) + text


def _siglip(vision: Vision, text: int) -> int:
    hidden, inner, layers = _sizes(vision)
    encoder = _pixels(vision) * hidden + hidden + _patches(vision) * hidden + 2 * hidden
    return encoder + layers * _layer(hidden, inner) + hidden * text + hidden


def _llama4(vision: Vision, text: int) -> int:
    hidden, inner, layers = _sizes(vision)
    encoder = _pixels(vision) * hidden + hidden + (_patches(vision) + 1) * hidden + 2 * 2 * hidden
    wide = 4096  # projector_input_dim, projector_output_dim
    return encoder + layers * _layer(hidden, inner) + 4 * hidden * wide + wide * wide + wide * text


def _mllama(vision: Vision, text: int) -> int:
    hidden, inner, layers = _sizes(vision)
    tiles, ratios = vision.max_num_tiles or 1, 9  # max_aspect_ratio_id + 1
    positions = (_patches(vision) + 1) * hidden
    encoder = _pixels(vision) * hidden + hidden + positions + ratios * tiles * positions + 1
    encoder += 2 * (ratios * tiles * hidden + 1) + 2 * 2 * hidden
    layer = _layer(hidden, inner, attention_bias=False)
    encoder += layers * layer + (vision.num_global_layers or 0) * (layer + 2)
    return encoder + 6 * hidden * text + text  # the last layer and five in between, side by side


def _qwen3(vision: Vision, text: int) -> int:
    hidden, inner, layers = _sizes(vision)
    merged = 4 * hidden  # 2 x 2 patches
    encoder = 2 * _pixels(vision) * hidden + hidden + 2304 * hidden + layers * _layer(hidden, inner)
    merger = merged * merged + merged + merged * text + text
    return encoder + 2 * hidden + merger + 3 * (2 * merged + merger)  # three deepstack mergers


_VISION: Final = {
    "LlavaForConditionalGeneration": _clip,
    "LlavaNextForConditionalGeneration": _clip_with_newline,
    "Gemma3ForConditionalGeneration": _siglip,
    "Llama4ForConditionalGeneration": _llama4,
    "MllamaForConditionalGeneration": _mllama,
    "Qwen3VLForConditionalGeneration": _qwen3,
    "Qwen3VLMoeForConditionalGeneration": _qwen3,
}

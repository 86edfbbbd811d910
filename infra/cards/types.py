"""The model card: what the catalogue knows of one Hugging Face model.

Owns the types of ``infra/catalog/models/<org>/<repo>.yaml``. Numbers are those of the repository's ``config.json``
unless a card's ``sources`` says otherwise; a number without a source is absent, never 0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Architecture",
    "Experts",
    "LayerKind",
    "LayerKinds",
    "Mla",
    "ModelCard",
    "RecommendedRecipe",
    "State",
    "Vision",
    "Weights",
]

_Count = Annotated[int, Field(gt=0)]

LayerKind = Literal["full", "sliding", "chunked", "cross", "mamba", "linear", "none"]
"""What a layer keeps between tokens: keys and values of every token (``full``), of the last ``sliding_window`` tokens,
of the running chunk of ``attention_chunk_size`` tokens, of the image (``cross``), one state a request (``mamba``,
``linear``), nothing (``none``: a layer that is an MLP only)."""
LAYER_KINDS = get_args(LayerKind)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Mla(_Part):
    """Multi-head latent attention (DeepSeek): the cache holds one latent vector and one rotary key a token.

    Widths in elements. ``q_lora_rank`` is absent where queries are not compressed. ``index_head_dim`` and
    ``index_n_heads`` belong to the indexer of DeepSeek V3.2, which keeps a cache of its own.
    """

    kv_lora_rank: _Count
    q_lora_rank: _Count | None = None
    qk_nope_head_dim: _Count
    qk_rope_head_dim: _Count
    v_head_dim: _Count
    index_head_dim: _Count | None = None
    index_n_heads: _Count | None = None


class Experts(_Part):
    """Mixture of experts. Counts of one layer; widths in elements.

    ``moe_intermediate_size`` is one routed expert's width, ``shared_intermediate_size`` that of all shared experts
    together. ``num_dense_layers`` of ``num_hidden_layers`` have an ordinary MLP of ``intermediate_size`` instead.
    """

    num_experts: _Count
    num_experts_per_tok: _Count
    moe_intermediate_size: _Count
    shared_intermediate_size: _Count | None = None
    num_dense_layers: Annotated[int, Field(ge=0)] = 0


class State(_Part):
    """What a ``mamba`` or ``linear`` layer keeps of one request, in elements.

    A convolution state of ``(conv_kernel - 1) x conv_channels`` and a recurrent one of
    ``num_heads x head_dim x state_size``. ``dtype`` is the recurrent state's type; absent: the model's own.
    """

    conv_kernel: _Count
    conv_channels: _Count
    num_heads: _Count
    head_dim: _Count
    state_size: _Count
    dtype: Literal["float32", "bfloat16", "float16"] | None = None


class LayerKinds(_Part):
    """How many of ``num_hidden_layers`` are of which kind; see :data:`LayerKind`."""

    full: Annotated[int, Field(ge=0)] = 0
    sliding: Annotated[int, Field(ge=0)] = 0
    chunked: Annotated[int, Field(ge=0)] = 0
    cross: Annotated[int, Field(ge=0)] = 0
    mamba: Annotated[int, Field(ge=0)] = 0
    linear: Annotated[int, Field(ge=0)] = 0
    none: Annotated[int, Field(ge=0)] = 0

    def items(self) -> tuple[tuple[str, int], ...]:
        """The kinds that there are, with their numbers of layers."""
        return tuple((kind, getattr(self, kind)) for kind in LAYER_KINDS if getattr(self, kind))


class Architecture(_Part):
    """Shape of the language model, in the words of ``config.json``; lengths in tokens, widths in elements.

    ``intermediate_size`` is the width of an ordinary (not an expert) MLP; ``gated_mlp`` says that it has gate and up
    projections (three matrices a layer) rather than up only (two). ``layer_kinds`` is absent where all layers are
    alike: all ``sliding`` when there is a ``sliding_window``, else all ``full``. ``head_dim`` and
    ``num_key_value_heads`` are those of every layer, unless ``full_head_dim`` and ``full_num_key_value_heads`` name
    other ones for the ``full`` layers (Gemma 4). ``rotary_dim`` is the rotated width of a head: absent for the whole
    head, 0 for none. ``rotary_positions`` are the rows of vLLM's rotary tables together, where that is not
    ``max_position_embeddings`` (Gemma 3: a local table, and a global one stretched eightfold). ``v_head_dim`` is the
    width of values where it differs (not for MLA, which has its own).
    """

    name: str
    num_hidden_layers: _Count
    hidden_size: _Count
    intermediate_size: _Count | None = None
    gated_mlp: bool = True
    num_attention_heads: _Count
    num_key_value_heads: _Count
    head_dim: _Count
    v_head_dim: _Count | None = None
    full_head_dim: _Count | None = None
    full_num_key_value_heads: _Count | None = None
    rotary_dim: Annotated[int, Field(ge=0)] | None = None
    rotary_positions: _Count | None = None
    vocab_size: _Count
    tie_word_embeddings: bool
    max_position_embeddings: _Count
    sliding_window: _Count | None = None
    attention_chunk_size: _Count | None = None
    layer_kinds: LayerKinds | None = None
    mla: Mla | None = None
    experts: Experts | None = None
    state: State | None = None

    @model_validator(mode="after")
    def _whole(self) -> Architecture:
        kinds = self.layer_kinds
        if kinds is None:
            return self
        total = sum(count for _, count in kinds.items())
        if total != self.num_hidden_layers:
            raise ValueError(f"layer_kinds add up to {total}, num_hidden_layers is {self.num_hidden_layers}")
        if kinds.sliding and self.sliding_window is None:
            raise ValueError("layer_kinds has sliding layers, and sliding_window is not given")
        if kinds.chunked and self.attention_chunk_size is None:
            raise ValueError("layer_kinds has chunked layers, and attention_chunk_size is not given")
        if (kinds.mamba or kinds.linear) and self.state is None:
            raise ValueError("layer_kinds has mamba or linear layers, and state is not given")
        return self

    @property
    def kinds(self) -> LayerKinds:
        """``layer_kinds``, or what its absence means."""
        if self.layer_kinds is not None:
            return self.layer_kinds
        kind = "full" if self.sliding_window is None else "sliding"
        return LayerKinds(**{kind: self.num_hidden_layers})


class Vision(_Part):
    """The image encoder. Sizes in pixels; ``parameters`` counts encoder and projector.

    ``max_tokens_per_image`` is how many positions of the language model the largest image takes, where vLLM's start-up
    run is known to use that number.
    """

    hidden_size: _Count | None = None
    intermediate_size: _Count | None = None
    num_attention_heads: _Count | None = None
    num_hidden_layers: _Count | None = None
    num_global_layers: _Count | None = None
    image_size: _Count | None = None
    patch_size: _Count | None = None
    max_num_tiles: _Count | None = None
    max_tokens_per_image: _Count | None = None
    parameters: _Count | None = None

    @property
    def tokens_per_image(self) -> int | None:
        """Encoder positions of the largest image: tiles x (patches + 1 class position); None when unknown."""
        if not (self.image_size and self.patch_size):
            return None
        return (self.max_num_tiles or 1) * ((self.image_size // self.patch_size) ** 2 + 1)


class Weights(_Part):
    """The checkpoint: ``bytes`` is its tensors' size, ``dtype`` the type of unquantised tensors.

    ``by_dtype`` are the bytes of its tensors by safetensors type, such as ``BF16`` or ``F8_E4M3``; they add up to
    ``bytes``. ``quantization`` is vLLM's name of the method, ``quantization_bits`` the bits of one quantised weight and
    ``group_size`` the weights that share a scale (absent: one scale a channel or tensor).
    """

    parameters: _Count | None = None
    bytes: _Count | None = None
    by_dtype: dict[str, _Count] | None = None
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    quantization: str | None = None
    quantization_bits: _Count | None = None
    group_size: _Count | None = None

    @model_validator(mode="after")
    def _sum(self) -> Weights:
        if self.by_dtype is not None and sum(self.by_dtype.values()) != self.bytes:
            raise ValueError(
                f"by_dtype adds up to {sum(self.by_dtype.values())} bytes, bytes is {self.bytes}"
            )
        return self


class RecommendedRecipe(_Part):
    """Published hardware, image and vLLM options for a model: they were used together and hold together.

    A stack file takes its defaults from it only on exactly this hardware, and ``extra_args`` only with this image.
    """

    machine_type: str
    accelerator_type: str
    accelerator_count: _Count
    vllm: dict[str, Any] = Field(default_factory=dict)
    image_uri: str | None = None
    source: str


class ModelCard(_Part):
    """One model. ``id`` is its Hugging Face id and its path in the catalogue.

    ``chat_template`` says whether the repository has one; ``gated`` whether a token is needed to download it;
    ``tool_call_parser`` and ``reasoning_parser`` are vLLM's names of the parsers for its answers (``vertex-...``:
    those of Google's images).
    """

    id: str
    family: str
    gated: bool
    chat_template: bool
    modalities: tuple[Literal["text", "image", "audio", "video"], ...] = Field(strict=False)
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    needs_remote_code: bool = False
    architecture: Architecture
    vision: Vision | None = None
    weights: Weights
    recommended: tuple[RecommendedRecipe, ...] = Field(default=(), strict=False)
    sources: dict[str, str]

    @property
    def multimodal(self) -> bool:
        """Whether it reads anything but text."""
        return self.modalities != ("text",)

    def recipe_for(self, machine_type: str, accelerator_type: str, count: int) -> RecommendedRecipe | None:
        """The recommended recipe for exactly this hardware, else None: what fits one GPU says nothing of another."""
        wanted = (machine_type, accelerator_type, count)
        for recipe in self.recommended:
            if (recipe.machine_type, recipe.accelerator_type, recipe.accelerator_count) == wanted:
                return recipe
        return None

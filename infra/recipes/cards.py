"""The model card: what the catalogue knows of one Hugging Face model.

Owns the types of ``infra/catalog/models/<org>/<repo>.yaml``. Numbers are those of the repository's ``config.json``
unless a card's ``sources`` says otherwise; a number without a source is absent, never 0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Architecture", "ModelCard", "RecommendedRecipe", "Vision", "Weights"]

_Count = Annotated[int, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Architecture(_Part):
    """Shape of the language model, in the words of ``config.json``.

    ``sliding_window`` is in tokens; ``cross_attention_layers`` counts those of ``num_hidden_layers`` that attend to
    the image and keep no text KV cache; ``num_experts`` is the routed experts of one layer.
    """

    name: str
    num_hidden_layers: _Count
    hidden_size: _Count
    intermediate_size: _Count | None = None
    num_attention_heads: _Count
    num_key_value_heads: _Count
    head_dim: _Count
    vocab_size: _Count
    tie_word_embeddings: bool
    max_position_embeddings: _Count
    sliding_window: _Count | None = None
    cross_attention_layers: _Count | None = None
    num_experts: _Count | None = None


class Vision(_Part):
    """The image encoder. Sizes in pixels; ``parameters`` counts encoder and projector."""

    hidden_size: _Count | None = None
    intermediate_size: _Count | None = None
    num_attention_heads: _Count | None = None
    num_hidden_layers: _Count | None = None
    num_global_layers: _Count | None = None
    image_size: _Count | None = None
    patch_size: _Count | None = None
    max_num_tiles: _Count | None = None
    parameters: _Count | None = None

    @property
    def tokens_per_image(self) -> int | None:
        """Encoder positions of the largest image: tiles x (patches + 1 class position); None when unknown."""
        if not (self.image_size and self.patch_size):
            return None
        return (self.max_num_tiles or 1) * ((self.image_size // self.patch_size) ** 2 + 1)


class Weights(_Part):
    """The checkpoint: ``bytes`` is its tensors' size, ``dtype`` the type of unquantised tensors."""

    parameters: _Count | None = None
    bytes: _Count | None = None
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    quantization: str | None = None


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
    ``tool_call_parser`` names the parser of Google's images.
    """

    id: str
    family: str
    gated: bool
    chat_template: bool
    modalities: tuple[Literal["text", "image"], ...] = Field(strict=False)
    tool_call_parser: str | None = None
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

"""Model cards: the types of what is known of one Hugging Face model. Pure: no pulumi, no google, no network."""

from infra.cards.types import (
    Architecture,
    Experts,
    LayerKind,
    LayerKinds,
    Mla,
    ModelCard,
    RecommendedRecipe,
    State,
    Vision,
    Weights,
)

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

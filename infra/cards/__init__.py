"""Model cards: the types of what is known of one Hugging Face model. Pure: no pulumi, no google, no network.

``infra.cards.config`` reads a ``config.json`` into them, ``infra.cards.checkpoint`` the headers of safetensors files; a
preview needs neither, so they are not imported here.
"""

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

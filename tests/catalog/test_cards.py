"""Model cards: parameters and bytes follow from the shapes, and agree with what is published.

The shapes are counted a second time here (``tests/catalog/shapes.py``). Proves that a card is consistent; that its
numbers are the repository's is for its ``sources``.
"""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest
import yaml

from infra.cards import ModelCard
from tests.catalog.shapes import FAMILIES, matrices, text_parameters, vision_parameters

MODELS = Path(__file__).resolve().parents[2] / "infra" / "catalog" / "models"
CARDS = [
    ModelCard.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    for file in sorted(MODELS.rglob("*.yaml"))
]
BY_ID = {card.id: card for card in CARDS}
COUNTED = [card for card in CARDS if card.architecture.name in FAMILIES]
WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4}

# Parameters as huggingface.co shows them beside the model (the sum over the tensors of its safetensors files); for
# DeepSeek V3 those of the paper's 671 billion.
PUBLISHED = {
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/QwQ-32B": 32_763_876_352,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-2-27b-it": 27_227_128_320,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-27b-it": 27_432_406_640,
    "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
    "llava-hf/llava-v1.6-mistral-7b-hf": 7_566_747_648,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Llama-3.2-11B-Vision-Instruct": 10_670_220_835,
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": 401_583_781_376,
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": 108_641_793_536,
    "meta-llama/Llama-Guard-3-1B": 1_498_482_688,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/Phi-3-small-8k-instruct": 7_392_272_384,
    "microsoft/Phi-3.5-MoE-instruct": 41_873_153_344,
    "microsoft/phi-4": 14_659_507_200,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x22B-Instruct-v0.1": 140_630_071_296,
}

# Bytes of all tensors: metadata.total_size of the repository's model.safetensors.index.json.
PUBLISHED_BYTES = {
    "openai/gpt-oss-20b": 13_761_264_768,
    "openai/gpt-oss-120b": 65_248_815_744,
}

MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "data"


def measured(name: str) -> list[dict[str, str]]:
    with (MEASURED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def loads() -> dict[str, float]:
    """GiB that vLLM said it had loaded: 16-bit weights on one GPU, the median of a model's published start-ups."""
    found: dict[str, list[float]] = {}
    doubted = {row["id"] for row in measured("fit_doubts.csv") if row["figures"] in ("weights", "all")}
    for row in measured("fit_truth.csv"):
        card = BY_ID.get(row["model_id"])
        if (
            card is None
            or card.weights.quantization
            or row["id"] in doubted
            or not row["weights_gib_per_gpu"]
        ):
            continue
        other = row["quantization"] or row["enable_lora"] == "True" or row["dtype"] == "float32"
        if not other and (row["tp"], row["pp"] or "1") == ("1", "1"):
            found.setdefault(card.id, []).append(float(row["weights_gib_per_gpu"]))
    return {model: statistics.median(values) for model, values in found.items()}


LOADS = loads()


def by_id(card: ModelCard) -> str:
    return card.id


@pytest.mark.parametrize("card", COUNTED, ids=by_id)
def test_parameters_follow_from_the_shapes(card: ModelCard) -> None:
    counted = text_parameters(card)
    if card.vision is not None:
        vision = vision_parameters(card)
        assert vision in (None, card.vision.parameters)
        counted += card.vision.parameters or 0
    biases = 0
    if FAMILIES[card.architecture.name].router_bias:  # a buffer in transformers, so some counts leave it out
        biases = sum(matrix.rows * matrix.count for matrix in matrices(card) if matrix.part == "router")
    assert card.weights.parameters in (counted, counted - biases)


@pytest.mark.parametrize("card", CARDS, ids=by_id)
def test_bytes_follow_from_parameters_and_types(card: ModelCard) -> None:
    weights = card.weights
    if weights.parameters is None or weights.bytes is None:
        return
    if weights.quantization is None and weights.dtype is not None and weights.by_dtype is None:
        assert weights.bytes == WIDTHS[weights.dtype] * weights.parameters
    if weights.quantization is not None:
        assert weights.bytes < 2 * weights.parameters


def test_every_model_with_a_recipe_is_counted() -> None:
    assert not [card.id for card in CARDS if card.recommended and card not in COUNTED]
    assert len(COUNTED) > 150


FLOAT8 = [card for card in COUNTED if card.weights.by_dtype and "F8_E4M3" in card.weights.by_dtype]


@pytest.mark.parametrize("card", FLOAT8, ids=by_id)
def test_float8_checkpoints_add_up(card: ModelCard) -> None:
    """What is stored beyond the parameters are scales: one for ``group_size`` weights, else one for a row."""
    types, parameters = card.weights.by_dtype, card.weights.parameters
    assert types is not None
    assert parameters is not None
    assert types["F8_E4M3"] <= sum(m.elements for m in matrices(card) if m.part != "embedding")
    scales = types["F8_E4M3"] + types["BF16"] // 2 + types.get("F32", 0) // 4 - parameters
    group = card.weights.group_size or card.architecture.hidden_size
    assert types["F8_E4M3"] / group / 2 < scales < types["F8_E4M3"] / group * 1.05


@pytest.mark.parametrize("model", sorted(PUBLISHED))
def test_parameters_are_the_published_ones(model: str) -> None:
    assert BY_ID[model].weights.parameters == PUBLISHED[model]


@pytest.mark.parametrize("model", sorted(PUBLISHED_BYTES))
def test_bytes_are_the_published_ones(model: str) -> None:
    assert BY_ID[model].weights.bytes == PUBLISHED_BYTES[model]


def test_there_are_measured_loads() -> None:
    assert len(LOADS) >= 30


@pytest.mark.parametrize("model", sorted(LOADS))
def test_bytes_are_what_vllm_loads(model: str) -> None:
    """Weights and rotary tables, but for rounding of the allocator and rows that fill up the vocabulary."""
    arch, weights = BY_ID[model].architecture, BY_ID[model].weights
    assert weights.bytes is not None
    width = arch.head_dim if arch.rotary_dim is None else arch.rotary_dim
    tables = 2 * width * (arch.rotary_positions or arch.max_position_embeddings)
    assert (weights.bytes + tables) / 2**30 == pytest.approx(LOADS[model], rel=0.02, abs=0.1)


@pytest.mark.parametrize("card", CARDS, ids=by_id)
def test_shape_is_possible(card: ModelCard) -> None:
    arch, experts = card.architecture, card.architecture.experts
    assert arch.num_attention_heads % arch.num_key_value_heads == 0
    assert arch.rotary_dim is None or arch.rotary_dim <= arch.head_dim
    assert arch.rotary_dim is None or arch.rotary_dim % 2 == 0
    if arch.mla is not None:
        assert arch.head_dim == arch.mla.qk_nope_head_dim + arch.mla.qk_rope_head_dim
        assert arch.num_key_value_heads == arch.num_attention_heads
    if arch.sliding_window is not None and arch.layer_kinds is not None:
        assert arch.layer_kinds.sliding
    if experts is not None:
        assert experts.num_experts_per_tok <= experts.num_experts
        assert experts.num_dense_layers < arch.num_hidden_layers
    if card.vision is not None:
        assert card.multimodal
        assert card.vision.max_tokens_per_image is None or card.vision.max_tokens_per_image > 0


@pytest.mark.parametrize("card", CARDS, ids=by_id)
def test_every_group_of_numbers_has_a_source(card: ModelCard) -> None:
    assert ("reasoning_parser" in card.sources) == (card.reasoning_parser is not None)
    assert ("tool_call_parser" in card.sources) == (card.tool_call_parser is not None)
    assert set(card.sources) <= {*ModelCard.model_fields, "vision", "weights"}
    for dtype in card.weights.by_dtype or ():
        assert dtype in {"BF16", "F16", "F32", "F8_E4M3", "F8_E8M0", "I64", "I32", "I8", "U8"}
    if card.weights.quantization is None:
        assert card.weights.quantization_bits is None
        assert card.weights.group_size is None
    else:
        assert card.weights.quantization_bits is not None

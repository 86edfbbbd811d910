"""``config.json`` files as published, read into architectures.

Each file of ``configs`` holds the keys that matter of one repository's ``config.json`` with where it was read, and, in
billions, the parameters of its language model as published, where that can be counted from the architecture.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cards import Architecture, LayerKinds, ModelCard
from infra.cards.config import COMPOSITES, ConfigError, ConfigFacts, Quantization, read_config
from infra.cards.families import FAMILIES

CONFIGS = Path(__file__).parent / "configs"
MODELS = Path(__file__).parents[2] / "infra" / "catalog" / "models"
IDS = [path.stem.replace("--", "/", 1) for path in sorted(CONFIGS.glob("*.json"))]


def fixture(model_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIGS / f"{model_id.replace('/', '--')}.json").read_text("utf-8"))
    return found


def facts(model_id: str) -> ConfigFacts:
    files = fixture(model_id)
    return read_config(
        files["config.json"],
        preprocessor=files.get("preprocessor_config.json"),
        quantization=files.get("hf_quant_config.json"),
    )


def config(model_id: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {**fixture(model_id)["config.json"], **changes}
    return {key: value for key, value in values.items() if value != "absent"}


CARDS = [model_id for model_id in IDS if (MODELS / f"{model_id}.yaml").exists()]


def card(model_id: str) -> ModelCard:
    return ModelCard.model_validate(yaml.safe_load((MODELS / f"{model_id}.yaml").read_text("utf-8")))


def test_there_are_enough() -> None:
    assert len({facts(model_id).model_type for model_id in IDS}) >= 40
    assert len(CARDS) >= 40


@pytest.mark.parametrize("model_id", CARDS)
def test_a_card_says_what_its_config_says(model_id: str) -> None:
    found, known = facts(model_id), card(model_id)
    assert found.architecture.model_dump() == known.architecture.model_dump()
    assert found.modalities == known.modalities
    assert found.dtype in (None, known.weights.dtype)  # None: only the tensors say it
    weights = known.weights
    quantized = found.quantization or Quantization("")
    assert (quantized.method or None, quantized.group_size) == (weights.quantization, weights.group_size)
    assert weights.quantization_bits in (None, quantized.bits)
    assert (found.vision is None) == (known.vision is None)
    if found.vision is not None and known.vision is not None:
        assert found.vision.model_dump() == known.vision.model_copy(update={"parameters": None}).model_dump()


def counted(arch: Architecture) -> int:
    """Weights of a language model by its shapes, without norms and biases."""
    hidden, heads, kv = arch.hidden_size, arch.num_attention_heads, arch.num_key_value_heads
    total = arch.vocab_size * hidden * (1 if arch.tie_word_embeddings else 2)
    if arch.mla is not None:
        mla = arch.mla
        wide = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        rank = mla.q_lora_rank
        attention = hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim) + heads * mla.v_head_dim * hidden
        attention += mla.kv_lora_rank * heads * (mla.qk_nope_head_dim + mla.v_head_dim)
        attention += rank * (hidden + wide) if rank else hidden * wide
    else:
        attention = 2 * hidden * arch.head_dim * (heads + kv)
    kinds = arch.kinds
    total += attention * (kinds.full + kinds.sliding + kinds.chunked + kinds.cross)
    if arch.state is not None:
        state = arch.state
        inner = state.num_heads * state.head_dim
        if state.head_dim == 1:  # Mamba 1: in and out projection, and the step's through hidden / 16
            mixer = 3 * hidden * inner + inner * (2 * hidden // 16 + 3 * state.state_size)
        else:
            mixer = hidden * (2 * inner + state.conv_channels - inner + state.num_heads) + inner * hidden
        total += mixer * (kinds.mamba or arch.num_hidden_layers)
    matrices = 3 if arch.gated_mlp else 2
    mlp_layers = arch.num_hidden_layers
    if arch.name == "NemotronHForCausalLM":
        mlp_layers = kinds.none
    experts = arch.experts
    dense = mlp_layers if experts is None else experts.num_dense_layers
    total += dense * matrices * hidden * (arch.intermediate_size or 0)
    if experts is not None:
        width = experts.num_experts * experts.moe_intermediate_size + (experts.shared_intermediate_size or 0)
        total += (mlp_layers - dense) * hidden * (matrices * width + experts.num_experts)
    return total


@pytest.mark.parametrize("model_id", [model_id for model_id in IDS if fixture(model_id).get("parameters")])
def test_the_shapes_add_up_to_the_published_parameters(model_id: str) -> None:
    assert counted(facts(model_id).architecture) == pytest.approx(
        fixture(model_id)["parameters"] * 1e9, rel=0.012
    )


# What other keys make of it


def test_null_is_not_absent() -> None:
    base = "mistralai/Mistral-7B-Instruct-v0.3"
    assert read_config(config(base)).architecture.sliding_window is None
    assert read_config(config(base, sliding_window="absent")).architecture.sliding_window == 4096
    assert read_config(config(base, sliding_window=0)).architecture.sliding_window is None


def test_a_window_of_qwen2_counts_only_when_it_is_used() -> None:
    base = "Qwen/Qwen2.5-7B-Instruct"
    assert read_config(config(base)).architecture.sliding_window is None
    some = read_config(config(base, use_sliding_window=True, max_window_layers=20)).architecture
    assert (some.sliding_window, some.layer_kinds) == (131072, LayerKinds(full=20, sliding=8))
    all_of_it = read_config(config(base, use_sliding_window=True, max_window_layers=0)).architecture
    assert (all_of_it.sliding_window, all_of_it.layer_kinds) == (131072, None)


def test_layer_types_win_over_the_rule() -> None:
    types = ["full_attention"] * 20 + ["sliding_attention"] * 22
    found = read_config(config("google/gemma-2-9b-it", layer_types=types)).architecture
    assert found.layer_kinds == LayerKinds(full=20, sliding=22)


def test_no_rope_layers_of_llama_4() -> None:
    given = fixture("meta-llama/Llama-4-Scout-17B-16E-Instruct")["config.json"]
    text = {**given["text_config"], "no_rope_layers": [1, 0] * 24}
    found = read_config({**given, "text_config": text}).architecture
    assert found.layer_kinds == LayerKinds(full=24, chunked=24)
    none = read_config({**given, "text_config": {**text, "attention_chunk_size": None}}).architecture
    assert none.layer_kinds is None


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        (None, 32768),
        ({"type": "linear", "factor": 4.0}, 131072),
        ({"rope_type": "dynamic", "factor": 2.0}, 65536),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 32768),
        ({"rope_type": "llama3", "factor": 8.0}, 32768),
        ({"type": "su", "long_factor": [1.0]}, 32768),
        ({"rope_type": "default"}, 32768),
        ({"type": "linear", "factor": None}, 32768),
    ],
)
def test_the_longest_context_is_the_one_vllm_derives(scaling: dict[str, Any] | None, longest: int) -> None:
    found = read_config(config("Qwen/Qwen2.5-7B-Instruct", rope_scaling=scaling))
    assert found.architecture.max_position_embeddings == longest


def test_a_config_without_positions_has_vllms_2048() -> None:
    found = facts("bigscience/bloom-7b1")
    assert found.architecture.max_position_embeddings == 2048
    assert "vLLM assumes 2048" in found.notes[0]


def test_defaults_are_named() -> None:
    notes = facts("google/gemma-3-4b-it").notes
    assert any("num_attention_heads 8" in note and "gemma3_text" in note for note in notes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, ("awq", 4, 64)),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ("gptq", 8, None)),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, ("auto-round", 4, 128)),
        ({"quant_method": "fp8"}, ("fp8", 8, None)),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8", 8, 16384)),
        ({"quant_method": "mxfp4"}, ("mxfp4", 4, 32)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("bitsandbytes", 8, None)),
        ({"quant_method": "compressed_tensors", "config_groups": {}}, ("compressed-tensors", None, None)),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, ("modelopt_fp4", 4, 16)),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, ("modelopt", 8, None)),
    ],
)
def test_quantization(given: dict[str, Any], expected: tuple[str, int | None, int | None]) -> None:
    found = read_config(config("Qwen/Qwen2.5-7B-Instruct", quantization_config=given)).quantization
    assert found == Quantization(*expected)


def test_code_of_the_repository_is_needed_where_nobody_else_has_the_class() -> None:
    assert facts("internlm/internlm2-chat-7b").needs_remote_code
    assert facts("OpenGVLab/InternVL2_5-8B").needs_remote_code
    assert not facts(
        "microsoft/Phi-3-mini-4k-instruct"
    ).needs_remote_code  # has auto_map, and transformers has it


# What cannot be read says what to do


def message(given: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(given)
    return str(caught.value)


def test_an_unknown_family_says_what_to_write() -> None:
    text = message({"architectures": ["NovelForCausalLM"], "model_type": "novel", "hidden_size": 8})
    assert text.startswith(
        "NovelForCausalLM: this reader does not know model_type 'novel' (it knows aquila, "
    )
    assert "architecture needs name, num_hidden_layers, hidden_size" in text


def test_no_architecture() -> None:
    assert message({"model_type": "llama"}) == (
        'config.json has no "architectures". Add the name of the model\'s class as vLLM knows it, such as '
        '"architectures": ["LlamaForCausalLM"].'
    )


def test_a_missing_number_is_named_with_its_place() -> None:
    assert message(config("Qwen/Qwen-7B-Chat", hidden_size="absent")) == (
        "config.json has no hidden_size or n_embd or d_model or n_embed, and there is no default for it. Add the key "
        "to config.json, or write the card by hand with architecture.hidden_size (infra/catalog/README.md)."
    )
    given = config("llava-hf/llava-1.5-7b-hf")
    given["text_config"] = {**given["text_config"], "num_hidden_layers": 0}
    assert "config.json has no text_config.num_hidden_layers or" in message(given)


@pytest.mark.parametrize("wrong", ["4096", 40.5, True, -1, [1, 2], {}])
def test_a_number_that_is_none(wrong: object) -> None:
    text = message(config("microsoft/phi-4", hidden_size=wrong))
    assert text.startswith(f"hidden_size is {wrong!r} in config.json; one whole number is needed.")


def test_experts_that_a_family_has_not() -> None:
    text = message(config("microsoft/phi-4", num_local_experts=16))
    assert text.startswith(
        "Phi3ForCausalLM: config.json has 16 experts, and this reader does not know which layers"
    )


def test_a_layer_of_unknown_kind() -> None:
    text = message(config("microsoft/phi-4", layer_types=["wavelet"] * 40))
    assert "a layer of type 'wavelet'" in text
    assert "architecture.layer_kinds" in text


def test_sliding_layers_without_a_window() -> None:
    text = message(config("microsoft/phi-4", layer_types=["sliding_attention"] * 40))
    assert text == "config.json has 40 sliding layers and no sliding_window. Add the key."


def test_quantization_without_a_method() -> None:
    assert "without quant_method" in message(config("microsoft/phi-4", quantization_config={"bits": 4}))


def test_every_composite_names_a_family() -> None:
    for kind, composite in COMPOSITES.items():
        assert composite.text_type is None or composite.text_type in FAMILIES, kind

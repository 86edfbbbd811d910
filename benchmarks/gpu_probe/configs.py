"""A ``config.json`` of a catalogued model in its full size: all that vLLM needs to start it with random weights.

The small configs of :mod:`benchmarks.kv_configs` name an architecture's keys; this puts the real sizes back.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.kv_configs import NoConfig, config_of
from infra.cards import ModelCard

#: Architectures whose full size was checked: transformers counts the published number of parameters from the config.
CHECKED: Final = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Phi3ForCausalLM",
    "GraniteForCausalLM",
    "DeepseekV2ForCausalLM",
)


def full_config(card: ModelCard) -> dict[str, Any]:
    """Return the model's ``config.json``.

    Raises:
        NoConfig: the architecture is not one of :data:`CHECKED`, or the checkpoint is quantised.
    """
    arch = card.architecture
    if arch.name not in CHECKED:
        raise NoConfig(f"{card.id}: {arch.name} is not one of {', '.join(CHECKED)}")
    if card.weights.quantization is not None:
        raise NoConfig(
            f"{card.id}: random weights of a checkpoint in {card.weights.quantization} are not made here"
        )
    config = config_of(arch)
    sizes: dict[str, Any] = {
        "hidden_size": arch.hidden_size,
        "intermediate_size": arch.intermediate_size,
        "num_attention_heads": arch.num_attention_heads,
        "num_key_value_heads": arch.num_key_value_heads,
        "vocab_size": arch.vocab_size,
        "tie_word_embeddings": arch.tie_word_embeddings,
        "torch_dtype": card.weights.dtype or "bfloat16",
    }
    if arch.mla is not None:
        sizes |= {"num_key_value_heads": arch.num_attention_heads, "q_lora_rank": arch.mla.q_lora_rank}
    experts = arch.experts
    if experts is not None:
        shared = experts.shared_intermediate_size
        sizes |= {
            "num_experts": experts.num_experts,
            "num_local_experts": experts.num_experts,
            "n_routed_experts": experts.num_experts,
            "num_experts_per_tok": experts.num_experts_per_tok,
            "moe_intermediate_size": experts.moe_intermediate_size,
            "shared_expert_intermediate_size": shared,
            "n_shared_experts": shared // experts.moe_intermediate_size if shared else None,
            "first_k_dense_replace": experts.num_dense_layers,
        }
        if arch.name == "MixtralForCausalLM":
            sizes["intermediate_size"] = experts.moe_intermediate_size
    return config | {key: value for key, value in sizes.items() if key in config and value is not None}

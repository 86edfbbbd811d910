"""A ``config.json`` of a few megabytes whose KV cache is that of a real model.

From a model card's architecture: layers and their kinds, KV heads, head size, windows, chunks, latent widths and state
shapes stay; hidden width, MLP, experts and vocabulary shrink. Attention heads stay unless the hidden width is made of
them (``head_dim = hidden_size / num_attention_heads``); then there are as many as KV heads.

The text decoder of a model with an image encoder stands for it: the encoder keeps nothing in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from infra.cards import Architecture, State

_HIDDEN: Final = 64
_VOCAB: Final = 256
# Llama 4's ten million positions would make a table of sines of 5 GB.
_POSITIONS: Final = 2**18
_EXPERTS: Final = 4


class NoConfig(ValueError):
    """There is no small config for this architecture here; the text says why."""


def config_of(arch: Architecture) -> dict[str, Any]:
    """Return the small ``config.json``.

    Raises:
        NoConfig: nobody wrote one for ``arch.name``, or vLLM dropped it.
    """
    if arch.name in LEFT_OUT:
        raise NoConfig(f"{arch.name}: {LEFT_OUT[arch.name]}")
    make = _BUILDERS.get(arch.name)
    if make is None:
        raise NoConfig(f"{arch.name}: no small config; add one to benchmarks/kv_configs.py")
    return make(arch)


_CODE: Final = "its configuration is code of the repository, which is not loaded here"
#: Architectures of the catalogue that are not measured, and why. Releases: vLLM 0.32.0's own list of dropped models.
LEFT_OUT: Final = {
    "AquilaForCausalLM": "vLLM had it to 0.24.0",
    "AquilaModel": "vLLM had it to 0.24.0",
    "BaiChuanForCausalLM": "vLLM had it to 0.23.0",
    "BaichuanForCausalLM": "vLLM had it to 0.23.0",
    "DeepseekVLV2ForCausalLM": _CODE,
    "ExaoneForCausalLM": _CODE,
    "GlmMoeDsaForCausalLM": "sparse attention is not supported on the CPU (as DeepSeek V3.2's)",
    "InternLM2ForCausalLM": _CODE,
    "InternLM3ForCausalLM": _CODE,
    "InternLMForCausalLM": "vLLM had it to 0.23.0",
    "InternVLChatModel": _CODE,
    "MiniCPMV": _CODE,
    "KimiLinearForCausalLM": "vLLM 0.32.0 runs it on GPUs only (its kernels import cutlass)",
    "MllamaForConditionalGeneration": "vLLM had it to 0.10.2; with it went the cross attention of decoders",
    "MPTForCausalLM": "vLLM had it to 0.28.0",
    "Phi3SmallForCausalLM": "vLLM had it to 0.9.2",
    "QWenLMHeadModel": "vLLM had it to 0.23.0",
}


def text_decoder(name: str) -> str:
    """The architecture that serves the text decoder alone of an architecture with an encoder."""
    return _TEXT_DECODERS.get(name, name)


_TEXT_DECODERS: Final = {
    "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
    "Gemma4UnifiedForConditionalGeneration": "Gemma4ForCausalLM",
    "Gemma4ForConditionalGeneration": "Gemma4ForCausalLM",
    "Gemma3nForConditionalGeneration": "Gemma3nForCausalLM",
    "Llama4ForConditionalGeneration": "Llama4ForCausalLM",
    "LlavaForConditionalGeneration": "LlamaForCausalLM",
    "LlavaNextForConditionalGeneration": "MistralForCausalLM",
    "Mistral3ForConditionalGeneration": "MistralForCausalLM",
    "Qwen2VLForConditionalGeneration": "Qwen2ForCausalLM",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2ForCausalLM",
    "Qwen3VLForConditionalGeneration": "Qwen3ForCausalLM",
    "Qwen3VLMoeForConditionalGeneration": "Qwen3MoeForCausalLM",
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration": "Qwen3_5MoeForCausalLM",
    "KimiVLForConditionalGeneration": "DeepseekV3ForCausalLM",
    "KimiK25ForConditionalGeneration": "DeepseekV3ForCausalLM",
    "Phi3VForCausalLM": "Phi3ForCausalLM",
}


def pattern(arch: Architecture, names: dict[str, str]) -> list[str]:
    """The kind of every layer, in ``names``' words, spread evenly: the cache depends on the numbers alone."""
    counts = {names[kind]: count for kind, count in arch.kinds.items()}
    total, given = sum(counts.values()), dict.fromkeys(counts, 0)
    layers: list[str] = []
    for index in range(total):
        # the kind that lags most behind its share
        kind = max(counts, key=lambda name: counts[name] * (index + 1) / total - given[name])
        given[kind] += 1
        layers.append(kind)
    return layers


def _llama(arch: Architecture, model_type: str = "llama", **more: Any) -> dict[str, Any]:
    """What nearly every decoder names alike."""
    # Some configs want the width to be a multiple of the heads, although the head size is given.
    hidden = math.lcm(arch.num_attention_heads, _HIDDEN)
    return {
        "architectures": [text_decoder(arch.name)],
        "model_type": model_type,
        "torch_dtype": "bfloat16",
        "hidden_size": hidden,
        "intermediate_size": _HIDDEN,
        "num_hidden_layers": arch.num_hidden_layers,
        "num_attention_heads": arch.num_attention_heads,
        "num_key_value_heads": arch.num_key_value_heads,
        "head_dim": arch.head_dim,
        "vocab_size": _VOCAB,
        "max_position_embeddings": min(arch.max_position_embeddings, _POSITIONS),
        "tie_word_embeddings": arch.tie_word_embeddings,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **({"sliding_window": arch.sliding_window} if arch.sliding_window else {}),
    } | more


def _wide(arch: Architecture, model_type: str, **more: Any) -> dict[str, Any]:
    """As :func:`_llama` where the head size follows from the hidden width: as few heads as keep the KV heads."""
    heads = arch.num_key_value_heads
    hidden = heads * arch.head_dim
    small = {"num_attention_heads": heads, "hidden_size": hidden, "intermediate_size": hidden}
    return _llama(arch, model_type) | small | more


def _simple(model_type: str, **more: Any) -> Callable[[Architecture], dict[str, Any]]:
    return lambda arch: _llama(arch, model_type, **more)


def _by_width(model_type: str, **more: Any) -> Callable[[Architecture], dict[str, Any]]:
    return lambda arch: _wide(arch, model_type, **more)


def _experts(model_type: str, **more: Any) -> Callable[[Architecture], dict[str, Any]]:
    small = {
        "num_experts": _EXPERTS,
        "num_local_experts": _EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": _HIDDEN,
        "shared_expert_intermediate_size": _HIDDEN,
    }
    return lambda arch: _llama(arch, model_type, **small, **more)


def _mistral(arch: Architecture) -> dict[str, Any]:
    return _llama(arch, "mistral", sliding_window=arch.sliding_window if arch.kinds.sliding else None)


_ATTENTION: Final = {
    "full": "full_attention",
    "sliding": "sliding_attention",
    "chunked": "chunked_attention",
    "linear": "linear_attention",
}


def _interleaved(model_type: str, **more: Any) -> Callable[[Architecture], dict[str, Any]]:
    """Windows on some layers: ``layer_types`` says on which."""

    def make(arch: Architecture) -> dict[str, Any]:
        return _llama(
            arch,
            model_type,
            layer_types=pattern(arch, _ATTENTION),
            sliding_window=arch.sliding_window,
            **more,
        )

    return make


def _cohere2(arch: Architecture) -> dict[str, Any]:
    window = {"layer_types": pattern(arch, _ATTENTION), "sliding_window": arch.sliding_window}
    return _wide(arch, "cohere2", **window)


def _gemma4(arch: Architecture) -> dict[str, Any]:
    kept = arch.num_hidden_layers - arch.kinds.none
    counts = {_ATTENTION[kind]: count for kind, count in arch.kinds.items() if kind != "none"}
    period = kept // counts["full_attention"]
    types = [
        "full_attention" if index % period == period - 1 else "sliding_attention"
        for index in range(arch.num_hidden_layers)
    ]
    heads = arch.full_num_key_value_heads
    return _llama(
        arch,
        "gemma4_text",
        layer_types=types,
        sliding_window=arch.sliding_window,
        global_head_dim=arch.full_head_dim or arch.head_dim,
        num_global_key_value_heads=heads,
        attention_k_eq_v=heads is not None,
        num_kv_shared_layers=arch.kinds.none,
        hidden_activation="gelu_pytorch_tanh",
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=_VOCAB,
    )


def _llama4(arch: Architecture) -> dict[str, Any]:
    types = pattern(arch, _ATTENTION)
    return _llama(
        arch,
        "llama4_text",
        layer_types=types,
        no_rope_layers=[int(kind != "full_attention") for kind in types],
        attention_chunk_size=arch.attention_chunk_size,
        intermediate_size_mlp=_HIDDEN,
        num_local_experts=_EXPERTS,
        num_experts_per_tok=1,
        interleave_moe_layer_step=arch.num_hidden_layers,
    )


def _deepseek(model_type: str) -> Callable[[Architecture], dict[str, Any]]:
    def make(arch: Architecture) -> dict[str, Any]:
        mla = arch.mla
        if mla is None:
            raise NoConfig(f"{arch.name}: the card has no mla")
        config = _llama(
            arch,
            model_type,
            num_key_value_heads=arch.num_attention_heads,
            kv_lora_rank=mla.kv_lora_rank,
            q_lora_rank=_HIDDEN if mla.q_lora_rank else None,
            qk_nope_head_dim=mla.qk_nope_head_dim,
            qk_rope_head_dim=mla.qk_rope_head_dim,
            v_head_dim=mla.v_head_dim,
            n_routed_experts=_EXPERTS,
            n_shared_experts=1,
            num_experts_per_tok=2,
            moe_intermediate_size=_HIDDEN,
            first_k_dense_replace=arch.num_hidden_layers,  # dense layers only: experts keep nothing
            moe_layer_freq=1,
            n_group=1,
            topk_group=1,
            topk_method="noaux_tc" if model_type != "deepseek_v2" else "greedy",
            scoring_func="sigmoid" if model_type != "deepseek_v2" else "softmax",
            norm_topk_prob=True,
            routed_scaling_factor=1.0,
        )
        del config["head_dim"]
        if mla.index_head_dim:
            config |= {
                "index_head_dim": mla.index_head_dim,
                "index_n_heads": mla.index_n_heads,
                "index_topk": 2048,
            }
        return config

    return make


def _glm4_moe_lite(arch: Architecture) -> dict[str, Any]:
    """Latent attention; vLLM wants at least one layer of experts."""
    return _deepseek("glm4_moe_lite")(arch) | {"first_k_dense_replace": arch.num_hidden_layers - 1}


def _jamba(arch: Architecture) -> dict[str, Any]:
    state = _state(arch)
    period = arch.num_hidden_layers // arch.kinds.full
    return _wide(
        arch,
        "jamba",
        mamba_d_state=state.state_size,
        mamba_d_conv=state.conv_kernel,
        mamba_expand=state.conv_channels // (arch.num_key_value_heads * arch.head_dim),
        mamba_dt_rank=16,
        attn_layer_period=period,
        attn_layer_offset=period // 2,
        num_experts=2,
        num_experts_per_tok=1,
        expert_layer_period=2,
        expert_layer_offset=1,
    )


def _state(arch: Architecture) -> State:
    if arch.state is None:
        raise NoConfig(f"{arch.name}: the card has no state")
    return arch.state


def _mamba_groups(arch: Architecture) -> int:
    """B and C groups of Mamba 2: the convolution covers the inner width and two vectors a group."""
    state = _state(arch)
    return (state.conv_channels - state.num_heads * state.head_dim) // (2 * state.state_size)


def _nemotron_h(arch: Architecture) -> dict[str, Any]:
    state = _state(arch)
    words = {"mamba": "mamba", "full": "attention", "none": "mlp"}
    config = _llama(
        arch,
        "nemotron_h",
        layers_block_type=pattern(arch, words),
        hybrid_override_pattern="".join(
            {"mamba": "M", "attention": "*", "mlp": "-"}[word] for word in pattern(arch, words)
        ),
        ssm_state_size=state.state_size,
        mamba_num_heads=state.num_heads,
        mamba_head_dim=state.head_dim,
        n_groups=_mamba_groups(arch),
        conv_kernel=state.conv_kernel,
        mlp_hidden_act="relu2",
        layer_norm_epsilon=1e-5,
    )
    if state.dtype:
        config["mamba_ssm_cache_dtype"] = state.dtype
    return config


def _granite_hybrid(arch: Architecture) -> dict[str, Any]:
    state = _state(arch)
    return _wide(
        arch,
        "granitemoehybrid",
        layer_types=pattern(arch, {"mamba": "mamba", "full": "attention"}),
        mamba_n_heads=state.num_heads,
        mamba_d_head=state.head_dim,
        mamba_d_state=state.state_size,
        mamba_d_conv=state.conv_kernel,
        mamba_n_groups=_mamba_groups(arch),
        mamba_expand=state.num_heads * state.head_dim // (arch.num_key_value_heads * arch.head_dim),
        num_local_experts=0,
        num_experts_per_tok=0,
        shared_intermediate_size=_HIDDEN,
        embedding_multiplier=1.0,
        logits_scaling=1.0,
        residual_multiplier=1.0,
        attention_multiplier=1.0,
    )


def _delta_net(model_type: str, **more: Any) -> Callable[[Architecture], dict[str, Any]]:
    def make(arch: Architecture) -> dict[str, Any]:
        state = _state(arch)
        keys = (state.conv_channels - state.num_heads * state.head_dim) // (2 * state.state_size)
        config = _llama(
            arch,
            model_type,
            layer_types=pattern(arch, _ATTENTION),
            linear_conv_kernel_dim=state.conv_kernel,
            linear_num_key_heads=keys,
            linear_key_head_dim=state.state_size,
            linear_num_value_heads=state.num_heads,
            linear_value_head_dim=state.head_dim,
            num_experts=_EXPERTS,
            num_experts_per_tok=2,
            moe_intermediate_size=_HIDDEN,
            shared_expert_intermediate_size=_HIDDEN,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
            **more,
        )
        if state.dtype and model_type.startswith("qwen3_5"):
            config["mamba_ssm_dtype"] = state.dtype
        return config

    return make


def _falcon(arch: Architecture) -> dict[str, Any]:
    multi_query = arch.num_key_value_heads == 1
    heads = 2 if multi_query else arch.num_key_value_heads
    config = _llama(
        arch,
        "falcon",
        num_attention_heads=heads,
        num_kv_heads=arch.num_key_value_heads,
        hidden_size=heads * arch.head_dim,
        multi_query=multi_query,
        new_decoder_architecture=not multi_query,
        parallel_attn=True,
        bias=False,
        alibi=False,
    )
    del config["head_dim"]  # follows from the hidden width
    return config


def _gpt_bigcode(arch: Architecture) -> dict[str, Any]:
    return {
        "architectures": [arch.name],
        "model_type": "gpt_bigcode",
        "torch_dtype": "bfloat16",
        "n_layer": arch.num_hidden_layers,
        "n_head": 2,
        "n_embd": 2 * arch.head_dim,
        "n_inner": _HIDDEN,
        "n_positions": arch.max_position_embeddings,
        "vocab_size": _VOCAB,
        "multi_query": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _gpt_neox(arch: Architecture) -> dict[str, Any]:
    return _wide(arch, "gpt_neox", hidden_act="gelu", rotary_pct=0.25, use_parallel_residual=True)


def _opt(arch: Architecture) -> dict[str, Any]:
    hidden = arch.num_attention_heads * arch.head_dim
    return _wide(
        arch,
        "opt",
        ffn_dim=_HIDDEN,
        word_embed_proj_dim=hidden,
        activation_function="relu",
        do_layer_norm_before=True,
    )


def _falcon_h1(arch: Architecture) -> dict[str, Any]:
    """Attention and a Mamba 2 state side by side in every layer."""
    state = _state(arch)
    return _llama(
        arch,
        "falcon_h1",
        mamba_d_ssm=state.num_heads * state.head_dim,
        mamba_n_heads=state.num_heads,
        mamba_d_head=state.head_dim,
        mamba_d_state=state.state_size,
        mamba_d_conv=state.conv_kernel,
        mamba_n_groups=_mamba_groups(arch),
        mlp_multipliers=[1.0, 1.0],
        ssm_multipliers=[1.0] * 5,
    )


def _gemma3n(arch: Architecture) -> dict[str, Any]:
    """The last layers (``none``) read the cache of earlier ones; of the others every fifth is full."""
    types = [
        "full_attention" if index % 5 == 4 else "sliding_attention" for index in range(arch.num_hidden_layers)
    ]
    return _llama(
        arch,
        "gemma3n_text",
        layer_types=types,
        num_kv_shared_layers=arch.kinds.none,
        hidden_activation="gelu_pytorch_tanh",
        hidden_size_per_layer_input=_HIDDEN,
        vocab_size_per_layer_input=_VOCAB,
        laurel_rank=_HIDDEN,
        activation_sparsity_pattern=[0.0] * arch.num_hidden_layers,
    )


def _bloom(arch: Architecture) -> dict[str, Any]:
    heads = arch.num_attention_heads
    return {
        "architectures": [arch.name],
        "model_type": "bloom",
        "torch_dtype": "bfloat16",
        "n_layer": arch.num_hidden_layers,
        "n_head": heads,
        "hidden_size": heads * arch.head_dim,
        "vocab_size": _VOCAB,
        "seq_length": arch.max_position_embeddings,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _gpt2(arch: Architecture) -> dict[str, Any]:
    config = _gpt_bigcode(arch) | {"model_type": "gpt2"}
    heads = arch.num_attention_heads
    return config | {"n_head": heads, "n_embd": heads * arch.head_dim}


def _gptj(arch: Architecture) -> dict[str, Any]:
    return _gpt2(arch) | {"model_type": "gptj", "rotary_dim": 64, "tie_word_embeddings": False}


def _dbrx(arch: Architecture) -> dict[str, Any]:
    heads = arch.num_key_value_heads
    return {
        "architectures": [arch.name],
        "model_type": "dbrx",
        "torch_dtype": "bfloat16",
        "d_model": heads * arch.head_dim,
        "n_heads": heads,
        "n_layers": arch.num_hidden_layers,
        "max_seq_len": arch.max_position_embeddings,
        "vocab_size": _VOCAB,
        "attn_config": {"kv_n_heads": heads, "clip_qkv": 8, "rope_theta": 500000.0},
        "ffn_config": {"ffn_hidden_size": _HIDDEN, "moe_num_experts": _EXPERTS, "moe_top_k": 2},
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


_BUILDERS: Final[dict[str, Callable[[Architecture], dict[str, Any]]]] = {
    "LlamaForCausalLM": _simple("llama"),
    "LlavaForConditionalGeneration": _simple("llama"),
    "MistralForCausalLM": _mistral,
    "Mistral3ForConditionalGeneration": _mistral,
    "LlavaNextForConditionalGeneration": _mistral,
    "MixtralForCausalLM": _experts("mixtral"),
    "Qwen2ForCausalLM": _by_width("qwen2"),
    "Qwen2VLForConditionalGeneration": _by_width("qwen2"),
    "Qwen2_5_VLForConditionalGeneration": _by_width("qwen2"),
    "Qwen2MoeForCausalLM": _by_width(
        "qwen2_moe",
        num_experts=_EXPERTS,
        num_experts_per_tok=2,
        moe_intermediate_size=_HIDDEN,
        shared_expert_intermediate_size=_HIDDEN,
    ),
    "Qwen3ForCausalLM": _simple("qwen3"),
    "Qwen3VLForConditionalGeneration": _simple("qwen3"),
    "Qwen3MoeForCausalLM": _experts("qwen3_moe"),
    "Qwen3VLMoeForConditionalGeneration": _experts("qwen3_moe"),
    "Qwen3NextForCausalLM": _delta_net("qwen3_next"),
    "Qwen3_5ForConditionalGeneration": _delta_net("qwen3_5_text"),
    "Qwen3_5MoeForConditionalGeneration": _delta_net("qwen3_5_moe_text"),
    "GemmaForCausalLM": _simple("gemma", hidden_activation="gelu_pytorch_tanh"),
    "Gemma2ForCausalLM": _interleaved(
        "gemma2", query_pre_attn_scalar=256, hidden_activation="gelu_pytorch_tanh"
    ),
    "Gemma3ForCausalLM": _interleaved(
        "gemma3_text", query_pre_attn_scalar=256, hidden_activation="gelu_pytorch_tanh"
    ),
    "Gemma3ForConditionalGeneration": _interleaved(
        "gemma3_text", query_pre_attn_scalar=256, hidden_activation="gelu_pytorch_tanh"
    ),
    "Gemma4ForConditionalGeneration": _gemma4,
    "GptOssForCausalLM": _interleaved("gpt_oss", num_local_experts=_EXPERTS, num_experts_per_tok=2),
    "Cohere2ForCausalLM": _cohere2,
    "Exaone4ForCausalLM": _interleaved("exaone4"),
    "Olmo3ForCausalLM": _interleaved("olmo3"),
    "Llama4ForConditionalGeneration": _llama4,
    "DeepseekV2ForCausalLM": _deepseek("deepseek_v2"),
    "DeepseekV3ForCausalLM": _deepseek("deepseek_v3"),
    "DeepseekV32ForCausalLM": _deepseek("deepseek_v32"),
    "KimiVLForConditionalGeneration": _deepseek("deepseek_v3"),
    "KimiK25ForConditionalGeneration": _deepseek("deepseek_v3"),
    "JambaForCausalLM": _jamba,
    "NemotronHForCausalLM": _nemotron_h,
    "GraniteMoeHybridForCausalLM": _granite_hybrid,
    "Phi3ForCausalLM": _simple("phi3"),
    "Phi3VForCausalLM": _simple("phi3"),
    "PhiMoEForCausalLM": _experts("phimoe"),
    "PhiForCausalLM": _by_width("phi", partial_rotary_factor=0.5),
    "GraniteForCausalLM": _simple(
        "granite",
        embedding_multiplier=1.0,
        logits_scaling=1.0,
        residual_multiplier=1.0,
        attention_multiplier=1.0,
    ),
    "GraniteMoeForCausalLM": _by_width(
        "granitemoe",
        num_local_experts=_EXPERTS,
        num_experts_per_tok=2,
        embedding_multiplier=1.0,
        logits_scaling=1.0,
        residual_multiplier=1.0,
        attention_multiplier=1.0,
    ),
    "MiniMaxM2ForCausalLM": _experts(
        "minimax_m2", rotary_dim=64, use_qk_norm=True, qk_norm_type="per_layer", scoring_func="sigmoid"
    ),
    "FalconForCausalLM": _falcon,
    "GPTBigCodeForCausalLM": _gpt_bigcode,
    "GPTNeoXForCausalLM": _gpt_neox,
    "OPTForCausalLM": _opt,
    "Starcoder2ForCausalLM": _by_width("starcoder2"),
    "FalconH1ForCausalLM": _falcon_h1,
    "SeedOssForCausalLM": _simple("seed_oss"),
    "GPTJForCausalLM": _gptj,
    "Ernie4_5_MoeForCausalLM": _experts("ernie4_5_moe", moe_num_experts=_EXPERTS, moe_k=2),
    "DbrxForCausalLM": _dbrx,
    "Gemma3nForConditionalGeneration": _gemma3n,
    "Gemma4UnifiedForConditionalGeneration": _gemma4,
    "BloomForCausalLM": _bloom,
    "GPT2LMHeadModel": _gpt2,
    "CohereForCausalLM": _by_width("cohere"),
    "Glm4ForCausalLM": _simple("glm4", partial_rotary_factor=0.5),
    "GlmForCausalLM": _simple("glm", partial_rotary_factor=0.5),
    "Glm4MoeForCausalLM": _experts(
        "glm4_moe",
        n_routed_experts=_EXPERTS,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        partial_rotary_factor=0.5,
    ),
    "Glm4MoeLiteForCausalLM": _glm4_moe_lite,
    "Olmo2ForCausalLM": _by_width("olmo2"),
    "OlmoForCausalLM": _by_width("olmo"),
    "OlmoeForCausalLM": _by_width("olmoe", num_experts=_EXPERTS, num_experts_per_tok=2),
    "SmolLM3ForCausalLM": _simple("smollm3"),
    "StableLmForCausalLM": _by_width("stablelm", partial_rotary_factor=0.25, layer_norm_eps=1e-5),
}

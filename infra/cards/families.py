"""What the keys of a ``config.json`` mean, by family of models: a family is a ``model_type``.

Owns which keys hold which number, which layers keep what, where the experts are, and what a state holds.
:data:`FAMILIES` says where a family differs from Llama. It follows vLLM's model code, and transformers for what follows
from a key that is left out. ``infra/cards/config.py`` reads a whole file with it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from infra.cards.types import Experts, LayerKinds, State

__all__ = [
    "FAMILIES",
    "NAMES",
    "OTHER_KEYS",
    "ConfigError",
    "Dtype",
    "Family",
    "Layers",
    "Section",
    "dtype_of",
    "no_experts",
]

Dtype = Literal["bfloat16", "float16", "float32"]


class ConfigError(Exception):
    """A ``config.json`` that cannot be read into an architecture; the text says what is missing and what to write."""


# Names of one number, the first that is there counts. The order is that of vLLM's ModelArchConfigConvertorBase
# (vllm/transformers_utils/model_arch_config_convertor.py) where it has one.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model", "n_embed"),
    "inner": ("intermediate_size", "ff_intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num"),
    "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    "vocab": ("padded_vocab_size", "vocab_size"),
    "experts": ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"),
    "experts_per_token": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "top_k_experts",
        "moe_topk",
        "moe_top_k",
        "moe_k",
    ),
    "expert_width": ("moe_intermediate_size", "expert_hidden_size"),
    "shared_width": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "shared_experts": (
        "n_shared_experts",
        "num_shared_experts",
        "moe_num_shared_experts",
        "num_shared_expert",
    ),
    "rotary_share": ("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction"),
}
_LAYER_TYPES: Final[Mapping[str, str]] = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "mamba": "mamba",
    "indexed_attention": "full",
    "deepseek_sparse_attention": "full",
    "moe": "none",
    "mlp": "none",
    "kv_shared": "none",
}
# Keys that are read by their one name.
OTHER_KEYS: Final = (
    "sliding_window",
    "sliding_window_pattern",
    "use_sliding_window",
    "max_window_layers",
    "num_kv_shared_layers",
    "attention_chunk_size",
    "no_rope_layer_interval",
    "interleave_moe_layer_step",
    "intermediate_size_mlp",
    "expansion_ratio",
    "multi_query",
    "new_decoder_architecture",
    "alibi",
    "rotary_dim",
    "tie_word_embeddings",
    "attention_k_eq_v",
    "enable_moe_block",
    "full_attention_interval",
    "first_k_dense_replace",
    "moe_layer_freq",
    "decoder_sparse_step",
    "moe_layer_start_index",
    "moe_layer_end_index",
    "moe_layer_interval",
    "moe_shared_expert_intermediate_size",
    "expert_layer_period",
    "expert_layer_offset",
    "attn_layer_period",
    "attn_layer_offset",
    "kv_lora_rank",
    "q_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "index_head_dim",
    "index_n_heads",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
    "mamba_expand",
    "mamba_d_ssm",
    "mamba_d_state",
    "mamba_n_heads",
    "mamba_d_head",
    "mamba_n_groups",
    "mamba_d_conv",
    "mamba_num_heads",
    "mamba_head_dim",
    "mamba_ssm_cache_dtype",
    "ssm_state_size",
    "n_groups",
    "conv_kernel",
    "mm_tokens_per_image",
    "vision_soft_tokens_per_image",
    "spatial_merge_size",
    "vision_feature_select_strategy",
)


class Section:
    """One configuration, with what stands for the keys that it leaves out."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "") -> None:
        self.values = values
        self.defaults = defaults
        self.where = where  # "text_config." or nothing: how a message names a key
        self.assumed: dict[str, Any] = {}
        self.notes: list[str] = []

    def get(self, *names: str) -> Any:
        """The value of the first name that the file has (null too), else of the first with a default, else None."""
        for name in names:
            if name in self.values:
                return self.values[name]
        for name in names:
            if self.defaults.get(name) is not None:
                self.assumed[name] = self.defaults[name]
                return self.defaults[name]
        return None

    def integer(self, *names: str) -> int | None:
        """A whole number of at least 0 under one of ``names``; None where there is none.

        Raises:
            ConfigError: it is something else.
        """
        value = self.get(*names)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]  # Gemma 3n: one width for each layer, all alike
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            name = next((n for n in names if n in self.values), names[0])
            raise ConfigError(
                f"{self.where}{name} is {value!r} in config.json; one whole number is needed. Where the layers really "
                "differ in it, write the card by hand (infra/catalog/README.md)."
            )
        return value

    def need(self, *names: str, card: str) -> int:
        """A number that every such model has; ``card`` is the key of a card that it becomes.

        Raises:
            ConfigError: it is not there.
        """
        value = self.integer(*names)
        if not value:
            raise ConfigError(
                f"config.json has no {self.where}{' or '.join(names)}, and there is no default for it. Add the key to "
                f"config.json, or write the card by hand with {card} (infra/catalog/README.md)."
            )
        return value

    @property
    def layers(self) -> int:
        types = self.values.get("layers_block_type")
        if isinstance(types, list) and not any(name in self.values for name in NAMES["layers"]):
            return len(types)  # Nemotron 3 Ultra
        return self.need(*NAMES["layers"], card="architecture.num_hidden_layers")

    @property
    def hidden(self) -> int:
        return self.need(*NAMES["hidden"], card="architecture.hidden_size")

    @property
    def heads(self) -> int:
        return self.need(*NAMES["heads"], card="architecture.num_attention_heads")


@dataclass(frozen=True)
class Layers:
    """Kinds of the layers (None: all alike) with the window or chunk that the sliding or chunked ones have."""

    kinds: LayerKinds | None = None
    sliding_window: int | None = None
    attention_chunk_size: int | None = None


def dtype_of(value: object) -> Dtype | None:
    name = value.removeprefix("torch.") if isinstance(value, str) else None
    for known in _DTYPES:
        if name == known:
            return known
    return None


_DTYPES: Final[tuple[Dtype, ...]] = ("bfloat16", "float16", "float32")


# Layers


def _kinds(types: Sequence[str]) -> LayerKinds:
    counts: dict[str, int] = {}
    for name in types:
        kind = _LAYER_TYPES.get(name)
        if kind is None:
            raise ConfigError(
                f"config.json has a layer of type {name!r}, of which this reader does not know what it keeps between "
                f"tokens (known: {', '.join(_LAYER_TYPES)}). Write the card by hand with architecture.layer_kinds."
            )
        counts[kind] = counts.get(kind, 0) + 1
    return LayerKinds(**counts)


def _of_types(config: Section, types: Sequence[str]) -> Layers:
    """Layers of named types, one entry a layer; no kinds where all are full or all have the window."""
    kinds = _kinds(types)
    window = config.integer("sliding_window") if kinds.sliding else None
    if kinds.sliding and not window:
        raise ConfigError(
            f"config.json has {kinds.sliding} sliding layers and no {config.where}sliding_window. Add the key."
        )
    chunk = config.integer("attention_chunk_size") if kinds.chunked else None
    alike = len(types) in (kinds.full, kinds.sliding)
    return Layers(None if alike else kinds, window, chunk)


def _pattern(config: Section, full: Callable[[int], bool], other: str = "sliding_attention") -> list[str]:
    return ["full_attention" if full(i) else other for i in range(config.layers)]


def _uniform(config: Section) -> Layers:
    """As ``layer_types`` says, else one window for all layers where the file has one (0 is none, as for vLLM)."""
    types = config.get("layer_types")
    return (
        _of_types(config, types) if types else Layers(sliding_window=config.integer("sliding_window") or None)
    )


def _full(config: Section) -> Layers:
    return Layers()


def _every(default: int) -> Callable[[Section], Layers]:
    """One layer in so many is full, the others have the window: ``layer_types``, else ``sliding_window_pattern``."""

    def layers(config: Section) -> Layers:
        if types := config.get("layer_types"):
            return _of_types(config, types)
        if not config.integer("sliding_window"):
            return Layers()
        said = config.get("sliding_window_pattern")
        every = len(said) if isinstance(said, str) else said or default  # EXAONE 4 writes "LLLG"
        return _of_types(config, _pattern(config, lambda i: (i + 1) % every == 0))

    return layers


def _qwen(config: Section) -> Layers:
    """The window counts only with ``use_sliding_window``, and only from layer ``max_window_layers`` on."""
    if not config.get("use_sliding_window"):
        return Layers()
    first = config.integer("max_window_layers") or 0
    return _of_types(config, config.get("layer_types") or _pattern(config, lambda i: i < first))


def _gemma_shared(default: int) -> Callable[[Section], Layers]:
    """As every so many, but the last ``num_kv_shared_layers`` read an earlier layer's cache and keep nothing."""

    def layers(config: Section) -> Layers:
        types = list(config.get("layer_types") or _pattern(config, lambda i: (i + 1) % default == 0))
        own = len(types) - (config.integer("num_kv_shared_layers") or 0)
        return _of_types(config, types[:own] + ["kv_shared"] * (len(types) - own))

    return layers


def _llama4(config: Section) -> Layers:
    """Layers with rotary embedding see the running chunk, the others everything (transformers Llama4TextConfig)."""
    chunk = config.integer("attention_chunk_size")
    types = config.get("layer_types")
    if not types:
        every = config.integer("no_rope_layer_interval") or 4
        rope = config.get("no_rope_layers") or [(i + 1) % every != 0 for i in range(config.layers)]
        types = ["chunked_attention" if chunk and rotated else "full_attention" for rotated in rope]
    return _of_types(config, types)


def _mllama(config: Section) -> Layers:
    cross = len(config.get("cross_attention_layers") or (3, 8, 13, 18, 23, 28, 33, 38))
    return Layers(LayerKinds(full=config.layers - cross, cross=cross))


def _gated_delta(config: Section) -> Layers:
    """Qwen3-Next, Qwen3.5: every ``full_attention_interval``-th layer is full, the others linear."""
    every = config.integer("full_attention_interval") or 4
    types = config.get("layer_types") or _pattern(config, lambda i: (i + 1) % every == 0, "linear_attention")
    return _of_types(config, types)


def _mamba_types(config: Section) -> Layers:
    """Granite 4, Bamba: attention where named, Mamba elsewhere; transformers 5 calls Mamba linear attention."""
    types = config.get("layer_types", "layers_block_type")
    if not types:
        attention = config.get("attn_layer_indices") or ()
        types = _pattern(config, lambda i: i in attention, "mamba")
    return _of_types(config, ["mamba" if name == "linear_attention" else name for name in types])


def _jamba(config: Section) -> Layers:
    period, offset = config.integer("attn_layer_period") or 8, config.integer("attn_layer_offset") or 0
    return _of_types(config, _pattern(config, lambda i: i % period == offset, "mamba"))


_NEMOTRON_LETTERS: Final = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def _nemotron_types(config: Section) -> list[str]:
    types = config.get("layers_block_type", "layer_types")
    if types:
        return ["mamba" if name == "linear_attention" else str(name) for name in types]
    pattern = config.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or not set(pattern) <= set(_NEMOTRON_LETTERS):
        raise ConfigError(
            f"{config.where}hybrid_override_pattern is {pattern!r} in config.json; a text of "
            f"{' '.join(_NEMOTRON_LETTERS)} is needed, one letter a layer. Write the card by hand with "
            "architecture.layer_kinds."
        )
    return [_NEMOTRON_LETTERS[letter] for letter in pattern]


def _nemotron_h(config: Section) -> Layers:
    """One mixer or one MLP a layer."""
    return _of_types(config, _nemotron_types(config))


def _kimi_linear(config: Section) -> Layers:
    linear = config.get("linear_attn_config") or {}
    return Layers(LayerKinds(full=len(linear["full_attn_layers"]), linear=len(linear["kda_layers"])))


# Experts


def _experts(dense: Callable[[Section, int], int]) -> Callable[[Section], Experts | None]:
    """Experts in all layers but ``dense(config, layers)`` of them; None where the file has no experts."""

    def read(config: Section) -> Experts | None:
        count = config.integer(*NAMES["experts"])
        if not count or count == 1:
            return None
        width = config.integer(*NAMES["expert_width"]) or config.need(
            "intermediate_size", card="architecture.experts.moe_intermediate_size"
        )
        mlps = config.get("mlp_layer_types")  # transformers 5 writes it
        shared = config.integer(*NAMES["shared_width"]) or (
            (config.integer("moe_shared_expert_intermediate_size") or width)
            * (config.integer(*NAMES["shared_experts"]) or 0)
        )
        return Experts(
            num_experts=count,
            num_experts_per_tok=config.need(
                *NAMES["experts_per_token"], card="architecture.experts.num_experts_per_tok"
            ),
            moe_intermediate_size=width,
            shared_intermediate_size=shared or None,
            num_dense_layers=mlps.count("dense") if mlps else dense(config, config.layers),
        )

    return read


def _none_dense(config: Section, layers: int) -> int:
    return 0


def _first_dense(config: Section, layers: int) -> int:
    """DeepSeek, GLM, Kimi: the first ``first_k_dense_replace``, then every ``moe_layer_freq``-th has experts."""
    first, every = config.integer("first_k_dense_replace") or 0, config.integer("moe_layer_freq") or 1
    return layers - sum(i >= first and i % every == 0 for i in range(layers))


def _sparse_step(config: Section, layers: int) -> int:
    """Qwen: experts in every ``decoder_sparse_step``-th layer but ``mlp_only_layers``."""
    every, plain = config.integer("decoder_sparse_step") or 1, config.get("mlp_only_layers") or ()
    return layers - sum((i + 1) % every == 0 and i not in plain for i in range(layers))


def _llama4_dense(config: Section, layers: int) -> int:
    every = config.integer("interleave_moe_layer_step") or 1
    return layers - len(config.get("moe_layers") or range(every - 1, layers, every))


def _jamba_dense(config: Section, layers: int) -> int:
    period, offset = config.integer("expert_layer_period") or 2, config.integer("expert_layer_offset") or 0
    return layers - sum(i % period == offset for i in range(layers))


def _ernie_dense(config: Section, layers: int) -> int:
    first, every = config.integer("moe_layer_start_index") or 0, config.integer("moe_layer_interval") or 1
    last = config.get("moe_layer_end_index")
    last = layers - 1 if last in (None, -1) else last
    return layers - sum((i + 1) % every == 0 and first <= i <= last for i in range(layers))


def _nemotron_experts(config: Section) -> Experts | None:
    """``num_dense_layers`` are the layers that are an ordinary MLP; the other layers without a mixer have experts."""
    types = _nemotron_types(config)
    return _experts(lambda config, layers: types.count("mlp"))(config) if "moe" in types else None


def _llama4_experts(config: Section) -> Experts | None:
    """``intermediate_size`` is the width of an expert, routed or shared; each layer has one shared expert."""
    found = _experts(_llama4_dense)(config)
    return found and found.model_copy(update={"shared_intermediate_size": found.moe_intermediate_size})


def _gemma4_experts(config: Section) -> Experts | None:
    """Beside the experts every layer keeps an ordinary MLP of ``intermediate_size``, counted as a shared expert."""
    if not config.get("enable_moe_block"):
        return None
    found = _experts(_none_dense)(config)
    return found and found.model_copy(
        update={
            "shared_intermediate_size": config.need(
                "intermediate_size", card="architecture.intermediate_size"
            )
        }
    )


def _dbrx_experts(config: Section) -> Experts | None:
    ffn = Section(config.get("ffn_config") or {}, {}, f"{config.where}ffn_config.")
    return Experts(
        num_experts=ffn.need("moe_num_experts", card="architecture.experts.num_experts"),
        num_experts_per_tok=ffn.need("moe_top_k", card="architecture.experts.num_experts_per_tok"),
        moe_intermediate_size=ffn.need("ffn_hidden_size", card="architecture.experts.moe_intermediate_size"),
    )


# States, as vLLM's MambaStateShapeCalculator makes them (vllm/model_executor/layers/mamba/mamba_utils.py)


def _mamba2(inner: Callable[[Section], int], names: Mapping[str, str]) -> Callable[[Section], State]:
    def read(config: Section) -> State:
        def number(what: str) -> int:
            return config.need(names[what], card=f"architecture.state ({what})")

        size, heads, width = number("state_size"), number("heads"), inner(config)
        head = config.get(names["head_dim"])
        return State(
            conv_kernel=number("conv_kernel"),
            conv_channels=width + 2 * number("groups") * size,
            num_heads=heads,
            head_dim=width // heads if head in (None, "auto") else number("head_dim"),
            state_size=size,
            dtype=dtype_of(config.get("mamba_ssm_cache_dtype")),
        )

    return read


_MAMBA2_NAMES: Final = {
    "state_size": "mamba_d_state",
    "heads": "mamba_n_heads",
    "head_dim": "mamba_d_head",
    "groups": "mamba_n_groups",
    "conv_kernel": "mamba_d_conv",
}
_NEMOTRON_NAMES: Final = {
    "state_size": "ssm_state_size",
    "heads": "mamba_num_heads",
    "head_dim": "mamba_head_dim",
    "groups": "n_groups",
    "conv_kernel": "conv_kernel",
}


def _expanded(config: Section) -> int:
    return config.need("mamba_expand", card="architecture.state") * config.hidden


def _falcon_h1_inner(config: Section) -> int:
    return config.integer("mamba_d_ssm") or _expanded(config)


def _nemotron_state(config: Section) -> State | None:
    """The recurrent state is float32 unless the file says otherwise (NemotronHForCausalLMConfig in vLLM)."""
    if "mamba" not in _nemotron_types(config):
        return None

    def inner(config: Section) -> int:
        heads = config.need("mamba_num_heads", card="architecture.state.num_heads")
        return heads * config.need("mamba_head_dim", card="architecture.state.head_dim")

    state = _mamba2(inner, _NEMOTRON_NAMES)(config)
    return state if state.dtype else state.model_copy(update={"dtype": "float32"})


def _mamba1(config: Section) -> State:
    """Jamba: a state of ``intermediate x state_size``, which is that many heads of width 1."""
    inner = _expanded(config)
    return State(
        conv_kernel=config.need("mamba_d_conv", card="architecture.state.conv_kernel"),
        conv_channels=inner,
        num_heads=inner,
        head_dim=1,
        state_size=config.need("mamba_d_state", card="architecture.state.state_size"),
    )


def _delta_state(config: Section) -> State:
    """Gated delta net: the convolution runs over queries, keys (``key_dim`` each) and values (``value_dim``)."""

    def number(name: str) -> int:
        return config.need(name, card="architecture.state")

    keys, values = number("linear_num_key_heads"), number("linear_num_value_heads")
    key_width, value_width = number("linear_key_head_dim"), number("linear_value_head_dim")
    return State(
        conv_kernel=number("linear_conv_kernel_dim"),
        conv_channels=2 * keys * key_width + values * value_width,
        num_heads=values,
        head_dim=value_width,
        state_size=key_width,
        dtype=dtype_of(config.get("mamba_ssm_dtype")),
    )


def _kda_state(config: Section) -> State:
    """Kimi delta attention; vLLM keeps its recurrent state in float32."""
    linear = Section(config.get("linear_attn_config") or {}, {}, f"{config.where}linear_attn_config.")
    heads = linear.need("num_heads", card="architecture.state.num_heads")
    width = linear.need("head_dim", card="architecture.state.head_dim")
    return State(
        conv_kernel=linear.need("short_conv_kernel_size", card="architecture.state.conv_kernel"),
        conv_channels=3 * heads * width,
        num_heads=heads,
        head_dim=width,
        state_size=width,
        dtype="float32",
    )


# Families


def _kv_heads(config: Section) -> int | None:
    return config.integer(*NAMES["kv_heads"])


def _falcon_kv(config: Section) -> int | None:
    """``multi_query`` is ignored in the new decoder (vLLM's FalconModelArchConfigConvertor)."""
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    return _kv_heads(config)


def _multi_query_kv(config: Section) -> int | None:
    return 1 if config.get("multi_query") else None


def _attn_config_kv(config: Section) -> int | None:
    return (config.get("attn_config") or {}).get("kv_n_heads")


def no_experts(config: Section) -> Experts | None:
    """What a family has whose layers are all alike."""
    return None


def _no_state(config: Section) -> State | None:
    return None


@dataclass(frozen=True)
class Family:
    """How the models of one ``model_type`` differ from Llama.

    ``rotary`` is the rotated share of a head where the file does not say; 0: there is no rotary embedding.
    ``halved_mlp``: ``intermediate_size`` counts gate and up projection together. ``inner_factor`` gives the MLP's width
    from the hidden size where the file has none. ``remote_code``: neither transformers nor vLLM has its configuration
    class. ``defaults_of`` is the type with the same defaults.
    """

    layers: Callable[[Section], Layers] = _uniform
    experts: Callable[[Section], Experts | None] = no_experts
    state: Callable[[Section], State | None] = _no_state
    kv_heads: Callable[[Section], int | None] = _kv_heads
    gated_mlp: bool = True
    rotary: float = 1.0
    halved_mlp: bool = False
    inner_factor: int | None = None
    remote_code: bool = False
    defaults_of: str | None = None


_LLAMA: Final = Family()
_MOE: Final = Family(experts=_experts(_none_dense))
_DEEPSEEK: Final = Family(experts=_experts(_first_dense))
_QWEN2: Final = Family(layers=_qwen)
_QWEN_MOE: Final = Family(layers=_qwen, experts=_experts(_sparse_step))
_GPT2: Final = Family(gated_mlp=False, rotary=0, inner_factor=4)
_MAMBA_TWO: Final = _mamba2(_expanded, _MAMBA2_NAMES)

FAMILIES: Final[Mapping[str, Family]] = {
    # Llama and what is built like it
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "ministral3": _LLAMA,
    "aquila": replace(_LLAMA, remote_code=True),
    "baichuan": replace(_LLAMA, remote_code=True),
    "Yi": Family(defaults_of="llama"),
    "internlm": replace(_LLAMA, remote_code=True),
    "internlm2": replace(_LLAMA, remote_code=True),
    "internlm3": replace(_LLAMA, remote_code=True),
    "minicpm": replace(_MOE, remote_code=True),
    "orion": replace(_LLAMA, remote_code=True),
    "solar": _LLAMA,
    "granite": _LLAMA,
    "seed_oss": _LLAMA,
    "smollm3": _QWEN2,
    "hunyuan_v1_dense": _LLAMA,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": Family(layers=_every(4)),
    "exaone": replace(_LLAMA, remote_code=True),
    "exaone4": Family(layers=_every(4)),
    "cohere": _LLAMA,
    "cohere2": Family(layers=_every(4)),
    "stablelm": Family(rotary=0.25),
    "stablelm_epoch": Family(rotary=0.25, defaults_of="stablelm"),
    "ernie4_5": _LLAMA,
    "nemotron": Family(gated_mlp=False, rotary=0.5),
    # Qwen
    "qwen": Family(halved_mlp=True, remote_code=True),
    "qwen2": _QWEN2,
    "mimo": replace(_QWEN2, defaults_of="qwen2"),
    "qwen3": _QWEN2,
    "qwen2_moe": _QWEN_MOE,
    "qwen3_moe": _QWEN_MOE,
    "qwen2_vl_text": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen3_vl_text": _LLAMA,
    "qwen3_vl_moe_text": Family(experts=_experts(_sparse_step)),
    "qwen3_next": Family(_gated_delta, _experts(_sparse_step), _delta_state, rotary=0.25),
    "qwen3_5_text": Family(_gated_delta, state=_delta_state, rotary=0.25),
    "qwen3_5_moe_text": Family(_gated_delta, _experts(_none_dense), _delta_state, rotary=0.25),
    # Gemma
    "gemma": _LLAMA,
    "gemma2": Family(layers=_every(2)),
    "gemma3_text": Family(layers=_every(6)),
    "gemma3n_text": Family(layers=_gemma_shared(5)),
    "gemma4_text": Family(layers=_gemma_shared(6), experts=_gemma4_experts),
    # Phi
    "phi": Family(gated_mlp=False, rotary=0.5),
    "phi3": _LLAMA,
    "phi4mm": Family(defaults_of="phi3", remote_code=True),
    "phi3_v": Family(defaults_of="phi3", remote_code=True),
    "phi3small": Family(remote_code=True),
    "phimoe": _MOE,
    # DeepSeek and what is built like it
    "deepseek": replace(_DEEPSEEK, remote_code=True),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _DEEPSEEK,
    "kimi_k2": replace(_DEEPSEEK, defaults_of="deepseek_v3"),
    "kimi_linear": replace(_DEEPSEEK, layers=_kimi_linear, state=_kda_state),
    "glm4_moe": replace(_DEEPSEEK, rotary=0.5),
    "glm4_moe_lite": _DEEPSEEK,
    "glm_moe_dsa": _DEEPSEEK,
    # Experts
    "mixtral": _MOE,
    "gpt_oss": Family(_every(2), _experts(_none_dense)),
    "llama4_text": Family(_llama4, _llama4_experts),
    "minimax_m2": _MOE,
    "olmoe": _MOE,
    "granitemoe": _MOE,
    "granitemoeshared": _MOE,
    "ernie4_5_moe": Family(experts=_experts(_ernie_dense)),
    "dbrx": Family(_full, _dbrx_experts, kv_heads=_attn_config_kv),
    # Attention and state-space layers
    "jamba": Family(_jamba, _experts(_jamba_dense), _mamba1, rotary=0),
    "bamba": Family(_mamba_types, state=_MAMBA_TWO, rotary=0.5),
    "granitemoehybrid": Family(_mamba_types, _experts(_none_dense), _MAMBA_TWO),
    "falcon_h1": Family(_full, state=_mamba2(_falcon_h1_inner, _MAMBA2_NAMES)),
    "nemotron_h": Family(_nemotron_h, _nemotron_experts, _nemotron_state, gated_mlp=False, rotary=0),
    # GLM and ChatGLM
    "glm": Family(rotary=0.5),
    "glm4": Family(rotary=0.5),
    "glm4v_text": Family(rotary=0.5),
    "chatglm": Family(rotary=0.5),
    # Older ones
    "mllama_text_model": Family(_mllama),
    "falcon": Family(kv_heads=_falcon_kv, gated_mlp=False, inner_factor=4),
    "RefinedWeb": Family(kv_heads=_falcon_kv, gated_mlp=False, inner_factor=4),
    "RefinedWebModel": Family(kv_heads=_falcon_kv, gated_mlp=False, inner_factor=4),
    "gpt_neox": Family(gated_mlp=False, rotary=0.25),
    "gpt2": _GPT2,
    "gpt_bigcode": replace(_GPT2, kv_heads=_multi_query_kv),
    "gptj": Family(gated_mlp=False, inner_factor=4),
    "opt": replace(_GPT2, inner_factor=None),
    "bloom": _GPT2,
    "mpt": replace(_GPT2, kv_heads=_attn_config_kv),
    "starcoder2": Family(gated_mlp=False),
}

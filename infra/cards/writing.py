"""Makes a model card from the files of a repository, and writes cards as YAML in the catalogue's style.

Owns which family a name belongs to, which parsers of vLLM read a family's answers, and what a card that nobody has
looked at may claim: a number comes from the files or is left out. Pure.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from infra.cards.checkpoint import Checkpoint, Tensor, read_checkpoint
from infra.cards.config import ConfigError, ConfigFacts, read_config
from infra.cards.types import ModelCard, Vision, Weights

__all__ = ["Draft", "Repository", "draft", "family_of", "parsers_of", "to_yaml"]

_WIDTH: Final = 120


@dataclass(frozen=True)
class Repository:
    """What the files of a model say. Contents are those of the files of these names; None: there is no such file.

    ``origin`` names the repository, its revision and the day, as a source. ``chat_template`` is the template's text
    (None: there is none) and ``chat_template_file`` where it, or its absence, was read. ``tensors`` are those of all
    safetensors files that belong to the model; where they could not be read, ``total_size`` may still say the bytes.
    """

    id: str
    origin: str
    config: Mapping[str, Any]
    preprocessor_config: Mapping[str, Any] | None
    hf_quant_config: Mapping[str, Any] | None
    tokenizer_config: Mapping[str, Any] | None
    gated: bool
    gated_source: str
    chat_template: str | None
    chat_template_file: str
    tensors: tuple[Tensor, ...] | None
    total_size: int | None


@dataclass(frozen=True)
class Draft:
    """A card with what its writer should know: ``notes`` say what stands for what, ``unknown`` what is left out."""

    card: ModelCard
    notes: tuple[str, ...]
    unknown: tuple[str, ...]


def draft(repository: Repository, family: str | None = None) -> Draft:
    """Make the card of a repository.

    Args:
        repository: its files.
        family: the family to write; by the name when it is None.

    Raises:
        ConfigError: its ``config.json`` cannot be read into an architecture.
        CheckpointError: its safetensors files are empty.
    """
    facts = read_config(
        repository.config,
        preprocessor=repository.preprocessor_config,
        quantization=repository.hf_quant_config,
    )
    _refuse_heads(repository.config, facts)
    notes, unknown = list(facts.notes), []
    checkpoint = read_checkpoint(repository.tensors, facts) if repository.tensors is not None else None
    weights, weights_source = _weights(repository, facts, checkpoint)
    if checkpoint is None:
        unknown.append(
            "weights: no safetensors header could be read" + _SO_BYTES[repository.total_size is not None]
        )
    if weights.dtype is None:
        unknown.append("weights.dtype: neither config.json nor a header says it")
    vision, vision_source = _vision(repository, facts.vision, checkpoint)
    if vision is not None:
        if vision.max_tokens_per_image is None:
            unknown.append(
                "vision.max_tokens_per_image: not worked out for this family, or no preprocessor_config.json"
            )
        if vision.parameters is None:
            unknown.append(
                "vision.parameters: no tensor of the checkpoint is known as part of an image encoder"
            )
    named = family or family_of(repository.id, facts.model_type)
    template = repository.chat_template
    tool, reasoning = parsers_of(named, repository.id, template) if template is not None else (None, None)
    if template is not None and tool is None:
        unknown.append("tool_call_parser: none is known for this family; add one if the model calls tools")
    remote = facts.needs_remote_code or _tokenizer_is_remote(repository.tokenizer_config)
    sources = {
        "architecture": "; ".join((f"config.json of {repository.origin}", *facts.notes)),
        "vision": vision_source,
        "weights": weights_source,
        "gated": repository.gated_source,
        "chat_template": repository.chat_template_file,
        "tool_call_parser": _TOOLS_SOURCE if tool else "",
        "reasoning_parser": _REASONING_SOURCE if reasoning else "",
    }
    card = ModelCard(
        id=repository.id,
        family=named,
        gated=repository.gated,
        chat_template=template is not None,
        modalities=facts.modalities,
        tool_call_parser=tool,
        reasoning_parser=reasoning,
        needs_remote_code=remote,
        architecture=facts.architecture,
        vision=vision,
        weights=weights,
        sources={key: text for key, text in sources.items() if text},
    )
    return Draft(card, tuple(notes), tuple(unknown))


def _refuse_heads(config: Mapping[str, Any], facts: ConfigFacts) -> None:
    """Refuse key and value heads that no attention can have.

    Raises:
        ConfigError: there are none, or they do not divide the heads: every one of them serves as many.
    """
    arch = facts.architecture
    parts = (part for name, part in config.items() if isinstance(part, Mapping) and "vision" not in name)
    sections = (config, *parts)
    for section in sections:
        # A model without attention has no heads at all; read_config speaks of those.
        if section.get("num_key_value_heads") == 0 and section.get("num_attention_heads"):
            raise ConfigError(
                f"{arch.name}: config.json has num_key_value_heads: 0 and num_attention_heads:"
                f" {section['num_attention_heads']}. Correct it, or delete the key (then every head has its own)."
            )
    for heads in (arch.num_key_value_heads, arch.full_num_key_value_heads):
        if heads is not None and arch.mla is None and arch.num_attention_heads % heads:
            raise ConfigError(
                f"{arch.name}: config.json has {arch.num_attention_heads} attention heads and {heads} key and value"
                f" heads, which do not divide them. Correct num_key_value_heads."
            )


_SO_BYTES: Final = {True: "; bytes are those of the index", False: "; parameters and bytes are left out"}
_TOOLS_SOURCE: Final = "docs.vllm.ai/en/latest/features/tool_calling, by the family"
_REASONING_SOURCE: Final = "docs.vllm.ai/en/latest/features/reasoning_outputs, by the family"


def _weights(
    repository: Repository, facts: ConfigFacts, checkpoint: Checkpoint | None
) -> tuple[Weights, str]:
    if checkpoint is not None:
        left = "".join(f"; without {size} bytes: {why}" for why, size in sorted(checkpoint.left_out.items()))
        return checkpoint.weights, f"headers of the safetensors files of {repository.origin}{left}"
    quantized = facts.quantization
    weights = Weights(
        bytes=repository.total_size,
        dtype=facts.dtype,
        quantization=quantized.method if quantized else None,
        quantization_bits=quantized.bits if quantized else None,
        group_size=quantized.group_size if quantized else None,
    )
    file = "total_size of the index" if repository.total_size else "config.json"
    return weights, f"{file} of {repository.origin}"


def _vision(
    repository: Repository, vision: Vision | None, checkpoint: Checkpoint | None
) -> tuple[Vision | None, str]:
    if vision is None:
        return None, ""
    files = ["config.json"]
    if vision.max_tokens_per_image is not None and repository.preprocessor_config is not None:
        files.append("preprocessor_config.json")
    parameters = checkpoint.vision_parameters if checkpoint else None
    if parameters is not None:
        files.append("headers of the safetensors files")
    return vision.model_copy(update={"parameters": parameters}), f"{', '.join(files)} of {repository.origin}"


# Classes of tokenizers that transformers has; others come with the repository's code.
_TOKENIZERS: Final = re.compile(
    r"(PreTrained|Llama|CodeLlama|GPT2|GPTNeoX|Qwen2|Gemma|Cohere|Bloom|CodeGen|Mistral)Tokenizer(Fast)?"
    r"|TokenizersBackend|PreTrainedTokenizerFast"
)


def _tokenizer_is_remote(config: Mapping[str, Any] | None) -> bool:
    auto_map = (config or {}).get("auto_map")
    if not isinstance(auto_map, Mapping) or "AutoTokenizer" not in auto_map:
        return False
    return _TOKENIZERS.fullmatch(str((config or {}).get("tokenizer_class"))) is None


# Names to families, the first that fits; \1 is the version, which is no number of parameters. In lower case.
_VERSION: Final = r"-?v?(\d(?:[._]\d)?)(?![\d.]*[bx])"
_FAMILIES: Final = tuple(
    (re.compile(pattern.replace("VERSION", _VERSION)), family)
    for pattern, family in (
        (r"deepseek-r1-.*distill", "deepseek-r1-distill"),
        (r"deepseek-coder-v2", "deepseek-v2"),
        (r"deepseek-(r1|v2|v3\.[12]|v3|coder|vl2|vl|ocr)", r"deepseek-\1"),
        (r"llama-guard", "llama-guard"),
        (r"code-?llama", "code-llama"),
        (r"tinyllama", "tinyllama"),
        (r"nemotron-(h|3)\b", r"nemotron-\1"),
        (r"(?<!code)llamaVERSION", r"llama-\1"),
        (r"qwenVERSION-.*(vl|next|omni|audio)", r"qwen-\1-\2"),
        (r"qwenVERSION", r"qwen-\1"),
        (r"gemma-3n", "gemma-3n"),
        (r"granite-\w+VERSION", r"granite-\1"),
        (r"falcon-?(h1|mamba)", r"falcon-\1"),
        (r"dolly-v(\d)", r"dolly-v\1"),
        (r"kimi-(k2|k3|vl|linear)", r"kimi-\1"),
        (r"minimax-(m\d)", r"minimax-\1"),
        (r"mistral-(small|large|medium)", r"mistral-\1"),
        (r"command-(a|r)", r"command-\1"),
        (
            r"(?:code)?(gemma|phi|granite|glm|falcon|internvl|internlm|baichuan|aquila\w*|exaone|olmo|yi|smollm"
            r"|starcoder|ministral|devstral|codestral|pixtral|magistral|mixtral)VERSION",
            r"\1-\2",
        ),
        (
            r"(qwq|qwen|gpt-oss|gpt-neox|pythia|codegemma|gemma|phi|llava|jamba|bloom|mpt|stablelm|redpajama|zephyr"
            r"|mixtral|ministral|devstral|codestral|pixtral|mistral|granite|glm|falcon|internlm|baichuan|exaone|olmoe"
            r"|olmo|yi|starcoder|solar|moonlight|kimi|opt)(?![a-z])",
            r"\1",
        ),
        (r"gpt-?2", "gpt-2"),
    )
)


def family_of(model_id: str, model_type: str) -> str:
    """The family that a repository's name says, else its ``model_type``."""
    name = model_id.partition("/")[2].lower()
    for pattern, family in _FAMILIES:
        found = pattern.search(name)
        if found:
            return found.expand(family).replace("_", ".")
    return model_type.removesuffix("_text").replace("_", "-")


# Parsers of answers by family, the first that fits family and name: vLLM's documentation of tool calling and of
# reasoning outputs, and vllm-project/recipes. Empty: none.
_PARSERS: Final = tuple(
    (re.compile(family), re.compile(name), tool or None, reasoning or None)
    for family, name, tool, reasoning in (
        (r"llama-3\.[1-3]", "(?!.*vision)", "llama3_json", ""),
        (r"llama-4", "", "llama4_pythonic", ""),
        (r"qwen-3.*|qwen-3-next", ".*coder", "qwen3_coder", ""),
        (r"qwen-3\.\d", "", "qwen3_coder", "qwen3"),
        (r"qwen-3.*", ".*thinking", "hermes", "deepseek_r1"),
        (r"qwen-3(-next|-vl)?", ".*instruct", "hermes", ""),
        (r"qwen-3", "", "hermes", "qwen3"),
        (r"qwen-2\.5", "(?!.*(math|coder)).*instruct", "hermes", ""),
        (r"qwq", "", "hermes", "deepseek_r1"),
        (r"deepseek-r1-distill", "", "", "deepseek_r1"),
        (r"deepseek-r1", "", "deepseek_v3", "deepseek_r1"),
        (r"deepseek-v3\.1", "", "deepseek_v31", "deepseek_v3"),
        (r"deepseek-v3\.2", "", "deepseek_v32", "deepseek_v3"),
        (r"deepseek-v3", "", "deepseek_v3", ""),
        (r"(mistral|ministral|devstral).*", ".*reasoning", "mistral", "mistral"),
        (r"(mistral|ministral|devstral|mixtral).*", r"(?!.*7b-instruct-v0\.[12])", "mistral", ""),
        (r"gpt-oss", "", "openai", "openai_gptoss"),
        (r"granite-3\.[23]", "", "granite", "granite"),
        (r"granite-3.*", "", "granite", ""),
        (r"granite-4.*", "", "granite4", ""),
        (r"glm-4\.[56]", "", "glm45", "glm45"),
        (r"glm-(4\.7|5.*)", "", "glm47", "glm45"),
        (r"gemma-4", "", "gemma4", "gemma4"),
        (r"kimi-k2", r".*(thinking|k2\.)", "kimi_k2", "kimi_k2"),
        (r"kimi-k2", "", "kimi_k2", ""),
        (r"minimax-m2", "", "minimax_m2", "minimax_m2"),
        (r"phi-4", ".*mini", "phi4_mini_json", ""),
        (r"jamba", "", "jamba", ""),
        (r"internlm-2\.5", "", "internlm", ""),
        (r"exaone-4.*", "", "hermes", "deepseek_r1"),
        (r"nemotron-3", ".*nano", "qwen3_coder", ""),
        (r"olmo-3", "", "olmo3", ""),
    )
)


def parsers_of(family: str, model_id: str, template: str) -> tuple[str | None, str | None]:
    """vLLM's parsers of tool calls and of reasoning for a model; no tool calls where the template has no tools."""
    name = model_id.partition("/")[2].lower()
    for families, names, tool, reasoning in _PARSERS:
        if families.fullmatch(family) and names.match(name):
            return (tool if "tool" in template else None), reasoning
    return None, None


# YAML

_FLOW: Final = frozenset({"layer_kinds", "mla", "experts", "state", "by_dtype"})


def to_yaml(card: ModelCard) -> str:
    """Write a card as the catalogue has it: fields in the order of their type, defaults left out."""
    lines: list[str] = []
    for key, value in card.model_dump(mode="json", exclude_defaults=True).items():
        if key == "modalities":
            lines.append(f"modalities: [{', '.join(value)}]")
        elif isinstance(value, dict):
            lines.append(f"{key}:")
            lines.extend(_entries(value))
        elif isinstance(value, list):
            lines.extend(yaml.safe_dump({key: value}, sort_keys=False, width=_WIDTH).splitlines())
        else:
            lines.append(f"{key}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _entries(section: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in section.items():
        if isinstance(value, dict):
            inside = ", ".join(f"{name}: {_scalar(part)}" for name, part in value.items())
            lines.append(f"  {key}: {{{inside}}}")
        elif isinstance(value, str) and len(value) > _WIDTH - len(key) - 4:
            lines.append(f"  {key}: >-")
            lines.extend(
                f"    {line}"
                for line in textwrap.wrap(value, _WIDTH - 4, break_long_words=False, break_on_hyphens=False)
            )
        else:
            lines.append(f"  {key}: {_scalar(value)}")
    return lines


def _scalar(value: object) -> str:
    """One value on one line, quoted where YAML needs it."""
    return yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("\n").removesuffix("\n...")

"""A model of megabytes with the architecture of a model card.

Same architecture class, number of layers (up to 32), ratio of attention to KV heads, ratio of MLP to hidden width,
tied or untied embeddings and longest length; small widths, a byte-level tokenizer, weights made up by vLLM itself
(``--load-format dummy``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from infra.cards import ModelCard

# The CPU attention kernels of vLLM 0.32 take head sizes from 32 up.
_HEAD_DIM: Final = 32
_GROUPS: Final = 8
# 126 layers of Llama 3.1 405B's proportions would still be 1.8 GB.
_MOST_LAYERS: Final = 32
_SPECIALS: Final = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|finetune_right_pad_id|>",
    "<|python_tag|>",
    "<|eom_id|>",
)
BOS: Final = _SPECIALS[0]
EOS: Final = _SPECIALS[4]
# Llama 3's layout of a chat, written here in our own words for the shrunk model.
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] if part['type'] == 'text' else '' }}{% endfor %}"
    "{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
# Architectures that this vLLM no longer has, with the release that dropped them.
REMOVED: Final = {"MllamaForConditionalGeneration": "0.11.0"}


class CannotShrink(ValueError):
    """The real vLLM cannot run this architecture."""


def config_of(card: ModelCard) -> dict[str, Any]:
    """Return the shrunk model's ``config.json``.

    Raises:
        CannotShrink: the architecture is not in the vLLM that is installed, or is not a Llama-like decoder.
    """
    arch = card.architecture
    if arch.name in REMOVED:
        raise CannotShrink(
            f"{card.id} is a {arch.name}, which vLLM dropped in {REMOVED[arch.name]}: it cannot run on the real vLLM "
            "0.32.0. Use the simulated container for it (make up CONTAINER=simulated), or a text model."
        )
    if arch.name != "LlamaForCausalLM":
        raise CannotShrink(
            f"{card.id} is a {arch.name}; a shrunk model is made for LlamaForCausalLM only. Use the "
            "simulated container."
        )
    ratio = max(arch.num_attention_heads // arch.num_key_value_heads, 1)
    kv_heads = 2 if ratio <= _GROUPS // 2 else 1
    heads = ratio * kv_heads
    hidden = heads * _HEAD_DIM
    inner = hidden * (arch.intermediate_size or 4 * arch.hidden_size) // arch.hidden_size
    return {
        "architectures": [arch.name],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner // 32 * 32 or 32,
        "num_hidden_layers": min(arch.num_hidden_layers, _MOST_LAYERS),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": _HEAD_DIM,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "max_position_embeddings": arch.max_position_embeddings,
        "vocab_size": 320,
        "tie_word_embeddings": arch.tie_word_embeddings,
        "bos_token_id": 256,
        "eos_token_id": 260,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def tokenizer_json() -> dict[str, Any]:
    """Return a byte-level tokenizer: one token a byte, and Llama 3's special tokens."""
    vocab = {character: number for number, character in enumerate(_byte_characters())}
    vocab.update({token: 256 + index for index, token in enumerate(_SPECIALS)})
    added = [
        {
            "id": vocab[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in _SPECIALS
    ]
    begin = {"SpecialToken": {"id": BOS, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {BOS: {"id": BOS, "ids": [vocab[BOS]], "tokens": [BOS]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocab,
            "merges": [],
        },
    }


def _byte_characters() -> list[str]:
    """Return the printable character that stands for each byte in byte-level tokenizers.

    Printable Latin-1 stands for itself; the other bytes take characters from U+0100 on.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def write_model(card: ModelCard, folder: Path) -> Path:
    """Write the shrunk model of a card into ``folder`` and return it.

    Raises:
        CannotShrink: see :func:`config_of`.
    """
    config = config_of(card)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": card.architecture.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }
    if card.chat_template:
        settings["chat_template"] = CHAT_TEMPLATE
    generation = {"bos_token_id": 256, "eos_token_id": 260, "do_sample": True}
    files = {
        "config.json": config,
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": settings,
        "generation_config.json": generation,
    }
    for name, body in files.items():
        (folder / name).write_text(json.dumps(body, ensure_ascii=False, indent=1), encoding="utf-8")
    return folder

"""Where a model comes from: the Hugging Face hub (simulated), a bucket of the local cloud, a folder of the image.

The hub knows the models of the catalogue. A gated one wants a token that begins ``hf_``; tokens that begin
``hf_denied`` belong to accounts without access. Error texts are those of huggingface_hub and transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.cards import ModelCard
from infra.local.container.contract import ObjectReader
from infra.recipes.catalog import catalog
from infra.recipes.errors import UnknownModel

TOKEN_NAMES: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
WEIGHT_FILES: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


class ModelUnavailable(Exception):
    """The model's files cannot be had; ``kind`` is the exception that Python shows, ``lines`` what comes before."""

    def __init__(self, kind: str, text: str, *before: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.before = before


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded: its card and, for a bucket, what its ``config.json`` says."""

    card: ModelCard
    origin: str


def find_model(name: str, env: Mapping[str, str], objects: ObjectReader | None) -> ModelSource:
    """Find the model that ``--model`` names.

    Raises:
        ModelUnavailable: unknown repository, gated and no right, missing or unreadable objects, no such folder.
    """
    if name.startswith("gs://"):
        return _from_bucket(name, env, objects)
    if name.startswith(("/", "./")):
        raise ModelUnavailable(
            "OSError",
            f"Incorrect path_or_model_id: '{name}'. Please provide either the path to a local folder or the repo_id of "
            "a model on the Hub.",
        )
    return _from_hub(name, env)


def _from_hub(name: str, env: Mapping[str, str]) -> ModelSource:
    token = next((env[key] for key in TOKEN_NAMES if env.get(key)), "")
    url = f"https://huggingface.co/{name}/resolve/main/config.json"
    if token and not token.startswith("hf_"):
        raise ModelUnavailable(
            "OSError",
            f"There was a specific connection error when trying to load {name}:\n401 Client Error: Unauthorized for "
            f"url: {url}\nInvalid credentials in Authorization header",
            f"huggingface_hub.errors.HfHubHTTPError: 401 Client Error: Unauthorized for url: {url}",
        )
    try:
        card = catalog().model(name)
    except UnknownModel:
        raise ModelUnavailable(
            "OSError",
            f"{name} is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a token having "
            "permission to this repo either by logging in with `huggingface-cli login` or by passing "
            "`token=<your_token>`",
            f"huggingface_hub.errors.RepositoryNotFoundError: {'404' if token else '401'} Client Error.",
            f"Repository Not Found for url: {url}.",
        ) from None
    if not card.gated:
        return ModelSource(card, "hub")
    if not token:
        raise ModelUnavailable(
            "OSError",
            *_gated(
                name,
                url,
                "401",
                "You must have access to it and be authenticated to access it. Please log in.",
            ),
        )
    if token.startswith("hf_denied"):
        reason = f"you are not in the authorized list. Visit https://huggingface.co/{name} to ask for access."
        raise ModelUnavailable("OSError", *_gated(name, url, "403", reason))
    return ModelSource(card, "hub")


def _gated(name: str, url: str, status: str, reason: str) -> tuple[str, str, str, str]:
    word = "and " if status == "403" else ". "
    restricted = f"Access to model {name} is restricted{' ' if status == '403' else ''}{word}{reason}"
    return (
        "You are trying to access a gated repo.\n"
        f"Make sure to have access to it at https://huggingface.co/{name}.\n{status} Client Error.\n"
        f"Cannot access gated repo for url {url}.\n{restricted}",
        f"huggingface_hub.errors.GatedRepoError: {status} Client Error.",
        f"Cannot access gated repo for url {url}.",
        restricted,
    )


def _from_bucket(uri: str, env: Mapping[str, str], objects: ObjectReader | None) -> ModelSource:
    prefix = uri.rstrip("/") + "/"
    bucket = uri.removeprefix("gs://").split("/")[0]
    try:
        names = objects.list(prefix) if objects is not None else []
        config = next((name for name in names if name == prefix + "config.json"), None)
        body = objects.read(config) if config and objects is not None else b""
    except PermissionError as error:
        raise ModelUnavailable(
            "google.api_core.exceptions.Forbidden",
            f"403 GET https://storage.googleapis.com/storage/v1/b/{bucket}/o: {error}",
        ) from None
    except FileNotFoundError:
        raise ModelUnavailable(
            "google.api_core.exceptions.NotFound",
            f"404 GET https://storage.googleapis.com/storage/v1/b/{bucket}/o: The specified bucket does not exist.",
        ) from None
    if config is None:
        raise ModelUnavailable(
            "OSError",
            f"{uri} does not appear to have a file named config.json ({len(names)} objects below {prefix}). Upload the "
            "model's repository there, or correct the path in `weights`.",
        )
    if not any(name.endswith(WEIGHT_FILES) for name in names):
        raise ModelUnavailable(
            "RuntimeError",
            f"Cannot find any model weights with `{uri}`",
        )
    return ModelSource(_bucket_card(uri, body, env), "bucket")


def _bucket_card(uri: str, body: bytes, env: Mapping[str, str]) -> ModelCard:
    """Return the card of weights in a bucket: the catalogue's for ``MODEL_ID``, else one made of ``config.json``.

    Raises:
        ModelUnavailable: neither is possible.
    """
    base = env.get("MODEL_ID", "")
    if base in catalog().models():
        return catalog().model(base)
    try:
        config: dict[str, Any] = json.loads(body)
        return card_from_config(uri, config)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            "OSError",
            f"It looks like the config file at '{uri}/config.json' is not a valid JSON file of a model: {error}",
        ) from None


def card_from_config(name: str, config: Mapping[str, Any]) -> ModelCard:
    """Make a card of a Hugging Face ``config.json``.

    Raises:
        KeyError: a number that memory depends on is missing.
    """
    text = config.get("text_config", config)
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    architecture = {
        "name": (config.get("architectures") or ["LlamaForCausalLM"])[0],
        "num_hidden_layers": text["num_hidden_layers"],
        "hidden_size": hidden,
        "intermediate_size": text.get("intermediate_size"),
        "num_attention_heads": heads,
        "num_key_value_heads": text.get("num_key_value_heads") or heads,
        "head_dim": text.get("head_dim") or hidden // heads,
        "vocab_size": text["vocab_size"],
        "tie_word_embeddings": bool(config.get("tie_word_embeddings", False)),
        "max_position_embeddings": text["max_position_embeddings"],
    }
    quantization = (config.get("quantization_config") or {}).get("quant_method")
    return ModelCard.model_validate(
        {
            "id": name,
            "family": str(config.get("model_type", "unknown")),
            "gated": False,
            "chat_template": True,
            "modalities": ["text", "image"] if "vision_config" in config else ["text"],
            "architecture": architecture,
            "weights": {"dtype": config.get("torch_dtype", "bfloat16"), "quantization": quantization},
            "sources": {"architecture": "config.json in the bucket"},
        }
    )

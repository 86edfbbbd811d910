"""Secrets among the extra arguments: refused, and never shown.

The container's arguments stand in clear in the Vertex AI model, in Pulumi's state and in every preview; whoever may
read one of them would have the secret. A Hugging Face token has a way of its own, and an API key has no use: Vertex AI
asks callers for a Google access token before a request reaches the container.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.recipes.errors import has_hf_token

__all__ = ["Secret", "secret_in"]

_HIDDEN: Final = "(hidden)"
_HF_TOKEN_FLAG: Final = "--hf-token"
_API_KEY_FLAG: Final = "--api-key"
# Names of values that nobody but their owner may read. Not every ..-token: --max-prompt-adapter-token is a number.
_NAME: Final = re.compile(
    r"--(.*-)?(api-key|access-key|secret-key|private-key|password|passwd|passphrase|secret|auth-token|bearer-token)"
)
# The same in JSON, as in tensorizer's s3_secret_access_key of --model-loader-extra-config.
_IN_JSON: Final = re.compile(
    r'"[^"]*(?:api_?key|access_?key|secret|password|passphrase|(?:auth|hf|bearer)_?token)[^"]*"\s*:\s*"[^"]+"',
    re.IGNORECASE,
)
_BY_SETTING: Final = "delete the argument, and run: pulumi config set --secret vertex-vllm:hfToken"


@dataclass(frozen=True, slots=True)
class Secret:
    """An argument that carries a secret: what is wrong, what to do, and the argument as it may be ``shown``."""

    shown: str
    problem: str
    remedy: str


def secret_in(arguments: Sequence[str], index: int) -> Secret | None:
    """The secret that an extra argument carries; None for none.

    Args:
        arguments: all of them; a value that is an item of its own belongs to the flag before it.
        index: the argument.
    """
    flag, value, shown = _read(arguments[index])
    if index and not arguments[index].startswith("-"):
        before, given, _ = _read(arguments[index - 1])
        if not given and _is_secret(before, arguments[index]):
            flag, value, shown = before, arguments[index], _HIDDEN
    if has_hf_token(arguments[index]) or (flag == _HF_TOKEN_FLAG and value):
        text = "a Hugging Face token would stand in clear in the model, the state and every preview."
        return Secret(shown, text, _BY_SETTING)
    if flag == _API_KEY_FLAG:
        text = "the key would stand in clear in the model, the state and every preview."
        return Secret(
            shown, text, "delete the argument: Vertex AI lets in only who has a Google access token"
        )
    if value and _is_secret(flag, value):
        text = "a secret would stand in clear in the model, the state and every preview."
        return Secret(
            shown, text, "delete the argument; build what needs the secret into an image of your own"
        )
    return None


def _read(argument: str) -> tuple[str, str, str]:
    """An argument as flag (dashes) and value, parted by = or a space, and as it may be shown if it is secret."""
    name, *rest = re.split(r"[=\s]", argument, maxsplit=1)
    shown = f"{name}={_HIDDEN}" if name.startswith("-") and not has_hf_token(name) else _HIDDEN
    flag = name.replace("_", "-").lower()
    for whole in (_HF_TOKEN_FLAG, _API_KEY_FLAG):  # argparse takes a flag's beginning for it
        if whole.startswith(flag) and len(flag) >= len("--hf-t"):
            flag = whole
    return flag, "".join(rest).strip(), shown


def _is_secret(flag: str, value: str) -> bool:
    if flag in (_HF_TOKEN_FLAG, _API_KEY_FLAG):
        return True
    return (_NAME.fullmatch(flag) is not None and not value.isdecimal()) or _IN_JSON.search(value) is not None

"""How the HTTP interface of vLLM differs between versions, as data.

Each field was read in the released wheels named in :data:`SOURCE`; a version between two of them takes the value of
the older one. ``docs/vllm-differences.md`` says which of these were compared with a running vLLM.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from infra.versions import version_key

SOURCE: Final = (
    "vllm wheels 0.6.2, 0.6.4.post1, 0.7.2, 0.7.3, 0.8.1 to 0.8.5.post1, 0.9.0 to 0.9.2, 0.10.2, 0.11.0, 0.14.0, "
    "0.20.0, 0.32.0: vllm/entrypoints"
)


@dataclass(frozen=True)
class Dialect:
    """One version's way of speaking; built by :func:`dialect`."""

    version: str

    def since(self, version: str) -> bool:
        """Say whether this vLLM is ``version`` or newer."""
        return version_key(self.version) >= version_key(version)

    @property
    def nested_errors(self) -> bool:
        """Error bodies are ``{"error": {...}}`` from 0.10; before, flat with ``"object": "error"``."""
        return self.since("0.10.0")

    @property
    def names_params(self) -> bool:
        """Refusals name the field at fault in ``param`` from 0.14."""
        return self.since("0.14.0")

    @property
    def checks_answer_plainly(self) -> bool:
        """A check on a field is answered with its bare text: in 0.32; before, pydantic wraps it (0.20 still does)."""
        return self.since("0.32.0")

    @property
    def appends_cause(self) -> bool:
        """A chat that cannot be prepared is answered with the text and its cause (``None``), 0.9 up to 0.14."""
        return self.since("0.9.0") and not self.since("0.20.0")

    @property
    def names_aliases(self) -> bool:
        """A 404 for a model lists the served names in 0.32; not in 0.20."""
        return self.since("0.32.0")

    @property
    def accepts_empty_model(self) -> bool:
        """An empty model name stands for the served one; 0.8.1 and later (0.7.3 does not)."""
        return self.since("0.8.1")

    @property
    def fingerprint(self) -> str | None:
        """The system fingerprint of answers, in 0.32: version and a hash of the configuration, here of the version."""
        if not self.since("0.32.0"):
            return None
        return f"vllm-{self.version}-{zlib.crc32(self.version.encode()):08x}"

    @property
    def counts_validation_errors(self) -> bool:
        """A body that does not validate is answered with a counted list; first seen in 0.32, absent in 0.20."""
        return self.since("0.32.0")

    @property
    def forbids_extra_fields(self) -> bool:
        """Unknown request fields are refused up to 0.6.4; from 0.6.5 on they are ignored."""
        return not self.since("0.6.5")

    @property
    def chat_id_prefix(self) -> str:
        """Chat completion ids begin ``chat-`` up to 0.6.3, ``chatcmpl-`` later."""
        return "chatcmpl-" if self.since("0.6.4") else "chat-"

    @property
    def model_required(self) -> bool:
        """The field ``model`` may be left out of a request; required in 0.7.3, optional in 0.8.1."""
        return not self.since("0.8.1")

    @property
    def max_completion_tokens(self) -> bool:
        """The field ``max_completion_tokens`` exists from 0.6.4 on."""
        return self.since("0.6.4")

    def continuous_usage(self, given: set[str], asked: bool | None) -> bool:
        """Usage in every frame: on by default up to 0.6.3 when usage is asked for at all, off by default later."""
        if "continuous_usage_stats" in given:
            return bool(asked)
        return not self.since("0.6.4")

    @property
    def null_usage_in_frames(self) -> bool:
        """Frames before the last carry ``"usage": null`` when usage is asked for, up to 0.6.3."""
        return not self.since("0.6.4")

    def stream_choice(self, choice: dict[str, object]) -> dict[str, object]:
        """Add the null fields of a completion frame: token ids from 0.10.2."""
        return {**choice, "prompt_token_ids": None, "token_ids": None} if self.since("0.10.2") else choice


def dialect(version: str) -> Dialect:
    """Return the dialect of a vLLM version such as ``0.6.2``."""
    return Dialect(version.removeprefix("v"))

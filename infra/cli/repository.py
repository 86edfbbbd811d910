"""Reads what a model card needs of a Hugging Face repository: from the hub, or from files where there is no network.

From the hub only small files and the headers of the safetensors files are read, with huggingface_hub and its token
(``HF_TOKEN``, or the one that ``hf auth login`` stored), which no message shows. Every fault of the network, the hub or
the files is a :class:`RepositoryError` that says what to do.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml

from infra.cards.checkpoint import CheckpointError, Tensor, read_header, tensors_of
from infra.cards.writing import Repository

if TYPE_CHECKING:
    import httpx2

__all__ = ["RepositoryError", "from_folder", "from_hub"]

_T = TypeVar("_T")

_TIMEOUT: Final = 20.0  # seconds without an answer
_CONNECTIONS: Final = 8
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_INDEX: Final = "model.safetensors.index.json"
_SHARD: Final = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
_MOST_SHARDS: Final = 1000  # DeepSeek R1 has 163
_WITHOUT_NETWORK: Final = (
    "Without network: copy config.json, tokenizer_config.json and the safetensors files (or their index) from where "
    "there is one, and pass --from DIR."
)


class RepositoryError(Exception):
    """The repository cannot be read; ``remote`` says that the network or the hub is why, not the model's files."""

    def __init__(self, message: str, *, remote: bool = False) -> None:
        super().__init__(message)
        self.remote = remote


def check_id(model_id: str) -> None:
    """Check that an id is one of a repository.

    Raises:
        RepositoryError: it is not.
    """
    if not _ID.fullmatch(model_id) or ".." in model_id:
        raise RepositoryError(
            f"{model_id!r} is no model id. Write organisation and repository as on the model's page, such as "
            "mistralai/Mistral-7B-Instruct-v0.3 (GPT-2 is openai-community/gpt2)."
        )


def from_hub(
    model_id: str, revision: str | None, progress: Callable[[str], None] = lambda line: None
) -> Repository:
    """Read a repository on the hub.

    Args:
        model_id: organisation and repository.
        revision: branch, tag or commit; the newest of the main branch when it is None.
        progress: is told what takes long.

    Raises:
        RepositoryError: it is not there, not allowed or not reachable, or something in it is not what it should be.
    """
    check_id(model_id)
    hub = _Hub(model_id, revision)
    names = hub.names
    if "config.json" not in names:
        raise RepositoryError(_no_config(model_id, names))
    config = hub.json("config.json")
    index = hub.json(_INDEX) if _INDEX in names else None
    tokenizer = hub.json("tokenizer_config.json") if "tokenizer_config.json" in names else None
    template, template_file = _template(tokenizer, names, hub.text)
    files = _weight_files(names, index)
    if index is None:
        _refuse_missing(hub.id, files, names)
    if files:
        progress(f"reading the headers of {len(files)} safetensors files")
    origin = f"the repository at revision {hub.commit}, {datetime.date.today()}"
    return Repository(
        id=hub.id,
        origin=origin,
        config=config,
        preprocessor_config=_optional(names, "preprocessor_config.json", hub.json),
        hf_quant_config=_optional(names, "hf_quant_config.json", hub.json),
        tokenizer_config=tokenizer,
        gated=hub.gated,
        gated_source=f"Hugging Face API, {datetime.date.today()}",
        chat_template=template,
        chat_template_file=f"{template_file} of {origin}",
        tensors=hub.tensors(files) if files else None,
        total_size=_total_size(index)
        or _total_size(_optional(names, "pytorch_model.bin.index.json", hub.json)),
    )


def from_folder(model_id: str, folder: Path, revision: str | None, gated: bool | None) -> Repository:
    """Read a repository from files.

    Args:
        model_id: organisation and repository, as the card shall name it.
        folder: where ``config.json`` is, and what else there is of the repository.
        revision: the commit that the files are of; found out where huggingface_hub downloaded them.
        gated: whether a token is needed to download it; read from ``README.md`` when it is None.

    Raises:
        RepositoryError: something is missing, or not what it should be.
    """
    check_id(model_id)
    if not folder.is_dir():
        raise RepositoryError(f"{folder}: there is no such folder.")
    names = {path.name for path in folder.iterdir() if path.is_file()}

    def text(name: str) -> str:
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RepositoryError(f"{folder / name}: cannot be read: {reason}.") from error

    def values(name: str) -> dict[str, Any]:
        return _parse(text(name), str(folder / name), "Download the file again.")

    if "config.json" not in names:
        raise RepositoryError(_no_config(str(folder), names))
    config = values("config.json")
    index = values(_INDEX) if _INDEX in names else None
    tokenizer = _optional(names, "tokenizer_config.json", values)
    template, template_file = _template(tokenizer, names, text)
    if index is None:
        _refuse_missing(str(folder), _weight_files(names, index), names)
    files = [name for name in _weight_files(names, index) if name in names]
    complete = bool(files) and len(files) == len(_weight_files(names, index))
    commit = revision or _downloaded_commit(folder)
    at = f"the repository at revision {commit}" if commit else "the repository (revision not known)"
    origin = f"{at}, from files, {datetime.date.today()}"
    gated, gated_source = _gated(gated, text("README.md") if "README.md" in names else "")
    try:
        tensors = (
            tuple(t for name in files for t in tensors_of(read_header(folder / name), str(folder / name)))
            if complete
            else None
        )
    except CheckpointError as error:
        raise RepositoryError(str(error)) from error
    return Repository(
        id=model_id,
        origin=origin,
        config=config,
        preprocessor_config=_optional(names, "preprocessor_config.json", values),
        hf_quant_config=_optional(names, "hf_quant_config.json", values),
        tokenizer_config=tokenizer,
        gated=gated,
        gated_source=gated_source,
        chat_template=template,
        chat_template_file=f"{template_file} of {origin}",
        tensors=tensors,
        total_size=_total_size(index)
        or _total_size(_optional(names, "pytorch_model.bin.index.json", values)),
    )


# What both have in common


def _no_config(where: str, names: Iterable[str]) -> str:
    found = set(names)
    if "params.json" in found:
        why = "It has Mistral's own format (params.json); write the card by hand from it."
    elif "adapter_config.json" in found:
        why = "It is a LoRA adapter; add its base model, and serve the adapter with vllm.enable_lora."
    elif any(name.endswith(".gguf") for name in found):
        why = "It holds GGUF files; add the repository that they were made from."
    else:
        why = "Is it a language model for transformers or vLLM?"
    return f"{where}: there is no config.json. {why}"


def _parse(content: str, where: str, remedy: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        kind = "HTML" if content.lstrip()[:1] == "<" else "not JSON"
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) and kind != "HTML" else ""
        raise RepositoryError(f"{where}: is {kind}{line}. {remedy}") from None
    if not isinstance(found, dict):
        raise RepositoryError(f"{where}: holds no JSON object. {remedy}")
    return found


def _optional(
    names: Iterable[str], name: str, read: Callable[[str], dict[str, Any]]
) -> dict[str, Any] | None:
    return read(name) if name in names else None


def _weight_files(names: Iterable[str], index: Mapping[str, Any] | None) -> list[str]:
    """The safetensors files of the model: those of the index, else the one file, else all that are not another copy.

    Of files that are numbered (``model-00001-of-00004.safetensors``) all, whether they are there or not.
    """
    weight_map = index.get("weight_map") if index else None
    if isinstance(weight_map, Mapping) and weight_map:
        return sorted({str(file) for file in weight_map.values()})
    if "model.safetensors" in names:
        return ["model.safetensors"]
    others = (name for name in names if name.endswith(".safetensors") and "/" not in name)
    found = {name for name in others if not name.startswith(("consolidated", "adapter"))}
    for name in tuple(found):
        shard = _SHARD.fullmatch(name)
        if shard is not None and int(shard[3]) <= _MOST_SHARDS:
            width, count = len(shard[2]), int(shard[3])
            found |= {f"{shard[1]}-{n:0{width}}-of-{shard[3]}.safetensors" for n in range(1, count + 1)}
    return sorted(found)


def _refuse_missing(where: str, files: Iterable[str], names: Iterable[str]) -> None:
    """Refuse numbered files of which some are not there: their tensors would make a smaller model."""
    wanted = list(files)
    missing = sorted(set(wanted) - set(names))
    if missing:
        raise RepositoryError(
            f"{where}: {len(missing)} of {len(wanted)} safetensors files are missing ({missing[0]}), and there is no"
            f" {_INDEX}. Add them, or the index (then the bytes are known), or take the other safetensors files away."
        )


def _total_size(index: Mapping[str, Any] | None) -> int | None:
    metadata = index.get("metadata") if index else None
    size = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    return int(size) if isinstance(size, int | float) and size > 0 else None


def _template(
    tokenizer: Mapping[str, Any] | None, names: Iterable[str], text: Callable[[str], str]
) -> tuple[str | None, str]:
    """The chat template with the file that has it, as transformers looks for it."""
    if "chat_template.jinja" in names:
        return text("chat_template.jinja"), "chat_template.jinja"
    if "chat_template.json" in names:
        found = _parse(text("chat_template.json"), "chat_template.json", "Look at the file.").get(
            "chat_template"
        )
        if found:
            return str(found), "chat_template.json"
    found = tokenizer.get("chat_template") if tokenizer else None
    if isinstance(found, list):  # several, by name
        found = "\n".join(str(item.get("template", "")) for item in found if isinstance(item, Mapping))
    if found:
        return str(found), "tokenizer_config.json"
    if tokenizer is None:
        return None, "no tokenizer_config.json and no chat_template.jinja among the files"
    return None, "tokenizer_config.json has none, and there is no chat_template.jinja: files"


def _gated(said: bool | None, readme: str) -> tuple[bool, str]:
    if said is not None:
        return said, "said by who wrote the card"
    matter = readme.split("---")[1] if readme.startswith("---") and readme.count("---") >= 2 else ""
    try:
        header = yaml.safe_load(matter)
    except yaml.YAMLError:
        header = None
    if isinstance(header, dict) and any(str(key).startswith("extra_gated") for key in header):
        return True, "README.md of the repository (extra_gated_...)"
    raise RepositoryError(
        "the files do not say whether the model is gated. Say it: --gated if its page asks to accept terms before it "
        "shows files, else --not-gated."
    )


def _downloaded_commit(folder: Path) -> str | None:
    """The commit that huggingface_hub notes beside what it downloads: the snapshot's name, or a small file."""
    if _COMMIT.fullmatch(folder.resolve().name):
        return folder.resolve().name
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    try:
        commit = note.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


# The hub


class _Hub:
    """One repository on the hub, at one commit."""

    def __init__(self, model_id: str, revision: str | None) -> None:
        from huggingface_hub import HfApi, constants

        self._endpoint = constants.ENDPOINT
        self._api = HfApi(endpoint=self._endpoint)
        self._asked = f"{model_id} at {revision}" if revision else model_id
        self.id = model_id
        info = self._call(lambda: self._api.model_info(model_id, revision=revision, timeout=_TIMEOUT))
        commit = getattr(info, "sha", None)
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise RepositoryError(self._strange("no commit for the model"), remote=True)
        self.commit = commit
        self.id = info.id or model_id
        check_id(self.id)
        self.gated = bool(info.gated)
        self.names = frozenset(sibling.rfilename for sibling in info.siblings or ())

    def text(self, name: str) -> str:
        """The content of a text file."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not in its __all__
            build_hf_headers,
            hf_raise_for_status,
        )

        url = hf_hub_url(self.id, name, revision=self.commit, endpoint=self._endpoint)

        def fetch() -> httpx2.Response:
            response = get_session().get(url, headers=build_hf_headers(), timeout=_TIMEOUT)
            hf_raise_for_status(response)
            return response

        return self._call(fetch).text

    def json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file."""
        return _parse(self.text(name), f"{name} from {self._endpoint}", self._proxy)

    def tensors(self, files: list[str]) -> tuple[Tensor, ...]:
        """The tensors of safetensors files, by their headers."""

        def one(name: str) -> tuple[Tensor, ...]:
            found = self._call(
                lambda: self._api.parse_safetensors_file_metadata(
                    self.id, name, revision=self.commit, timeout=_TIMEOUT
                )
            )
            return tuple(
                Tensor(key, str(t.dtype), tuple(t.shape), t.data_offsets[1] - t.data_offsets[0])
                for key, t in found.tensors.items()
            )

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return tuple(tensor for found in pool.map(one, files) for tensor in found)

    def _call(self, ask: Callable[[], _T]) -> _T:
        """Ask the hub; whatever goes wrong becomes a RepositoryError.

        No text of another error is shown, and none is chained: a refused header, for one, has the token in it.
        """
        try:
            return ask()
        except RepositoryError:
            raise
        except Exception as error:
            message = self._explain(error)
        raise RepositoryError(message, remote=True) from None

    def _explain(self, error: Exception) -> str:
        import httpx2  # the client of huggingface_hub
        from huggingface_hub import errors, get_token

        page = f"https://huggingface.co/{self.id}"
        token = get_token() is not None
        if isinstance(error, errors.GatedRepoError):
            if token:
                return (
                    f"{self.id}: is gated, and the token's account may not read it. Accept its terms at {page}, or use "
                    "a token of an account that has (HF_TOKEN)."
                )
            return (
                f"{self.id}: is gated, and there is no token. Accept its terms at {page}, then put a read token into "
                "the environment as HF_TOKEN, or store one with: hf auth login"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{self._asked}: the repository has no such revision. Leave --revision out for the newest."
        if isinstance(error, errors.RepositoryNotFoundError):
            private = (
                "the token may not read it" if token else "it is private, and there is no token (HF_TOKEN)"
            )
            return f"{self.id}: {self._endpoint} has no such model, or {private}. Compare the id with {page}."
        if isinstance(error, errors.HfHubHTTPError):
            return self._status(error.response.status_code, error.response.headers.get("retry-after"))
        if isinstance(error, errors.OfflineModeIsEnabled):
            return f"HF_HUB_OFFLINE is set, so the hub is not asked. Unset it, or pass --from DIR. {_WITHOUT_NETWORK}"
        if isinstance(error, httpx2.TimeoutException):
            return f"{self._endpoint} did not answer within {_TIMEOUT:.0f} s. Try again. {_WITHOUT_NETWORK}"
        if isinstance(error, httpx2.LocalProtocolError | UnicodeEncodeError):
            return "the token cannot be sent: HF_TOKEN has a character that no token has (a line's end?). Set it anew."
        if isinstance(error, httpx2.RequestError):
            return (
                f"{self._endpoint} cannot be reached ({type(error).__name__}). Check the network, HTTPS_PROXY and "
                f"HF_ENDPOINT. {_WITHOUT_NETWORK}"
            )
        return self._strange(f"something else than the hub does ({type(error).__name__})")

    def _status(self, status: int, retry_after: str | None) -> str:
        answered = f"{self._endpoint} answered {status} for {self.id}"
        if status == 401:
            return f"{answered}: the token is not valid. Make a new one at https://huggingface.co/settings/tokens."
        if status == 403:
            return f"{answered}: the token lacks the right to read it. Give it read access to gated repositories."
        if status == 429:
            wait = f" in {retry_after} s" if retry_after else " in some minutes"
            return (
                f"{answered}: too many requests. Try again{wait}; with a token (HF_TOKEN) more are allowed."
            )
        if status >= 500:
            return f"{answered}: the hub has a fault. Try again later; status.huggingface.co says more."
        return f"{answered}. Compare the id with https://huggingface.co/{self.id}."

    def _strange(self, what: str) -> str:
        return f"{self._endpoint} answered with {what}. {self._proxy} {_WITHOUT_NETWORK}"

    _proxy = "A proxy or a sign-in page may be in between: check HTTPS_PROXY and HF_ENDPOINT."

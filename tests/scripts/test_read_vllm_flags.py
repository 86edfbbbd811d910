"""Reading vLLM's flags out of its sources: small packages in the shape of the real ones, and the file that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import read_vllm_flags
from scripts.read_vllm_flags import FILE, merge, read_wheel, text_of

EMPTY: dict[str, Any] = {
    "source": {"flags": "made up"},
    "versions": [],
    "flags": {},
    "other_names": {},
    "openai_server_only": {},
    "quantization": {},
    "fork": {"--model-type": {"takes": "str", "source": "made up"}},
    "replaced": {"--swap-space": {"use": "", "note": "gone"}},
}
OLD = {
    "engine/arg_utils.py": """
class EngineArgs:
    def add_cli_args(parser):
        parser.add_argument("--model", type=str)
        parser.add_argument("--tensor-parallel-size", "-tp", type=int)
        parser.add_argument("--swap-space", type=float)
        parser.add_argument("--block-size", type=int, choices=[8, 16])
        parser.add_argument("--max-model-len", type=int)
        parser.add_argument("--enforce-eager", action="store_true")
        parser.add_argument("--enable-chunked-prefill", action=StoreBoolean, nargs="?", const="True")
        parser.add_argument("--quantization", "-q", choices=[*QUANTIZATION_METHODS, None])
""",
    "entrypoints/api_server.py": """
parser.add_argument("--host", type=str)
parser.add_argument("--ssl-ciphers", type=str)
""",
    "entrypoints/openai/cli_args.py": """
def make_arg_parser(parser):
    parser.add_argument("--host", type=nullable_str)
    parser.add_argument("--allowed-origins", type=json.loads)
""",
    "model_executor/layers/quantization/__init__.py": "QUANTIZATION_METHODS = {'awq': A, 'fp8': B}\n",
}
NEW = {
    "config/model.py": """
Kind = Literal["auto", "half"]
class ModelConfig:
    model: str = "x"
    dtype: Kind | int = "auto"
    max_model_len: int | None = None
    enforce_eager: bool = False
    use_ray: bool = False
    overrides: dict[str, Any] | None = None
    stops: list[int] | None = None
class FrontendArgs:
    host: str | None = None
    allowed_origins: list[str] = []
""",
    "engine/arg_utils.py": """
from vllm.utils import human_readable_int_or_auto
class EngineArgs:
    def add_cli_args(parser):
        kwargs = get_kwargs(ModelConfig)
        group.add_argument("--model", **kwargs["model"])
        group.add_argument("--dtype", **kwargs["dtype"])
        group.add_argument("--max-model-len", **kwargs["max_model_len"])
        group.add_argument("--enforce-eager", **kwargs["enforce_eager"])
        group.add_argument("--use-ray", action="store_true", **kwargs["use_ray"])
        group.add_argument("--overrides", **kwargs["overrides"])
        group.add_argument("--stops", **kwargs["stops"])
        group.add_argument("--tensor-parallel-size", "-tp", type=int)
""",
    "entrypoints/openai/cli_args.py": """
class FrontendArgs:
    host: str | None = None
    allowed_origins: list[str] = []
""",
    "model_executor/layers/quantization/__init__.py": 'QuantizationMethods = Literal["fp8", "mxfp4"]\n',
}


def package(folder: Path, version: str, files: dict[str, str]) -> Path:
    root = folder / version / "vllm"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_an_old_version_says_it_in_its_calls(tmp_path: Path) -> None:
    wheel = read_wheel(package(tmp_path, "0.6.2", OLD))
    assert wheel.takes == {
        "--model": "str",
        "--tensor-parallel-size": "int",
        "--swap-space": "float",
        "--block-size": "int:8|16",
        "--max-model-len": "int",
        "--enforce-eager": "flag",
        "--enable-chunked-prefill": "bool=",
        "--quantization": "str",
        "--host": "str",
        "--ssl-ciphers": "str",
        "--allowed-origins": "json",
    }
    assert wheel.names == {"--tensor-parallel-size": ("-tp",), "--quantization": ("-q",)}
    assert wheel.own == {"--allowed-origins"}
    assert wheel.quantization == ("awq", "fp8")


def test_a_new_version_says_it_in_its_configuration_classes(tmp_path: Path) -> None:
    wheel = read_wheel(package(tmp_path, "0.32.0", NEW))
    assert wheel.takes == {
        "--model": "str",
        "--dtype": "auto|half",
        "--max-model-len": "size_or_auto",
        "--enforce-eager": "switch",
        "--use-ray": "flag",  # the call's own action decides
        "--overrides": "json",
        "--stops": "int+",
        "--tensor-parallel-size": "int",
        "--host": "str",
        "--allowed-origins": "str+",
    }
    assert wheel.quantization == ("fp8", "mxfp4")
    assert not wheel.has_plain_server


def test_a_flag_has_a_line_with_the_versions_in_which_it_changed(tmp_path: Path) -> None:
    old, new = package(tmp_path, "0.9.2", OLD), package(tmp_path, "0.10.2", NEW)
    table = merge(EMPTY, {"0.10.2": read_wheel(new), "0.9.2": read_wheel(old)})
    assert table["versions"] == ["0.9.2", "0.10.2"]
    assert table["flags"]["--model"] == {"0.9.2": "str"}
    assert table["flags"]["--swap-space"] == {"0.9.2": "float", "0.10.2": None}
    assert table["flags"]["--dtype"] == {"0.10.2": "auto|half"}
    assert table["other_names"]["--quantization"] == {"0.9.2": "-q", "0.10.2": None}
    # The plain server is gone; what it took is not the OpenAI server's own.
    assert table["openai_server_only"] == {"--allowed-origins": {"0.9.2": True}}
    assert table["quantization"] == {"0.9.2": ["awq", "fp8"], "0.10.2": ["fp8", "mxfp4"]}
    assert (table["fork"], table["replaced"]) == (EMPTY["fork"], EMPTY["replaced"])
    assert json.loads(text_of(table)) == table
    # A version in between changes only its own place.
    between = merge(table, {"0.9.3": read_wheel(old)})
    assert between["versions"] == ["0.9.2", "0.9.3", "0.10.2"]
    assert between["flags"] == table["flags"]


def test_the_file_is_as_the_script_writes_it() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text_of(merge(json.loads(text), {})) == text


def test_the_script_adds_the_versions_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vllm_flags.json"
    file.write_text(text_of(EMPTY), encoding="utf-8")
    monkeypatch.setattr(read_vllm_flags, "FILE", file)
    package(tmp_path, "0.6.2", OLD)
    read_vllm_flags.main(tmp_path)
    assert json.loads(file.read_text(encoding="utf-8"))["flags"]["--model"] == {"0.6.2": "str"}
    assert capsys.readouterr().out == "vllm_flags.json: read 0.6.2\n"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="holds no version: unpack wheels so that"):
        read_vllm_flags.main(tmp_path / "empty")

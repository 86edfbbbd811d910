"""Reading tool call parsers out of vLLM's sources, in the three ways in which its versions name them."""

from __future__ import annotations

import csv
from pathlib import Path

from scripts.read_vllm_tool_parsers import FILE, read_wheel, rows

OLDEST = {
    "entrypoints/openai/cli_args.py": 'parser.add_argument("--tool-call-parser", choices=["mistral", "hermes"])\n',
}
DECORATED = {
    "entrypoints/openai/tool_parsers/hermes.py": '@ToolParserManager.register_module("hermes")\nclass A: ...\n',
    "entrypoints/openai/tool_parsers/more.py": (
        '@ToolParserManager.register_module(["kimi_k2"])\nclass B: ...\n'
        '@ToolParserManager.register_module(name="step3")\n@other("no")\nclass C: ...\n'
    ),
}
TABLE = {
    "tool_parsers/__init__.py": (
        '"""ToolParserManager.register_lazy_module(name="example")"""\n'
        '_TOOL_PARSERS_TO_REGISTER = {"hermes": ("file", "A"), "openai": ("file", "D")}\n'
    ),
}


def wheel(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "vllm"


def test_each_way(tmp_path: Path) -> None:
    assert set(read_wheel(wheel(tmp_path / "a", OLDEST))) == {"mistral", "hermes"}
    decorated = read_wheel(wheel(tmp_path / "b", DECORATED))
    assert set(decorated) == {"hermes", "kimi_k2", "step3"}
    assert decorated["kimi_k2"] == "vllm/entrypoints/openai/tool_parsers/more.py"
    assert set(read_wheel(wheel(tmp_path / "c", TABLE))) == {"hermes", "openai"}
    assert read_wheel(tmp_path / "nothing" / "vllm") == {}


def test_runs_of_versions() -> None:
    found = {
        "0.9.0": {"a": "vllm/a.py"},
        "0.10.0": {"a": "vllm/a.py", "b": "vllm/b.py"},
        "0.11.0": {"b": "vllm/b.py"},
        "0.12.0": {"a": "vllm/c.py", "b": "vllm/b.py"},
    }
    assert list(rows(found)) == [
        ("a", "0.9.0", "0.10.0", "0.11.0", "vllm 0.9.0: vllm/a.py"),
        ("a", "0.12.0", "0.12.0", "", "vllm 0.12.0: vllm/c.py"),
        ("b", "0.10.0", "0.12.0", "", "vllm 0.10.0: vllm/b.py"),
    ]


def test_the_table_that_is_there_is_one_of_these() -> None:
    with FILE.open() as stream:
        table = list(csv.DictReader(stream))
    assert table[0].keys() == {"parser", "first", "last", "gone", "source"}
    assert all(row["source"].startswith(f"vllm {row['first']}: vllm/") for row in table)

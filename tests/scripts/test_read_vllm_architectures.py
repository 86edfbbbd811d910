"""Reading model architectures and quantization methods out of vLLM's sources, without importing them."""

from __future__ import annotations

from pathlib import Path

from infra.recipes import catalog
from scripts.read_vllm_architectures import Row, merge, read_table
from scripts.read_vllm_architectures import read_wheel as read_architectures
from scripts.read_vllm_quantization import read_wheel as read_quantization
from scripts.read_vllm_quantization import rows

MODELS = {
    "registry.py": """
_TEXT_GENERATION_MODELS = {
    "ALike": ("alpha", "Alpha"),
    "BLike": ("beta", "Beta"),
    "CLike": ("vllm.models.gamma", "Gamma"),
}
_EMBEDDING_MODELS = {"DModel": ("alpha", "Alpha")}
""",
    "interfaces.py": "class SupportsPP: ...\nclass SupportsLoRA: ...\n",
    "alpha.py": """
from .interfaces import SupportsLoRA, SupportsPP
class Alpha(nn.Module, SupportsLoRA, SupportsPP): ...
""",
    "beta.py": """
from vllm.model_executor.models.alpha import Alpha as Base
class Mixin(Base): ...
class Beta(Mixin[int]): ...
""",
}


def wheel(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "vllm"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_interfaces_are_found_through_bases_of_other_modules(tmp_path: Path) -> None:
    files = {f"model_executor/models/{name}": text for name, text in MODELS.items()}
    files["models/gamma/__init__.py"] = "from .model import Gamma\n"
    files["models/gamma/model.py"] = "class Gamma:\n    supports_pp: ClassVar[Literal[True]] = True\n"
    found = read_architectures(wheel(tmp_path, files))
    assert found == {"ALike": (True, True), "BLike": (True, True), "CLike": (True, False)}


def test_the_oldest_version_lists_its_pipelines(tmp_path: Path) -> None:
    files = {f"model_executor/models/{name}": text for name, text in MODELS.items()}
    files["model_executor/models/__init__.py"] = files.pop("model_executor/models/registry.py")
    files["config.py"] = '_PP_SUPPORTED_MODELS = ["BLike"]\n'
    assert read_architectures(wheel(tmp_path, files))["ALike"] == (False, True)
    assert read_architectures(wheel(tmp_path, files))["BLike"] == (True, True)


def test_runs_of_versions() -> None:
    table = merge([], {"0.9.0": {"A": (False, True), "B": (True, True)}, "0.10.0": {"A": (True, True)}})
    assert [(row.architecture, row.first, row.last, row.gone, row.pipeline_parallel) for row in table] == [
        ("A", "0.9.0", "0.9.0", "0.10.0", "no"),
        ("A", "0.10.0", "0.10.0", "", "yes"),
        ("B", "0.9.0", "0.9.0", "0.10.0", "yes"),
    ]
    later = merge(table, {"0.11.0": {"A": (True, True), "B": (True, True)}})
    assert [(row.architecture, row.first, row.last, row.gone) for row in later][1:] == [
        ("A", "0.10.0", "0.11.0", ""),
        ("B", "0.9.0", "0.9.0", "0.10.0"),
        ("B", "0.11.0", "0.11.0", ""),
    ]


def test_capabilities_by_version(tmp_path: Path) -> None:
    folder = "model_executor/layers/quantization"
    first = wheel(
        tmp_path / "a",
        {
            f"{folder}/__init__.py": 'METHODS = {"awq": AWQConfig, "tpu": TPUConfig, "sub": SubConfig}\n',
            f"{folder}/awq.py": "class AWQConfig:\n    def get_min_capability(cls):\n        return 75\n"
            "class SubConfig(AWQConfig): ...\n",
            f"{folder}/tpu.py": "class TPUConfig:\n    def get_min_capability(cls):\n        raise ValueError\n",
        },
    )
    found = read_quantization(first)
    assert found == {method: (75, f"vllm/{folder}/awq.py") for method in ("awq", "sub")}
    table = list(rows({"0.6.2": found, "0.9.0": found, "0.10.0": {"awq": (70, "vllm/x.py")}}))
    assert [row[:3] for row in table] == [
        ("awq", "0.6.2", "7.5"),
        ("awq", "0.10.0", "7.0"),
        ("sub", "0.6.2", "7.5"),
        ("sub", "0.10.0", ""),
    ]


def test_the_table_is_what_the_catalogue_reads() -> None:
    table = read_table()
    assert len(table) > 300
    assert all(isinstance(row, Row) and row.source for row in table)
    books = catalog()
    assert {row.architecture for row in table} == set(books.architectures())
    # vLLM's own word: _PREVIOUSLY_SUPPORTED_MODELS of registry.py, "MllamaForConditionalGeneration": "0.10.2"
    assert books.architecture("MllamaForConditionalGeneration", "0.10.2") is not None
    assert books.architecture("MllamaForConditionalGeneration", "0.11.0") is None
    llama = books.architecture("LlamaForCausalLM", "0.32.0")
    assert llama is not None
    assert llama.pipeline_parallel
    assert llama.lora
    assert books.quantization_capability("fp8", "0.9.2") == (8, 0)
    assert books.quantization_capability("fp8", "0.14.0") == (7, 5)
    assert books.quantization_capability("mxfp4", "0.9.2") is None
    assert books.quantization_versions("mxfp8") == (("0.19.0", "0.20.0"), ("0.24.0", None))

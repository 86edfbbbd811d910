"""LoRA adapters of a stack file: what is uploaded and kept, and what is refused with the line to change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cards.adapter import WEIGHTS, parse_config
from infra.cards.checkpoint import Tensor
from infra.recipes import ServingPlan, ValueProblem, catalog, plan
from infra.recipes.adapters import is_local, lora_ranks, objections, objections_to_tensors
from infra.recipes.errors import FlagError, PlanError, StackFileError
from infra.recipes.stackfile import parse_stack
from tests.adapters import LLAMA, config, layer, write_adapter

VISION, QWEN = "meta-llama/Llama-3.2-11B-Vision-Instruct", "Qwen/Qwen2.5-7B-Instruct"
OWN = "image_uri: 'europe-docker.pkg.dev/me/vllm/server:1'"
NEW = f"vllm: {{enable_lora: true}}\ncontainer: {{{OWN}, vllm_version: 0.14.0}}\n"


def planned(text: str, model: str = LLAMA, folder: Path = Path("stacks")) -> ServingPlan:
    source = str(folder / "a.yaml")
    stack = parse_stack(yaml.safe_load(f"model: {model}\n{text}"), file=source, lines={})
    return plan(stack, region="us-central1", source=source)


def refused(text: str, model: str = LLAMA, folder: Path = Path("stacks")) -> Any:
    with pytest.raises(PlanError) as caught:
        planned(text, model, folder)
    (found,) = caught.value.problems
    return found


def test_adapters_in_a_bucket_and_on_hugging_face() -> None:
    served = planned("lora: {sql: 'gs://mine/adapters/sql', hub: me/my-adapter}\nvllm: {enable_lora: true}\n")
    assert served.stack.lora == {"sql": "gs://mine/adapters/sql", "hub": "me/my-adapter"}
    assert served.container.args == planned("vllm: {enable_lora: true}\n").container.args
    assert served.adapters == ()


def test_an_adapter_beside_the_stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_adapter(tmp_path / "adapters" / "sql", more=("tokenizer.json", "optimizer.pt"))
    (tmp_path / "stacks").mkdir()
    text = "lora: {sql: ../adapters/sql}\nvllm: {enable_lora: true}\n"
    served = planned(text, folder=tmp_path / "stacks")
    (staged,) = served.adapters
    assert (staged.name, staged.files) == ("sql", ("adapter_config.json", WEIGHTS, "tokenizer.json"))
    assert staged.bytes == sum((folder / name).stat().st_size for name in staged.files)
    assert served.warnings == planned("vllm: {enable_lora: true}\n").warnings
    assert served.container == planned("vllm: {enable_lora: true}\n").container  # so nothing rolls
    # Below the working directory a path says nothing of where the clone is.
    monkeypatch.chdir(tmp_path)
    assert os.path.normpath(staged.path(WEIGHTS)) == f"adapters/sql/{WEIGHTS}"


def test_the_digest_is_that_of_the_files_that_are_read(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "sql", more=("optimizer.pt",))

    def digest() -> str:
        return planned("lora: {a: ./sql}\nvllm: {enable_lora: true}\n", folder=tmp_path).adapters[0].digest()

    first = digest()
    assert len(first) == 16
    (folder / "optimizer.pt").write_text("other")
    assert digest() == first
    write_adapter(folder, fill=b"\1")
    other = digest()
    assert other != first
    write_adapter(folder, lora_alpha=32)
    assert digest() not in (first, other)
    write_adapter(folder)
    assert digest() == first


@pytest.mark.parametrize(
    ("place", "local"),
    [
        ("./a", True),
        ("../a/b", True),
        (".", True),
        ("a/b", False),
        ("gs://a/b", False),
        ("/a", False),
        (".a/b", False),
    ],
)
def test_a_folder_is_told_from_an_id(place: str, local: bool) -> None:
    assert is_local(place) is local


@pytest.mark.parametrize(
    ("text", "model", "key", "problem"),
    [
        (
            "lora: {a: 'gs://mine/a'}\nvllm: {enable_lora: false}\n",
            LLAMA,
            "lora",
            "vllm.enable_lora is false",
        ),
        ("lora: {a: 'gs://mine/a'}\n", VISION, "lora", "text models only"),
        ("lora: {a: ./sql}\n", VISION, "lora", "text models only"),
        (
            "lora: {a: 'gs://mine'}\nvllm: {enable_lora: true}\n",
            LLAMA,
            "lora.a",
            "where adapter_config.json lies",
        ),
        ("lora: {a: '/weights/a'}\nvllm: {enable_lora: true}\n", LLAMA, "lora.a", "and no Hugging Face id"),
        ("lora: {a: one}\nvllm: {enable_lora: true}\n", LLAMA, "lora.a", "and no Hugging Face id"),
        ("lora: {a: ./nothing}\nvllm: {enable_lora: true}\n", LLAMA, "lora.a", "there is no folder nothing/"),
        (
            "lora: {'a b': ./sql}\nvllm: {enable_lora: true}\n",
            LLAMA,
            "lora.a b",
            "becomes a part of the objects' names",
        ),
    ],
)
def test_what_cannot_be(text: str, model: str, key: str, problem: str, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql")
    found = refused(text, model, tmp_path)
    assert isinstance(found, ValueProblem)
    assert found.key == key
    assert problem in found.problem
    assert found.remedy


def test_a_section_that_is_none() -> None:
    with pytest.raises(StackFileError, match="write below it: a name and a value for each"):
        planned("lora: [a]\n")


def test_a_folder_that_reads_like_an_id(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapters" / "sql")
    served = planned("lora: {sql: adapters/sql}\nvllm: {enable_lora: true}\n", folder=tmp_path)
    assert served.adapters == ()
    assert "for the folder write sql: ./adapters/sql" in "\n".join(served.warnings)
    found = refused("lora: {sql: sql}\nvllm: {enable_lora: true}\n", folder=tmp_path / "adapters")
    assert found.remedy.endswith("sql: ./sql")


RANK = (
    "its rank is 64, and the container takes at most 16 (--max-lora-rank).",
    'in vllm.extra_args write - "--max-lora-rank=64"',
)


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"r": 64}, *RANK),
        ({"rank_pattern": {"q_proj": 64}}, *RANK),
        ({"peft_type": "LOHA"}, "its peft_type is LOHA; vLLM loads LORA only.", "train it with peft.LoraConfig"),
        ({"use_dora": True}, "it is a DoRA adapter (use_dora), which vLLM does not load.", "use_dora=False"),
        ({"modules_to_save": ["lm_head"]}, "(modules_to_save: lm_head), which", "without modules_to_save"),
        ({"bias": "all"}, "it has biases (bias: all), which vLLM does not load.", 'bias="none"'),
    ],
)  # fmt: skip
def test_a_configuration_that_vllm_refuses(
    changes: dict[str, Any], problem: str, remedy: str, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "sql", **changes)
    found = refused("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", folder=tmp_path)
    assert (found.key, found.value) == ("lora.sql", "./sql")
    assert problem in found.problem
    assert remedy in found.remedy


def test_a_higher_rank_is_allowed_where_the_stack_file_allows_it(tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", layer(rank=64), r=64)
    text = "lora: {sql: ./sql}\nvllm: {enable_lora: true, max_num_seqs: 64, extra_args: ['--max-lora-rank=64']}\n"
    assert len(planned(text, folder=tmp_path).adapters) == 1


def test_biases_where_the_version_loads_them(tmp_path: Path) -> None:
    shapes = {**layer(), "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias": (1, 4096)}
    write_adapter(tmp_path / "sql", shapes, bias="lora_only")
    own = f"container: {{{OWN}, vllm_version: 0.9.2}}\n"
    text = f"lora: {{sql: ./sql}}\n{own}vllm: {{enable_lora: true, extra_args: ['--enable-lora-bias']}}\n"
    assert len(planned(text, folder=tmp_path).adapters) == 1


@pytest.mark.parametrize(
    ("version", "rank", "remedy"),
    [("0.6.2", 128, "train it with r=64 or less"), ("0.9.2", 100, "--max-lora-rank=128"), ("0.14.0", 300, "=320")],
)  # fmt: skip
def test_the_rank_to_write_is_one_that_the_version_takes(version: str, rank: int, remedy: str) -> None:
    card = catalog().model(LLAMA)
    (found,) = objections(parse_config(config(r=rank)), card, max_rank=16, version=version)
    assert found.fatal
    assert remedy in found.remedy


def test_ranks_of_versions() -> None:
    assert lora_ranks("0.6.2")[-1] == 64
    assert lora_ranks("0.11.0") == (8, 16, 32, 64, 128, 256)
    assert lora_ranks("0.12.0") == lora_ranks(None) == (1, 8, 16, 32, 64, 128, 256, 320, 512)


def test_a_rank_that_vllm_refuses_at_its_start() -> None:
    found = refused("vllm: {enable_lora: true, extra_args: ['--max-lora-rank=24']}\n")
    assert isinstance(found, FlagError)
    assert (found.key, found.value) == ("vllm.extra_args[0]", "--max-lora-rank=24")
    assert found.problem == "vLLM 0.6.2 takes one of 8, 16, 32, 64."
    assert found.remedy == '- "--max-lora-rank=32"'
    # Where LoRA is off nobody looks at it.
    assert planned("vllm: {enable_lora: false, extra_args: ['--max-lora-rank=24']}\n")
    newer = refused(NEW.replace("true}", "true, extra_args: ['--max-lora-rank=24']}"))
    assert "--max-lora-rank takes one of the choices" in newer.problem


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ({**layer(31), **layer(32)}, f"it has 33 layers, {LLAMA} has 32."),
        (layer(hidden=8192), "q_proj has 8192 inputs, the model's 4096; v_proj has 8192 inputs, the model's 4096"),
        (layer(keys=4096), "v_proj has 4096 outputs, the model's 1024"),
        (layer(rank=64), "its rank is 64"),
        ({"base_model.model.transformer.h.0.attn.c_attn.lora_A.weight": (8, 4096)}, "it adapts c_attn, which"),
        ({"base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector": (1, 4096)}, "lora_magnitude_vector"),
        ({"base_model.model.lm_head.weight": (128256, 1)}, "base_model.model.lm_head.weight, which vLLM does not take"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(shapes: Any, problem: str, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", shapes)
    found = refused("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", folder=tmp_path)
    assert found.key == "lora.sql"
    assert problem in found.problem


def test_all_modules_of_the_model() -> None:
    card, rank = catalog().model(LLAMA), 8
    hidden, inner = 4096, 14336
    widths = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden, 1024),
        "self_attn.v_proj": (hidden, 1024),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    tensors = [
        Tensor(f"base_model.model.model.layers.{number}.{module}.lora_{part}.weight", "BF16", shape, 0)
        for number in range(32)
        for module, (inputs, outputs) in widths.items()
        for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank)))
    ]
    tensors += [
        Tensor("base_model.model.model.embed_tokens.lora_embedding_A", "BF16", (rank, 128256), 0),
        Tensor("base_model.model.model.embed_tokens.lora_embedding_B", "BF16", (hidden, rank), 0),
        Tensor("base_model.model.model.embed_tokens.base_layer.weight", "BF16", (128256, hidden), 0),
    ]
    assert objections_to_tensors(tensors, card, max_rank=16, version="0.6.2") == []


def test_an_architecture_whose_names_are_not_known_is_not_judged_by_them() -> None:
    card = catalog().model("microsoft/Phi-3-mini-4k-instruct")
    tensor = Tensor("base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight", "BF16", (8, 3072), 0)
    assert objections_to_tensors([tensor], card, max_rank=16, version="0.6.2") == []
    settings = parse_config(config(target_modules=["qkv_proj"], base_model_name_or_path=card.id))
    assert objections(settings, card, max_rank=16, version=None) == []


@pytest.mark.parametrize(
    ("base", "same"),
    [
        (LLAMA, True),
        ("meta-llama/Llama-3.1-8B-Instruct", True),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", True),
        ("unsloth/meta-llama-3.1-8b-instruct-unsloth-bnb-4bit", True),
        ("/data/models/Meta-Llama-3.1-8B-Instruct/", True),
        ("hub/models--meta-llama--Llama-3.1-8B-Instruct", True),
        ("", True),
        ("meta-llama/Meta-Llama-3.1-8B", False),
        ("meta-llama/Meta-Llama-3-8B-Instruct", False),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", False),
    ],
)
def test_another_base_model_is_a_warning(base: str, same: bool, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", base_model_name_or_path=base or None)
    served = planned("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", folder=tmp_path)
    said = [each for each in served.warnings if each.startswith("lora.sql")]
    assert said == (
        []
        if same
        else [
            f"lora.sql: it was trained on {base}, and {LLAMA} is served. Serve {base}, or train it on {LLAMA}."
        ]
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is pissa_niter_4, which changes the model's own"),
        ({"target_modules": ["Wqkv", "q_proj"]}, f"its target_modules name Wqkv, which {LLAMA} has not"),
    ],
)  # fmt: skip
def test_what_is_worth_a_look(changes: Any, said: str, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", **changes)
    served = planned("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", folder=tmp_path)
    assert len(served.adapters) == 1
    assert said in "\n".join(served.warnings)


def test_more_adapters_than_host_memory_keeps() -> None:
    two = "lora: {a: me/a, b: me/b}\nvllm: {enable_lora: true, max_cpu_loras: 1}\n"
    assert any("2 adapters, and vllm.max_cpu_loras is 1" in each for each in planned(two).warnings)
    assert not any("max_cpu_loras" in each for each in planned(two.replace("s: 1", "s: 2")).warnings)


def test_more_adapters_in_a_batch_than_in_host_memory() -> None:
    found = refused("vllm: {enable_lora: true, max_loras: 9}\n")
    assert (found.key, found.remedy) == ("vllm.max_loras", "max_cpu_loras: 9")


def test_another_model_of_the_catalogue(tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", layer(hidden=3584, keys=512), base_model_name_or_path=QWEN)
    served = planned("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", QWEN, tmp_path)
    assert [each.name for each in served.adapters] == ["sql"]
    write_adapter(tmp_path / "sql", base_model_name_or_path=QWEN)
    found = refused("lora: {sql: ./sql}\nvllm: {enable_lora: true}\n", QWEN, tmp_path)
    assert f"its shapes are not those of {QWEN}" in found.problem

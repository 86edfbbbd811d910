"""The catalogue's data: every card loads under its own path, every number has a source, the tables agree.

Proves that the tables are whole and consistent, not that Google's offer is still what it was on the dates they name.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path

import pytest

from infra.recipes import ModelCard, catalog, plan
from infra.recipes.stackfile import DEFAULT_IMAGE, StackFile, VllmOptions, parse_stack
from infra.recipes.templates import NO_CHAT
from infra.versions import version_key

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "catalog"
BOOKS = catalog()
CARDS = [BOOKS.model(model) for model in BOOKS.models()]
GUIDE = [
    *(f"meta-llama/Meta-Llama-3.1-{size}{kind}" for size in ("8B", "70B") for kind in ("", "-Instruct")),
    *(f"meta-llama/Meta-Llama-3.1-405B{kind}-FP8" for kind in ("", "-Instruct")),
    *(
        f"meta-llama/Llama-3.2-{size}{kind}"
        for size in ("1B", "3B", "11B-Vision", "90B-Vision")
        for kind in ("", "-Instruct")
    ),
]


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_guides_models_are_there() -> None:
    assert len(GUIDE) == 14
    assert set(GUIDE) <= set(BOOKS.models())


def test_every_yaml_is_a_card_at_the_path_of_its_id() -> None:
    files = sorted((FOLDER / "models").rglob("*.yaml"))
    assert sorted(f"{f.parent.name}/{f.stem}" for f in files) == sorted(card.id for card in CARDS)
    assert not list((FOLDER / "models").rglob("*.yml"))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_card(card: ModelCard) -> None:
    shape, weights = card.architecture, card.weights
    assert {"architecture", "gated", "chat_template"} <= set(card.sources)
    assert ("weights" in card.sources) == (weights.parameters is not None or weights.bytes is not None)
    assert ("vision" in card.sources) == (card.vision is not None)
    assert ("tool_call_parser" in card.sources) == (card.tool_call_parser is not None)
    assert all(text.strip() for text in card.sources.values())
    assert "text" in card.modalities
    assert shape.num_attention_heads % shape.num_key_value_heads == 0
    assert shape.num_key_value_heads <= shape.num_attention_heads
    if weights.parameters and weights.bytes and weights.quantization is None:
        width = {"bfloat16": 2, "float16": 2, "float32": 4}.get(weights.dtype or "", 0)
        if width:
            assert weights.bytes == pytest.approx(width * weights.parameters, rel=0.02)
    for recipe in card.recommended:
        machine = BOOKS.machine(recipe.machine_type)
        assert (recipe.accelerator_type, recipe.accelerator_count) in machine.accelerators
        assert recipe.source
        VllmOptions.model_validate(recipe.vllm)
        assert set(recipe.vllm) <= set(VllmOptions.model_fields)
        if recipe.image_uri is not None:
            assert BOOKS.container(recipe.image_uri) is not None


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_every_recommended_recipe_plans(card: ModelCard) -> None:
    for recipe in card.recommended:
        hardware = recipe.model_dump(include={"machine_type", "accelerator_type", "accelerator_count"})
        document = {"model": card.id, "hardware": hardware}
        if not card.chat_template:
            document["vllm"] = {"chat_template": NO_CHAT}
        stack = parse_stack(document, file="a.yaml", lines={})
        served = plan(stack, region=BOOKS.regions_with(recipe.accelerator_type)[0], source="a.yaml")
        assert f"--tensor-parallel-size={recipe.accelerator_count}" in served.container.args
        assert served.needs_token is card.gated


@pytest.mark.parametrize("model", GUIDE)
def test_the_guides_cards_are_complete(model: str) -> None:
    card = BOOKS.model(model)
    assert card.gated is True
    assert card.chat_template is ("Instruct" in model)
    assert card.weights.parameters
    assert card.weights.bytes
    assert card.architecture.intermediate_size
    assert card.multimodal is ("Vision" in model)
    assert (card.vision is not None) is ("Vision" in model)
    assert card.recommended


@pytest.mark.parametrize(
    ("model", "tokens", "gib"),
    [
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", 6404, 19.91),
        ("meta-llama/Llama-3.2-11B-Vision", 4100, 19.86),
    ],
)
def test_vision_numbers_agree_with_published_loads(model: str, tokens: int, gib: float) -> None:
    card = BOOKS.model(model)
    assert card.vision is not None
    assert card.vision.tokens_per_image == tokens
    assert (card.weights.bytes or 0) / 2**30 == pytest.approx(gib, rel=0.003)


@pytest.mark.parametrize(
    "name", ["machines.csv", "regions.csv", "prices.csv", "quotas.csv", "containers.csv"]
)
def test_every_row_has_a_source(name: str) -> None:
    for row in rows(name):
        assert row["source"].strip(), row
        assert None not in row.values()


def test_accelerators_have_a_source_for_every_number() -> None:
    for row in rows("accelerators.csv"):
        assert bool(row["memory_gib"]) == bool(row["memory_source"]), row
        assert bool(row["usable_gib_low"]) == bool(row["usable_source"]), row
        assert row["compute_capability_source"]
        if row["usable_gib_low"] and row["memory_gib"]:
            low, high = float(row["usable_gib_low"]), float(row["usable_gib_high"])
            assert 0.85 * float(row["memory_gib"]) < low <= high < float(row["memory_gib"])


def test_every_machine_can_be_had_somewhere() -> None:
    kinds = {accelerator.accelerator_type for accelerator in BOOKS.accelerators()}
    for machine in BOOKS.machines():
        assert machine.vcpus > 0
        assert machine.memory_gib > 0
        for kind in machine.accelerator_types:
            assert kind in kinds
            assert BOOKS.regions_with(kind), f"no region serves {kind}"
            assert machine.counts(kind) == tuple(sorted(set(machine.counts(kind))))


def test_no_row_is_there_twice() -> None:
    for name, keys in {
        "machines.csv": ("machine_type", "accelerator_type", "accelerator_count"),
        "regions.csv": ("region", "accelerator_type"),
        "prices.csv": ("item", "part", "region", "product"),
        "quotas.csv": ("quota_id", "region"),
        "containers.csv": ("uri",),
        "accelerators.csv": ("accelerator_type",),
    }.items():
        found = [tuple(row[key] for key in keys) for row in rows(name)]
        assert len(found) == len(set(found)), name


def test_regions_are_regions() -> None:
    for region in BOOKS.regions():
        assert re.fullmatch(r"[a-z]+-[a-z]+\d{1,2}", region)
    assert {row["serving"] for row in rows("regions.csv")} <= {"yes", "no", "allowlist"}


def test_prices_are_positive_and_refer_to_what_exists() -> None:
    machines = {machine.machine_type for machine in BOOKS.machines()}
    kinds = {accelerator.accelerator_type for accelerator in BOOKS.accelerators()}
    for row in rows("prices.csv"):
        if row["part"] in ("vcpu", "memory"):  # of every machine of a family
            assert any(machine.startswith(f"{row['item']}-") for machine in machines)
        else:
            assert row["item"] in machines | kinds
        for column in ("usd_per_hour", "spot_usd_per_hour"):
            assert not row[column] or float(row[column]) > 0
        if row["usd_per_hour"] and row["spot_usd_per_hour"]:
            assert float(row["spot_usd_per_hour"]) < float(row["usd_per_hour"])
        assert re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?|", row["date"])


def test_containers() -> None:
    for image in BOOKS.containers():
        assert image.arch in {"x86", "arm", "tpu"}
        assert bool(image.vllm_version) == bool(image.version_basis), image
        assert ":" in image.uri.rsplit("/", 1)[1]
    guide = BOOKS.container(DEFAULT_IMAGE)
    assert guide is not None
    assert guide.vllm_version == "0.6.2"
    assert guide.version_basis.startswith("inferred")
    assert StackFile.model_fields["model"].is_required()


KIND = re.compile(
    r"flag|switch|(int|size|size_or_auto|float|json|str|bool|int:\d+(\|\d+)*|[\w.+-]+(\|[\w.+-]+)*)[+*=]?"
)


def test_flags_file() -> None:
    data = json.loads((FOLDER / "vllm_flags.json").read_text(encoding="utf-8"))
    for flag, entry in data["fork"].items():
        assert entry["images"], flag
        assert all(entry["images"].values()), flag
        assert all(BOOKS.container(image) is not None for image in entry["images"]), flag
    assert set(data["source"]) == {"flags", "quantization", "fork", "replaced"}
    versions = sorted(data["versions"], key=version_key)
    assert tuple(versions) == BOOKS.flag_versions()
    for section in ("flags", "other_names", "openai_server_only"):
        for flag, changes in data[section].items():
            assert list(changes) == [version for version in versions if version in changes], flag
            values = [None, *changes.values()]
            assert all(one != next_ for one, next_ in itertools.pairwise(values)), flag
    for version in versions:
        table = BOOKS.flags(version)
        flags = list(table.takes)
        assert all(re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*", flag) for flag in flags)
        assert all(KIND.fullmatch(kind) for kind in (*table.takes.values(), *table.fork.values())), version
        assert {"--model", "--tensor-parallel-size", "--chat-template", "--enable-auto-tool-choice"} <= set(
            flags
        )
        assert {*table.other_names, *table.openai_only} <= set(flags)
        assert {"awq", "gptq", "fp8"} <= set(table.quantization)
    replaced = BOOKS.flags(versions[-1]).replaced
    assert set(replaced) == set(data["replaced"])
    for flag, entry in replaced.items():
        gone = BOOKS.flags(entry.removed_in).takes
        assert flag not in gone
        before = [v for v in versions if version_key(v) < version_key(entry.removed_in)]
        assert any(flag in BOOKS.flags(v).takes for v in before)
        use = entry.use.partition(" ")[0].partition("=")[0]
        assert not use or any(use in BOOKS.flags(v).takes for v in versions)


def test_quantization() -> None:
    capability = {row["method"]: row["compute_capability"] for row in rows("quantization.csv")}
    known = {method for version in BOOKS.flag_versions() for method in BOOKS.flags(version).quantization}
    assert set(capability) <= known
    for row in rows("quantization.csv"):
        assert ("get_min_capability" in row["source"]) is bool(row["compute_capability"])
        assert BOOKS.quantization_capability(row["method"]) is not None
    assert BOOKS.quantization_capability("fbgemm_fp8") == (8, 0)
    assert BOOKS.quantization_capability("modelopt", "0.14.0") == (8, 9)
    assert BOOKS.quantization_capability("fp8", "0.9.2") == (8, 0)
    assert BOOKS.quantization_capability("aqlm", "0.11.0") is None  # gone by then
    assert BOOKS.quantization_capability("none-such") is None
    assert all(card.weights.quantization in {None, *capability} for card in CARDS)


def test_the_readme_names_every_file_and_column() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.csv"):
        assert f"`{path.name}`" in text
        for column in rows(path.name)[0]:
            assert f"`{column}`" in text, (path.name, column)
    assert "`vllm_flags.json`" in text

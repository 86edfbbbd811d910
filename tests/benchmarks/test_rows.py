"""The measured start-ups: they load, agree with each other, and what is derived from them is right."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from benchmarks.accuracy.rows import DATA, ERAS, GIB, Row, Table, load, number, whole

TABLE = load()
BY_ID = {row.id: row for row in TABLE.rows}


def test_the_files_load_and_every_row_has_a_source_and_a_shape() -> None:
    with (DATA / "model_arch.csv").open(newline="") as file:
        shapes = {shape["model_id"]: shape for shape in csv.DictReader(file)}
    assert len(TABLE.rows) == 275
    for row in TABLE.rows:
        assert row.raw["source_url"], row.id
        assert row.model in shapes, row.id
        assert row.outcome in ("ok", "kv_too_small", "oom"), row.id
        assert row.era in ERAS
    assert all(shape["source"] for shape in shapes.values())


def test_every_doubt_names_a_row_a_figure_and_a_reason() -> None:
    with (DATA / "fit_doubts.csv").open(newline="") as file:
        doubts = list(csv.DictReader(file))
    assert doubts
    for doubt in doubts:
        assert doubt["id"] in BY_ID
        assert doubt["figures"] in ("kv", "weights", "verdict", "all")
        assert len(doubt["reason"]) > 3


def test_the_printed_parts_add_up_where_a_row_is_not_doubted() -> None:
    checked = 0
    for row in TABLE.rows:
        parts = (row.total, row.weights, row.activation, row.non_torch, row.kv)
        if row.doubtful("kv") or any(part is None for part in parts) or not row.raw["gpu_mem_gib"]:
            continue
        total, weights, activation, non_torch, kv = (part or 0.0 for part in parts)
        rest = total * row.utilization - weights - activation - non_torch - kv
        assert abs(rest) < 0.08, (row.id, rest)  # five figures printed to 0.01
        checked += 1
    assert checked > 80


def test_a_row_that_contradicts_itself_is_doubted() -> None:
    reason = BY_ID["r089"].doubtful("kv")
    assert reason is not None
    assert "3.33" in reason
    assert BY_ID["r089"].doubtful("weights") is None
    assert BY_ID["r442"].doubtful("weights") is not None
    assert BY_ID["r018"].doubtful("kv") is None


def test_parameters_follow_from_the_shape_of_dense_gated_models() -> None:
    plain = re.compile(r"^(Llama|Mistral|Qwen2|Qwen3|Gemma|Gemma2|Granite|Phi3)ForCausalLM$")
    checked = 0
    for arch in {row.model: row.arch for row in TABLE.rows}.values():
        if not plain.match(arch.name) or arch.experts or arch.params is None:
            continue
        names = ("hidden_size", "intermediate_size", "vocab_size", "head_dim", "num_hidden_layers")
        hidden, inner, vocabulary, head, layers = (int(arch.raw[name]) for name in names)
        heads = int(arch.raw["num_attention_heads"]) + int(arch.raw["num_key_value_heads"])
        matrices = vocabulary * hidden * (1 if arch.raw["tie_word_embeddings"] == "True" else 2)
        counted = (layers * (2 * hidden * head * heads + 3 * hidden * inner) + matrices) / 1e9
        assert counted == pytest.approx(arch.params, rel=0.003), arch.raw["model_id"]
        checked += 1
    assert checked > 40


def test_sixteen_bit_weights_are_two_bytes_a_parameter() -> None:
    checked = 0
    for row in TABLE.rows:
        dense = row.sixteen_bit and not row.arch.multimodal and not row.arch.experts and row.pp == 1
        if not dense or row.weights is None or row.arch.params is None or row.doubtful("weights"):
            continue
        if row.raw["enable_lora"] == "True":
            continue
        assert row.weights * row.tp == pytest.approx(row.arch.params * 2e9 / GIB, rel=0.06), row.id
        checked += 1
    assert checked > 60


@pytest.mark.parametrize(
    ("id", "family", "era", "attention", "card", "sticker", "headline"),
    [
        ("r018", "llama", "0.17 to 0.19", "GQA", "H100", 80, True),
        ("r002", "deepseek", "0.17 to 0.19", "MLA", "H100", 80, False),
        ("r006", "gemma", "0.17 to 0.19", "window", "H100", 80, True),
        ("r040", "gpt-oss", "0.17 to 0.19", "window", "H100", 80, False),
        ("r083", "qwen3", "0.8 to 0.16", "GQA", "H100", 80, True),
        ("r099", "llama", "unknown", "GQA", "RTX 3090", 24, False),
        ("r260", "qwen3.5", "unknown", "hybrid", "unknown", 64, False),
        ("r300", "gemma", "0.8 to 0.16", "window", "A100", 40, False),
        ("r340", "gemma", "unknown", "unknown", "RTX 3090", 24, False),
        ("r350", "mistral", "unknown", "unknown", "H100 NVL", 94, False),
    ],
)
def test_derived_columns(
    id: str, family: str, era: str, attention: str, card: str, sticker: float, headline: bool
) -> None:
    row = BY_ID[id]
    assert (row.family, row.era, row.arch.attention) == (family, era, attention)
    assert (row.card, row.sticker, row.headline) == (card, sticker, headline)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.19.0", (0, 19, 0)),
        ("0.6.4.post1", (0, 6, 4)),
        ("0.10.0 (V0)", (0, 10, 0)),
        ("~0.15", None),
        ("0.8.x (V0)", None),
        ("0.6.4.dev26", None),
        ("0.8.0rc3.dev5+g5eeabc2a.d20250318", None),
        ("0.6.3 (ROCm)", None),
        ("0.6.2 era (2024-09-27 docker)", None),
        ("", None),
    ],
)
def test_a_version_is_known_where_a_released_one_is_named(
    text: str, version: tuple[int, int, int] | None
) -> None:
    row = BY_ID["r018"]
    assert Row({**row.raw, "vllm_version": text}, row.arch, {}, row.total).version == version


def test_the_default_utilisation_follows_the_version() -> None:
    row = BY_ID["r018"]
    blank = {**row.raw, "gpu_memory_utilization": ""}
    assert Row(blank, row.arch, {}, row.total).utilization == 0.90
    assert Row({**blank, "vllm_version": "0.20.0"}, row.arch, {}, row.total).utilization == 0.92
    assert row.utilization == 0.95


def test_bytes_a_token_are_those_of_the_shape() -> None:
    # Llama 3.1 8B: 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert BY_ID["r018"].kv_bytes_per_token == pytest.approx(131072, rel=0.001)
    assert BY_ID["r017"].kv_bytes_per_token == pytest.approx(65536, rel=0.001)  # fp8 cache
    assert BY_ID["r002"].kv_bytes_per_token == pytest.approx(27 * 576 * 2, rel=0.001)  # latent
    assert BY_ID["r006"].kv_bytes_per_token is None  # windows: the tokens are derived
    assert BY_ID["r025"].kv_bytes_per_token is None  # pipeline stages
    assert BY_ID["r104"].kv_bytes_per_token is None  # contradicts itself


def test_a_total_that_is_not_given_is_that_of_the_same_card() -> None:
    assert not BY_ID["r317"].raw["gpu_mem_gib"]
    # five other rows of the file have an A100 80GB: 79.15 and four times 79.25
    assert BY_ID["r317"].total == 79.25
    assert BY_ID["r382"].total is None  # no card is named


def test_numbers_in_cells() -> None:
    assert number("641.30 (fp8 checkpoint)") == 641.30
    assert number("-1.44") == -1.44
    assert number("") is None
    assert number(None) is None
    assert number("model default") is None
    assert whole("40960 (model default)") == 40960


def test_bad_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,model_id\n")
    with pytest.raises(ValueError, match="has no rows"):
        load(path)
    path.write_text("name,model_id\na,b\n")
    with pytest.raises(ValueError, match="has no column id: add it"):
        load(path)
    path.write_text("id,model_id\na,b\na,c\n")
    with pytest.raises(ValueError, match="two rows with the id a"):
        load(path)


def test_own_rows_need_only_ids(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,model_id,gpu\nmine,org/unknown,L4 24GB\n")
    table: Table = load(path, doubts=None)
    (row,) = table.rows
    assert (row.kv, row.outcome, row.max_model_len, row.family, row.sticker) == (None, "", None, "other", 24)

"""``vertex-vllm fit``: one stack file term by term, and tables of start-ups."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import fit as command
from infra.cli.app import app
from infra.fit import Fit
from infra.observed.rows import RowPrediction
from infra.recipes import ServingPlan, plan

FitOf = Callable[..., Fit]
ROOT = Path(__file__).resolve().parents[2]
LLAMA = str(ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml")
COLUMNS = [
    "id",
    "weights_gib_per_gpu",
    "activation_gib",
    "non_torch_gib",
    "kv_gib",
    "kv_gib_low",
    "kv_gib_high",
    "kv_tokens",
    "estimated_max_len",
    "outcome",
]
# One published start-up of vLLM 0.19 on an H100, without what was observed.
ROW = {
    "id": "r001",
    "model_id": "codellama/CodeLlama-7b-hf",
    "gpu": "H100 80GB",
    "gpu_mem_gib": "79.19",
    "tp": "1",
    "pp": "1",
    "vllm_version": "0.19.0",
    "gpu_memory_utilization": "0.95",
    "max_model_len": "8192",
    "max_num_seqs": "1024",
    "dtype": "bfloat16",
    "quantization": "",
    "kv_cache_dtype": "auto",
    "enforce_eager": "False",
    "enable_lora": "",
    "other_args": "max_num_batched_tokens=8192",
}
ARCH = {
    "model_id": "codellama/CodeLlama-7b-hf",
    "architecture": "LlamaForCausalLM",
    "num_hidden_layers": "32",
    "hidden_size": "4096",
    "intermediate_size": "11008",
    "num_attention_heads": "32",
    "num_key_value_heads": "32",
    "head_dim": "128",
    "vocab_size": "32016",
    "tie_word_embeddings": "False",
    "num_experts": "",
    "params_billion": "6.739",
    "weight_bytes_gib": "",
    "max_position_embeddings": "16384",
    "sliding_window": "",
    "vision_params": "",
}

runner = CliRunner()


def table(path: Path, *rows: Mapping[str, str]) -> str:
    """Write rows as CSV; the columns are those of the first."""
    lines = [",".join(rows[0]), *(",".join(row.get(name, "") for name in rows[0]) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fit | None], None]:
    """Replaces the prediction of every plan by one answer."""

    def use(fit: Fit | None) -> None:
        def planned(*args: Any, **kwargs: Any) -> ServingPlan:
            return replace(plan(*args, **kwargs), fit=fit)

        monkeypatch.setattr("infra.cli.stack.plan", planned)

    return use


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., RowPrediction]], None]:
    """Replaces the predictor of rows."""
    return lambda predict: monkeypatch.setattr("infra.observed.rows.predict_row", predict)


# One stack file


def test_exit_status(
    predicted: Callable[[Fit | None], None], fit_of: FitOf, small: Fit, doubtful: Fit
) -> None:
    for fit, status, word in (
        (fit_of(), 0, "STARTS"),
        (doubtful, 0, "MAY NOT START"),
        (small, 1, "DOES NOT START"),
        (None, 3, "UNKNOWN"),
    ):
        predicted(fit)
        found = runner.invoke(app, ["fit", LLAMA])
        assert (found.exit_code, found.stdout.partition(":")[0]) == (status, word)
        assert "formula" not in found.stdout


def test_the_sum_is_the_budget(predicted: Callable[[Fit | None], None], fit_of: FitOf) -> None:
    predicted(fit_of())
    text = runner.invoke(app, ["fit", LLAMA]).stdout
    rows = [line.split() for line in text.splitlines()]
    budget = next(float(row[1]) for row in rows if row[:1] == ["budget"])
    taken = [float(row[row.index("to") - 2]) for row in rows if row[:1] == ["-"] and "to" in row]
    cache = next(float(row[3]) for row in rows if row[:3] == ["=", "KV", "cache"])
    assert sum(taken) + cache == pytest.approx(budget)
    assert len(taken) == 3


def test_terms_are_explained(predicted: Callable[[Fit | None], None], fit_of: FitOf) -> None:
    predicted(fit_of())
    text = runner.invoke(app, ["fit", LLAMA, "--explain-terms"]).stdout
    for words in (
        "1.250, 90 % interval 1.200 to 1.400",
        "9.5 * u + hid",
        "131,334,144",
        "vLLM 0.6.2",
        "CUDA graphs (outside the budget)",
        "1,689 of 16 tokens",
        "32: keys and values of every token",
        "8 a GPU (num_key_value_heads 8, tensor 1)",
        "few logs of this card",
    ):
        assert words in text, words


def test_json_of_one_stack_file(predicted: Callable[[Fit | None], None], small: Fit) -> None:
    predicted(small)
    found = runner.invoke(app, ["fit", LLAMA, "--json"])
    answer = json.loads(found.stdout)
    assert (found.exit_code, answer["verdict"]) == (1, "does not start")
    assert answer["memory"]["terms"][0]["source"] == "the checkpoint's header"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "name a stack file"),
        ([LLAMA, "--batch", "rows.csv"], "goes without FILE"),
        ([LLAMA, "--arch", "arch.csv"], "goes with --batch"),
        (["none.yaml"], "there is no such file."),
        (["--batch", "none.csv"], "--batch none.csv: cannot be read: No such file or directory."),
        (["--batch", LLAMA], "has no column model_id."),
        (["--btach", "rows.csv"], "No such option"),
    ],
)
def test_wrong_usage(arguments: list[str], text: str) -> None:
    found = runner.invoke(app, ["fit", *arguments])
    assert found.exit_code == 2
    assert text in found.stderr
    assert found.stdout == ""


# Tables


def test_rows_in_their_order_with_exactly_the_keys(
    answers: Callable[[Callable[..., RowPrediction]], None], tmp_path: Path
) -> None:
    seen: list[Mapping[str, str] | None] = []

    def predict(row: Mapping[str, str], arch: Mapping[str, str] | None) -> RowPrediction:
        seen.append(arch)
        return RowPrediction(
            id=row["id"],
            weights_gib_per_gpu=12.123456,
            activation_gib=0.77,
            non_torch_gib=0.25,
            kv_gib=61.66,
            kv_gib_low=61.5,
            kv_gib_high=61.8,
            kv_tokens=126256,
            estimated_max_len=16384,
            outcome="ok",
        )

    answers(predict)
    rows = table(tmp_path / "rows.csv", ROW, ROW | {"id": "r002", "model_id": "org/other"})
    found = runner.invoke(
        app, ["fit", "--batch", rows, "--arch", table(tmp_path / "arch.csv", ARCH), "--json"]
    )
    assert (found.exit_code, found.stderr) == (0, "")
    answer = json.loads(found.stdout)
    assert [row["id"] for row in answer] == ["r001", "r002"]
    assert [list(row) for row in answer] == [COLUMNS, COLUMNS]
    assert answer[0]["weights_gib_per_gpu"] == 12.1235
    assert answer[0]["kv_tokens"] == 126256
    assert seen == [ARCH, None]


def test_a_bad_row_gives_nulls_and_a_message(
    answers: Callable[[Callable[..., RowPrediction]], None], tmp_path: Path
) -> None:
    def predict(row: Mapping[str, str], arch: Mapping[str, str] | None) -> RowPrediction:
        total = float(row["gpu_mem_gib"])
        return RowPrediction(
            id=row["id"],
            weights_gib_per_gpu=12.1,
            kv_gib=total,
            kv_gib_high=float("inf"),
            activation_gib=float("nan"),
        )

    answers(predict)
    rows = table(
        tmp_path / "rows.csv",
        ROW,
        ROW | {"id": "r2", "gpu_mem_gib": "eighty"},
        ROW | {"id": "r3", "model_id": ""},
        ROW | {"id": ""},
    )
    found = runner.invoke(app, ["fit", "--batch", rows, "--json"])
    assert found.exit_code == 0
    answer = json.loads(found.stdout)
    assert (answer[0]["kv_gib"], answer[0]["kv_gib_high"], answer[0]["activation_gib"]) == (79.19, None, None)
    for row, identity in zip(answer[1:], ("r2", "r3", None), strict=True):
        assert row == dict.fromkeys(COLUMNS) | {"id": identity}
    messages = found.stderr.splitlines()
    assert len(messages) == 3
    assert messages[0].endswith("row 3 (r2): ValueError: could not convert string to float: 'eighty'")
    assert messages[1].endswith("row 4 (r3): no model_id")
    assert messages[2].endswith("row 5 (no id): no id")


def test_blanks_around_the_names_of_columns(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_bytes(b"\xef\xbb\xbf id , model_id,gpu \r\nr1,codellama/CodeLlama-7b-hf,L4 24GB\r\n")
    found = runner.invoke(app, ["fit", "--batch", str(rows), "--json"])
    assert (found.exit_code, found.stderr) == (0, "")
    assert json.loads(found.stdout)[0]["kv_gib"] > 0


def test_a_model_that_is_not_known_gives_nulls_and_a_message(tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.csv", ROW | {"id": "r1", "model_id": "org/unheard-of"})
    found = runner.invoke(app, ["fit", "--batch", rows, "--json"])
    assert (found.exit_code, json.loads(found.stdout)) == (0, [dict.fromkeys(COLUMNS) | {"id": "r1"}])
    assert found.stderr.endswith("row 2 (r1): no shape of 'org/unheard-of' is known\n")


@pytest.mark.parametrize("missing", sorted(set(ROW) - {"id"}))
def test_a_missing_column_never_crashes(tmp_path: Path, missing: str) -> None:
    """No stand-in: whatever column is not there, each row has its answer."""
    row = {name: value for name, value in ROW.items() if name != missing}
    arguments = ["--batch", table(tmp_path / "rows.csv", row), "--arch", table(tmp_path / "arch.csv", ARCH)]
    found = runner.invoke(app, ["fit", *arguments, "--json"])
    assert found.exit_code == 0, found.output
    [answer] = json.loads(found.stdout)
    assert list(answer) == COLUMNS
    assert answer["id"] == "r001"


@pytest.mark.parametrize(
    "content", ["", "id,model_id\n", "\ufeffid,model_id\nr1\n", "id,model_id\nr1,a/b,too,many\n"]
)
def test_odd_tables(tmp_path: Path, content: str) -> None:
    """No stand-in: empty, no rows, a byte order mark and a short row, a long row."""
    file = tmp_path / "rows.csv"
    file.write_text(content, encoding="utf-8")
    found = runner.invoke(app, ["fit", "--batch", str(file), "--json"])
    assert found.exit_code == (2 if not content else 0)
    if content:
        answer = json.loads(found.stdout)
        assert [row["id"] for row in answer] == (["r1"] if "r1" in content else [])
        assert all(row["kv_gib"] is None for row in answer)


def test_a_published_start_up(tmp_path: Path) -> None:
    """No stand-in. The log of this start-up says: 12.56 GiB of weights, activation 0.77, 61.66 GiB of KV cache."""
    arguments = [
        "--batch",
        table(tmp_path / "rows.csv", ROW),
        "--arch",
        table(tmp_path / "arch.csv", ARCH),
        "--json",
    ]
    [answer] = json.loads(runner.invoke(app, ["fit", *arguments]).stdout)
    assert answer["outcome"] == "ok"
    assert answer["weights_gib_per_gpu"] == pytest.approx(12.56, abs=0.03)
    assert answer["kv_gib"] == pytest.approx(61.66, abs=0.3)
    assert answer["kv_gib_low"] <= 61.66 <= answer["kv_gib_high"]
    assert answer["kv_tokens"] == pytest.approx(126256, rel=0.005)


def test_a_table_for_people(tmp_path: Path) -> None:
    arguments = ["--batch", table(tmp_path / "rows.csv", ROW), "--arch", table(tmp_path / "arch.csv", ARCH)]
    lines = runner.invoke(app, ["fit", *arguments]).stdout.splitlines()
    assert lines[0].split() == COLUMNS
    assert lines[1].split()[0] == "r001"
    assert len(lines) == 2


def test_it_starts_at_once_and_loads_no_cloud(tmp_path: Path) -> None:
    """The whole process, and what it has imported by the end."""
    arguments = [
        "fit",
        "--batch",
        table(tmp_path / "rows.csv", ROW),
        "--arch",
        table(tmp_path / "a.csv", ARCH),
        "--json",
    ]
    script = (
        "import sys\nfrom infra.cli.app import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    begun = time.monotonic()
    done: Any = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seconds = time.monotonic() - begun
    assert [list(row) for row in json.loads(done.stdout)] == [COLUMNS]
    loaded = done.stderr.splitlines()[-1]
    assert not {"pulumi", "google.api_core", "google.protobuf", "grpc"} & set(loaded.split())
    assert seconds < 5  # about 0.5 s on an idle core; tests share theirs


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "fit", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "vertex-vllm fit" in done.stdout
    assert "Exit status" in done.stdout
    assert tuple(COLUMNS) == command.COLUMNS

"""The command: its tables, its files, and that a family's own rows never reach the constants that predict it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import fit
from benchmarks.accuracy import ours, report
from benchmarks.accuracy.ours import Fact, Predictor
from benchmarks.accuracy.plot import draw
from benchmarks.accuracy.rows import load, number

TABLE = load()


@dataclass(frozen=True)
class StandIn:
    """An answer made of the row's own figures."""

    weights_gib_per_gpu: float | None
    kv_gib: float | None
    kv_gib_low: float | None
    kv_gib_high: float | None
    kv_tokens: int | None
    outcome: str | None


def predict(fact: Mapping[str, str], shape: Mapping[str, str], constants: Any) -> StandIn:
    kv, tokens = number(fact["kv_gib"]), number(fact["kv_tokens"])
    shift = 0.0 if constants is None else 0.01
    if kv is None:
        return StandIn(number(shape["weight_bytes_gib"]), None, None, None, None, fact["outcome"])
    said = kv + shift
    count = None if tokens is None else int(tokens)
    return StandIn(number(fact["weights_gib_per_gpu"]), said, said - 0.1, said + 0.1, count, fact["outcome"])


def fitted(facts: Sequence[Fact]) -> Any:
    return len(facts)


STAND_IN = Predictor(predict, fitted)


def test_the_constants_of_a_family_are_fitted_without_it() -> None:
    seen: dict[int, set[str]] = {}
    used: dict[str, int] = {}

    def remember(facts: Sequence[Fact]) -> int:
        seen[len(seen)] = {fact["id"] for fact, _ in facts}
        return len(seen) - 1

    def note(fact: Mapping[str, str], shape: Mapping[str, str], constants: Any) -> StandIn:
        used[fact["id"]] = constants
        return predict(fact, shape, constants)

    ours.cross_validated(TABLE, Predictor(note, remember))
    assert len(seen) == len(TABLE.families) > 8
    family = {row.id: row.family for row in TABLE.rows}
    doubted = {row.id for row in TABLE.rows if row.doubts}
    for row in TABLE.rows:
        members = {id for id, name in family.items() if name == row.family}
        fitted_to = seen[used[row.id]]
        assert not fitted_to & members
        assert fitted_to == set(family) - members - doubted


def test_sizes_measured_at_a_start_up_can_be_withheld() -> None:
    given: dict[str, str] = {}

    def note(fact: Mapping[str, str], shape: Mapping[str, str], constants: Any) -> StandIn:
        given[fact["id"]] = shape["weight_bytes_gib"]
        return predict(fact, shape, constants)

    ours.in_sample(TABLE, Predictor(note, fitted), report.withheld_shape)
    assert given["r001"] == ""  # 12.56, observed at the start-up r001
    assert given["r018"] == "14.96"  # of the files


def test_all_tables_are_printed_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = fit.run(TABLE, STAND_IN)
    console = Console(record=True, width=160, file=(tmp_path / "out").open("w"))
    report.show(report.sheets(results), console)
    shown = console.export_text()
    for words in (
        "Targets",
        "KAITO 0.12",
        "cross-validated",
        "By version",
        "By card",
        "By family",
        "worst rows",
    ):
        assert words in shown
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(fit, "ROOT", tmp_path)
    fit.publish(results)
    page = (tmp_path / "docs" / "fit.md").read_text()
    assert "0.010 GiB met" in page  # the stand-in's shift, cross-validated
    assert "benchmarks/fit.py --publish" in page
    assert "What these figures do not prove" in page
    assert (tmp_path / "docs" / "fit.svg").read_text().startswith("<?xml")


def test_the_plot_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    results = fit.run(TABLE, STAND_IN)
    draw(results, tmp_path / "one.svg")
    draw(results, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_json_holds_every_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit.json"
    monkeypatch.setattr("sys.argv", ["fit.py", "--peers-only", "--json", str(path)])
    assert fit.main() == 0
    document = json.loads(path.read_text())
    assert document["rows"] == len(TABLE.rows)
    assert set(document["predictions"]["KAITO 0.12"]) == {row.id for row in TABLE.rows}
    assert document["methods"]["KAITO 0.12"]["kv_gib"]["all"]["rows"] > 100
    assert "targets" not in document


def test_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,model_id,gpu,gpu_mem_gib,kv_gib,outcome\nmine,Qwen/Qwen3-8B,L4 24GB,22.05,4.1,ok\n")
    monkeypatch.setattr("sys.argv", ["fit.py", "--rows", str(path), "--peers-only"])
    assert fit.main() == 0
    assert "1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "{}/none.csv"], "none.csv"),
        (["--publish", "--peers-only"], "leave out --rows and --peers-only"),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["fit.py", *(one.format(tmp_path) for one in arguments)])
    with pytest.raises(SystemExit):
        fit.main()
    assert words in capsys.readouterr().err


def test_missing_targets_fail_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(fact: Mapping[str, str], shape: Mapping[str, str], constants: Any) -> StandIn:
        return StandIn(1.0, 1.0, 0.9, 1.1, 100, "ok")

    monkeypatch.setattr(ours, "predictor", lambda: Predictor(wrong, fitted))
    monkeypatch.setattr("sys.argv", ["fit.py"])
    assert fit.main() == 1
    monkeypatch.setattr(ours, "predictor", lambda: STAND_IN)
    assert fit.main() == 0

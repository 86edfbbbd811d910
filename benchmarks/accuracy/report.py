"""The tables of the benchmark, for the terminal and for ``docs/fit.md``, and the same numbers as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.accuracy import measures
from benchmarks.accuracy.measures import Errors, Prediction, Predictions, Target
from benchmarks.accuracy.peers import PEERS, Answer, case_of
from benchmarks.accuracy.rows import ERAS, Arch, Row, Table

OURS: Final = "vertex-vllm"
CROSS: Final = "vertex-vllm, cross-validated"


@dataclass(frozen=True)
class Sheet:
    """One table: cells are text; the first ``left`` columns are aligned to the left."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


@dataclass(frozen=True)
class Results:
    """All predictions of all methods on one set of rows. ``ours`` is empty where there is no predictor."""

    table: Table
    ours: Predictions
    crossed: Predictions
    withheld: Predictions
    peers: Mapping[str, Predictions]

    @property
    def methods(self) -> dict[str, Predictions]:
        """Every method by its name, ours first."""
        own = {OURS: self.ours, CROSS: self.crossed} if self.ours else {}
        return {**own, **self.peers}


def peers_on(table: Table) -> dict[str, Predictions]:
    """What each published formula says of each row."""
    cases = {row.id: case_of(row) for row in table.rows}
    return {peer.name: {id: _said(peer.formula(case)) for id, case in cases.items()} for peer in PEERS}


def _said(answer: Answer) -> Prediction:
    outcome = None if answer.fits is None else "ok" if answer.fits else "kv_too_small"
    return Prediction(kv=answer.available, outcome=outcome)


def sheets(results: Results) -> list[Sheet]:
    """All tables, in the order of a reader's questions."""
    rows = results.table.rows
    pages = [_targets(results)] if results.ours else []
    pages += [
        _methods("All rows", measures.kv_rows(rows), results.methods),
        _methods(
            "Dense text models in 16 bits on a known version",
            measures.kv_rows(row for row in rows if row.headline),
            results.methods,
        ),
        _verdicts(rows, results.methods),
    ]
    if results.ours:
        pages += [
            _groups("By version", measures.kv_rows(rows), lambda row: row.era, results, ERAS),
            _groups("By card", measures.kv_rows(rows), lambda row: row.card, results),
            _groups("By family", measures.kv_rows(rows), lambda row: row.family, results),
            _groups("By kind of model", measures.kv_rows(rows), _kind, results),
            _weights(results),
            _tokens(results),
            _worst(results),
        ]
    return pages


def _targets(results: Results) -> Sheet:
    rows = results.table.rows
    inside = measures.targets(rows, results.ours)
    crossed = measures.targets(rows, results.crossed)
    lines = [
        (
            one.name,
            f"{'at least' if one.at_least else 'at most'} {one.limit:g} {one.unit}".strip(),
            _with_mark(one),
            _with_mark(two),
            str(two.rows),
        )
        for one, two in zip(inside, crossed, strict=True)
    ]
    for name, said in (("in sample", results.ours), ("cross-validated", results.crossed)):
        held = measures.interval(measures.kv_rows(rows), said)
        lines.append(
            (f"90 % interval, {name}: median width", "", f"{_number(held.width)} GiB", "", str(held.rows))
        )
    return Sheet("Targets", ("what", "target", "in sample", "cross-validated", "rows"), tuple(lines), left=2)


def _with_mark(target: Target) -> str:
    if target.value is None:
        return "no rows"
    digits = 0 if target.unit == "" else 3 if target.unit == "GiB" else 2
    return f"{target.value:.{digits}f} {target.unit}".strip() + (" met" if target.met else " MISSED")


def _methods(title: str, rows: Sequence[Row], methods: Mapping[str, Predictions]) -> Sheet:
    """How many rows each method answers, and its errors on the rows that all of them answer."""
    common = [row for row in rows if all(_answers(said, row) for said in methods.values())]
    lines = []
    for name, said in methods.items():
        answered = sum(_answers(said, row) for row in rows)
        lines.append((name, f"{answered} of {len(rows)}", *_errors(measures.kv_errors(common, said))))
    columns = ("cache a GPU, GiB", "answers", "median", "p90", "mean", "bias", "most promised")
    return Sheet(f"{title}: the {len(common)} rows that all answer", columns, tuple(lines))


def _answers(said: Predictions, row: Row) -> bool:
    return row.id in said and said[row.id].kv is not None


def _errors(errors: Errors) -> tuple[str, ...]:
    plain = (_number(errors.median), _number(errors.p90), _number(errors.mean))
    return (*plain, _signed(errors.bias), _signed(errors.most))


def _verdicts(rows: Sequence[Row], methods: Mapping[str, Predictions]) -> Sheet:
    judged = [row for row in rows if row.outcome and not row.doubtful("verdict")]
    lines = []
    for name, said in methods.items():
        score = measures.verdicts(judged, said)
        silent = len(judged) - score.starts - score.failures
        share = score.alarm_share
        lines.append(
            (
                name,
                str(score.right),
                f"{len(score.false_ok)} of {score.failures}",
                f"{len(score.alarms)} of {score.starts}"
                + ("" if share is None else f" ({100 * share:.1f} %)"),
                str(silent),
            )
        )
    columns = ("will it start", "right", "false ok", "false alarms", "no answer")
    return Sheet(f"Verdicts: {len(judged)} rows", columns, tuple(lines))


def _kind(row: Row) -> str:
    if row.arch.layers is None:
        return "shape unknown"
    if row.arch.multimodal:
        return "reads images"
    if row.arch.attention in ("hybrid", "unknown"):
        return "hybrid"
    experts = "experts" if row.arch.experts else "dense"
    return f"{experts}, {'16-bit' if row.sixteen_bit else 'quantised'}"


def _groups(
    title: str, rows: Sequence[Row], key: Callable[[Row], str], results: Results, order: Sequence[str] = ()
) -> Sheet:
    groups = measures.grouped(rows, key)
    names = [name for name in order if name in groups] or sorted(groups, key=lambda name: -len(groups[name]))
    lines = []
    for name in names:
        members = groups[name]
        inside = measures.kv_errors(members, results.ours)
        crossed = measures.kv_errors(members, results.crossed)
        held = measures.interval(members, results.crossed)
        lines.append(
            (
                name,
                str(len(members)),
                str(inside.rows),
                _number(inside.median),
                _number(inside.p90),
                _number(crossed.median),
                _number(crossed.p90),
                _signed(crossed.bias),
                f"{held.inside} of {held.rows}",
                _number(held.width),
            )
        )
    columns = (
        "cache a GPU, GiB",
        "rows",
        "answered",
        "median, in sample",
        "p90, in sample",
        "median, crossed",
        "p90, crossed",
        "bias, crossed",
        "in the interval",
        "its median width",
    )
    return Sheet(title, columns, tuple(lines))


def _weights(results: Results) -> Sheet:
    kinds: tuple[tuple[str, Callable[[Row], bool]], ...] = (
        ("16-bit", lambda row: row.sixteen_bit),
        ("quantised and other", lambda row: not row.sixteen_bit),
        ("all", lambda row: True),
    )
    lines = []
    for remark, said in (("", results.ours), (", sizes measured at a start-up withheld", results.withheld)):
        for name, chosen in kinds:
            errors = measures.weight_errors([row for row in results.table.rows if chosen(row)], said)
            lines.append((name + remark, str(errors.rows), *_errors(errors)[:4]))
    columns = ("weights a GPU, % of the measured ones", "rows", "median", "p90", "mean", "bias")
    return Sheet("Weights", columns, tuple(lines))


def _tokens(results: Results) -> Sheet:
    lines = []
    fixed = [row for row in results.table.rows if row.kv_bytes_per_token is not None]
    for name, members in measures.grouped(fixed, lambda row: row.arch.attention).items():
        errors = measures.token_errors(members, results.ours)
        lines.append((f"bytes a token, {name}", str(errors.rows), *_errors(errors)[:4]))
    counted = [row for row in results.table.rows if row.cache_tokens is not None]
    for name, said in (("in sample", results.ours), ("cross-validated", results.crossed)):
        errors = measures.count_errors(counted, said)
        lines.append((f"tokens in the cache, {name}", str(errors.rows), *_errors(errors)[:4]))
    columns = ("%", "rows", "median", "p90", "mean", "bias")
    return Sheet("Cache bytes a token, and tokens", columns, tuple(lines))


def _worst(results: Results, count: int = 15) -> Sheet:
    pairs = measures.kv_pairs(measures.kv_rows(results.table.rows), results.crossed)
    lines = []
    for row, error in sorted(pairs, key=lambda pair: -abs(pair[1]))[:count]:
        said = results.crossed[row.id]
        within = said.kv_low is not None and said.kv_high is not None and row.kv is not None
        held = within and said.kv_low <= row.kv <= said.kv_high  # type: ignore[operator]
        lines.append(
            (
                row.id,
                row.model,
                row.gpu or "not named",
                row.raw.get("vllm_version", "") or "not named",
                _number(row.kv),
                _number(said.kv),
                f"{_number(said.kv_low)} to {_number(said.kv_high)}",
                _signed(error),
                "yes" if held else "no",
            )
        )
    columns = ("row", "model", "card", "vLLM", "measured", "predicted", "interval", "error", "in it")
    return Sheet(f"The {len(lines)} worst rows, cross-validated", columns, tuple(lines), left=4)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "" if value is None else ("+" if value >= 0 else "") + _number(value)


def show(pages: Iterable[Sheet], console: Console) -> None:
    """Print the tables."""
    for page in pages:
        shown = RichTable(title=page.title, title_justify="left")
        for place, column in enumerate(page.columns):
            shown.add_column(column, justify="left" if place < page.left else "right")
        for line in page.rows:
            shown.add_row(*(_coloured(cell) for cell in line))
        console.print(shown)


def _coloured(cell: str) -> str:
    if cell.endswith(" met"):
        return f"[green]{cell}[/]"
    return f"[red]{cell}[/]" if cell.endswith(" MISSED") else cell.replace("[", "\\[")


def markdown(page: Sheet) -> str:
    """The table in Markdown, under a heading of the second level."""
    rule = [":--" if place < page.left else "--:" for place in range(len(page.columns))]
    lines = [page.columns, rule, *page.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {page.title}\n\n{body}\n"


def document(results: Results) -> dict[str, Any]:
    """Everything as JSON: targets, errors of each method, every prediction."""
    rows = results.table.rows
    body: dict[str, Any] = {
        "rows": len(rows),
        "doubtful": {row.id: dict(row.doubts) for row in rows if row.doubts},
        "methods": {name: _method(rows, said) for name, said in results.methods.items()},
        "predictions": {
            name: {id: asdict(one) for id, one in said.items()} for name, said in results.methods.items()
        },
    }
    if results.ours:
        body["targets"] = {
            name: [asdict(target) | {"met": target.met} for target in measures.targets(rows, said)]
            for name, said in (("in_sample", results.ours), ("cross_validated", results.crossed))
        }
    return body


def _method(rows: Sequence[Row], said: Predictions) -> dict[str, Any]:
    sets = {
        "all": measures.kv_rows(rows),
        "all_with_doubtful": measures.kv_rows(rows, doubtful=True),
        "dense_16_bit_known_version": measures.kv_rows(row for row in rows if row.headline),
    }
    errors = {name: measures.kv_errors(members, said) for name, members in sets.items()}
    return {
        "kv_gib": {name: _summary(one) for name, one in errors.items()},
        "verdicts": asdict(measures.verdicts(rows, said)),
        "interval": asdict(measures.interval(sets["all"], said)),
    }


def _summary(errors: Errors) -> dict[str, float | int | None]:
    return {
        "rows": errors.rows,
        "median": errors.median,
        "p90": errors.p90,
        "mean": errors.mean,
        "bias": errors.bias,
        "most": errors.most,
    }


def withheld_shape(row: Row) -> Arch:
    """The row's shape without a size of weights that was measured at a start-up."""
    return row.arch.without_measured_weights()

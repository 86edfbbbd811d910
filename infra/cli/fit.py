"""``vertex-vllm fit``: the memory verdict on one stack file, term by term; or predictions for a table of start-ups."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import Region, StackConfig, console, fail, print_json, table_console

if TYPE_CHECKING:
    from infra.observed.rows import RowPrediction

__all__ = ["COLUMNS", "fit", "predictions"]

#: What is said of one row, in this order.
COLUMNS: Final = (
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
)
_NEEDED: Final = ("model_id", "id")


def fit(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The stack file, such as stacks/NAME.yaml.")
    ] = None,
    explain_terms: Annotated[
        bool,
        typer.Option("--explain-terms", help="Each term: formula, numbers, interval, where it comes from."),
    ] = False,
    batch: Annotated[
        Path | None, typer.Option(metavar="ROWS.csv", help="Predict a table of start-ups instead, one a row.")
    ] = None,
    arch: Annotated[
        Path | None,
        typer.Option(metavar="ARCH.csv", help="With --batch: architecture numbers, one model a row."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    region: Region = None,
    stack_config: StackConfig = None,
) -> None:
    """Say whether a stack file fits into its GPUs' memory; or predict many start-ups from a table.

    \b
    Examples:
      vertex-vllm fit stacks/meta-llama-3.1-8b-instruct.l4x1.yaml
      vertex-vllm fit stacks/my.yaml --explain-terms
      vertex-vllm fit --batch rows.csv --arch model_arch.csv --json

    \b
    A row of ROWS.csv is one start-up, with the columns
      id, model_id, gpu, gpu_mem_gib, tp, pp, vllm_version,
      gpu_memory_utilization, max_model_len, max_num_seqs, dtype,
      quantization, kv_cache_dtype, enforce_eager, enable_lora, other_args
    Others are ignored. A row of ARCH.csv is a model_id and the numbers of its
    config.json. A number that cannot be known is null; stderr names bad rows.

    \b
    Exit status:
      0  it fits, or it may not, which the text says; or the table was predicted
      1  it does not fit
      2  wrong usage, or a bad file
      3  no verdict: the image's vLLM version or the GPU's memory is not known
    """
    if batch is not None:
        if file is not None or explain_terms:
            raise typer.BadParameter("goes without FILE and without --explain-terms.", param_hint="--batch")
        _show_batch(batch, arch, as_json=as_json)
        return
    if file is None:
        raise typer.BadParameter("name a stack file, or a table with --batch ROWS.csv.", param_hint="FILE")
    if arch is not None:
        raise typer.BadParameter("goes with --batch.", param_hint="--arch")
    from infra.cli import facts, facts_json
    from infra.cli.stack import planned

    plan, _ = planned(file, region=region, stack_config=stack_config)
    found = plan.fit
    verdict = facts.verdict_of(found)
    if as_json:
        print_json(
            {
                "verdict": verdict.value,
                "why": facts.why(found),
                "memory": None if found is None else facts_json.memory_facts(found),
            }
        )
    else:
        from infra.cli.terminal import show_fit

        show_fit(console(), plan, terms=explain_terms)
    raise typer.Exit(facts.exit_status(verdict))


def predictions(
    rows: list[dict[str, str]], architectures: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Predict each row; a bad one gives nulls.

    Args:
        rows: rows with the columns of ``--batch``.
        architectures: rows of ``--arch`` by ``model_id``.

    Yields:
        The values of :data:`COLUMNS`, and why they are null where a row cannot be read or its model is not known.
    """
    from infra.observed.rows import predict_row

    for row in rows:
        identity = (row.get("id") or "").strip() or None
        nothing: dict[str, Any] = dict.fromkeys(COLUMNS) | {"id": identity}
        missing = [name for name in _NEEDED if not (row.get(name) or "").strip()]
        if missing:
            yield nothing, f"no {' and no '.join(missing)}"
            continue
        try:
            found = predict_row(row, architectures.get(row["model_id"].strip()))
        except Exception as error:  # one stranger's row must not take the others' predictions away
            yield nothing, f"{type(error).__name__}: {error}"
            continue
        unknown = (
            None
            if found.weights_gib_per_gpu is not None
            else f"no shape of {row['model_id'].strip()!r} is known"
        )
        yield nothing | _values(found) | {"id": identity}, unknown


def _values(found: RowPrediction) -> dict[str, Any]:
    values = {name: value for name, value in dataclasses.asdict(found).items() if name in COLUMNS}
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = round(value, 4) if math.isfinite(value) else None
    return values


def _show_batch(batch: Path, arch: Path | None, *, as_json: bool) -> None:
    rows = _read(batch, "--batch", _NEEDED)
    known = [] if arch is None else _read(arch, "--arch", ("model_id",))
    architectures = {row["model_id"].strip(): row for row in known}
    found = []
    for number, (values, problem) in enumerate(predictions(rows, architectures), start=2):
        if problem is not None:
            typer.echo(f"{batch}: row {number} ({values['id'] or 'no id'}): {problem}", err=True)
        found.append(values)
    if as_json:
        print_json(found)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("id", "outcome") else "right")
    for values in found:
        table.add_row(*("-" if values[name] is None else escape(str(values[name])) for name in COLUMNS))
    table_console().print(table)


def _read(path: Path, option: str, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file by column; cells that a short row has not are empty.

    Exits where it is no CSV file, or has none of the columns that are needed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            rows = [{name.strip(): value for name, value in row.items() if name} for row in reader]
            columns = [name.strip() for name in reader.fieldnames or ()]
    except OSError as error:
        fail(f"{option} {path}: cannot be read: {error.strerror or error}.")
    except (UnicodeDecodeError, csv.Error) as error:
        fail(f"{option} {path}: is not a CSV file in UTF-8: {error}.")
    if not set(needed) & set(columns):
        shown = ", ".join(columns) or "none, it is empty"
        fail(
            f"{option} {path}: has no column {needed[0]}.\n    its columns: {shown}\n"
            "    fix: name the columns in the first row"
        )
    return rows

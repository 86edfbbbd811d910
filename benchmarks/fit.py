"""How near the memory prediction comes to measured vLLM start-ups, beside published formulas on the same rows.

The rows are in benchmarks/data. The prediction is shown twice: with the constants of the catalogue, which were fitted
to these rows (in sample), and with constants fitted without the family of the predicted model (cross-validated).

    .venv/bin/python benchmarks/fit.py
    .venv/bin/python benchmarks/fit.py --json .local/fit.json
    .venv/bin/python benchmarks/fit.py --publish                          # writes docs/fit.md and docs/fit.svg
    .venv/bin/python benchmarks/fit.py --rows my.csv --arch my_arch.csv   # your own rows: benchmarks/data/README.md
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.accuracy import measures, ours, report
from benchmarks.accuracy.report import Results
from benchmarks.accuracy.rows import DATA, Table, load

ROOT = Path(__file__).resolve().parents[1]

PAGE = """\
# How near the memory prediction comes

{rows} vLLM start-ups that somebody published (`benchmarks/data/fit_truth.csv`, each with its source), predicted by this
project and by published formulas. Written on {date} by `{command}`;
run it again after any change of `infra/fit` or its constants.

![predicted against measured KV cache](fit.svg)

The prediction stands here twice. *In sample*: with the constants of the catalogue, which were fitted to these rows.
*Cross-validated*: with constants fitted without the family of the model that is predicted. The terms themselves
(which tensors vLLM holds at its peak) were read from vLLM's code, and these rows showed which of them matter: no
validation undoes that. Errors are predicted less measured, in GiB (2^30 bytes) a GPU: positive promises too much.

{tables}
## What these figures do not prove

{limits}
"""

LIMITS = """\
- Most rows are of one card and one version: {h100} of {kv} rows with a cache size are of an H100, {era} of vLLM 0.17
  to 0.19. {new} are of 0.20 and later, where the accounting was read from the code and hardly measured.
- A family is left out, but its neighbours are not: Qwen3 and Qwen2 share shapes and a vocabulary, and most families
  were measured by the same people on the same machine. A new card or a new version is not cross-validated at all.
- Some constants of one family stay when it is left out: the scratch of gpt-oss and of latent attention, and the share
  of the verdict's caution. They are rows of `infra/catalog/vllm_memory.csv` that name their source.
- Rows were collected from logs that people published: failures are {failures} of {judged} verdicts, and an argument
  that a log does not show is taken to be vLLM's default.
- {doubtful} rows are not counted in one figure or all, since they contradict themselves or are not plain vLLM on an
  NVIDIA GPU; `benchmarks/data/fit_doubts.csv` names each with the reason. With their cache sizes counted too, the
  median error is {with_median} and the 90th percentile {with_p90} GiB (cross-validated).
- The size of quantised weights is often known from a start-up only. The table of weights says what remains when such
  a size is withheld. Published formulas are given it: it is the answer to their first term.
- Published formulas run as they stand, with the utilisation of the row. KAITO and llm-d were tuned to one version of
  vLLM each and would do better on it; GPUStack, hf-mem and the rule of a fifth name no cache, theirs is what their
  estimate leaves of vLLM's budget.
"""


def main() -> int:
    """Runs all methods, prints the tables, writes what was asked for; 1 where a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=DATA / "fit_truth.csv", help="measured start-ups")
    parser.add_argument("--arch", type=Path, default=DATA / "model_arch.csv", help="shapes of their models")
    parser.add_argument("--json", type=Path, help="file for every figure and every prediction")
    parser.add_argument("--publish", action="store_true", help="write docs/fit.md and docs/fit.svg")
    parser.add_argument("--peers-only", action="store_true", help="only the published formulas")
    options = parser.parse_args()
    own_rows = options.rows != DATA / "fit_truth.csv"
    if options.publish and (own_rows or options.peers_only):
        parser.error(
            "--publish is for the rows of this repository and all methods: leave out --rows and --peers-only"
        )
    try:
        table = load(options.rows, options.arch, None if own_rows else DATA / "fit_doubts.csv")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    results = run(table, None if options.peers_only else ours.predictor())
    report.show(report.sheets(results), Console())
    if options.json:
        options.json.write_text(json.dumps(report.document(results), indent=2) + "\n")
    if options.publish:
        publish(results)
    if not results.ours:
        return 0
    return 0 if all(target.met for target in measures.targets(table.rows, results.crossed)) else 1


def run(table: Table, by: ours.Predictor | None) -> Results:
    """All predictions of all methods; ours only with a predictor."""
    peers = report.peers_on(table)
    if by is None:
        return Results(table, {}, {}, {}, peers)
    return Results(
        table,
        ours.in_sample(table, by),
        ours.cross_validated(table, by),
        ours.in_sample(table, by, report.withheld_shape),
        peers,
    )


def publish(results: Results) -> None:
    """Write docs/fit.md and docs/fit.svg."""
    from benchmarks.accuracy.plot import draw

    docs = ROOT / "docs"
    draw(results, docs / "fit.svg")
    rows = results.table.rows
    kv = measures.kv_rows(rows)
    everything = measures.kv_errors(measures.kv_rows(rows, doubtful=True), results.crossed)
    score = measures.verdicts(rows, results.crossed)
    limits = LIMITS.format(
        h100=sum(row.card.startswith("H100") for row in kv),
        kv=len(kv),
        era=sum(row.era == "0.17 to 0.19" for row in kv),
        new=sum(row.era == "0.20 and later" for row in kv),
        failures=score.failures,
        judged=score.failures + score.starts,
        doubtful=sum(bool(row.doubts) for row in rows),
        with_median="unknown" if everything.median is None else f"{everything.median:.3f}",
        with_p90="unknown" if everything.p90 is None else f"{everything.p90:.2f}",
    )
    page = PAGE.format(
        rows=len(rows),
        command=".venv/bin/python benchmarks/fit.py --publish",
        date=datetime.date.today().isoformat(),
        tables="\n".join(report.markdown(sheet) for sheet in report.sheets(results)),
        limits=limits.rstrip(),
    )
    (docs / "fit.md").write_text(page)


if __name__ == "__main__":
    sys.exit(main())

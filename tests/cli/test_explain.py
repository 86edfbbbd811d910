"""``vertex-vllm explain``: the facts, the terminal page, JSON, the HTML page, the exit status."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from infra.cli import facts, facts_json, gpu_memory, terminal
from infra.cli.app import app
from infra.cli.facts import Explanation, Verdict
from infra.cli.page import html_page
from infra.fit import Fit, Limits, Outcome, OutOfMemory
from infra.recipes import ServingPlan, catalog, plan
from infra.recipes.errors import DoesNotFit
from infra.recipes.memory import Choice
from tests.adapters import write_adapter

FitOf = Callable[..., Fit]
ROOT = Path(__file__).resolve().parents[2]
LLAMA = str(ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml")


def text_of(explained: Explanation, width: int = 80, *, colored: bool = False) -> str:
    """The page as a pipe gets it, or with ``colored`` as a terminal does."""
    stream = io.StringIO()
    out = Console(
        file=stream,
        width=width,
        highlight=False,
        force_terminal=colored,
        color_system="256" if colored else None,
    )
    for block in terminal.page(explained, width=width, colored=colored):
        out.print(block)
    return stream.getvalue()


def of(explained: Explanation, fit: Fit | None, **changes: Any) -> Explanation:
    """The same stack with another prediction."""
    return replace(explained, plan=replace(explained.plan, fit=fit), **changes)


# The facts


def test_verdicts(fit_of: FitOf, small: Fit, doubtful: Fit) -> None:
    assert facts.verdict_of(fit_of()) is Verdict.STARTS
    assert facts.verdict_of(doubtful) is Verdict.MAY_NOT
    assert facts.verdict_of(small) is Verdict.FAILS
    assert facts.verdict_of(None) is Verdict.UNKNOWN
    assert [facts.exit_status(verdict) for verdict in Verdict] == [0, 0, 1, 3]


def test_the_reason_has_the_numbers_that_decide(fit_of: FitOf, small: Fit, doubtful: Fit) -> None:
    assert facts.why(fit_of()) == (
        "the KV cache of 3.30 GiB a GPU (90 %: 3.00 to 3.50 GiB) holds 27,024 tokens, 6.6 requests of"
        " max_model_len = 4,096 tokens at once."
    )
    assert facts.why(small) == (
        "the KV cache of 3.30 GiB a GPU holds 27,024 tokens; one request of max_model_len = 65,536 tokens needs"
        " 8.00 GiB."
    )
    assert facts.why(doubtful) == (
        "the KV cache is 3.00 to 3.50 GiB a GPU (90 % interval); one request of max_model_len = 26,000 tokens needs"
        " 3.17 GiB."
    )
    nothing = fit_of(outcome=Outcome.NO_KV_CACHE, kv_cache=-0.5, budget=16.0)
    assert facts.why(nothing) == (
        "nothing is left for the KV cache: 16.50 GiB are taken, and gpu_memory_utilization allows 16.00 of 22.00 GiB."
    )
    full = fit_of(outcome=Outcome.OUT_OF_MEMORY, oom=OutOfMemory("sampler", 4.7, 20.0, 2.0))
    assert facts.why(full) == (
        "out of memory while the sampler sorts the logits of max_num_seqs requests: 4.70 GiB are asked for, 2.00 of"
        " 22.00 GiB are free."
    )
    narrow = fit_of(
        outcome=Outcome.KV_TOO_SMALL, outcome_low=Outcome.KV_TOO_SMALL, max_model_len=26800, kv_needed=3.27
    )
    assert facts.why(narrow) == (
        "the KV cache is 3.00 to 3.50 GiB a GPU (90 % interval), too close to the 3.27 GiB that one request of"
        " max_model_len = 26,800 tokens needs."
    )
    assert "not known" in facts.why(None)


def test_the_bar_is_the_whole_gpu(fit_of: FitOf) -> None:
    bar = gpu_memory.bar_of(fit_of())
    assert [part.key for part in bar.parts] == [
        "weights",
        "activation",
        "non_torch",
        "kv_cache",
        "graphs",
        "rest",
    ]
    assert sum(part.gib for part in bar.parts) == pytest.approx(22.0)
    assert sum(part.share for part in bar.parts) == pytest.approx(1.0)
    assert sum(part.gib for part in bar.parts if part.charged) == pytest.approx(bar.budget)
    assert bar.over == 0


def test_the_bar_goes_beyond_a_gpu_that_is_too_small(fit_of: FitOf) -> None:
    bar = gpu_memory.bar_of(fit_of(total=14.0, budget=12.6, kv_cache=-3.9, kv_low=-4.2, kv_high=-3.7))
    assert bar.over == pytest.approx(3.0)
    assert [part.key for part in bar.parts if part.gib > 0] == [
        "weights",
        "activation",
        "non_torch",
        "graphs",
    ]
    assert all(part.low >= 0 for part in bar.parts)


def test_tokens_of_a_size(fit_of: FitOf) -> None:
    fit = fit_of()
    assert gpu_memory.tokens_at(fit, fit.kv_cache) == 27024
    assert gpu_memory.tokens_at(fit, 3.0) == 3 * 2**30 // 131072
    assert gpu_memory.tokens_at(fit, 3.5) % 16 == 0
    assert gpu_memory.tokens_at(fit, -1.0) == 0
    assert gpu_memory.concurrency_at(fit, 3.0) == 6.0


def test_changes_are_those_of_the_refusal(explained: Explanation, small: Fit, refusal: DoesNotFit) -> None:
    assert facts.changes(explained) == ()
    assert facts.changes(of(explained, small, refusal=refusal)) == (
        "max_model_len: 19472 or less",
        "machine_type: g2-standard-24 with 2 NVIDIA_L4 (2.30 USD an hour a replica)",
    )


def test_changes_of_a_doubtful_stack_are_sure(explained: Explanation, doubtful: Fit) -> None:
    machine = "machine_type: g2-standard-24 with 2 NVIDIA_L4 (2.30 USD an hour a replica)"
    assert facts.changes(of(explained, doubtful)) == ("max_model_len: 24576 or less", machine)
    only_doubt = (Choice("g2-standard-24", "NVIDIA_L4", 2, 2.3, doubtful),)
    assert facts.changes(of(explained, doubtful, choices=only_doubt)) == ("max_model_len: 24576 or less",)


def test_remarks(explained: Explanation, doubtful: Fit) -> None:
    own, two, other = explained.choices
    assert [facts.remark(explained.plan, choice) for choice in (own, two, other)] == ["this one", "", ""]
    assert facts.remark(explained.plan, replace(own, machine_type="g2-standard-8")) == "the same GPUs"
    assert facts.remark(explained.plan, replace(own, fit=doubtful)) == "this one, may not start"


def test_facts_are_json(explained: Explanation) -> None:
    found = json.loads(json.dumps(facts_json.facts(explained), allow_nan=False))
    assert found["verdict"] == "starts"
    assert (found["tensor_parallel_size"], found["pipeline_parallel_size"]) == (1, 1)
    assert found["memory"]["kv_cache"]["tokens_low"] == 24576
    assert [term["name"] for term in found["memory"]["terms"]] == [
        "weights",
        "activation",
        "non_torch",
        "graphs",
    ]
    assert found["memory"]["terms"][1]["numbers"] == {"u": "131,334,144", "hid": "33,554,432"}
    assert found["largest"] == {"max_model_len": 19480, "max_num_seqs": 512}
    assert found["choices"][-1]["usd_per_hour"] is None
    assert found["cost"]["replica"] == {
        "usd_per_hour": 1.15069,
        "usd_per_month": 840.0,
        "on_demand_usd_per_hour": 1.15069,
        "spot_usd_per_hour": 0.71247,
    }
    assert found["cost"]["price"]["date"] == "2026"


def test_facts_without_a_prediction(serving: ServingPlan) -> None:
    serving = replace(serving, fit=None)
    found = facts_json.facts(Explanation(serving, None, ()))
    assert (found["verdict"], found["memory"], found["largest"]) == ("unknown", None, None)
    assert found["max_model_len"] == serving.vllm.max_model_len


# The terminal


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_page_keeps_to_the_terminal(explained: Explanation, width: int) -> None:
    lines = text_of(explained, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)


def test_the_page_says_everything(explained: Explanation) -> None:
    page = text_of(explained)
    assert page.startswith(
        "llama\nmeta-llama/Meta-Llama-3.1-8B-Instruct on 1 x L4 (g2-standard-12, us-central1)"
    )
    assert "STARTS: the KV cache of 3.30 GiB" in page
    for line in (
        r"parallel +tensor 1, pipeline 1",
        r"context +max_model_len 4,096 of the model's 131,072 tokens",
        r"W +weights +15\.00 +68\.2% +14\.99 to 15\.02",
        r"G +CUDA graphs +0\.50 +2\.3% +0\.40 to 1\.00 +outside the budget",
        r"budget 19\.80 GiB \^",
        r"dominates +weights: 15\.00 of 22\.00 GiB \(68%\)",
        r"tokens +27,024 +24,576 to 28,672",
        r"max_model_len +19,480 \(now 4,096\)",
        r"What it costs in us-central1, US dollars, a month of 730 hours",
        r"a replica on demand \(this plan\) +1\.15 +840\.00",
        r"a replica on spot +0\.71 +520\.1\d",
        r"1 replica when nobody asks +1\.15 +840\.00",
        r"from +published for prediction; cloud\.google\.com/vertex-ai/pricing",
        r"g2-standard-12 +1 x L4 +1\.15 +27,024 +6\.6 +this one",
        r"a4x-highgpu-4g +4 x GB200 +unknown",
        r"- few logs of this card",
    ):
        assert re.search(line, page), line


def test_the_bar_without_colour_is_letters_in_proportion(explained: Explanation) -> None:
    [bar] = re.findall(r"^ +(W+A+N+K+G+\.+)\s*$", text_of(explained), flags=re.MULTILINE)
    assert len(bar) == 76
    assert bar.count("W") == round(15 / 22 * 76)


def test_the_bar_with_colour_is_blocks(explained: Explanation) -> None:
    page = text_of(explained, colored=True)
    assert "█" * 40 in page
    assert "\x1b[" in page


def test_adapters_are_named(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapters" / "sql")
    file = tmp_path / "mine.yaml"
    file.write_text(Path(LLAMA).read_text() + "lora: {sql: ./adapters/sql, hub: me/a}\n")
    done = CliRunner().invoke(app, ["explain", str(file)])
    assert done.exit_code == 0, done.output
    assert "sql: ./adapters/sql (0.2 MB, uploaded), hub: me/a" in " ".join(done.output.split())
    assert "adapters" not in CliRunner().invoke(app, ["explain", LLAMA]).output


def test_a_stack_that_does_not_start(explained: Explanation, small: Fit, refusal: DoesNotFit) -> None:
    told = f"vllm.max_model_len: {refusal.problem} These would do: {refusal.remedy}."
    warned = replace(explained, plan=replace(explained.plan, warnings=(told, "another warning")))
    page = text_of(of(warned, small, refusal=refusal), 120)
    assert refusal.problem not in page  # it is said once
    assert "another warning" in page
    assert "DOES NOT START: the KV cache of 3.30 GiB a GPU holds 27,024 tokens" in page
    assert (
        "one of these would start:\n  max_model_len: 19472 or less\n  machine_type: g2-standard-24 with 2 NVIDIA_L4"
        in page
    )


def test_a_gpu_that_is_too_small(explained: Explanation, fit_of: FitOf) -> None:
    gpu = fit_of(
        total=14.0,
        budget=12.6,
        kv_cache=-3.9,
        outcome=Outcome.OUT_OF_MEMORY,
        outcome_low=Outcome.OUT_OF_MEMORY,
    )
    page = text_of(of(explained, fit=gpu, limits=Limits(0, 0)))
    assert "GPU ends at 14.00 GiB" in page
    assert re.search(r"! +too much +3\.00 +21\.4% +beyond the GPU's memory", page)
    assert re.search(r"max_model_len +none starts \(now 4,096\)", page)


def test_pipeline_stages(explained: Explanation, fit_of: FitOf) -> None:
    """The bar is of the first stage; tokens are those of the stage that has least."""
    vllm = explained.plan.vllm.model_copy(update={"tensor_parallel_size": 4, "pipeline_parallel_size": 2})
    staged = replace(explained, plan=replace(explained.plan, vllm=vllm))
    page = text_of(of(staged, fit_of(kv_cache=3.0, kv_low=2.7, kv_high=3.2, kv_first_stage=3.3)))
    assert "tensor 4, pipeline 2" in page
    assert "Memory of one GPU of the first pipeline stage: 22.00 GiB" in page
    assert re.search(r"K +KV cache +3\.30 +15\.0% +3\.00 to 3\.50", page)
    assert re.search(r"GiB a GPU +3\.00 +2\.70 to 3\.20", page)


def test_an_image_of_unknown_version(serving: ServingPlan) -> None:
    page = text_of(Explanation(replace(serving, fit=None), None, ()))
    assert "UNKNOWN: nothing can be said of the memory" in page
    assert "Memory of one GPU" not in page


@given(
    st.lists(st.floats(min_value=0, max_value=1e4, allow_subnormal=False), min_size=1, max_size=8),
    st.integers(min_value=0, max_value=150),
)
def test_cells_add_up(gib: list[float], width: int) -> None:
    found = terminal.cells(gib, width)
    assert all(count >= 0 for count in found)
    if sum(gib) > 0:
        assert sum(found) == width
        if width >= len(gib):
            assert all((count > 0) == (part > 0) for count, part in zip(found, gib, strict=True))


def test_what_a_scaled_spot_plan_costs(serving: ServingPlan) -> None:
    hardware = serving.hardware.model_copy(update={"spot": True})
    replicas = serving.replicas.model_copy(update={"min_replica_count": 2, "max_replica_count": 5})
    price = catalog().price("g2-standard-12", "us-central1", True)
    spot = replace(serving, hardware=hardware, replicas=replicas, price=price)
    page = text_of(Explanation(spot, None, ()), 120)
    for line in (
        r"a replica on demand +1\.15 +840\.00",
        r"a replica on spot \(this plan\) +0\.71 +520\.1",
        r"2 replicas when nobody asks +1\.42 +1,040\.2",
        r"5 replicas at most +3\.56 +2,600\.5",
        r"fee +0\.15 an hour a replica of it is Vertex AI's management fee",
    ):
        assert re.search(line, page), line


def test_a_price_that_is_not_known_is_never_nothing(serving: ServingPlan) -> None:
    hardware = serving.hardware.model_copy(
        update={"machine_type": "a4x-highgpu-4g", "accelerator_type": "NVIDIA_GB200", "accelerator_count": 4}
    )
    unknown = Explanation(replace(serving, hardware=hardware, price=None), None, ())
    page = text_of(unknown, 120)
    assert len(re.findall(r"unknown +unknown", page)) == 4
    assert "no on-demand price is published for a4x-highgpu-4g with 4 x NVIDIA_GB200 in us-central1" in page
    found = facts_json.facts(unknown)["cost"]
    assert found["at_most"] == {"replicas": 1, "usd_per_hour": "unknown", "usd_per_month": "unknown"}
    assert found["price"] == "unknown"
    assert "unknown" in _Page(html_page(unknown)).text


# The HTML page


class _Page(HTMLParser):
    """Checks that tags are closed in order; collects tags, attributes and text."""

    VOID = frozenset({"meta", "br", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_page_is_whole_and_needs_nothing_else(explained: Explanation) -> None:
    text = html_page(explained)
    page = _Page(text)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not any({"src", "href"} & attributes.keys() for _, attributes in page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert html_page(explained) == text


def test_the_html_page_says_everything(explained: Explanation) -> None:
    text = _Page(html_page(explained)).text
    for words in (
        "Starts",
        "The KV cache of 3.30 GiB a GPU",
        "Memory of one GPU: 22.00 GiB",
        "budget 19.80",
        "outside the budget",
        "24,576 to 28,672",
        "g2-standard-24",
        "unknown",
        "--tensor-parallel-size=1",
        "1 replica when nobody asks",
        "a replica on spot",
        "published for prediction",
        "9.5 * u + hid",
        "published logs",
        "few logs of this card",
    ):
        assert words in text, words


def test_the_chart_of_the_html_page_is_to_scale(explained: Explanation) -> None:
    first = html_page(explained).partition("<svg class='bar'")[2].partition("</svg>")[0]
    found = re.findall(r"class='(\w+)' x='([\d.]+)' width='([\d.]+)'", first)
    widths = {name: float(width) for name, _, width in found}
    assert widths["weights"] == pytest.approx(15 / 22 * 1000, abs=0.01)
    assert sum(widths.values()) == pytest.approx(1000, abs=0.1)
    ends = [float(x) + float(width) for _, x, width in found]
    assert [float(x) for _, x, _ in found[1:]] == pytest.approx(ends[:-1], abs=0.02)


def test_the_free_part_of_the_bar_is_written_in_the_colour_of_text(explained: Explanation) -> None:
    fit = explained.plan.fit
    assert fit is not None
    page = html_page(of(explained, replace(fit, terms=fit.terms[1:], kv_cache=0.5)))
    free = re.findall(r"<span class='(inside[^']*)' style='[^']*'>([^<]*)<br>", page)
    assert (
        "inside on-rest",
        "left free",
    ) in free  # light grey in the light theme, where the others are written white
    assert all(kind == ("inside on-rest" if label == "left free" else "inside") for kind, label in free)
    assert ".on-rest { color: var(--text); }" in page


def test_the_html_page_escapes(explained: Explanation) -> None:
    named = replace(explained, plan=replace(explained.plan, name="<b>&'", warnings=("1 < 2 & <script>",)))
    page = _Page(html_page(named))
    assert "<b>&'" in page.text
    assert "1 < 2 & <script>" in page.text


@pytest.mark.parametrize("case", ["small", "doubtful", "unknown", "over"])
def test_the_html_page_of_other_verdicts(
    explained: Explanation, small: Fit, doubtful: Fit, fit_of: FitOf, case: str
) -> None:
    over = fit_of(
        total=14.0, budget=12.6, kv_cache=-3.9, kv_low=-4.0, kv_high=-3.5, outcome=Outcome.OUT_OF_MEMORY
    )
    fit = {"small": small, "doubtful": doubtful, "unknown": None, "over": over}[case]
    limits = None if fit is None else Limits(0, 12)
    text = _Page(html_page(of(explained, fit=fit, limits=limits, choices=()))).text
    title = {
        "small": "Does not start",
        "doubtful": "May not start",
        "unknown": "Unknown",
        "over": "Does not start",
    }
    assert title[case] in text
    assert ("GPU ends at 14.00" in text) == (case == "over")


# The command

runner = CliRunner()


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fit | None], None]:
    """Replaces the prediction of every plan by one answer."""

    def use(fit: Fit | None) -> None:
        def planned(*args: Any, **kwargs: Any) -> ServingPlan:
            return replace(plan(*args, **kwargs), fit=fit)

        monkeypatch.setattr("infra.cli.stack.plan", planned)

    return use


def test_exit_status(
    predicted: Callable[[Fit | None], None], fit_of: FitOf, small: Fit, doubtful: Fit
) -> None:
    for fit, status in ((fit_of(), 0), (doubtful, 0), (small, 1), (None, 3)):
        predicted(fit)
        found = runner.invoke(app, ["explain", LLAMA])
        assert found.exit_code == status
        assert facts.verdict_of(fit).value.upper() in found.stdout


def test_json_is_all_of_stdout(predicted: Callable[[Fit | None], None], small: Fit) -> None:
    predicted(small)
    found = runner.invoke(app, ["explain", LLAMA, "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["verdict"] == "does not start"
    assert found.stderr == ""


def test_html_is_written(predicted: Callable[[Fit | None], None], fit_of: FitOf, tmp_path: Path) -> None:
    predicted(fit_of())
    found = runner.invoke(app, ["explain", LLAMA, "--html", str(tmp_path / "a.html")])
    assert (found.exit_code, found.stdout) == (0, "")
    assert _Page((tmp_path / "a.html").read_text(encoding="utf-8")).text.count("Memory of one GPU") == 1
    bad = runner.invoke(app, ["explain", LLAMA, "--html", str(tmp_path / "none" / "a.html")])
    assert bad.exit_code == 2
    assert "cannot be written: No such file or directory" in bad.stderr


def test_the_page_does_not_take_the_stack_files_place(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(Path(LLAMA).read_text(encoding="utf-8"), encoding="utf-8")
    found = runner.invoke(app, ["explain", str(own), "--html", str(own)])
    assert found.exit_code == 2
    assert found.stderr.endswith(
        "own.yaml: is the stack file itself.\n    fix: name another file, such as memory.html\n"
    )
    assert own.read_text(encoding="utf-8") == Path(LLAMA).read_text(encoding="utf-8")


def test_region(predicted: Callable[[Fit | None], None], fit_of: FitOf, tmp_path: Path) -> None:
    predicted(fit_of())

    def region(*options: str) -> str:
        found = runner.invoke(app, ["explain", LLAMA, "--json", *options])
        return str(json.loads(found.stdout)["hardware"]["region"])

    settings = tmp_path / "Pulumi.x.yaml"
    settings.write_text("config:\n  gcp:region: europe-west4\n", encoding="utf-8")
    assert region() == "us-central1"
    assert region("--region", "us-east4") == "us-east4"
    assert region("--stack-config", str(settings)) == "europe-west4"
    assert region("--stack-config", str(settings), "--region", "us-east4") == "us-east4"


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (None, [], "there is no such file."),
        ("model: [", [], "not YAML"),
        ("model: meta-llama/Lama-3.1-8B\n", [], "the catalogue has no such model."),
        (
            "model: meta-llama/Llama-3.1-8B\nhardware: {machine_type: g2-standard-13, accelerator_type: NVIDIA_L4,"
            " accelerator_count: 1}\n",
            [],
            "Vertex AI does not serve on such a machine type.",
        ),
        (Path(LLAMA).read_text(encoding="utf-8"), ["--region", "moon-east1"], "moon-east1"),
        (Path(LLAMA).read_text(encoding="utf-8"), ["--stack-config", LLAMA], "names no region."),
        (Path(LLAMA).read_text(encoding="utf-8"), ["--stack-config", "none.yaml"], "there is no such file."),
    ],
)
def test_bad_input_is_an_instruction(
    tmp_path: Path, content: str | None, options: list[str], text: str
) -> None:
    file = tmp_path / "stack.yaml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    found = runner.invoke(app, ["explain", str(file), *options])
    assert found.exit_code == 2
    assert text in found.stderr
    assert "fix:" in found.stderr
    assert "Traceback" not in found.output
    assert found.stdout == ""


def test_the_guides_stack_starts() -> None:
    """No stand-in: the catalogue, the plan and the predictor. The guide serves this stack."""
    found = runner.invoke(app, ["explain", LLAMA, "--json"])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    memory = answer["memory"]
    charged = sum(term["gib"] for term in memory["terms"] if term["charged"])
    assert charged + memory["kv_cache"]["gib"] == pytest.approx(memory["budget_gib"], abs=0.05)
    assert memory["kv_cache"]["low"] <= memory["kv_cache"]["gib"] <= memory["kv_cache"]["high"]
    assert answer["largest"]["max_model_len"] >= answer["max_model_len"]
    assert ("NVIDIA_L4", 1) in [(c["accelerator_type"], c["accelerator_count"]) for c in answer["choices"]]
    prices = [choice["usd_per_hour"] for choice in answer["choices"] if choice["usd_per_hour"] is not None]
    assert prices == sorted(prices)


def test_a_context_that_no_l4_holds(tmp_path: Path) -> None:
    """No stand-in: 131,072 tokens of 128 KiB are 16 GiB beside 15 GiB of weights on 22 GiB."""
    file = tmp_path / "long.yaml"
    text = Path(LLAMA).read_text(encoding="utf-8")
    file.write_text(re.sub(r"max_model_len: \d+", "max_model_len: 131072", text), encoding="utf-8")
    found = runner.invoke(app, ["explain", str(file), "--json"])
    assert found.exit_code == 1, found.output
    answer = json.loads(found.stdout)
    assert answer["verdict"] == "does not start"
    assert any(change.startswith("max_model_len: ") for change in answer["changes"])
    assert not any("These would do" in warning for warning in answer["warnings"])
    page = runner.invoke(app, ["explain", str(file)])
    assert page.exit_code == 1
    assert "DOES NOT START" in page.stdout


def test_the_guides_out_of_memory(tmp_path: Path) -> None:
    """No stand-in: Llama 3.2 11B Vision with 256 sequences on an A100 40GB, as in the guide's troubleshooting."""
    file = tmp_path / "vision.yaml"
    text = (ROOT / "stacks/llama-3.2-11b-vision-instruct.a100x1.yaml").read_text(encoding="utf-8")
    file.write_text(re.sub(r"max_num_seqs: \d+", "max_num_seqs: 256", text), encoding="utf-8")
    found = runner.invoke(app, ["explain", str(file)])
    assert found.exit_code == 1, found.output
    assert "DOES NOT START: out of memory while the image encoder" in found.stdout
    assert re.search(r"\n  max_num_seqs: \d+ or less\n", found.stdout)

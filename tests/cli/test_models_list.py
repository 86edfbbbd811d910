"""``vertex-vllm models``: filters, sizes by precision, one model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra.cards import ModelCard
from infra.cli import models_list
from infra.cli.app import app
from infra.cli.models_list import weights_gib
from infra.fit import Fit
from infra.recipes import Accelerator, VllmOptions, catalog, memory
from infra.recipes.parallel import Split

FitOf = Callable[..., Fit]
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"

runner = CliRunner()


def listed(*options: str) -> list[dict[str, Any]]:
    """The list as JSON."""
    found = runner.invoke(app, ["models", *options, "--json"])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert isinstance(answer, list)
    return answer


def ids(*options: str) -> list[str]:
    """The ids of the list."""
    return [row["id"] for row in listed(*options)]


# Sizes


def test_sizes_by_precision() -> None:
    """Llama 3.1 8B: 8,030,261,248 parameters, of which 2 x 128,256 x 4,096 are embedding and output matrix."""
    found = weights_gib(catalog().model(LLAMA))
    kept = 2 * 128256 * 4096
    linear = 8_030_261_248 - kept
    assert found.checkpoint == found.bits16 == pytest.approx(16_060_522_496 / 2**30)
    assert found.fp8 == pytest.approx((2 * kept + linear) / 2**30)
    assert found.int4 == pytest.approx((2 * kept + linear * 4.15625 / 8) / 2**30)


def test_computed_int4_is_that_of_published_checkpoints() -> None:
    """Qwen2.5-14B-Instruct and the same model's AWQ checkpoint, both in the catalogue."""
    dense, quantized = (catalog().model(f"Qwen/Qwen2.5-14B-Instruct{end}") for end in ("", "-AWQ"))
    assert quantized.weights.bytes is not None
    assert weights_gib(dense).int4 == pytest.approx(quantized.weights.bytes / 2**30, rel=0.02)


def test_smaller_precisions_are_smaller() -> None:
    for model_id in catalog().models():
        found = weights_gib(catalog().model(model_id))
        if found.bits16 is not None and found.fp8 is not None and found.int4 is not None:
            assert found.bits16 > found.fp8 > found.int4 > 0, model_id


# The list


def test_models_and_models_list_are_the_same_list() -> None:
    assert ids() == ids("list") == list(catalog().models())


def test_filters() -> None:
    whole = {row["id"]: row for row in listed()}
    assert ids("--family", "LLAMA-3.2") == [
        i for i, row in whole.items() if row["family"].startswith("llama-3.2")
    ]
    assert ids("--modality", "image") == [i for i, row in whole.items() if "image" in row["modalities"]]
    assert set(ids("--gated")) | set(ids("--open")) == set(whole)
    assert not set(ids("--gated")) & set(ids("--open"))
    assert LLAMA in ids("--gated")
    small = ids("--max-weights", "10")
    assert small
    assert all(whole[i]["weights_gib"]["checkpoint"] <= 10 for i in small)
    assert ids("--search", "VISION 11b") == [i for i in whole if "vision" in i.lower() and "11b" in i.lower()]
    assert ids("list", "--modality", "image", "--family", "llama", "--search", "instruct 90b") == [
        "meta-llama/Llama-3.2-90B-Vision-Instruct"
    ]


def test_a_row() -> None:
    [row] = listed("--search", VISION)
    assert row == {
        "id": VISION,
        "family": "llama-3.2",
        "parameters": row["parameters"],
        "quantization": None,
        "weights_gib": row["weights_gib"],
        "max_position_embeddings": 131072,
        "gated": True,
        "chat_template": True,
        "modalities": ["text", "image"],
        "recommended": row["recommended"],
    }
    assert row["weights_gib"]["16bit"] == pytest.approx(row["parameters"] * 2 / 2**30, abs=0.01)
    assert {
        "machine_type": "a2-highgpu-1g",
        "accelerator_type": "NVIDIA_TESLA_A100",
        "accelerator_count": 1,
    } in (row["recommended"])


@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_the_table_keeps_to_the_terminal(width: int) -> None:
    cards = [(catalog().model(i), None) for i in catalog().models()]
    stream = io.StringIO()
    Console(width=width, file=stream).print(models_list.table(cards, width=width, fits=False))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert {"id", "params", "GiB"} <= set(lines[0].split())
    assert ("family" in lines[0]) == ("16-bit" in lines[0]) == (width == 240)
    folded = len(lines) - len(cards) - 1
    assert folded == 0 if width == 240 else folded < len(cards)


def test_in_a_pipe_each_model_is_a_line() -> None:
    lines = runner.invoke(app, ["models"]).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(catalog().models())
    for name in ("family", "16-bit", "fp8", "int4", "context", "gated", "chat", "reads", "recommended"):
        assert name in lines[0]


def test_nothing_matches() -> None:
    found = runner.invoke(app, ["models", "--search", "no such words"])
    assert (found.exit_code, found.stdout) == (0, "")
    assert "no model of the catalogue matches" in found.stderr
    assert ids("--search", "no such words") == []


# What fits


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, fit_of: FitOf, small: Fit) -> list[tuple[str, int]]:
    """Replaces the predictor: models of less than 20 GiB start. Collects GPUs and their number of every question."""
    found: list[tuple[str, int]] = []

    def predict(
        card: ModelCard, accelerator: Accelerator, version: str | None, vllm: VllmOptions, split: Split
    ) -> Fit:
        found.append((accelerator.accelerator_type, split.gpus))
        return fit_of() if (card.weights.bytes or 0) < 20 * 2**30 else small

    monkeypatch.setattr(memory, "fit_of", predict)
    return found


def test_models_that_fit(asked: list[tuple[str, int]]) -> None:
    found = listed("--accelerator", "l4", "--family", "llama")
    assert LLAMA in [row["id"] for row in found]
    assert "meta-llama/Llama-3.1-70B-Instruct" not in [row["id"] for row in found]
    assert found[0]["kv_tokens"] == 27024
    assert found[0]["verdict"] == "starts"
    assert set(asked) == {("NVIDIA_L4", 1)}
    shown = runner.invoke(app, ["models", "--fits", "a2-highgpu-2g", "--search", LLAMA])
    assert "KV tokens" in shown.stdout
    assert "27,024" in shown.stdout
    assert "2 x NVIDIA_TESLA_A100 (a2-highgpu-2g)" in shown.stderr


@pytest.mark.parametrize(
    ("options", "machine", "kind", "count"),
    [
        (["--fits", "g2-standard-24"], "g2-standard-24", "NVIDIA_L4", 2),
        (["--accelerator", "h100", "--count", "8"], "a3-highgpu-8g", "NVIDIA_H100_80GB", 8),
        (["--accelerator", "NVIDIA_A100_80GB"], "a2-ultragpu-1g", "NVIDIA_A100_80GB", 1),
        (["--accelerator", "a100"], "a2-highgpu-1g", "NVIDIA_TESLA_A100", 1),
        (["--accelerator", "L4"], "g2-standard-32", "NVIDIA_L4", 1),
        (
            ["--accelerator", "v100", "--fits", "n1-standard-8", "--count", "2"],
            "n1-standard-8",
            "NVIDIA_TESLA_V100",
            2,
        ),
    ],
)
def test_hardware_by_the_names_people_use(
    asked: list[tuple[str, int]], options: list[str], machine: str, kind: str, count: int
) -> None:
    found = runner.invoke(app, ["models", "--search", "Phi-3-mini-4k", *options])
    assert found.exit_code == 0, found.output
    assert set(asked) <= {(kind, count)}
    assert (f"start on {count} x {kind} ({machine})" in found.stderr) == ("Phi-3-mini-4k" in found.stdout)


def test_models_that_need_a_choice_or_their_own_code_are_among_those_that_fit() -> None:
    found = {row["id"]: row for row in listed("--fits", "g2-standard-12")}
    assert found["meta-llama/Llama-3.2-1B"]["chat_template"] is False
    assert "internlm/internlm2_5-7b-chat" in found


def test_models_that_fit_one_l4_for_real() -> None:
    """No stand-in: 8B at 16 bits starts on 22 GiB, 70B does not on any setting."""
    found = ids("--accelerator", "L4", "--family", "llama-3")
    assert LLAMA in found
    assert "meta-llama/Meta-Llama-3.1-70B-Instruct" not in found


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--family", "lama-3"],
            "--family = 'lama-3': the catalogue has no such family.\n    choices: llama-3",
        ),
        (["--fits", "g2-standard-13"], "Vertex AI does not serve on such a machine type."),
        (
            ["--accelerator", "L5"],
            "--accelerator = 'L5': Vertex AI serves on no such GPU.\n    choices: NVIDIA_L4",
        ),
        (
            ["--accelerator", "L4", "--count", "3"],
            "NVIDIA_L4 comes in other numbers.\n    choices: 1, 2, 4, 8",
        ),
        (["--fits", "n1-standard-8"], "n1-standard-8 has several kinds of GPU."),
        (["--fits", "g2-standard-12", "--accelerator", "T4"], "g2-standard-12 has no such GPU."),
        (["--count", "2"], "goes with --accelerator"),
        (["--modality", "smell"], "'smell' is not one of"),
        (["show", "meta-llama/Lama-3.1-8B"], "the catalogue has no such model."),
        (["--json", "list"], "options come after the command"),
    ],
)
def test_wrong_options_are_refused(options: list[str], text: str) -> None:
    found = runner.invoke(app, ["models", *options])
    assert found.exit_code == 2
    assert text in found.stderr
    assert "Traceback" not in found.output


# One model


def test_show_has_every_number_and_source() -> None:
    text = runner.invoke(app, ["models", "show", VISION]).stdout
    card = catalog().model(VISION)
    for words in (
        VISION,
        "gated",
        "10,670,220,835",
        "layer_kinds.cross",
        "Image encoder",
        "Recipe for 1 x NVIDIA_TESLA_A100 (a2-highgpu-1g)",
        *card.sources,
    ):
        assert words in text, words
    flat = "".join(text.split())
    assert all("".join(source.split()) in flat for source in card.sources.values())


def test_show_every_model() -> None:
    for model_id in catalog().models():
        assert next(models_list.details(catalog().model(model_id))) == (model_id, None)


def test_show_as_json() -> None:
    answer = json.loads(runner.invoke(app, ["models", "show", VISION, "--json"]).stdout)
    assert answer["architecture"]["num_hidden_layers"] == 40
    assert answer["weights_gib"]["checkpoint"] == 19.87
    assert answer["sources"] == catalog().model(VISION).sources

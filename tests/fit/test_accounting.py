"""The table of vLLM's accounting: whole, sourced, and read as it says."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from infra.fit import Gpu, Options, predict
from infra.fit.accounting import Accounting, Constants, Row, constants
from infra.fit.facts import runner
from infra.recipes.catalog import catalog
from infra.versions import version_key

TERMS = sorted({row.term for row in constants().rows})
RUNNERS = ("V0", "V1", "V2")
VERSIONS = ("0.4.0", "0.6.2", "0.8.5", "0.19.0", "0.33.0", "1.5.0")
# Every word that infra.fit.facts may say.
WORDS = {
    *(
        "cap8",
        "cap9",
        "cap10",
        "hopper",
        "h100",
        "a100",
        "mem70",
        "mem160",
        "mllama",
        "moe",
        "hybrid",
        "mamba",
        "image",
        "quantised",
    ),
    *("mxfp4", "tp>1", "tp>2", "tp>4", "pp>1", "eager", "compiled", "lora", "prefix_caching", "flashinfer"),
    *("kv_dtype", "offload", "bitsandbytes"),
    *("few_sequences", "total_unknown", "openai", "api_server", "llm", *RUNNERS),
}


@pytest.mark.parametrize("term", TERMS)
def test_every_term_has_a_value_in_every_version(term: str) -> None:
    for version, kind in itertools.product(VERSIONS, RUNNERS):
        assert Accounting(version, frozenset({kind})).row(term).value


@pytest.mark.parametrize(
    "row", constants().rows, ids=lambda row: f"{row.term}-{'.'.join(map(str, row.since))}"
)
def test_every_row_is_sourced_and_speaks_known_words(row: Row) -> None:
    assert len(row.source) > 20
    assert row.basis in {"measured", "read", "guess"}
    words = {word.removeprefix("!") for word in row.when}
    assert {word for word in words if not word.startswith("arch:")} <= WORDS


def test_the_last_row_that_applies_counts() -> None:
    assert Accounting("0.19.0", frozenset({"V1", "tp>1", "tp>2", "hopper"})).number("non_torch") > 2
    assert Accounting("0.16.0", frozenset({"V1", "tp>1", "hopper"})).number("non_torch") == 0.55
    assert Accounting("0.19.1", frozenset({"V1"})).number("utilization") == 0.90
    assert Accounting("0.20.0", frozenset({"V1"})).number("utilization") == 0.92


def test_the_next_release_is_a_new_row() -> None:
    """A version that vLLM has not released yet is described by data alone."""
    card = catalog().model("meta-llama/Llama-3.1-8B-Instruct")
    gpu, options = Gpu("NVIDIA L4", 22.03, 8.9, 58), Options(max_model_len=4096)
    new = Row(
        "utilization", version_key("0.99.0"), (), "0.5", "share", "read", "vLLM 0.99.0 as a test imagines it"
    )
    table = Constants([*constants().rows, new])
    assert predict(card, gpu, options, "0.99.0", table).budget == pytest.approx(22.03 * 0.5)
    assert predict(card, gpu, options, "0.98.0", table).budget == pytest.approx(22.03 * 0.92)


def test_an_unknown_term_is_an_error() -> None:
    with pytest.raises(KeyError):
        Accounting("0.9.2", frozenset()).row("nothing")


@pytest.mark.parametrize(
    ("version", "model", "capability", "options", "expected"),
    [
        ("0.8.1", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {}, "V1"),
        ("0.8.1", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"enable_lora": True}, "V0"),
        ("0.8.3", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"enable_lora": True}, "V1"),
        ("0.8.5", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"pipeline_parallel_size": 2}, "V0"),
        ("0.9.0", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"pipeline_parallel_size": 2}, "V1"),
        ("0.8.1", "meta-llama/Llama-3.1-8B-Instruct", 9.0, {"kv_cache_dtype": "fp8"}, "V0"),
        ("0.8.2", "meta-llama/Llama-3.1-8B-Instruct", 9.0, {"kv_cache_dtype": "fp8"}, "V1"),
        ("0.10.2", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"kv_cache_dtype": "fp8"}, "V0"),
        ("0.9.2", "meta-llama/Llama-3.1-8B-Instruct", 10.0, {"kv_cache_dtype": "fp8"}, "V0"),
        ("0.10.0", "meta-llama/Llama-3.1-8B-Instruct", 10.0, {"kv_cache_dtype": "fp8"}, "V1"),
        ("0.10.1.1", "meta-llama/Llama-3.1-8B-Instruct", 7.5, {}, "V0"),
        ("0.10.2", "meta-llama/Llama-3.1-8B-Instruct", 7.5, {}, "V1"),
        ("0.10.1.1", "ai21labs/Jamba-v0.1", 9.0, {}, "V0"),
        ("0.10.2", "ai21labs/Jamba-v0.1", 9.0, {}, "V1"),
        ("0.10.1.1", "bigscience/bloom-7b1", 9.0, {}, "V0"),
        ("0.10.2", "meta-llama/Llama-3.2-11B-Vision", 9.0, {}, "V0"),
        ("0.11.0", "meta-llama/Llama-3.1-8B-Instruct", 8.9, {"kv_cache_dtype": "fp8"}, "V1"),
    ],
)
def test_the_engine_that_vllm_takes_by_itself(
    version: str, model: str, capability: float, options: dict[str, Any], expected: str
) -> None:
    """vLLM 0.8.0 to 0.10.2 leave V1 for V0 for what it had not learned yet: ``_is_v1_supported_oracle``."""
    gpu = Gpu("a card", 79.0, capability, 108)
    assert runner(catalog().model(model), gpu, Options(**options), version) == expected

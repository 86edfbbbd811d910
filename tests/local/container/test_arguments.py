"""vLLM's command line by version, read as argparse reads it."""

from __future__ import annotations

import shlex

import pytest

from infra.local.container.arguments import ArgumentsRefused, Options, parse
from infra.local.container.launch import Launch
from infra.recipes.catalog import catalog
from infra.recipes.flags import FlagTable

GUIDE_ARGUMENTS = tuple(
    shlex.split(
        "--host=0.0.0.0 --port=8080 --model=a/b --tensor-parallel-size=1 --swap-space=16 --max-num-seqs=256 "
        "--gpu-memory-utilization=0.9 --max-model-len=4096 --dtype=auto --max-loras=1 --max-cpu-loras=8 "
        "--disable-log-stats --trust-remote-code --enforce-eager --enable-lora --model-type=llama3.1"
    )
)


def _parse(*words: str, version: str = "0.6.2", server: str = "api_server", fork: bool = True) -> Options:
    return parse(Launch(server, "api_server.py", words, fork), version)


def _refusal(*words: str, version: str = "0.6.2", server: str = "api_server", fork: bool = True) -> str:
    with pytest.raises(ArgumentsRefused) as refused:
        _parse(*words, version=version, server=server, fork=fork)
    assert refused.value.lines[0].startswith("usage: api_server.py [-h]")
    return refused.value.lines[-1]


def test_the_guides_arguments_are_taken() -> None:
    options = _parse(*GUIDE_ARGUMENTS)
    assert options.model == "a/b"
    assert options.whole("max_model_len", 0) == 4096
    assert options.number("gpu_memory_utilization", 0) == 0.9
    assert options.on("enable_lora")
    assert options.text("model_type") == "llama3.1"
    assert not options.on("enable_prefix_caching")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--foo",), "unrecognized arguments: --foo"),
        (("--foo=1", "--bar", "2"), "unrecognized arguments: --foo=1 --bar 2"),
        (("extra",), "unrecognized arguments: extra"),
        (("--max-model-len",), "argument --max-model-len: expected one argument"),
        (("--max-model-len=4x",), "argument --max-model-len: invalid int value: '4x'"),
        (("--max-num-seqs=1.5",), "argument --max-num-seqs: invalid int value: '1.5'"),
        (("--gpu-memory-utilization=a",), "argument --gpu-memory-utilization: invalid float value: 'a'"),
        (("--tensor-parallel-size=x",), "argument --tensor-parallel-size/-tp: invalid int value: 'x'"),
        (
            ("--dtype=int8",),
            "argument --dtype: invalid choice: 'int8' (choose from 'auto', 'half', 'float16', 'bfloat16', 'float', "
            "'float32')",
        ),
        (("--enforce-eager=true",), "argument --enforce-eager: ignored explicit argument 'true'"),
        (("--block-size=12",), "argument --block-size: invalid choice: 12 (choose from 8, 16, 32)"),
        (("--no-enforce-eager",), "unrecognized arguments: --no-enforce-eager"),
        (("--max-mod",), "argument --max-model-len: expected one argument"),
    ],
)
def test_refusals_of_0_6_2(words: tuple[str, ...], text: str) -> None:
    assert _refusal(*words) == f"api_server.py: error: {text}"


def test_an_ambiguous_abbreviation_names_its_candidates() -> None:
    text = _refusal("--max-lo", "1")
    assert "ambiguous option: --max-lo could match" in text
    assert "--max-loras" in text
    assert "--max-lora-rank" in text


def test_an_unknown_quantization_is_an_invalid_choice() -> None:
    text = _refusal("--quantization=int3")
    assert "argument --quantization/-q: invalid choice: 'int3' (choose from 'aqlm', 'awq'," in text


@pytest.mark.parametrize(
    "words",
    [("--max_model_len=7",), ("--max_model_len", "7"), ("--max-model-l", "7"), ("--max-model-len", "7")],
)
def test_underscores_abbreviations_and_separate_values(words: tuple[str, ...]) -> None:
    assert _parse(*words).whole("max_model_len", 0) == 7


def test_switches_have_a_negative_form_in_newer_versions() -> None:
    assert _parse("--no-enforce-eager", version="0.9.2").given["enforce_eager"] is False
    assert _parse("--enforce-eager", version="0.9.2").on("enforce_eager")


@pytest.mark.parametrize(
    ("text", "value"), [("4096", 4096), ("4k", 4000), ("4K", 4096), ("1m", 10**6), ("1.5k", 1500)]
)
def test_sizes_may_carry_a_unit_in_newer_versions(text: str, value: int) -> None:
    assert _parse(f"--max-model-len={text}", version="0.9.2").whole("max_model_len", 0) == value


def test_swap_space_left_vllm() -> None:
    assert _parse("--swap-space=16", version="0.14.0").number("swap_space", 0) == 16
    assert "unrecognized arguments: --swap-space=16" in _refusal("--swap-space=16", version="0.20.0")


def test_the_plain_upstream_server_has_no_openai_flags() -> None:
    assert "unrecognized arguments: --chat-template=x" in _refusal("--chat-template=x", fork=False)
    assert _parse("--chat-template=x").text("chat_template") == "x"
    assert _parse("--chat-template=x", server="openai", fork=False).text("chat_template") == "x"


def test_the_forks_flags_do_not_exist_upstream() -> None:
    flag = "--host-prefix-kv-cache-utilization-target=0.7"
    assert _parse(flag).number("host_prefix_kv_cache_utilization_target", 0) == 0.7
    assert f"unrecognized arguments: {flag}" in _refusal(flag, fork=False)


def test_versions_between_the_known_ones_take_the_older() -> None:
    assert _parse("--swap-space=16", version="0.17.0").number("swap_space", 0) == 16
    assert "unrecognized arguments" in _refusal("--speculative-config={}", version="0.8.0")
    assert _parse("--max-model-len=7", version="0.5.0").whole("max_model_len", 0) == 7


def test_a_boolean_flag_of_old_versions_may_have_a_value() -> None:
    assert _parse("--enable-chunked-prefill").given["enable_chunked_prefill"] is True
    assert _parse("--enable-chunked-prefill=False").given["enable_chunked_prefill"] is False
    assert _parse("--enable-chunked-prefill", "TRUE").given["enable_chunked_prefill"] is True
    with pytest.raises(ArgumentsRefused, match=r"Invalid boolean value: 1\. Expected 'true' or 'false'."):
        _parse("--enable-chunked-prefill=1")


def test_the_longest_context_that_fits_may_be_asked_for_from_0_14() -> None:
    assert _parse("--max-model-len=auto", version="0.14.0").whole("max_model_len", 0) == -1
    assert "invalid human_readable_int value: 'auto'" in _refusal("--max-model-len=auto", version="0.11.0")


def _word(flag: str, table: FlagTable) -> str:
    """A flag as a stack file may write it when the check of its arguments goes by ``table``."""
    if not table.takes_value(flag):
        return flag
    kind = table.fork.get(flag) or table.takes[flag]
    if flag == "--quantization":
        kind = table.quantization[0]
    values = {"size": "4k", "size_or_auto": "auto", "json": "{}", "float": "0.5", "int": "1", "str": "x"}
    plain = kind.rstrip("+")
    return f"{flag}={values.get(plain) or plain.removeprefix('int:').partition('|')[0]}"


@pytest.mark.parametrize("version", catalog().flag_versions())
def test_what_the_preview_lets_through_is_taken_here(version: str) -> None:
    table = catalog().flags(version)
    flags = sorted(table.all)
    options = _parse(*(_word(flag, table) for flag in flags), version=version)
    named = {flag.removeprefix("--").replace("-", "_") for flag in table.switches | table.values}
    assert named <= set(options.given)


@pytest.mark.parametrize("version", ["0.6.2", "0.32.0"])
def test_a_value_that_is_missing_or_too_many_is_refused_as_in_the_preview(version: str) -> None:
    table = catalog().flags(version)
    for flag in sorted(table.values)[::7]:
        assert "expected" in _refusal(flag, version=version), flag
    for flag in sorted(table.switches)[::7]:
        assert "ignored explicit argument 'x'" in _refusal(f"{flag}=x", version=version), flag

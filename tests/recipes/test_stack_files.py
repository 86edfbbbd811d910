"""Stack files: defaults from the catalogue, schema, weights in a bucket, templates, ARM, warnings, what is imported."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra.metrics import METRICS
from infra.recipes import (
    ServingPlan,
    StackError,
    StackFile,
    UnknownModel,
    ValueProblem,
    load_stack_file,
    plan,
)
from infra.recipes import schema as schema_module
from infra.recipes.arguments import container_arguments, parse_arguments
from infra.recipes.catalog import catalog
from infra.recipes.errors import FlagError
from infra.recipes.parallel import Split
from infra.recipes.stackfile import parse_stack
from infra.recipes.templates import chat_template_names

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "stacks").glob("*.yaml"))
GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"


def planned(text: str, region: str = "us-central1") -> ServingPlan:
    stack = parse_stack(yaml.safe_load(text), file="stacks/a.yaml", lines={})
    return plan(stack, region=region, source="stacks/a.yaml")


LLAMA = "model: meta-llama/Meta-Llama-3.1-8B-Instruct\n"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_stack_file_plans_and_is_named_after_its_model(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=schema/stack.json"
    stack = load_stack_file(path)
    repository, gpu = stack.model.split("/")[1].lower(), path.stem.rsplit(".", 1)[1]
    short = (
        stack.hardware.accelerator_type.removeprefix("NVIDIA_").removeprefix("TESLA_").split("_")[0].lower()
    )
    assert path.stem == f"{repository}.{short}x{stack.hardware.accelerator_count}"
    assert gpu == f"{short}x{stack.hardware.accelerator_count}"
    regions = catalog().regions_with(stack.hardware.accelerator_type)
    assert plan(stack, region=regions[0], source=str(path)).name == path.stem


def test_schema_file_is_current() -> None:
    current = (ROOT / "stacks" / "schema" / "stack.json").read_text(encoding="utf-8")
    assert current == schema_module.text(), "run: python -m infra.recipes.schema"


def test_schema_knows_every_key_and_the_catalogues_words() -> None:
    schema = json.loads(schema_module.text())
    assert set(schema["properties"]) == set(StackFile.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["model"]
    parts = schema["$defs"]
    assert all(part["additionalProperties"] is False for part in parts.values())
    assert all("description" in field for part in parts.values() for field in part["properties"].values())
    assert schema["properties"]["model"]["enum"] == list(catalog().models())
    assert "g2-standard-12" in parts["Hardware"]["properties"]["machine_type"]["enum"]
    assert parts["AutoscalingMetric"]["properties"]["metric_name"]["enum"] == list(METRICS)


def test_a_model_alone_is_the_guides_recipe() -> None:
    short = planned(LLAMA)
    whole = load_stack_file(ROOT / "stacks" / "meta-llama-3.1-8b-instruct.l4x1.yaml")
    assert short.container == plan(whole, region="us-central1", source="x.yaml").container
    assert short.hardware == whole.hardware


def test_a_models_own_limits_hold_on_any_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    served = planned(
        "model: meta-llama/Llama-3.2-11B-Vision-Instruct\nhardware: {machine_type: a2-ultragpu-1g}\n"
    )
    assert served.hardware.accelerator_type == "NVIDIA_A100_80GB"
    assert served.vllm.max_num_seqs == 12
    assert served.vllm.enable_lora is False
    books = catalog()
    card = books.model("Qwen/Qwen2.5-7B-Instruct")
    short = card.architecture.model_copy(update={"max_position_embeddings": 2048})
    monkeypatch.setitem(books._cards, card.id, card.model_copy(update={"architecture": short}))
    assert (
        planned(f"model: {card.id}\nhardware: {{machine_type: g2-standard-12}}\n").vllm.max_model_len == 2048
    )


SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
HOST_PREFIX = "--host-prefix-kv-cache-min-len=1024"
A100 = "model: meta-llama/Llama-3.1-8B-Instruct\nhardware: {machine_type: a2-ultragpu-1g}\n"


@pytest.mark.parametrize(
    "hardware",
    ["g2-standard-12", "a2-highgpu-1g", "a2-ultragpu-2g"],
    ids=["other GPU", "other A100", "other count"],
)
def test_other_hardware_takes_nothing_from_a_recipe(hardware: str) -> None:
    served = planned(f"model: meta-llama/Llama-3.1-8B-Instruct\nhardware: {{machine_type: {hardware}}}\n")
    fresh = StackFile.model_validate(
        {"model": served.model.id, "hardware": served.hardware.model_dump()},
    )
    assert served.vllm.model_copy(update=dict.fromkeys(SIZES)) == fresh.vllm
    assert served.container.image_uri == fresh.container.image_uri
    assert served.notes == ()
    assert served.warnings == ()


def test_the_recipes_hardware_takes_all_of_it_and_says_so() -> None:
    served = planned(A100)
    assert served.vllm.max_model_len == 131072
    assert served.container.args[-1] == HOST_PREFIX
    assert served.container.image_uri == f"{GOOGLE}:20250116_0916_RC00"
    assert served.notes == (
        "defaults from the published recipe for 1 NVIDIA_A100_80GB on a2-ultragpu-1g"
        " (GoogleCloudPlatform/vertex-ai-samples@cc0d791e"
        " notebooks/community/model_garden/model_garden_advanced_features.ipynb): vllm.max_model_len: 131072,"
        " vllm.gpu_memory_utilization: 0.85, vllm.enforce_eager: true, vllm.extra_args: [--enable-chunked-prefill,"
        " --enable-prefix-caching, --host-prefix-kv-cache-utilization-target=0.75,"
        f" {HOST_PREFIX}], container.image_uri: {GOOGLE}:20250116_0916_RC00.",
    )


def test_another_image_leaves_the_recipes_arguments_out_and_says_so() -> None:
    served = planned(
        f"{A100}container: {{image_uri: '{GOOGLE}:20241001_0916_RC00'}}\nvllm: {{max_model_len: 8192}}\n"
    )
    assert served.vllm.extra_args == ()
    assert (served.vllm.max_model_len, served.vllm.gpu_memory_utilization) == (8192, 0.85)
    _, left_out = served.notes
    assert left_out.startswith(
        f"left out of the recipe, which was published with the image {GOOGLE}:20250116_0916_RC00: vllm.extra_args: ["
    )
    own = planned(
        f"{A100}container: {{image_uri: '{GOOGLE}:20241001_0916_RC00'}}\nvllm: {{extra_args: [--seed=1]}}\n"
    )
    assert own.vllm.extra_args == ("--seed=1",)
    assert len(own.notes) == 1


def test_a_digest_of_the_recipes_image_is_that_image() -> None:
    image = f"{GOOGLE}:20250116_0916_RC00@sha256:{'a' * 64}"
    assert planned(f"{A100}container: {{image_uri: '{image}'}}\n").container.args[-1] == HOST_PREFIX


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_with_every_value_takes_nothing(path: Path) -> None:
    assert load_stack_file(path).notes == ()


def test_the_accelerator_of_a_machine_with_only_one_needs_no_line() -> None:
    served = planned(LLAMA + "hardware:\n  machine_type: g2-standard-48\n")
    assert (served.hardware.accelerator_type, served.hardware.accelerator_count) == ("NVIDIA_L4", 4)
    assert "--tensor-parallel-size=4" in served.container.args


def test_weights_in_a_bucket_need_no_token_and_keep_the_model_id() -> None:
    served = planned(LLAMA + "weights: gs://my-bucket/llama/\n")
    assert served.needs_token is False
    assert served.weights_uri == "gs://my-bucket/llama"
    assert "--model=gs://my-bucket/llama" in served.container.args
    assert served.container.env["MODEL_ID"] == "meta-llama/Meta-Llama-3.1-8B-Instruct"


def test_options_in_the_guides_order() -> None:
    served = planned(
        LLAMA
        + "vllm: {trust_remote_code: true, model_type: llama3.1, chat_template: /t.jinja, extra_args: [--seed=1]}\n"
    )
    assert served.container.args[-7:] == (
        "--disable-log-stats",
        "--trust-remote-code",
        "--enforce-eager",
        "--enable-lora",
        "--model-type=llama3.1",
        "--chat-template=/t.jinja",
        "--seed=1",
    )


def test_statistics_for_scaling_on_vllms_metrics() -> None:
    served = planned(
        LLAMA
        + "vllm: {disable_log_stats: false}\n"
        + "replicas: {max_replica_count: 3, autoscaling: [{metric_name:"
        + " prometheus.googleapis.com/vertex_vllm_num_requests_waiting, target: 5}]}\n"
    )
    assert "--disable-log-stats" not in served.container.args
    assert served.replicas.autoscaling[0].target == 5
    assert served.warnings == ()


@pytest.mark.parametrize("name", chat_template_names())
def test_a_shipped_chat_template_travels_as_text(name: str) -> None:
    served = planned(f"model: meta-llama/Meta-Llama-3.1-8B\nvllm:\n  chat_template: {name}\n")
    template = parse_arguments(served.container.args)["--chat-template"]
    assert template is not None
    assert template.isascii()  # vLLM decodes it as unicode_escape
    assert "{%" in template
    assert "\n" not in template
    assert "$(" not in template  # Vertex AI would expand it
    assert not any("chat template" in warning for warning in served.warnings)


def test_no_chat_is_a_choice_and_no_argument() -> None:
    served = planned("model: meta-llama/Meta-Llama-3.1-8B\nvllm:\n  chat_template: none\n")
    assert "--chat-template" not in parse_arguments(served.container.args)
    assert served.warnings == ()


JINJA = "{%- for m in messages -%}\n{{ m['content'] + 'é\\n' }}\n{%- endfor -%}\n"


def with_file(folder: Path, template: bytes, image: str = "") -> ServingPlan:
    (folder / "templates").mkdir()
    (folder / "templates" / "mine.jinja").write_bytes(template)
    container = {"container": {"image_uri": f"{GOOGLE}:{image}"}} if image else {}
    document = {"model": "meta-llama/Meta-Llama-3.1-8B", "vllm": {"chat_template": "templates/mine.jinja"}}
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump({**document, **container}))
    return plan(load_stack_file(path), region="us-central1", source=str(path))


def test_a_template_file_beside_the_stack_file_travels_as_text(tmp_path: Path) -> None:
    served = with_file(tmp_path, JINJA.encode(), "20250710_0916_RC01")
    assert parse_arguments(served.container.args)["--chat-template"] == JINJA.rstrip("\n")


def test_an_old_vllm_decodes_what_it_is_given(tmp_path: Path) -> None:
    served = with_file(tmp_path, JINJA.encode(), "20241001_0916_RC00")
    value = parse_arguments(served.container.args)["--chat-template"]
    assert value is not None
    assert value.isascii()
    # load_chat_template of vLLM 0.6.2 to 0.8.1
    assert codecs.decode(value, "unicode_escape") == JINJA.rstrip("\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "holds no {{ or {%: it is no template."),
        (b"{{ '$(HOME)' }}", "holds $(, which Vertex AI expands in arguments."),
        (b"{{ 1 }}\0", "holds a NUL character."),
        (b"{{ '\xe9' }}", "is not UTF-8 text."),
        (b"{{ 1 }}" * 10_000, "has 70000 bytes; an argument holds 65536."),
    ],
)
def test_files_that_are_no_template(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        with_file(tmp_path, content)
    assert caught.value.key == "vllm.chat_template"
    assert caught.value.problem == words
    assert caught.value.remedy


def test_a_template_in_a_bucket_is_left_to_whoever_can_read_it() -> None:
    served = planned("model: meta-llama/Meta-Llama-3.1-8B\nvllm: {chat_template: 'gs://b-1/t/a.jinja'}\n")
    assert served.chat_template_uri == "gs://b-1/t/a.jinja"
    whole = served.with_chat_template(JINJA)
    assert whole.chat_template_uri is None
    # the image's vLLM is 0.6.2, which decodes escapes
    value = parse_arguments(whole.container.args)["--chat-template"]
    assert codecs.decode(value or "", "unicode_escape") == JINJA.rstrip("\n")
    assert planned(LLAMA).chat_template_uri is None
    with pytest.raises(ValueProblem, match="it is no template"):
        served.with_chat_template("hello")


def test_grace_machines_take_the_arm_image_and_a_rack_of_replicas() -> None:
    served = planned(
        LLAMA
        + "hardware: {machine_type: a4x-highgpu-4g}\nreplicas: {min_replica_count: 18, max_replica_count: 18}\n"
        + f"container: {{image_uri: '{GOOGLE}:20250717_0916_arm_RC01'}}\n"
    )
    assert served.vllm_version == "0.9.2"
    assert [use.amount for use in served.quota] == [72, 18 * 140]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (f"{GOOGLE}:latest", "the tag latest moves"),
        (f"{GOOGLE}:20251205_0916_RC01", "nobody has documented this image's vLLM version"),
        ("europe-docker.pkg.dev/me/vllm/server:1.2", "is not in the catalogue"),
        (f"europe-docker.pkg.dev/me/vllm/server@sha256:{'0' * 64}", "is not in the catalogue"),
    ],
)
def test_images_that_only_warn(image: str, words: str) -> None:
    served = planned(f"{LLAMA}container: {{image_uri: '{image}'}}\n")
    assert any(words in warning for warning in served.warnings)


def test_a_digest_beside_a_known_tag_keeps_its_version() -> None:
    served = planned(f"{LLAMA}container: {{image_uri: '{GOOGLE}:20250710_0916_RC01@sha256:{'a' * 64}'}}\n")
    assert served.vllm_version == "0.9.2"
    assert served.warnings == ()


def test_an_unknown_flag_is_passed_with_a_warning() -> None:
    served = planned(LLAMA + "vllm: {extra_args: [--fork-only-thing=3]}\n")
    assert served.container.args[-1] == "--fork-only-thing=3"
    assert served.warnings == (
        "vllm.extra_args[0]: no known vLLM has --fork-only-thing; it is passed as it stands.",
    )


SEEN = {
    "--host-prefix-kv-cache-utilization-target=0.7": ("20241210_0916_RC00", "20250116_0916_RC00"),
    "--host-prefix-kv-cache-min-len=1024": ("20250116_0916_RC00", "20250116_0916_RC00"),
    "--tool-call-parser=vertex-llama-3": ("20241202_0916_RC00_maas", "20250114_0916_RC00_maas"),
}


@pytest.mark.parametrize("argument", SEEN)
def test_flags_of_googles_builds_are_known_on_the_images_that_were_seen_with_them(argument: str) -> None:
    flag = argument.partition("=")[0]
    for image in catalog().containers():
        if image.arch != "x86" or not image.uri.startswith(f"{GOOGLE}:") or not image.date:
            continue
        served = planned(
            f"{LLAMA}container: {{image_uri: '{image.uri}'}}\nvllm: {{extra_args: [{argument}]}}\n"
        )
        tag = image.uri.rpartition(":")[2]
        first, last = SEEN[argument]
        known = first[:8] <= tag[:8] <= last[:8]
        assert any(flag in warning for warning in served.warnings) is not known, image.uri


def test_the_warning_of_a_flag_that_the_image_was_not_seen_with() -> None:
    served = planned(LLAMA + "vllm: {extra_args: [--tool-call-parser=vertex-llama-3]}\n")
    assert served.warnings == (
        "vllm.extra_args[0]: --tool-call-parser=vertex-llama-3 exists only in Google's own builds of vLLM and has been"
        " seen only in images of 2024-12-02 to 2025-01-14; without it the container ends at its start. Delete it, or"
        f" use image_uri: {GOOGLE}:20250114_0916_RC00_maas",
    )
    own = "container: {image_uri: 'europe-docker.pkg.dev/me/vllm/server:1.2'}\n"
    served = planned(f"{LLAMA}vllm: {{model_type: llama3.1}}\n{own}")
    assert served.warnings[-1].startswith("vllm.model_type: --model-type exists only in Google's own builds")
    assert planned(LLAMA + "vllm: {model_type: llama3.1}\n").warnings == ()


def test_a_parser_that_vllm_has_not_is_passed_with_a_warning() -> None:
    served = planned(LLAMA + "vllm: {extra_args: [--tool-call-parser=granite]}\n")
    assert served.warnings == (
        "vllm.extra_args[0]: --tool-call-parser takes one of mistral, hermes in vLLM 0.6.2, and 'granite' is not that."
        " It is passed as it stands: the image may know more, else its container ends at the start.",
    )
    assert planned(LLAMA + "vllm: {extra_args: [--tool-call-parser=hermes]}\n").warnings == ()


def test_rope_scaling_lifts_the_limit_of_positions() -> None:
    # Whether so much fits into an L4 is another matter.
    served = planned(LLAMA + "fit: warn\nvllm: {max_model_len: 262144, extra_args: ['--rope-scaling={}']}\n")
    assert "--max-model-len=262144" in served.container.args


def test_the_swap_space_flag_is_left_out_of_newer_versions() -> None:
    stack = parse_stack(yaml.safe_load(LLAMA), file="a", lines={})
    flags = catalog().flags("0.20.0")
    args = container_arguments(model="m", split=Split(1, 1), vllm=stack.vllm, flags=flags)
    assert not any(argument.startswith("--swap-space") for argument in args)


def test_anchors_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(LLAMA + "replicas:\n  min_replica_count: &n 2\n  max_replica_count: *n\n")
    stack = load_stack_file(path)
    assert (stack.replicas.min_replica_count, stack.replicas.max_replica_count) == (2, 2)


def test_models_without_a_recipe_name_those_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    books = catalog()
    card = books.model("meta-llama/Llama-3.2-1B").model_copy(update={"recommended": ()})
    monkeypatch.setitem(books._cards, card.id, card)
    with pytest.raises(UnknownModel) as caught:
        parse_stack({"model": card.id}, file="stacks/a.yaml", lines={"model": 1})
    assert "there is no recommended hardware for this model" in str(caught.value)
    assert caught.value.choices[0] == "meta-llama/Llama-3.2-1B-Instruct"
    assert card.id not in caught.value.choices


def test_price_and_quota_of_a_plan() -> None:
    served = planned(LLAMA + "replicas: {min_replica_count: 2, max_replica_count: 3}\n")
    assert served.usd_per_hour == pytest.approx(2 * 1.15069)
    assert [(use.quota.quota_id, use.amount) for use in served.quota] == [
        ("CustomModelServingL4GPUsPerProjectPerRegion", 3),
        ("CustomModelServingCPUsPerProjectPerRegion", 36),
    ]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import infra.recipes; from pathlib import Path;"
        "p = Path('stacks/meta-llama-3.1-8b-instruct.l4x1.yaml');"
        "infra.recipes.plan(infra.recipes.load_stack_file(p), region='us-central1', source=str(p));"
        "bad = [m for m in set(sys.modules) - before if m.split('.')[0] in {'pulumi', 'grpc', 'pandas', 'httpx'}"
        " or m.startswith('google.')];"
        "print(bad)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = run.stdout.strip()
    assert modules == "[]"


def test_code_of_the_repository_must_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    books = catalog()
    card = books.model("Qwen/Qwen2.5-7B-Instruct").model_copy(update={"needs_remote_code": True})
    monkeypatch.setitem(books._cards, card.id, card)
    with pytest.raises(ValueProblem) as caught:
        planned(f"model: {card.id}\n")
    assert str(caught.value) == (
        "stacks/a.yaml: vllm.trust_remote_code = false: Qwen/Qwen2.5-7B-Instruct runs Python code of its repository,"
        " which vLLM refuses unless it is trusted.\n"
        "    fix: below `vllm:` add trust_remote_code: true"
    )
    trusted = planned(f"model: {card.id}\nvllm: {{trust_remote_code: true}}\n")
    assert "--trust-remote-code" in trusted.container.args
    assert trusted.needs_token is False


def test_optimized_images_and_scaling_without_room_warn() -> None:
    image = "us-docker.pkg.dev/vertex-ai-restricted/vertex-vision-model-garden-dockers/pytorch-vllm-optimized-serve"
    served = planned(
        LLAMA
        + f"container: {{image_uri: '{image}:20250121_0835_RC00'}}\n"
        + "replicas: {autoscaling: [{metric_name:"
        + " aiplatform.googleapis.com/prediction/online/cpu/utilization, target: 60}]}\n"
    )
    assert any("whose development has ended" in warning for warning in served.warnings)
    assert any("nothing scales while min and max are both 1" in warning for warning in served.warnings)


def test_none_takes_no_template_away() -> None:
    served = planned(LLAMA + "vllm: {chat_template: none}\n")
    assert served.warnings == (
        "vllm.chat_template: meta-llama/Meta-Llama-3.1-8B-Instruct has a chat template of its own, which vLLM then"
        " uses: none does not turn chat off. Delete the line.",
    )
    base = "model: meta-llama/Meta-Llama-3.1-8B\nhardware: {machine_type: g2-standard-12}\n"
    assert planned(base + "vllm: {chat_template: none}\n").warnings == ()


LOADS_ONLY = ("awq", "gptq", "gptq_marlin", "compressed-tensors", "modelopt", "fbgemm_fp8", "gguf", "mxfp4")
IN_FLIGHT = ("fp8", "bitsandbytes", "ptpc_fp8", "rtn", "fp8_per_tensor", "mxfp8", "online")
UNQUANTIZED = "model: meta-llama/Meta-Llama-3.1-8B-Instruct\nhardware: {machine_type: a2-ultragpu-1g}\n"


def quantized(method: str, version: str, more: str = "") -> ServingPlan:
    own = f"container: {{image_uri: 'europe-docker.pkg.dev/me/vllm/server:1', vllm_version: {version}}}\n"
    options = f"'--quantization={method}', '--load-format=bitsandbytes'"
    args = options if method == "bitsandbytes" else options.partition(",")[0]
    return planned(f"{UNQUANTIZED}{own}vllm: {{extra_args: [{args}]}}\n{more}")


def faults(method: str, version: str) -> str:
    try:
        quantized(method, version)
    except StackError as error:  # the GPU may be too old for a method
        return str(error)
    return ""


@pytest.mark.parametrize("version", ["0.6.2", "0.8.5.post1", "0.10.2", "0.20.0", "0.24.0", "0.32.0"])
def test_methods_that_only_load_are_refused_for_weights_that_are_not_quantized(version: str) -> None:
    known = catalog().flags(version).quantization
    for method in LOADS_ONLY:
        if method in known and not (method == "mxfp4" and version == "0.32.0"):
            assert f"{method} loads weights that are quantized already" in faults(method, version)
    for method in IN_FLIGHT:
        if method in known:
            assert "quantized already" not in faults(method, version)


def test_mxfp4_quantizes_while_it_loads_from_0_28_on() -> None:
    with pytest.raises(FlagError, match="quantized already"):
        quantized("mxfp4", "0.27.0")
    assert quantized("mxfp4", "0.28.0").vllm_version == "0.28.0"


def test_weights_of_a_bucket_may_be_quantized() -> None:
    served = quantized("awq", "0.10.2", "weights: gs://bucket/llama-awq\n")
    assert any(
        "--quantization=awq is right only if gs://bucket/llama-awq has weights" in text
        for text in served.warnings
    )


@pytest.mark.parametrize(
    ("method", "version"), [("experts_int8", "0.10.2"), ("int8_per_channel_weight_only", "0.32.0")]
)
def test_methods_for_experts_are_refused_where_there_are_none(method: str, version: str) -> None:
    assert f"{method} quantizes experts only, and" in faults(method, version)

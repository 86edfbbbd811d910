"""Bad stack files, each with its exact error text (``bad_stack_files.txt`` beside this file; read it).

To accept changed texts: ``python -m tests.recipes.test_bad_stack_files`` writes the file anew; read the difference.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.recipes import StackError, catalog, load_stack_file, plan

EXPECTED = Path(__file__).with_name("bad_stack_files.txt")

MODEL = "model: meta-llama/Meta-Llama-3.1-8B-Instruct\n"
HARDWARE = (
    "hardware:\n  machine_type: g2-standard-12\n  accelerator_type: NVIDIA_L4\n  accelerator_count: 1\n"
)
GOOD = MODEL + HARDWARE
VISION = "model: meta-llama/Llama-3.2-11B-Vision-Instruct\n"
GOOGLE = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"


def hardware(machine: str, accelerator: str, count: object) -> str:
    return f"hardware:\n  machine_type: {machine}\n  accelerator_type: {accelerator}\n  accelerator_count: {count}\n"


def vllm(*lines: str) -> str:
    return GOOD + "vllm:\n" + "".join(f"  {line}\n" for line in lines)


def extra(*args: str, image: str = "") -> str:
    container = f"container:\n  image_uri: {GOOGLE}:{image}\n" if image else ""
    return GOOD + container + "vllm:\n  extra_args:\n" + "".join(f"    - {arg}\n" for arg in args)


def image(uri: str) -> str:
    return f"{GOOD}container:\n  image_uri: {uri}\n"


def own_image(version: str) -> str:
    return image("europe-docker.pkg.dev/me/vllm/server:1.2") + f"  vllm_version: {version}\n"


TOKEN = "hf_" + "x" * 34  # opens nothing

MODELS = (
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
    "google/gemma-3-1b-it",
    "google/gemma-7b",
    *(f"meta-llama/Llama-3.2-{size}{kind}" for size in ("1B", "3B") for kind in ("", "-Instruct")),
    *(f"meta-llama/Llama-3.2-{size}-Vision-Instruct" for size in ("11B", "90B")),
    *(f"meta-llama/Meta-Llama-3.1-{size}{kind}" for size in ("70B", "8B") for kind in ("", "-Instruct")),
    *(f"meta-llama/Meta-Llama-3.1-405B{kind}-FP8" for kind in ("", "-Instruct")),
    "mistralai/Mistral-7B-Instruct-v0.1",
    "openai/gpt-oss-20b",
)
"""The models of the cases: errors name the closest ones, and should not change with every card that is added."""


@contextlib.contextmanager
def few_models() -> Iterator[None]:
    books = catalog()
    every = books.models()
    books.__dict__["_model_ids"] = tuple(sorted(MODELS))
    try:
        yield
    finally:
        books.__dict__["_model_ids"] = every


def image_of(tag: str) -> str:
    return f"container:\n  image_uri: {GOOGLE}:{tag}\n"


@dataclass(frozen=True)
class Bad:
    content: str | bytes
    key: str = ""  # the dotted key that the error must name
    region: str = "us-central1"


CASES: dict[str, Bad] = {
    # The file itself
    "empty file": Bad(""),
    "only a comment": Bad("# to do\n"),
    "list at the top": Bad("- model: meta-llama/Llama-3.2-1B\n"),
    "one word": Bad("meta-llama/Llama-3.2-1B\n"),
    "not UTF-8": Bad("model: caf\xe9\n".encode("latin-1")),
    "control character": Bad("model: a\x07b\n"),
    "tab for indentation": Bad("model: x\nhardware:\n\tmachine_type: g2-standard-12\n"),
    "unclosed quote": Bad('model: "meta-llama/Llama-3.2-1B\n'),
    "unclosed list": Bad(GOOD + "vllm:\n  extra_args: [--seed=1\n"),
    "no space after the colon": Bad("model:meta-llama/Llama-3.2-1B\nweights: huggingface\n"),
    "colon in a value": Bad("model: meta-llama: Llama-3.2-1B\n"),
    "wrong indentation": Bad("model: x\n  weights: huggingface\n"),
    "at sign": Bad("model: @meta-llama\n"),
    "two documents": Bad(MODEL + "---\n" + MODEL),
    "duplicate key": Bad(GOOD + "weights: huggingface\nweights: gs://bucket/llama\n", "weights"),
    "duplicate key in a section": Bad(vllm("max_num_seqs: 12", "max_num_seqs: 256"), "vllm.max_num_seqs"),
    "key that is a number": Bad(GOOD + "4096: 1\n"),
    "key that is a list": Bad(GOOD + "? [a, b]\n: 1\n"),
    "unknown anchor": Bad("model: *llama\n"),
    "anchor in itself": Bad("model: &a [*a]\n"),
    "python tag": Bad("model: !!python/object/apply:os.system [ls]\n"),
    "aliases without end": Bad(
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{c}: &{c} [{', '.join([f'*{b}'] * 10)}]\n" for b, c in zip("abcde", "bcdef", strict=True))
    ),
    # Keys
    "no model": Bad(HARDWARE, "model"),
    "misspelt key": Bad(vllm("max_num_seq: 12"), "vllm.max_num_seq"),
    "misspelt section": Bad(MODEL + HARDWARE.replace("hardware", "hardwear"), "hardwear"),
    "key at the wrong level": Bad(GOOD + "max_model_len: 4096\n", "max_model_len"),
    "key in the wrong section": Bad(GOOD + "endpoint:\n  spot: true\n", "endpoint.spot"),
    "key with a dash": Bad(vllm("max-model-len: 2048"), "vllm.max-model-len"),
    "unknown section": Bad(GOOD + "autoscaler:\n  min: 1\n", "autoscaler"),
    "empty section": Bad(GOOD + "vllm:\nmax_model_len: 4096\n", "vllm"),
    "rollout as a wrong word": Bad(GOOD + "rollout: surg\n", "rollout"),
    "rollout strategy": Bad(GOOD + "rollout:\n  strategy: blue\n", "rollout.strategy"),
    "rollout as a number": Bad(GOOD + "rollout: 3\n", "rollout"),
    "steps out of order": Bad(GOOD + "rollout:\n  steps: [50, 25]\n", "rollout.steps"),
    "a step of everything": Bad(GOOD + "rollout:\n  steps: [100]\n", "rollout.steps[0]"),
    "steps of nothing to hand over": Bad(
        GOOD + "rollout:\n  strategy: recreate\n  steps: [50]\n", "rollout.steps"
    ),
    "bake time without steps": Bad(GOOD + "rollout:\n  bake_seconds: 60\n", "rollout.bake_seconds"),
    "no traffic": Bad(GOOD + "endpoint:\n  traffic: 0\n", "endpoint.traffic"),
    "section that is a list": Bad(GOOD + "replicas: [1, 2]\n", "replicas"),
    "no machine type": Bad(MODEL + "hardware:\n  accelerator_type: NVIDIA_L4\n", "hardware.machine_type"),
    "no count for a machine with a choice": Bad(
        MODEL + "hardware:\n  machine_type: n1-standard-8\n  accelerator_type: NVIDIA_TESLA_T4\n",
        "hardware.accelerator_count",
    ),
    # Types and limits
    "number in quotes": Bad(vllm('max_model_len: "4096"'), "vllm.max_model_len"),
    "number with an underscore": Bad(vllm("max_model_len: 4_096"), "vllm.max_model_len"),
    "number with a fraction": Bad(vllm("max_num_seqs: 12.0"), "vllm.max_num_seqs"),
    "number with a unit": Bad(
        GOOD + "container:\n  shared_memory_size_mb: 16GB\n", "container.shared_memory_size_mb"
    ),
    "bool for a number": Bad(vllm("max_loras: true"), "vllm.max_loras"),
    "number for a bool": Bad(vllm("enforce_eager: 1"), "vllm.enforce_eager"),
    "yes for true": Bad(vllm("enforce_eager: yes"), "vllm.enforce_eager"),
    "off for false": Bad(vllm("enable_lora: off"), "vllm.enable_lora"),
    "null for a number": Bad(vllm("max_model_len: null"), "vllm.max_model_len"),
    "nothing for a number": Bad(vllm("max_model_len:"), "vllm.max_model_len"),
    "negative number": Bad(vllm("max_num_seqs: -1"), "vllm.max_num_seqs"),
    "zero length": Bad(vllm("max_model_len: 0"), "vllm.max_model_len"),
    "number of 30 digits": Bad(vllm("max_num_seqs: " + "9" * 30), "vllm.max_num_seqs"),
    "number of 5000 digits": Bad(vllm("max_num_seqs: " + "9" * 5000), "vllm.max_num_seqs"),
    "utilisation of a percentage": Bad(vllm("gpu_memory_utilization: 90"), "vllm.gpu_memory_utilization"),
    "utilisation of nothing": Bad(vllm("gpu_memory_utilization: 0"), "vllm.gpu_memory_utilization"),
    "utilisation that is no number": Bad(vllm("gpu_memory_utilization: .nan"), "vllm.gpu_memory_utilization"),
    "utilisation with a percent sign": Bad(
        vllm("gpu_memory_utilization: 90%"), "vllm.gpu_memory_utilization"
    ),
    "dtype of another program": Bad(vllm("dtype: bf16"), "vllm.dtype"),
    "model that is a number": Bad("model: 3.1\n" + HARDWARE, "model"),
    "model that is a list": Bad("model: [a, b]\n" + HARDWARE, "model"),
    "model type with spaces": Bad(vllm("model_type: llama 3"), "vllm.model_type"),
    "arguments in one text": Bad(vllm("extra_args: --seed=1 --enable-prefix-caching"), "vllm.extra_args"),
    "argument that is a number": Bad(extra("1"), "vllm.extra_args[0]"),
    "deployment timeout beyond the platform's": Bad(
        GOOD + "container:\n  deployment_timeout: 10800\n", "container.deployment_timeout"
    ),
    "deploy request timeout of nothing": Bad(GOOD + "deploy_request_timeout: 0\n", "deploy_request_timeout"),
    "expiry in minutes": Bad(GOOD + "expires_after: 30m\n", "expires_after"),
    "expiry on a day that no month has": Bad(GOOD + "expires_after: 2027-02-30\n", "expires_after"),
    "expiry that is a number": Bad(GOOD + "expires_after: 8\n", "expires_after"),
    "no replicas": Bad(GOOD + "replicas:\n  min_replica_count: 0\n", "replicas.min_replica_count"),
    "autoscaling without a target": Bad(
        GOOD + "replicas:\n  autoscaling:\n    - metric_name: duty_cycle\n", "replicas.autoscaling[0].target"
    ),
    "several at once": Bad(
        MODEL.replace("8B", "9B") + HARDWARE + "vllm:\n  enforce_eager: yes\n  max_seqs: 3\nreplica: 2\n",
        "replica",
    ),
    # Model, machine, region
    "unknown model": Bad("model: meta-llama/Llama-3.1-8B-Instrukt\n" + HARDWARE, "model"),
    "model in the wrong case": Bad("model: meta-Llama/Meta-Llama-3.1-8B\n" + HARDWARE, "model"),
    "model outside the catalogue's folder": Bad("model: ../../stacks\n" + HARDWARE, "model"),
    "unknown model without hardware": Bad("model: mistralai/Nothing-1B\n", "model"),
    "unknown machine": Bad(MODEL + hardware("g2-standard-13", "NVIDIA_L4", 1), "hardware.machine_type"),
    "machine without GPUs": Bad(MODEL + hardware("e2-standard-4", "NVIDIA_L4", 1), "hardware.machine_type"),
    "accelerator of another machine": Bad(
        MODEL + hardware("g2-standard-12", "NVIDIA_H100_80GB", 1), "hardware.accelerator_type"
    ),
    "accelerator by its common name": Bad(
        MODEL + hardware("a2-highgpu-1g", "NVIDIA_A100_40GB", 1), "hardware.accelerator_type"
    ),
    "accelerator in lower case": Bad(
        MODEL + hardware("g2-standard-12", "nvidia-l4", 1), "hardware.accelerator_type"
    ),
    "count that the machine has not": Bad(
        MODEL + hardware("g2-standard-12", "NVIDIA_L4", 2), "hardware.accelerator_count"
    ),
    "count that no machine has": Bad(
        MODEL + hardware("a3-highgpu-8g", "NVIDIA_H100_80GB", 3), "hardware.accelerator_count"
    ),
    "heads that cannot be split": Bad(
        "model: meta-llama/Llama-3.2-3B-Instruct\n"
        + hardware("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16)
        + "vllm:\n  tensor_parallel_size: 16\n",
        "vllm.tensor_parallel_size",
    ),
    "heads that cannot be split, and no stages": Bad(
        "model: google/gemma-7b\n"
        + hardware("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16)
        + "vllm:\n  tensor_parallel_size: 1\n  pipeline_parallel_size: 16\n  chat_template: none\n",
        "vllm.pipeline_parallel_size",
    ),
    "more stages than GPUs": Bad(
        "model: meta-llama/Llama-3.2-1B-Instruct\n"
        + hardware("a2-megagpu-16g", "NVIDIA_TESLA_A100", 16)
        + "vllm:\n  pipeline_parallel_size: 32\n",
        "vllm.pipeline_parallel_size",
    ),
    "sizes that do not use every GPU": Bad(
        MODEL
        + hardware("g2-standard-48", "NVIDIA_L4", 4)
        + "vllm:\n  tensor_parallel_size: 2\n  pipeline_parallel_size: 1\n",
        "vllm.tensor_parallel_size",
    ),
    "size that does not divide the GPUs": Bad(
        MODEL + hardware("g2-standard-48", "NVIDIA_L4", 4) + "vllm:\n  tensor_parallel_size: 3\n",
        "vllm.tensor_parallel_size",
    ),
    "copies that do not divide the GPUs": Bad(
        MODEL
        + hardware("g2-standard-48", "NVIDIA_L4", 4)
        + image_of("20250710_0916_RC01")
        + "vllm:\n  extra_args: [--data-parallel-size=3]\n",
        "vllm.extra_args",
    ),
    "experts that are not whole blocks": Bad(
        "model: Qwen/Qwen3-235B-A22B-Instruct-2507-FP8\n"
        + hardware("a3-ultragpu-8g", "NVIDIA_H200_141GB", 8)
        + "vllm:\n  tensor_parallel_size: 8\n",
        "vllm.tensor_parallel_size",
    ),
    "stages of a model that has none": Bad(
        VISION.replace("11B", "90B")
        + hardware("a3-highgpu-8g", "NVIDIA_H100_80GB", 8)
        + "vllm:\n  pipeline_parallel_size: 2\n",
        "vllm.pipeline_parallel_size",
    ),
    "GPU too old for vLLM": Bad(
        MODEL + hardware("n1-highmem-8", "NVIDIA_TESLA_P4", 1), "hardware.accelerator_type"
    ),
    "bfloat16 on a T4": Bad(
        MODEL + hardware("n1-highmem-8", "NVIDIA_TESLA_T4", 1) + "vllm:\n  dtype: auto\n", "vllm.dtype"
    ),
    "float8 weights on a V100": Bad(
        "model: meta-llama/Meta-Llama-3.1-405B-FP8\n"
        + hardware("n1-highmem-32", "NVIDIA_TESLA_V100", 8)
        + "vllm:\n  dtype: half\n  chat_template: none\n",
        "hardware.accelerator_type",
    ),
    "quantization in flight on a V100": Bad(
        MODEL
        + hardware("n1-highmem-16", "NVIDIA_TESLA_V100", 2)
        + "vllm:\n  dtype: half\n  extra_args: [--quantization=fp8]\n",
        "hardware.accelerator_type",
    ),
    "float16 for a model that breaks in it": Bad(
        "model: google/gemma-3-1b-it\n"
        + HARDWARE
        + image_of("20250710_0916_RC01")
        + "vllm:\n  dtype: half\n",
        "vllm.dtype",
    ),
    "rack without enough replicas": Bad(
        MODEL
        + hardware("a4x-highgpu-4g", "NVIDIA_GB200", 4)
        + f"container:\n  image_uri: {GOOGLE}:20250717_0916_arm_RC01\n",
        "replicas.min_replica_count",
    ),
    "misspelt region": Bad(GOOD, "gcp:region", region="us-centrall"),
    "region without the accelerator": Bad(GOOD, "gcp:region", region="europe-west9"),
    "zone for a region": Bad(GOOD, "gcp:region", region="us-central1-a"),
    "region that trains only": Bad(VISION, "gcp:region", region="us-west4"),
    # Options against each other, the model and the machine
    "more replicas at least than at most": Bad(
        GOOD + "replicas:\n  min_replica_count: 3\n  max_replica_count: 2\n", "replicas.min_replica_count"
    ),
    "too many replicas": Bad(GOOD + "replicas:\n  max_replica_count: 201\n", "replicas.max_replica_count"),
    "unknown metric": Bad(
        GOOD + "replicas:\n  max_replica_count: 2\n  autoscaling:\n    - {metric_name: gpu, target: 60}\n",
        "replicas.autoscaling[0].metric_name",
    ),
    "percentage above 100": Bad(
        GOOD
        + "replicas:\n  max_replica_count: 2\n  autoscaling:\n"
        + "    - metric_name: aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle\n      target: 600\n",
        "replicas.autoscaling[0].target",
    ),
    "vLLM's metric without statistics": Bad(
        GOOD
        + "replicas:\n  max_replica_count: 2\n  autoscaling:\n"
        + "    - metric_name: prometheus.googleapis.com/vertex_vllm_num_requests_waiting\n      target: 5\n",
        "replicas.autoscaling[0].metric_name",
    ),
    "gauge that vLLM has no more": Bad(
        GOOD
        + image_of("v0.14.0")
        + "vllm:\n  disable_log_stats: false\nreplicas:\n  max_replica_count: 2\n  autoscaling:\n"
        + "    - metric_name: prometheus.googleapis.com/vertex_vllm_gpu_cache_usage_perc\n      target: 80\n",
        "replicas.autoscaling[0].metric_name",
    ),
    "context longer than the model's": Bad(vllm("max_model_len: 200000"), "vllm.max_model_len"),
    "more requests than batched tokens": Bad(vllm("max_num_seqs: 5000"), "vllm.max_num_seqs"),
    "LoRA for a model that sees": Bad(VISION + "vllm:\n  enable_lora: true\n", "vllm.enable_lora"),
    "more adapters in a batch than in memory": Bad(vllm("max_loras: 9"), "vllm.max_loras"),
    "swap space beyond the memory": Bad(
        MODEL + hardware("g2-standard-4", "NVIDIA_L4", 1) + "vllm:\n  swap_space: 16\n", "vllm.swap_space"
    ),
    "share of the memory that holds no weights": Bad(
        vllm("gpu_memory_utilization: 0.01"), "vllm.gpu_memory_utilization"
    ),
    "shared memory beyond the memory": Bad(
        GOOD + "container:\n  shared_memory_size_mb: 65536\n", "container.shared_memory_size_mb"
    ),
    "weights from elsewhere": Bad(GOOD + "weights: s3://bucket/llama\n", "weights"),
    "weights from an impossible bucket": Bad(GOOD + "weights: gs://My_Bucket!/llama\n", "weights"),
    "weights from a bucket without a name": Bad(GOOD + "weights: gs://\n", "weights"),
    "no choice for a model without a chat template": Bad(
        "model: meta-llama/Meta-Llama-3.1-8B\n" + HARDWARE, "vllm.chat_template"
    ),
    "chat template in an impossible bucket": Bad(
        vllm("chat_template: gs://My_Bucket!/a.jinja"), "vllm.chat_template"
    ),
    "chat template of another ending": Bad(vllm("chat_template: gs://bucket/a.txt"), "vllm.chat_template"),
    "chat template that is not shipped": Bad(vllm("chat_template: llama3"), "vllm.chat_template"),
    "chat template on this machine": Bad(vllm("chat_template: templates/mine.jinja"), "vllm.chat_template"),
    # The image
    "image of Docker Hub": Bad(image("vllm/vllm-openai:v0.6.2"), "container.image_uri"),
    "image of another registry": Bad(image("ghcr.io/me/vllm:1"), "container.image_uri"),
    "image without a tag": Bad(image(GOOGLE), "container.image_uri"),
    "image with capitals": Bad(
        image(GOOGLE.replace("vllm", "vLLM") + ":20241001_0916_RC00"), "container.image_uri"
    ),
    "image with a scheme": Bad(image(f"https://{GOOGLE}:20241001_0916_RC00"), "container.image_uri"),
    "image for ARM": Bad(image(f"{GOOGLE}:20250717_0916_arm_RC01"), "container.image_uri"),
    "image for TPUs": Bad(image(f"{GOOGLE}:20250529_0917_tpu_experimental_RC00"), "container.image_uri"),
    "image before the architecture": Bad(
        "model: google/gemma-3-1b-it\n" + HARDWARE + image_of("20250130_0916_RC01"), "container.image_uri"
    ),
    "image after the architecture": Bad(VISION + image_of("v0.14.0"), "container.image_uri"),
    "image before the GPU": Bad(
        MODEL + hardware("a4-highgpu-8g", "NVIDIA_B200", 8) + image_of("20241001_0916_RC00"),
        "container.image_uri",
    ),
    "image before the quantization": Bad(
        "model: openai/gpt-oss-20b\n"
        + hardware("a3-highgpu-1g", "NVIDIA_H100_80GB", 1)
        + image_of("20250710_0916_RC01"),
        "container.image_uri",
    ),
    "image for x86 on ARM machines": Bad(
        MODEL
        + hardware("a4x-highgpu-4g", "NVIDIA_GB200", 4)
        + "replicas: {min_replica_count: 18, max_replica_count: 18}\n"
        + image_of("20241001_0916_RC00"),
        "container.image_uri",
    ),
    "no image for ARM with the architecture": Bad(
        "model: openai/gpt-oss-20b\n"
        + hardware("a4x-highgpu-4g", "NVIDIA_GB200", 4)
        + "replicas: {min_replica_count: 18, max_replica_count: 18}\n",
        "container.image_uri",
    ),
    "version of a release candidate": Bad(own_image("0.11.0rc1"), "container.vllm_version"),
    "version that is none": Bad(own_image("abc"), "container.vllm_version"),
    "version that YAML reads as a number": Bad(own_image("0.10"), "container.vllm_version"),
    "another version than the image has": Bad(
        image_of("20250710_0916_RC01").join([GOOD, "  vllm_version: 0.9.1\n"]), "container.vllm_version"
    ),
    # Extra arguments
    "token of Hugging Face": Bad(extra(f"--hf-token={TOKEN}"), "vllm.extra_args[0]"),
    "token among the values of another flag": Bad(
        extra(f"--served-model-name={TOKEN}"), "vllm.extra_args[0]"
    ),
    "token in a text instead of a list": Bad(vllm(f"extra_args: --hf-token={TOKEN}"), "vllm.extra_args"),
    "API key": Bad(extra("--api-key=opens-nothing"), "vllm.extra_args[0]"),
    "password of a flag that is not known": Bad(
        extra("--ssl-keyfile-password=opens-nothing"), "vllm.extra_args[0]"
    ),
    "method for weights that are quantized already": Bad(extra("--quantization=awq"), "vllm.extra_args[0]"),
    "flag that an own image's version has not": Bad(
        own_image("0.11.0") + "vllm:\n  extra_args: [--guided-decoding-backend=outlines]\n",
        "vllm.extra_args[0]",
    ),
    "argument with a key of its own": Bad(extra("--max-model-len=2048"), "vllm.extra_args[0]"),
    "argument that is fixed": Bad(extra("--port=8000"), "vllm.extra_args[0]"),
    "argument that is the tensor parallel size": Bad(extra("--tensor_parallel_size=2"), "vllm.extra_args[0]"),
    "pipeline parallelism": Bad(extra("--pipeline-parallel-size=2"), "vllm.extra_args[0]"),
    "short flag": Bad(extra("-q=awq"), "vllm.extra_args[0]"),
    "argument with a space": Bad(extra("--max-lora-rank 64"), "vllm.extra_args[0]"),
    "argument in two items": Bad(extra("--max-lora-rank", "64"), "vllm.extra_args[1]"),
    "misspelt flag": Bad(extra("--enable-prefix-cachin"), "vllm.extra_args[0]"),
    "value missing": Bad(extra("--max-lora-rank"), "vllm.extra_args[0]"),
    "value for a switch": Bad(extra("--enable-prefix-caching=true"), "vllm.extra_args[0]"),
    "text for a whole number": Bad(extra("--seed=abc"), "vllm.extra_args[0]"),
    "number that is no choice": Bad(extra("--block-size=12"), "vllm.extra_args[0]"),
    "word that is no choice": Bad(extra("--kv-cache-dtype=fp16"), "vllm.extra_args[0]"),
    "unknown quantization": Bad(extra("--quantization=gptq-marlin"), "vllm.extra_args[0]"),
    "text for true or false": Bad(extra("--enable-chunked-prefill=yes"), "vllm.extra_args[0]"),
    "value that is not JSON": Bad(extra("'--rope-scaling=linear'"), "vllm.extra_args[0]"),
    "text for a flag of Google's": Bad(
        extra("--host-prefix-kv-cache-min-len=1k", image="20241210_0916_RC00"), "vllm.extra_args[0]"
    ),
    "same flag twice": Bad(extra("--seed=1", "--seed=2"), "vllm.extra_args[1]"),
    "flag of a later vLLM": Bad(extra("'--speculative-config={}'"), "vllm.extra_args[0]"),
    "flag that was renamed": Bad(extra("--worker-use-ray", image="20250506_0916_RC01"), "vllm.extra_args[0]"),
    "flag that was removed": Bad(
        extra("--num-speculative-tokens=5", image="20250710_0916_RC01"), "vllm.extra_args[0]"
    ),
    "another quantization than the checkpoint's": Bad(
        "model: meta-llama/Meta-Llama-3.1-405B-Instruct-FP8\nvllm:\n  extra_args:\n    - --quantization=awq\n",
        "vllm.extra_args[0]",
    ),
    "batch of 5000 digits": Bad(extra(f"--max-num-batched-tokens={'9' * 5000}"), "vllm.extra_args[0]"),
    "batch smaller than the context": Bad(extra("--max-num-batched-tokens=2048"), "vllm.extra_args[0]"),
    "more requests than a chunked batch": Bad(
        vllm("enable_lora: false", "max_num_seqs: 600", "extra_args: [--enable-chunked-prefill]"),
        "vllm.max_num_seqs",
    ),
    "more requests than a long context's batch": Bad(
        vllm("enable_lora: false", "max_model_len: 65536", "max_num_seqs: 600"), "vllm.max_num_seqs"
    ),
    "LoRA with chunked prefill": Bad(
        vllm("enable_lora: true", "extra_args: [--enable-chunked-prefill]"), "vllm.extra_args[0]"
    ),
    "prefix caching with a sliding window": Bad(
        "model: mistralai/Mistral-7B-Instruct-v0.1\n"
        + HARDWARE
        + image_of("20250130_0916_RC01")
        + "vllm:\n  extra_args: [--enable-prefix-caching]\n",
        "vllm.extra_args[0]",
    ),
    "CUDA graphs with an encoder": Bad(VISION + "vllm:\n  enforce_eager: false\n", "vllm.enforce_eager"),
    "prefix caching with an encoder": Bad(
        VISION + "vllm:\n  extra_args: [--enable-prefix-caching]\n", "vllm.extra_args[0]"
    ),
    "float8 cache of another kind than the weights": Bad(
        "model: meta-llama/Meta-Llama-3.1-405B-Instruct-FP8\n"
        + "vllm:\n  extra_args: [--kv-cache-dtype=fp8_e5m2]\n",
        "vllm.extra_args[0]",
    ),
    "bitsandbytes without its load format": Bad(extra("--quantization=bitsandbytes"), "vllm.extra_args[0]"),
    "scheduler steps": Bad(extra("--num-scheduler-steps=8", image="v0.12.0"), "vllm.extra_args[0]"),
    "guided decoding's backend": Bad(
        extra("--guided-decoding-backend=outlines", image="v0.12.0"), "vllm.extra_args[0]"
    ),
    "block manager": Bad(extra("--use-v2-block-manager", image="v0.12.0"), "vllm.extra_args[0]"),
    "task": Bad(extra("--task=generate", image="v0.14.0"), "vllm.extra_args[0]"),
    "rope scaling": Bad(extra("'--rope-scaling={}'", image="v0.14.0"), "vllm.extra_args[0]"),
    "batch smaller than its requests": Bad(extra("--max-num-batched-tokens=128"), "vllm.extra_args[0]"),
}


def error_of(case: Bad, folder: Path) -> StackError:
    """The error of a case; the file is ``stacks/bad.yaml`` below the working directory ``folder``."""
    path = Path("stacks/bad.yaml")
    os.chdir(folder)
    path.parent.mkdir(exist_ok=True)
    content = case.content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with few_models(), pytest.raises(StackError) as caught:
        plan(load_stack_file(path), region=case.region, source=str(path))
    return caught.value


def expected_texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for block in EXPECTED.read_text(encoding="utf-8").split("\n\n=== "):
        name, _, text = block.removeprefix("=== ").partition("\n")
        texts[name] = text.rstrip("\n")
    return texts


TEXTS = expected_texts() if EXPECTED.exists() else {}


@pytest.mark.parametrize("name", CASES)
def test_exact_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = error_of(CASES[name], tmp_path)
    assert f"{type(error).__name__}\n{error}" == TEXTS[name]


@pytest.mark.parametrize("name", CASES)
def test_names_file_key_and_value(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    error = error_of(case, tmp_path)
    assert "stacks/bad.yaml" in str(error)
    assert case.key in str(error)
    assert case.key in {problem.key for problem in error.problems} or not case.key
    for problem in error.problems:
        assert problem.remedy
        assert problem.file == "stacks/bad.yaml"
        assert problem.problem.endswith("."), problem.problem
        assert "\n" not in problem.remedy


def test_there_are_enough_and_none_is_left_over() -> None:
    assert len(CASES) >= 45
    assert set(TEXTS) == set(CASES)


def test_missing_file_names_those_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stacks").mkdir()
    for name in ("llama-3.2-1b.l4x1.yaml", "meta-llama-3.1-8b-instruct.l4x1.yaml", "notes.txt"):
        Path("stacks", name).write_text(GOOD)
    with pytest.raises(StackError) as caught:
        load_stack_file(Path("stacks/meta-llama-3.1-8b-instruct.yaml"))
    assert str(caught.value) == (
        "stacks/meta-llama-3.1-8b-instruct.yaml: there is no such file.\n"
        "    choices: stacks/meta-llama-3.1-8b-instruct.l4x1.yaml, stacks/llama-3.2-1b.l4x1.yaml\n"
        "    fix: use stacks/meta-llama-3.1-8b-instruct.l4x1.yaml"
    )


def test_missing_folder_falls_back_to_the_projects_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stacks").mkdir()
    Path("stacks/llama-3.2-1b.l4x1.yaml").write_text(GOOD)
    with pytest.raises(StackError, match=r"use stacks/llama-3\.2-1b\.l4x1\.yaml"):
        load_stack_file(Path("stack/llama-3.2-1b.yaml"))


def test_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stacks").mkdir()
    Path("stacks/a.yaml").write_text(GOOD)
    with pytest.raises(StackError) as caught:
        load_stack_file(Path("stacks"))
    assert str(caught.value) == (
        "stacks: is a directory, not a stack file.\n    choices: stacks/a.yaml\n    fix: name one file in it"
    )


def test_a_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.safetensors").write_bytes(b"\0" * (1 << 20) + b"\0")
    with pytest.raises(StackError, match=r"has 1,048,577 bytes; a stack file has a few hundred"):
        load_stack_file(Path("model.safetensors"))


def write_expected() -> None:
    blocks = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            error = error_of(case, Path(folder))
            blocks.append(f"=== {name}\n{type(error).__name__}\n{error}")
    EXPECTED.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_expected()

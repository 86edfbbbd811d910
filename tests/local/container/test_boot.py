"""How a container starts: the guide's models, every failure in vLLM's words, lines by version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.container import ContainerRequest
from infra.local.container.images import vllm_version
from infra.recipes import catalog, load_stack_file, plan
from tests.local.container.conftest import (
    BASE,
    FORK,
    LLAMA,
    SERVER,
    VISION,
    Objects,
    container_request,
    start,
    written,
)

A100 = ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)
T4 = ("n1-standard-8", "NVIDIA_TESLA_T4", 1)
OLD = f"{FORK}:20241016_0916_RC00_maas"
V1 = f"{FORK}:20250506_0916_RC01"
NEW = f"{FORK}:20250710_0916_RC01"
STACKS = sorted((Path(__file__).parents[3] / "stacks").glob("*.yaml"))


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_every_stack_file_starts(path: Path) -> None:
    serving = plan(load_stack_file(path), region="us-central1", source="vertex-vllm")
    hardware = serving.machine
    container = serving.container
    stack = load_stack_file(path)
    result = start(
        ContainerRequest(
            container.image_uri,
            command=tuple(container.command),
            args=tuple(container.args),
            env={**container.env, "HF_TOKEN": "hf_local"},
            machine_type=hardware.machine_type,
            accelerator_type=stack.hardware.accelerator_type,
            accelerator_count=stack.hardware.accelerator_count,
        )
    )
    assert result.ok, written(result)
    assert result.lines[-1].text == "INFO:     Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)"


def _fails(*extra: str, objects: Any = None, **fields: Any) -> str:
    result = start(container_request(*extra, **fields), objects)
    assert not result.ok
    assert result.error == "Model server exited unexpectedly."
    assert any(line.severity == "ERROR" for line in result.lines)
    return written(result)


def test_start_lines_of_v0() -> None:
    text = written(start(container_request("--enforce-eager", "--max-num-seqs=256", image=OLD)))
    assert "vLLM API server version 0.6.2" in text
    assert f"Initializing an LLM engine (v0.6.2) with config: model='{LLAMA}'" in text
    assert "Loading model weights took 14.9888 GB" in text
    assert "# GPU blocks: " in text
    assert "GPU KV cache size" not in text
    assert "Route: /generate, Methods: POST" in text


def test_start_lines_of_v1() -> None:
    text = written(start(container_request("--enforce-eager", image=NEW)))
    assert "Initializing a V1 LLM engine (v0.9.2)" in text
    assert "Model loading took 14.9888 GiB and " in text
    assert "Available KV cache memory: " in text
    assert " tokens\n" in text[text.index("GPU KV cache size: ") :]
    assert "Maximum concurrency for 4,096 tokens per request: " in text
    assert "Starting vLLM API server 0 on http://0.0.0.0:8080" in text


def test_v0_on_an_old_gpu_prints_where_the_memory_went() -> None:
    small = "meta-llama/Llama-3.2-1B-Instruct"
    text = written(start(container_request("--dtype=half", model=small, image=V1, machine=T4)))
    assert (
        "the current vLLM instance can use total_gpu_memory (14.56GiB) x gpu_memory_utilization (0.90)"
        in text
    )
    assert "the rest of the memory reserved for KV Cache is " in text
    assert "# cuda blocks: " in text


def test_the_token_never_appears_in_the_lines() -> None:
    assert "hf_secret" not in written(start(container_request(env={"HF_TOKEN": "hf_secret"})))


def test_an_unknown_flag() -> None:
    text = _fails("--foo=1")
    assert "usage: api_server.py [-h]" in text
    assert "api_server.py: error: unrecognized arguments: --foo=1" in text


def test_args_without_a_program() -> None:
    result = start(ContainerRequest(f"{FORK}:20241001_0916_RC00", args=("--model=m",), accelerator_count=1))
    assert not result.ok
    assert 'exec: "--model=m": executable file not found in $PATH' in written(result)


def test_a_gated_repository_without_a_token() -> None:
    text = _fails(env={})
    assert "huggingface_hub.errors.GatedRepoError: 401 Client Error." in text
    assert "OSError: You are trying to access a gated repo." in text
    assert f"Access to model {LLAMA} is restricted. You must have access to it and be authenticated" in text


def test_a_gated_repository_with_a_token_that_may_not_read_it() -> None:
    text = _fails(env={"HF_TOKEN": "hf_denied_reader"})
    assert "huggingface_hub.errors.GatedRepoError: 403 Client Error." in text
    assert "is restricted and you are not in the authorized list." in text


def test_a_token_that_is_none() -> None:
    text = _fails(env={"HF_TOKEN": "sk-123"})
    assert "401 Client Error: Unauthorized for url: https://huggingface.co/" in text
    assert "Invalid credentials in Authorization header" in text


def test_a_repository_that_does_not_exist() -> None:
    text = _fails(model="meta-llama/Llama-9")
    assert "OSError: meta-llama/Llama-9 is not a local folder and is not a valid model identifier" in text


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
WEIGHTS = {"gs://b/m/config.json": json.dumps(CONFIG).encode(), "gs://b/m/model.safetensors": b"."}


def test_weights_in_a_bucket_need_no_token() -> None:
    assert start(container_request(model="gs://b/m", env={"MODEL_ID": LLAMA}), Objects(WEIGHTS)).ok


def test_weights_of_a_model_outside_the_catalogue_are_known_by_their_config() -> None:
    result = start(container_request(model="gs://b/m/", env={}, max_model_len=None), Objects(WEIGHTS))
    assert result.ok, written(result)
    assert "max_seq_len=8192" in written(result)
    assert "Loading model weights took 2.3" in written(result)


@pytest.mark.parametrize(
    ("files", "model", "text"),
    [
        (
            {},
            "gs://b/m",
            "gs://b/m does not appear to have a file named config.json (0 objects below gs://b/m/)",
        ),
        (
            {"gs://b/m/config.json": b"{}"},
            "gs://b/m",
            "RuntimeError: Cannot find any model weights with `gs://b/m`",
        ),
        ({**WEIGHTS, "gs://b/m/config.json": b"nonsense"}, "gs://b/m", "is not a valid JSON file of a model"),
        (
            {**WEIGHTS, "gs://b/m/config.json": b"{}"},
            "gs://b/m",
            "is not a valid JSON file of a model: 'hidden_size'",
        ),
        (WEIGHTS, "gs://denied/m", "Forbidden: 403 GET https://storage.googleapis.com/storage/v1/b/denied/o"),
        (WEIGHTS, "/models/llama", "Incorrect path_or_model_id: '/models/llama'"),
    ],
)
def test_weights_that_cannot_be_had(files: dict[str, bytes], model: str, text: str) -> None:
    assert text in _fails(model=model, env={}, objects=Objects(files))


def test_cuda_out_of_memory_as_in_the_guide() -> None:
    text = _fails("--max-num-seqs=256", "--enforce-eager", model=VISION, machine=A100)
    assert "CUDA out of memory. Tried to allocate 3.91 GiB. GPU 0 has a total capacity of 39.38 GiB" in text
    assert "torch.cuda.OutOfMemoryError" in text


def test_cuda_out_of_memory_while_loading() -> None:
    text = _fails(model="meta-llama/Meta-Llama-3.1-70B-Instruct", image=NEW)
    assert "torch.OutOfMemoryError: CUDA out of memory." in text
    assert "Engine core initialization failed. See root cause above." in text
    assert "Model loading took" not in text


def test_a_cache_that_is_too_small_in_v0s_words() -> None:
    text = _fails("--gpu-memory-utilization=0.76", "--max-num-seqs=256", image=OLD)
    assert (
        "ValueError: The model's max seq len (4096) is larger than the maximum number of tokens that can be "
        in text
    )
    assert "Try increasing `gpu_memory_utilization` or decreasing `max_model_len`" in text


def test_a_cache_that_is_too_small_in_v1s_words() -> None:
    text = _fails("--gpu-memory-utilization=0.76", "--max-num-seqs=256", image=NEW, max_model_len=100000)
    assert (
        "To serve at least one request with the models's max seq len (100000), (12.21 GiB KV cache is needed"
        in text
    )
    assert "Based on the available memory, the estimated maximum model length is " in text


def test_no_memory_for_a_cache_at_all() -> None:
    assert "No available memory for the cache blocks." in _fails("--gpu-memory-utilization=0.6")


@pytest.mark.parametrize(
    ("extra", "fields", "text"),
    [
        (
            ("--tensor-parallel-size=3",),
            {"machine": ("g2-standard-48", "NVIDIA_L4", 4)},
            "Total number of attention heads (32) must be divisible by tensor parallel size (3).",
        ),
        (
            ("--tensor-parallel-size=2",),
            {},
            "(2 GPUs wanted, the machine g2-standard-12 has 1)",
        ),
        (
            (),
            {"max_model_len": 200000},
            "User-specified max_model_len (200000) is greater than the derived max_model_len "
            "(max_position_embeddings=131072",
        ),
        (
            (),
            {"machine": T4},
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has "
            "compute capability 7.5.",
        ),
        (
            ("--dtype=bfloat16",),
            {"machine": T4, "image": NEW},
            "Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
        ),
        (("--quantization=int3",), {"image": NEW}, "Unknown quantization method: int3. Must be one of ["),
        (
            ("--quantization=fp8", "--dtype=half"),
            {"machine": T4},
            "The quantization method fp8 is not supported for the current GPU. Minimum capability: 80. Current "
            "capability: 75.",
        ),
        (
            ("--quantization=awq", "--tensor-parallel-size=8"),
            {
                "model": "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8",
                "machine": ("a3-highgpu-8g", "NVIDIA_H100_80GB", 8),
            },
            "Quantization method specified in the model config (fbgemm_fp8) does not match",
        ),
        (
            ("--enable-lora", "--max-loras=8", "--max-cpu-loras=1"),
            {},
            "max_cpu_loras (1) must be >= max_loras (8)",
        ),
        (("--enable-lora", "--max-lora-rank=7"), {}, "max_lora_rank (7) must be one of (8, 16, 32, 64)."),
        (
            ("--enable-lora", "--max-num-seqs=12"),
            {"model": VISION, "machine": A100},
            "Model MllamaForConditionalGeneration does not support LoRA, but LoRA is enabled.",
        ),
        (
            ("--chat-template=/templates/mine.jinja",),
            {},
            "The supplied chat template (/templates/mine.jinja) looks like a file path, but it failed to be opened.",
        ),
        (("--chat-template=gs://b/none.jinja",), {"objects": Objects()}, "looks like a file path"),
        (("--enable-auto-tool-choice",), {}, "Error: --enable-auto-tool-choice requires --tool-call-parser"),
        (
            ("--enable-auto-tool-choice", "--tool-call-parser=qwen3_coder"),
            {"image": V1},
            "KeyError: 'invalid tool call parser: qwen3_coder (chose from { granite,",
        ),
        (
            ("--max-num-batched-tokens=1024",),
            {},
            "max_num_batched_tokens (1024) is smaller than max_model_len (4096).",
        ),
        (
            ("--max-num-batched-tokens=8192", "--max-num-seqs=9000"),
            {},
            "max_num_batched_tokens (8192) must be greater than or equal to max_num_seqs (9000).",
        ),
        ((), {"machine": ("n1-standard-4", "", 0)}, "RuntimeError: Failed to infer device type"),
    ],
)
def test_checks_in_vllms_words(extra: tuple[str, ...], fields: dict[str, Any], text: str) -> None:
    assert text in _fails(*extra, **fields)


def test_a_half_precision_is_chosen_by_itself_on_old_gpus_from_0_9() -> None:
    small = "meta-llama/Llama-3.2-1B-Instruct"
    result = start(container_request("--max-num-seqs=64", model=small, image=NEW, machine=T4))
    assert result.ok, written(result)
    assert "dtype=torch.float16" in written(result)


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0]['content'] }}", "gs://b/t.jinja", "/vllm-workspace/examples/template_chatml.jinja"],
)
def test_templates_that_are_there(template: str) -> None:
    objects = Objects({"gs://b/t.jinja": b"{{ messages }}"})
    assert start(container_request(f"--chat-template={template}", model=BASE), objects).ok


@pytest.mark.parametrize(
    ("args", "fields", "text"),
    [
        ((*SERVER[:4], "--port=7080", f"--model={LLAMA}"), {}, "listens on port 7080, Vertex AI probes"),
        (
            (*SERVER[:3], "--host=127.0.0.1", "--port=8080", f"--model={LLAMA}"),
            {},
            "loopback only: pass --host=0.0.0.0",
        ),
        ((*SERVER, f"--model={LLAMA}"), {"health_route": "/healthz"}, "healthRoute /healthz answers 404"),
    ],
)
def test_a_server_that_vertex_ai_cannot_reach(
    args: tuple[str, ...], fields: dict[str, Any], text: str
) -> None:
    request = ContainerRequest(
        f"{FORK}:20241001_0916_RC00",
        args=(*args, "--max-model-len=4096"),
        env={"HF_TOKEN": "hf_x"},
        machine_type="g2-standard-12",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
        **fields,
    )
    result = start(request)
    assert not result.ok
    assert result.error.startswith("model server never became ready.")
    assert text in written(result)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"{FORK}:20241001_0916_RC00", "0.6.2"),
        (f"{FORK}:20250506_0916_RC01", "0.8.5.post1"),
        (f"{FORK}:20250508_1200_RC09", "0.8.5.post1"),
        ("docker.io/vllm/vllm-openai:v0.9.2", "0.9.2"),
        ("vllm/vllm-openai:v0.8.5.post1-x86", "0.8.5.post1"),
    ],
)
def test_the_version_of_an_image(image: str, version: str) -> None:
    assert vllm_version(image) == version


def test_an_image_nobody_knows_is_taken_for_the_newest_known_version() -> None:
    assert vllm_version("us-docker.pkg.dev/p/r/mine:latest") == catalog().flag_versions()[-1]

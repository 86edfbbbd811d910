"""The figures of vLLM's start-up lines. The logs are shortened from published ones; the version is named with each."""

from __future__ import annotations

from infra.diagnose.readings import Readings, read

V0_063 = """\
INFO 10-01 10:00:00 model_runner.py:1025] Loading model weights took 14.9888 GB
INFO 10-01 10:00:05 gpu_executor.py:122] # GPU blocks: 9930, # CPU blocks: 2048
"""
V0_064 = """\
INFO 12-06 11:39:34 model_runner.py:1077] Loading model weights took 2.6419 GB
INFO 12-06 11:39:36 worker.py:232] Memory profiling results: total_gpu_memory=7.92GiB initial_memory_usage=3.09GiB \
peak_torch_memory=3.12GiB memory_usage_post_profile=3.12GiB non_torch_memory=0.47GiB kv_cache_size=3.54GiB \
gpu_memory_utilization=0.90
INFO 12-06 11:39:36 gpu_executor.py:113] # GPU blocks: 1207, # CPU blocks: 1365
INFO 12-06 11:39:36 gpu_executor.py:117] Maximum concurrency for 2048 tokens per request: 9.43x
"""
V0_066 = """\
INFO 12-22 10:55:34 worker.py:241] Loading model weights took 8.5107 GB
INFO 12-22 10:55:34 worker.py:241] Memory profiling takes 0.69 seconds
INFO 12-22 10:55:34 worker.py:241] the current vLLM instance can use total_gpu_memory (79.25GiB) x \
gpu_memory_utilization (0.15) = 11.89GiB
INFO 12-22 10:55:34 worker.py:241] model weights take 8.51GiB; non_torch_memory takes 0.26GiB; PyTorch activation \
peak memory takes 0.94GiB; the rest of the memory reserved for KV Cache is 2.18GiB.
INFO 12-22 10:55:35 gpu_executor.py:76] # GPU blocks: 715, # CPU blocks: 1310
INFO 12-22 10:55:35 gpu_executor.py:80] Maximum concurrency for 2048 tokens per request: 5.59x
INFO 12-22 10:55:40 model_runner.py:1413] Graph capturing finished in 5 secs, took 0.27 GiB
"""
V0_010 = """\
INFO 08-12 22:32:09 [model_runner.py:1115] Model loading took 0.5151 GiB and 3.479114 seconds
INFO 08-12 22:32:11 [worker.py:295] the current vLLM instance can use total_gpu_memory (47.50GiB) x \
gpu_memory_utilization (0.78) = 37.18GiB
INFO 08-12 22:32:11 [worker.py:295] model weights take 0.52GiB; non_torch_memory takes 0.08GiB; PyTorch activation \
peak memory takes 1.78GiB; the rest of the memory reserved for KV Cache is 34.81GiB.
INFO 08-12 22:32:11 [executor_base.py:113] # cuda blocks: 190100, # CPU blocks: 0
"""
V1_0102 = """\
INFO [gpu_model_runner.py:2007] Model loading took 14.0807 GiB and 2.511 seconds
(EngineCore_DP0 pid=3021) INFO [gpu_worker.py:298] Available KV cache memory: 55.15 GiB
(EngineCore_DP0 pid=3021) INFO [kv_cache_utils.py:864] GPU KV cache size: 451,744 tokens
(EngineCore_DP0 pid=3021) INFO [kv_cache_utils.py:868] Maximum concurrency for 8,192 tokens per \
request: 55.14x
(EngineCore_DP0 pid=3021) INFO [gpu_model_runner.py:3118] Graph capturing finished in 5 secs, took 0.67 GiB
(EngineCore_DP0 pid=3021) INFO [gpu_worker.py:391] Free memory on device (78.66/79.19 GiB) on startup. \
Desired GPU memory utilization is (0.9, 71.27 GiB). Actual usage is 14.08 GiB for weight, 1.97 GiB for peak \
activation, 0.07 GiB for non-torch memory, and 0.67 GiB for CUDAGraph memory. Replace gpu_memory_utilization config \
with `--kv-cache-memory=58333988249` to fit into requested memory.
"""
V1_019 = """\
(EngineCore pid=1) INFO 03-14 09:12:55 [gpu_model_runner.py:4566] Model loading took 14.99 GiB memory and 3.2 seconds
(EngineCore pid=1) INFO 03-14 09:13:05 [gpu_model_runner.py:5900] Estimated CUDA graph memory: 0.84 GiB total
(EngineCore pid=1) DEBUG 03-14 09:13:06 [gpu_worker.py:430] Memory profiling takes 9.10 seconds. Total non KV cache \
memory: 17.13GiB; torch peak memory increase: 1.89GiB; non-torch forward increase memory: 0.25GiB; weights memory: \
14.99GiB.
(EngineCore pid=1) INFO 03-14 09:13:06 [gpu_worker.py:436] Available KV cache memory: 58.11 GiB
(EngineCore pid=1) INFO 03-14 09:13:06 [kv_cache_utils.py:1319] GPU KV cache size: 476,016 tokens
"""
V1_032 = """\
(EngineCore pid=326) INFO 10-06 17:00:20 [model_runner.py:425] Model loading took 14.99 GiB memory and 2.100000 seconds
(EngineCore pid=326) INFO 10-06 17:00:33 [gpu_worker.py:692] Available KV cache memory: 56.21 GiB
(EngineCore pid=326) INFO 10-06 17:00:33 [kv_cache_utils.py:2464] GPU KV cache size: 460,496 tokens, Maximum \
concurrency for 131,072 tokens per request: 3.51x
(EngineCore pid=326) INFO 10-06 17:00:41 [gpu_worker.py:955] Free memory on device (78.84/79.25 GiB) on startup. \
Desired GPU memory utilization is (0.92, 72.91 GiB). Actual usage is 15.26 GiB for consumed memory (weights + \
non-torch), 1.44 GiB for peak activation, and 0.23 GiB for CUDAGraph memory.
"""


def test_v0_to_063() -> None:
    assert read(V0_063) == Readings(weights=14.9888, blocks=9930, outcome="ok")


def test_v0_064() -> None:
    assert read(V0_064) == Readings(
        total=7.92, weights=2.6419, non_torch=0.47, kv=3.54, blocks=1207, max_concurrency=9.43, outcome="ok"
    )


def test_v0_from_065() -> None:
    assert read(V0_066) == Readings(
        total=79.25,
        weights=8.5107,
        activation=0.94,
        non_torch=0.26,
        graphs=0.27,
        kv=2.18,
        blocks=715,
        max_concurrency=5.59,
        outcome="ok",
    )
    later = read(V0_010)
    assert (later.weights, later.activation, later.kv, later.blocks) == (0.5151, 1.78, 34.81, 190100)


def test_v1_0102_prints_actual_usage() -> None:
    assert read(V1_0102) == Readings(
        total=79.19,
        init_free=78.66,
        weights=14.0807,
        activation=1.97,
        non_torch=0.07,
        graphs=0.67,
        kv=55.15,
        kv_tokens=451744,
        max_concurrency=55.14,
        outcome="ok",
    )


def test_v1_019_estimates_graphs_and_says_the_rest_in_debug_lines() -> None:
    assert read(V1_019) == Readings(
        weights=14.99,
        activation=1.89,
        non_torch=0.25,
        graph_estimate=0.84,
        kv=58.11,
        kv_tokens=476016,
        outcome="ok",
    )


def test_from_027_weights_and_non_torch_are_one_figure() -> None:
    found = read(V1_032)
    assert (found.consumed, found.weights, found.non_torch) == (15.26, 14.99, 0.27)
    assert (found.activation, found.graphs, found.graph_estimate) == (1.44, 0.23, None)
    assert (found.kv, found.kv_tokens, found.max_concurrency) == (56.21, 460496, 3.51)
    assert (found.total, found.init_free) == (79.25, 78.84)


def test_from_027_the_estimate_is_taken_out_of_the_peak() -> None:
    log = V1_032 + "[gpu_model_runner.py:6475] Estimated CUDA graph memory: 0.40 GiB total\n"
    assert read(log).activation == 1.04


def test_of_many_workers_the_smallest_cache_decides() -> None:
    log = "".join(
        f"(Worker_TP{n}) Available KV cache memory: {gib} GiB\n" for n, gib in enumerate((5.1, 4.9))
    )
    log += "".join(f"GPU KV cache size: {count:,} tokens\n" for count in (40_000, 39_984))
    found = read(log)
    assert (found.kv, found.kv_tokens) == (4.9, 39984)


def test_a_cache_that_is_too_small() -> None:
    v0 = read(
        "ValueError: The model's max seq len (29000) is larger than the maximum number of tokens that can be stored in "
        "KV cache (23648). Try increasing `gpu_memory_utilization`"
    )
    assert (v0.outcome, v0.oom_stage, v0.estimated_max_len) == ("kv_too_small", "kv_cache", 23648)
    for word in ("models's", "model's"):  # to 0.21, from 0.22
        v1 = read(
            f"ValueError: To serve at least one request with the {word} max seq len (131072), (10.12 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (5.59 GiB). Based on the available memory, "
            "the estimated maximum model length is 72400. Try increasing"
        )
        assert (v1.outcome, v1.kv, v1.estimated_max_len) == ("kv_too_small", 5.59, 72400)
    nothing = read(
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
    )
    assert (nothing.outcome, nothing.oom_stage) == ("kv_too_small", "kv_cache (no available memory)")


def test_out_of_memory_and_its_stage() -> None:
    free = read(
        "ValueError: Free memory on device cuda:0 (3.21/4.0 GiB) on startup is less than desired GPU memory "
        "utilization (0.85, 3.4 GiB)."
    )
    assert (free.outcome, free.oom_stage, free.total, free.init_free) == (
        "oom",
        "startup_free_memory_check",
        4.0,
        3.21,
    )
    sampler = read(
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please"
    )
    assert (sampler.outcome, sampler.oom_stage) == ("oom", "sampler_warmup")
    stack = """\
  File "vllm/v1/worker/gpu_worker.py", line 250, in determine_available_memory
  File "vllm/v1/worker/gpu_model_runner.py", line 3000, in profile_run
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.77 GiB.
"""
    assert (read(stack).outcome, read(stack).oom_stage) == ("oom", "profile_run")
    assert read(stack.replace("profile_run", "load_model")).oom_stage == "weight_loading"
    assert read("torch.cuda.OutOfMemoryError: CUDA out of memory.").oom_stage is None


def test_a_sampler_that_fails_after_the_cache_is_out_of_memory() -> None:
    log = (
        V1_019 + "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests."
    )
    found = read(log)
    assert (found.outcome, found.oom_stage, found.kv_tokens) == ("oom", "sampler_warmup", 476016)


def test_another_text_says_nothing() -> None:
    assert read("INFO: Waiting for application startup.") == Readings()
    assert read("INFO: Application startup complete.") == Readings(served=True)

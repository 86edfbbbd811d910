"""The lines that a starting vLLM writes, by version.

Wording is that of the released versions. A line's time, process and source line number are not simulated: a prefix
is level, time of the simulation and module. Tracebacks are cut to their first and last lines.

vLLM's logger writes to stdout, which Cloud Logging shows as INFO whatever the line says; what uvicorn and Python write
themselves goes to stderr, which it shows as ERROR.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from infra.local.container.arguments import Options
from infra.local.container.contract import LogLine
from infra.local.container.dialect import Dialect
from infra.local.container.launch import Launch

# Modules whose lines come from the server's process; newer versions name the process in front of each line.
_SERVER_MODULES: Final = frozenset({"api_server.py", "cli_args.py", "launcher.py", "entry.py"})
# How fast weights come from a machine's disk, for the seconds in a log line; nothing is measured here.
_DISK_GIB_PER_SECOND: Final = 1.5


class Log:
    """Collects the lines of one start."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.lines: list[LogLine] = []

    def info(self, module: str, text: str) -> None:
        """Write one line of vLLM's logger at level INFO."""
        self._write("INFO", module, text)

    def warning(self, module: str, text: str) -> None:
        """Write one line of vLLM's logger at level WARNING."""
        self._write("WARNING", module, text)

    def error(self, text: str) -> None:
        """Write a line as it is to standard error; Cloud Logging shows that as ERROR."""
        self.lines += [LogLine("ERROR", line) for line in text.splitlines()]

    def traceback(self, kind: str, text: str) -> None:
        """Write the first and last line of a Python traceback."""
        self.error("Traceback (most recent call last):")
        self.error(f"{kind}: {text}")

    def result(self) -> tuple[LogLine, ...]:
        """Return every line so far."""
        return tuple(self.lines)

    def _write(self, level: str, module: str, text: str) -> None:
        stamp = datetime.now(UTC).strftime("%m-%d %H:%M:%S")
        place = f"[{module}]" if self.dialect.since("0.8.0") else f"{module}]"
        owner = ""
        if self.dialect.since("0.10.2"):
            owner = "(APIServer pid=1) " if module in _SERVER_MODULES else "(EngineCore pid=132) "
        self.lines += [
            LogLine("INFO", f"{owner}{level} {stamp} {place} {line}") for line in text.splitlines()
        ]


def banner(log: Log, launch: Launch, options: Options) -> None:
    """Write the server's first lines: version and arguments."""
    log.info("api_server.py", f"vLLM API server version {log.dialect.version}")
    if log.dialect.since("0.9.0"):
        shown = {name: value for name, value in options.given.items() if name != "api_key"}
        log.info("cli_args.py", f"non-default args: {shown}")
        return
    shown_args = ", ".join(
        f"{name}={value!r}" for name, value in sorted(options.given.items()) if name != "api_key"
    )
    log.info("api_server.py", f"args: Namespace({shown_args})")


def engine_config(log: Log, engine: str, model: str, dtype: str, length: int, options: Options) -> None:
    """Write the engine's configuration line."""
    version = log.dialect.version
    parts = (
        f"model={model!r}, tokenizer={options.text('tokenizer') or model!r}, dtype={dtype}, max_seq_len={length}, "
        f"tensor_parallel_size={options.whole('tensor_parallel_size', 1)}, "
        f"quantization={options.text('quantization')}, enforce_eager={options.on('enforce_eager')}, "
        f"served_model_name={(options.many('served_model_name') or (model,))[0]}"
    )
    if engine == "V1":
        log.info("core.py", f"Initializing a V1 LLM engine (v{version}) with config: {parts}")
    else:
        kind = "a V0 LLM engine" if log.dialect.since("0.8.0") else "an LLM engine"
        log.info("llm_engine.py", f"Initializing {kind} (v{version}) with config: {parts}")


def loading(log: Log, model: str, gib: float) -> None:
    """Write what loading the weights took, in GiB (called GB up to 0.8.1)."""
    log.info("model_runner.py", f"Starting to load model {model}...")
    seconds = gib / _DISK_GIB_PER_SECOND
    if log.dialect.since("0.14.0"):
        log.info("gpu_model_runner.py", f"Model loading took {gib:.2f} GiB memory and {seconds:.6f} seconds")
    elif log.dialect.since("0.8.0"):
        unit = "GiB" if log.dialect.since("0.8.2") else "GB"
        log.info("gpu_model_runner.py", f"Model loading took {gib:.4f} {unit} and {seconds:.6f} seconds")
    else:
        log.info("model_runner.py", f"Loading model weights took {gib:.4f} GB")


def profiled_v0(
    log: Log, total: float, utilization: float, weights: float, other: float, peak: float, kv: float
) -> None:
    """Write V0's memory line (0.6.5 and later)."""
    if log.dialect.since("0.6.5"):
        log.info(
            "worker.py",
            f"the current vLLM instance can use total_gpu_memory ({total:.2f}GiB) x gpu_memory_utilization "
            f"({utilization:.2f}) = {total * utilization:.2f}GiB\n"
            f"model weights take {weights:.2f}GiB; non_torch_memory takes {other:.2f}GiB; PyTorch activation peak "
            f"memory takes {peak:.2f}GiB; the rest of the memory reserved for KV Cache is {kv:.2f}GiB.",
        )


def cache_v0(log: Log, blocks: int, swap_blocks: int, length: int, block_size: int) -> None:
    """Write V0's cache lines: blocks of 16 tokens."""
    if log.dialect.since("0.7.0"):
        log.info("executor_base.py", f"# cuda blocks: {blocks}, # CPU blocks: {swap_blocks}")
    else:
        log.info("gpu_executor.py", f"# GPU blocks: {blocks}, # CPU blocks: {swap_blocks}")
    if log.dialect.since("0.6.3"):
        ratio = blocks * block_size / length
        log.info("executor_base.py", f"Maximum concurrency for {length} tokens per request: {ratio:.2f}x")


def cache_v1(log: Log, kv: float, tokens: int, length: int) -> None:
    """Write V1's cache lines; one line for tokens and concurrency from 0.28 on."""
    if log.dialect.since("0.9.1"):
        log.info("gpu_worker.py", f"Available KV cache memory: {kv:.2f} GiB")
    size = f"GPU KV cache size: {tokens:,} tokens"
    ratio = f"Maximum concurrency for {length:,} tokens per request: {tokens / length:.2f}x"
    if log.dialect.since("0.28.0"):
        log.info("kv_cache_utils.py", f"{size}, {ratio}")
    else:
        log.info("kv_cache_utils.py", size)
        log.info("kv_cache_utils.py", ratio)


def graphs(log: Log, gib: float) -> None:
    """Write that CUDA graphs were captured."""
    if not log.dialect.since("0.8.0"):
        text = "Capturing cudagraphs for decoding. This may lead to unexpected consequences if the model is not static."
        log.info("model_runner.py", text)
    took = f", took {gib:.2f} GiB" if log.dialect.since("0.7.0") else "."
    log.info("model_runner.py", f"Graph capturing finished in 20 secs{took}")


def serving(log: Log, routes: tuple[tuple[str, str], ...], host: str, port: int) -> None:
    """Write the routes and uvicorn's lines, the last of a good start."""
    address = f"http://{host}:{port}"
    if log.dialect.since("0.20.0"):
        log.info("entry.py", f"Starting vLLM server on {address}")
    elif log.dialect.since("0.9.0"):
        log.info("api_server.py", f"Starting vLLM API server 0 on {address}")
    elif log.dialect.since("0.7.3"):
        log.info("api_server.py", f"Starting vLLM API server on {address}")
    log.info("launcher.py", "Available routes are:")
    for path, methods in routes:
        log.info("launcher.py", f"Route: {path}, Methods: {methods}")
    log.error("INFO:     Started server process [1]")
    log.error("INFO:     Waiting for application startup.")
    log.error("INFO:     Application startup complete.")
    if not log.dialect.since("0.7.3"):
        log.error(f"INFO:     Uvicorn running on {address} (Press CTRL+C to quit)")

"""The start of a simulated vLLM container: every check that vLLM makes, in its order, with its lines.

Nothing runs: the verdict on memory is :mod:`infra.fit`'s, the model's numbers are the catalogue's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from infra.cards import ModelCard
from infra.fit import Fit, Gpu, predict
from infra.fit import Options as FitOptions
from infra.local.container import checks, failures, lines
from infra.local.container.adapters import Adapters
from infra.local.container.arguments import ArgumentsRefused, Options, parse
from infra.local.container.contract import ContainerRequest, LogLine, ObjectReader
from infra.local.container.dialect import dialect
from infra.local.container.engine import Engine
from infra.local.container.hardware import container_gpu
from infra.local.container.hub import ModelUnavailable, find_model
from infra.local.container.images import vllm_version
from infra.local.container.launch import Launch, LaunchFailed, plan_launch
from infra.recipes.adapters import DEFAULT_RANK
from infra.recipes.catalog import catalog

EXITED: Final = "Model server exited unexpectedly."
NEVER_READY: Final = (
    "model server never became ready. Please validate that your model file or container configuration are "
    "valid."
)
# What the container listens on when --port is not given: arg_utils.py and api_server.py of every wheel.
_DEFAULT_PORT: Final = 8000


class StartFailed(Exception):
    """vLLM ends: ``kind`` and ``text`` are the last line of its traceback, ``before`` the lines that come first.

    ``in_engine`` says that V1's engine process failed, which its server repeats in words of its own.
    """

    def __init__(self, kind: str, text: str, *before: str, in_engine: bool = False) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.before = before
        self.in_engine = in_engine


@dataclass(frozen=True)
class Boot:
    """How a start went: its lines, the engine when it serves, and Vertex AI's error text when it does not."""

    lines: tuple[LogLine, ...]
    engine: Engine | None
    error: str = ""
    fit: Fit | None = None


def boot(request: ContainerRequest, objects: ObjectReader | None) -> Boot:
    """Start a container.

    Args:
        request: what to start and on which machine.
        objects: reads ``gs://`` objects with the container's rights; None when there is no storage.
    """
    version = vllm_version(request.image_uri)
    log = lines.Log(dialect(version))
    env = dict(request.env)
    if request.artifact_uri:
        env.setdefault("AIP_STORAGE_URI", request.artifact_uri)
    request = replace(request, env=env)
    try:
        launch = plan_launch(request)
    except LaunchFailed as error:
        for line in error.lines:
            log.error(line)
        return Boot(log.result(), None, EXITED)
    try:
        options = parse(launch, version)
    except ArgumentsRefused as error:
        for line in error.lines:
            log.error(line)
        return Boot(log.result(), None, EXITED)
    try:
        engine, fit = _start(request, launch, options, log, objects)
    except StartFailed as failed:
        for line in failed.before:
            log.error(line)
        log.traceback(failed.kind, failed.text)
        if failed.in_engine and log.dialect.since("0.8.4"):
            log.error("RuntimeError: Engine core initialization failed. See root cause above.")
        return Boot(log.result(), None, EXITED)
    problem = _unreachable(request, options, engine)
    if problem is not None:
        log.warning("launcher.py", problem)
        return Boot(log.result(), None, NEVER_READY, fit)
    return Boot(log.result(), engine, "", fit)


def _start(
    request: ContainerRequest, launch: Launch, options: Options, log: lines.Log, objects: ObjectReader | None
) -> tuple[Engine, Fit]:
    lines.banner(log, launch, options)
    _check_tools(launch, options, log)
    template = _chat_template(request, options, objects)
    try:
        source = find_model(options.model, request.env, objects)
    except ModelUnavailable as missing:
        raise StartFailed(missing.kind, missing.text, *missing.before) from None
    card = source.card
    gpu = container_gpu(request)
    length = checks.length(card, options, request.env)
    for problem in checks.problems(card, options, request, gpu, log):
        raise StartFailed(problem.kind, problem.text)
    assert gpu is not None
    fit = predict(card, gpu, fit_options(options, launch, length), log.dialect.version)
    lines.engine_config(
        log, fit.engine, options.model, checks.dtype(card, options, gpu, log), length, options
    )
    _memory(fit, options, log, gpu)
    host, port = options.text("host") or "0.0.0.0", options.whole("port", _DEFAULT_PORT)
    engine = _engine(launch, options, card, fit, log, template, objects)
    lines.serving(log, _routes(engine), host, port)
    return engine, fit


def fit_options(options: Options, launch: Launch, length: int) -> FitOptions:
    """Turn parsed arguments into what the memory arithmetic wants."""
    chunked = options.given.get("enable_chunked_prefill")
    return FitOptions(
        max_model_len=length,
        max_num_seqs=options.maybe_whole("max_num_seqs"),
        max_num_batched_tokens=options.maybe_whole("max_num_batched_tokens"),
        gpu_memory_utilization=options.given.get("gpu_memory_utilization"),
        tensor_parallel_size=options.whole("tensor_parallel_size", 1),
        pipeline_parallel_size=options.whole("pipeline_parallel_size", 1),
        dtype=options.text("dtype") or "auto",
        kv_cache_dtype=options.text("kv_cache_dtype") or "auto",
        enforce_eager=options.on("enforce_eager"),
        enable_lora=options.on("enable_lora"),
        max_loras=options.whole("max_loras", 1),
        max_lora_rank=options.whole("max_lora_rank", DEFAULT_RANK),
        enable_chunked_prefill=None if chunked is None else str(chunked).lower() == "true",
        block_size=options.whole("block_size", 16),
        usage="openai" if launch.server == "openai" else "api_server",
    )


def _memory(fit: Fit, options: Options, log: lines.Log, gpu: Gpu) -> None:
    """Write what the memory allows, up to the failure if there is one."""
    oom, in_engine = fit.oom, fit.engine == "V1"
    # torch 2.5 renamed the class; vLLM 0.6.2 and 0.6.3 come with torch 2.4.
    out = "torch.OutOfMemoryError" if log.dialect.since("0.6.4") else "torch.cuda.OutOfMemoryError"
    if oom is not None and oom.stage == "load":
        raise StartFailed(out, failures.out_of_memory(fit, gpu), in_engine=in_engine)
    lines.loading(log, options.model, fit.weights)
    if oom is not None:
        raise StartFailed(out, failures.out_of_memory(fit, gpu), in_engine=in_engine)
    utilization = fit.budget / fit.total
    if fit.engine == "V0":
        lines.profiled_v0(
            log, fit.total, utilization, fit.weights, fit.non_torch, fit.activation, fit.kv_cache
        )
        swap_gib = options.number("swap_space", 4.0)
        swap = int(swap_gib * 2**30 // (fit.kv_bytes_per_token * fit.block_size))
        lines.cache_v0(log, fit.kv_tokens // fit.block_size, swap, fit.max_model_len, fit.block_size)
    text = failures.cache(fit, log.dialect)
    if text is not None:
        raise StartFailed("ValueError", text, in_engine=in_engine)
    if fit.engine == "V1":
        lines.cache_v1(log, fit.kv_cache, fit.kv_tokens, fit.max_model_len)
    if not options.on("enforce_eager"):
        lines.graphs(log, max(fit.graphs, 0.3))


def _check_tools(launch: Launch, options: Options, log: lines.Log) -> None:
    """Check the parser of tool calls (``validate_parsed_serve_args`` and ``validate_api_server_args``).

    Raises:
        StartFailed: there is none, or none of this name in the version.
    """
    if not options.on("enable_auto_tool_choice"):
        return
    parser = options.text("tool_call_parser")
    if not parser:
        raise StartFailed("TypeError", "Error: --enable-auto-tool-choice requires --tool-call-parser")
    fork = catalog().fork_flags().get("--tool-call-parser") if launch.fork else None
    known = (*catalog().tool_parsers(log.dialect.version), *(fork.values if fork is not None else ()))
    if parser not in known and not options.text("tool_parser_plugin"):
        raise StartFailed(
            "KeyError", f"'invalid tool call parser: {parser} (chose from {{ {','.join(known)} }})'"
        )


def _chat_template(request: ContainerRequest, options: Options, objects: ObjectReader | None) -> bool:
    """Check ``--chat-template`` as vLLM does and say whether one was given.

    Raises:
        StartFailed: it reads like a path and there is no such file.
    """
    given = options.text("chat_template")
    if given is None:
        return False
    if any(mark in given for mark in "{}\n") or checks.shipped_template(given):
        return True
    if given.startswith("gs://") and objects is not None:
        try:
            if objects.exists(given):
                return True
        except PermissionError as error:
            raise StartFailed("google.api_core.exceptions.Forbidden", f"403 GET {given}: {error}") from None
    raise StartFailed(
        "ValueError",
        f"The supplied chat template ({given}) looks like a file path, but it failed to be opened. Reason: "
        f"[Errno 2] No such file or directory: '{given}'",
        f"FileNotFoundError: [Errno 2] No such file or directory: '{given}'",
    )


def _engine(
    launch: Launch,
    options: Options,
    card: ModelCard,
    fit: Fit,
    log: lines.Log,
    template: bool,
    objects: ObjectReader | None,
) -> Engine:
    names = options.many("served_model_name") or (options.model,)
    modules = dict(item.split("=", 1) for item in options.many("lora_modules") if "=" in item)
    vertex = launch.fork and launch.server == "api_server"
    keys = options.many("api_key") if launch.server == "openai" or vertex else ()
    return Engine(
        model=options.model,
        served_names=names,
        dialect=log.dialect,
        max_model_len=fit.max_model_len,
        vocab_size=card.architecture.vocab_size,
        model_type=checks.model_type(card),
        chat_template=template or card.chat_template,
        multimodal=card.multimodal,
        auto_tools=options.on("enable_auto_tool_choice"),
        tool_call_parser=options.text("tool_call_parser") or "",
        # The flag is new in 0.11: before, every template was taken.
        distrusts_templates=log.dialect.since("0.11.0") and not options.on("trust_request_chat_template"),
        response_role=options.text("response_role") or "assistant",
        api_keys=keys,
        image_limit=checks.image_limit(options),
        vertex=vertex,
        openai=vertex or launch.server == "openai",
        kv_tokens=fit.kv_tokens,
        log_stats=not options.on("disable_log_stats"),
        adapters=_adapters(options, card, log, objects),
        lora_modules=modules,
    )


def _adapters(
    options: Options, card: ModelCard, log: lines.Log, objects: ObjectReader | None
) -> Adapters | None:
    if not options.on("enable_lora"):
        return None
    slots = options.whole("max_loras", 1)
    return Adapters(
        card=card,
        version=log.dialect.version,
        max_rank=options.whole("max_lora_rank", DEFAULT_RANK),
        capacity=options.maybe_whole("max_cpu_loras") or slots,
        biases=options.on("enable_lora_bias"),
        objects=objects,
    )


def _routes(engine: Engine) -> tuple[tuple[str, str], ...]:
    found = [("/health", "GET")]
    if engine.vertex:
        found += [("/ping", "GET"), ("/generate", "POST")]
    elif not engine.openai:
        found += [("/generate", "POST")]
    if engine.openai:
        found += [("/v1/models", "GET"), ("/version", "GET"), ("/v1/chat/completions", "POST")]
        found += [("/v1/completions", "POST"), ("/tokenize", "POST")]
    return tuple(found)


def _unreachable(request: ContainerRequest, options: Options, engine: Engine) -> str | None:
    """Return why Vertex AI's probe would never succeed although the server runs, or None."""
    port = options.whole("port", _DEFAULT_PORT)
    if port != request.port:
        return (
            f"local cloud: the server listens on port {port}, Vertex AI probes containerSpec.ports {request.port}: "
            f"pass --port={request.port}"
        )
    if (options.text("host") or "0.0.0.0") in ("127.0.0.1", "localhost"):
        return "local cloud: the server listens on the container's loopback only: pass --host=0.0.0.0"
    known = {path for path, _ in _routes(engine)} | {"/ping"}
    if request.health_route not in known:
        return (
            f"local cloud: containerSpec.healthRoute {request.health_route} answers 404: this server has "
            f"{', '.join(sorted(known & {'/ping', '/health'}))}"
        )
    return None

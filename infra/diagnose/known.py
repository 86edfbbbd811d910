"""The failures that are known: the words by which each is recognised, what it is, and what to do.

Data. A blank in a pattern stands for any white space, so that a message may be broken over lines. Texts are vLLM's
(0.5 to 0.33), torch's, Hugging Face's, NCCL's and Google's own; ``tests/diagnose/cases`` says where users
reported each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

__all__ = ["KNOWN", "OUT_OF_MEMORY", "STARTED", "Failure", "Weight"]


class Weight(IntEnum):
    """How much a failure says of why a deployment failed; the lowest counts first."""

    CAUSE = 0
    """A server does not outlive it."""
    REQUEST = 1
    """The server runs on, a request fails."""
    PASSING = 2
    """It may have been tried again and gone well."""
    OUTCOME = 3
    """What Vertex AI says of any container that does not serve."""


@dataclass(frozen=True)
class Failure:
    """One known failure.

    Attributes:
        id: Its name, for machines.
        cause: What it is; ``{name}`` is what the pattern found. Half a sentence, without a full stop.
        advice: What to do.
        pattern: The words by which it is recognised.
        weight: How much it says.
    """

    id: str
    cause: str
    advice: str
    pattern: str = field(repr=False)
    weight: Weight = Weight.CAUSE

    def compiled(self) -> re.Pattern[str]:
        """The pattern, with any white space for each blank, whatever the case."""
        return re.compile(self.pattern.replace(" ", r"\s+"), re.IGNORECASE)


_NEWER_IMAGE: Final = "take a newer container.image_uri"
_WHOLE: Final = (
    "remove vllm.tensor_parallel_size and vllm.pipeline_parallel_size, which are then computed from the model and the "
    "GPUs, or take hardware with another number of GPUs."
)
_OWN_IMAGE: Final = (
    "take one of Google's images (container.image_uri), or put into your own what `python -m "
    "vllm.entrypoints.api_server` needs."
)
_BROKEN_IMAGE: Final = (
    "read the traceback below “Error in inspecting model architecture”: packages of the image do not go together. "
    "Google's images (container.image_uri) are whole."
)
_MORE_MEMORY: Final = "take hardware with more GPU memory"

#: A deployment that was given up although its server had started: cause and advice in the place of ``never-ready``'s.
STARTED: Final = (
    "The server started, and did not answer Vertex AI's health check",
    "see that the image answers GET /ping on port 8080: Google's images do, plain vLLM has no /ping.",
)

# Stages of an out-of-memory error, which :mod:`match` tells apart by what the log says before it.
OUT_OF_MEMORY: Final[dict[str, tuple[str, str]]] = {
    "load": (
        "The GPU's memory is too small for the weights: it ran out while they were loaded{tried}",
        "take hardware with more GPUs or more memory a GPU, or a quantised checkpoint of the model.",
    ),
    "profile": (
        "The GPU's memory ran out in the start-up run, which tries the largest batch{tried}",
        "lower vllm.max_num_seqs or vllm.max_model_len, or take hardware with more GPU memory.",
    ),
    "sampler": (
        "The GPU's memory ran out in the sampler, which is tried with vllm.max_num_seqs requests{tried}",
        "lower vllm.max_num_seqs, or lower vllm.gpu_memory_utilization where the KV cache is larger than it need be.",
    ),
    "cache": (
        "The GPU's memory ran out when the KV cache took its share{tried}",
        "lower vllm.gpu_memory_utilization: what vLLM does not count takes more of the GPU than that leaves.",
    ),
    "warm-up": (
        "The GPU's memory ran out in the warm-up, after the KV cache had taken its share{tried}",
        "lower vllm.gpu_memory_utilization.",
    ),
    "graphs": (
        "The GPU's memory ran out while CUDA graphs were captured, after the KV cache had taken its share{tried}",
        "set vllm.enforce_eager: true, or lower vllm.gpu_memory_utilization.",
    ),
    "serving": (
        "The GPU's memory ran out while requests were served{tried}",
        "lower vllm.gpu_memory_utilization, vllm.max_num_seqs or vllm.max_model_len.",
    ),
    "": (
        "The GPU's memory ran out, and the log does not show at which stage{tried}",
        "take hardware with more GPU memory, or, where the weights had been loaded, lower vllm.max_num_seqs or "
        "vllm.max_model_len.",
    ),
}

#: In this order: what says more comes before what says less of the same failure.
KNOWN: Final[tuple[Failure, ...]] = (
    # The KV cache ---------------------------------------------------------------------------------------------------
    Failure(
        "kv-cache-too-small-v0",
        "vllm.max_model_len ({length}) is larger than the {tokens} tokens that fit in the KV cache",
        f"set it to {{tokens}} or less, or raise vllm.gpu_memory_utilization, or {_MORE_MEMORY}.",
        r"max seq len \((?P<length>[\d,]+)\) is larger than the maximum number of tokens that can be stored in"
        r" (?:the )?KV cache \((?P<tokens>[\d,]+)\)",
    ),
    Failure(
        "kv-cache-too-small-v0",
        "vllm.max_model_len is larger than the {tokens} tokens that fit in the KV cache",
        f"set it to {{tokens}} or less, or raise vllm.gpu_memory_utilization, or {_MORE_MEMORY}.",
        r"maximum number of tokens that can be stored in (?:the )?KV cache \((?P<tokens>[\d,]+)\)",
    ),
    Failure(
        "kv-cache-too-small-v1",
        "vllm.max_model_len ({length}) needs a KV cache of {needed} GiB a GPU, and {available} GiB are left",
        f"set it to {{estimate}} or less, or raise vllm.gpu_memory_utilization, or {_MORE_MEMORY}.",
        r"max seq len \((?P<length>[\d,]+)\), \(?(?P<needed>[\d.]+) GiB KV cache is needed, which is larger than the"
        r" available KV cache memory \((?P<available>-?[\d.]+) GiB\)\.? Based on the available memory, the estimated"
        r" maximum model length is (?P<estimate>[\d,]+)",
    ),
    Failure(
        "kv-cache-too-small-v1",
        "vllm.max_model_len ({length}) needs a KV cache of {needed} GiB a GPU, and {available} GiB are left",
        f"lower it in that proportion, or raise vllm.gpu_memory_utilization, or {_MORE_MEMORY}.",
        r"max seq len \((?P<length>[\d,]+)\), \(?(?P<needed>[\d.]+) GiB KV cache is needed, which is larger than the"
        r" available KV cache memory \((?P<available>-?[\d.]+) GiB\)",
    ),
    Failure(
        "kv-cache-too-small-v1",
        "vllm.max_model_len does not fit into the KV cache",
        f"set it to {{estimate}} or less, or {_MORE_MEMORY}.",
        r"estimated maximum model length is (?P<estimate>[\d,]+)",
    ),
    Failure(
        "state-cache-too-small",
        "vllm.max_num_seqs ({sequences}) is more than the {blocks} requests whose state fits into the cache",
        "set it to {blocks} or less.",
        r"max_num_seqs \((?P<sequences>\d+)\) exceeds available Mamba cache blocks \((?P<blocks>\d+)\)",
    ),
    Failure(
        "kv-cache-none",
        "The weights and the start-up run leave no room for the KV cache",
        f"raise vllm.gpu_memory_utilization, lower vllm.max_num_seqs, or {_MORE_MEMORY}.",
        r"No available memory for the cache blocks|Cannot auto-fit max_model_len",
    ),
    Failure(
        "memory-in-use",
        "{free} of {total} GiB of a GPU were free at the start, and vllm.gpu_memory_utilization asks for {wanted}",
        "lower vllm.gpu_memory_utilization to what is free.",
        r"Free memory on device (?:\S+ )?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than"
        r" (?:desired GPU memory utilization|the engine's budget) \((?P<share>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
    ),
    Failure(
        "memory-profile-disturbed",
        "Another process freed memory of the GPU during vLLM's start-up run, so that it could not measure",
        "run `pulumi up` again.",
        r"Error in memory profiling\b",
    ),
    # Where the weights come from --------------------------------------------------------------------------------------
    Failure(
        "gated-repository",
        "Hugging Face refused the download",
        "accept the model's licence there, then run `pulumi config set --secret vertex-vllm:hfToken` and give it a "
        "token of that account that may read it.",
        r"GatedRepoError|you are trying to access a gated repo|Cannot access gated repo|awaiting a review"
        r"|Access to model \S+ is restricted",
    ),
    Failure(
        "bucket-permission",
        "The account has no {permission} on the bucket",
        "grant it roles/storage.objectViewer on the bucket that weights: names (vertex-vllm:grants: least does that), "
        "or check the bucket's name. A grant takes two to seven minutes to work.",
        r"does not have [`\[]*(?P<permission>storage\.(?:objects|buckets)\.\w+)[^\n]{0,40}?"
        r" (?:access|IAM permission)",
    ),
    Failure(
        "bucket-permission",
        "The account has no {permission} on the bucket",
        "grant it roles/storage.objectViewer on the bucket that weights: names, or check the bucket's name.",
        r"Permission '(?P<permission>storage\.(?:objects|buckets)\.\w+)' denied",
    ),
    Failure(
        "weights-path-not-read",
        "The server took the gs:// path of the weights for the name of a repository: this image does not read buckets",
        "take one of Google's images (container.image_uri), whose entry point copies the weights first, and let no "
        "command of your own replace it.",
        r"(?:Repo id must be in the form|Incorrect path_or_model_id:)[^\n]{0,60}'gs://",
    ),
    Failure(
        "weights-path-missing",
        "There is no {path} in the container, and it is no name of a repository",
        "write weights: huggingface, or weights: gs://bucket/prefix.",
        r"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '(?P<path>[^'\n]+)'",
    ),
    Failure(
        "repository-missing",
        "Hugging Face has no such repository, or not for this token",
        "check model:, and that vertex-vllm:hfToken may read it if it is private.",
        r"RepositoryNotFoundError|Repository Not Found for url|is not a local folder and is not a valid model"
        r" identifier|Invalid repository ID or local directory specified",
    ),
    Failure(
        "weights-missing",
        "{path} holds no file of weights that vLLM can load",
        "copy the *.safetensors files to where weights: points, and take --load-format out of vllm.extra_args.",
        r"Cannot find any model weights with [`']?(?P<path>[^`'\s]+)",
    ),
    Failure(
        "model-file-missing",
        "{path} has no file {file}",
        "copy the whole repository of the model to where weights: points, its *.json files too, or correct the path.",
        r"(?<!\S)(?P<path>\S+) does not appear to have a file named (?P<file>(?!adapter_)[\w.-]+\.\w+)",
    ),
    Failure(
        "weights-broken",
        "A file of weights is cut off or is only a pointer to the real one",
        "copy the weights again (with git clone: after `git lfs install`).",
        r"SafetensorError: Error while deserializing header",
    ),
    Failure(
        "hub-refused",
        "Hugging Face refused the download",
        "accept the model's licence there, then run `pulumi config set --secret vertex-vllm:hfToken` and give it a "
        "token of that account that may read it.",
        r"\b40[13] Client Error\b[^\n]{0,60}://(?:[\w.-]+\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/"
        r"|\b40[13] Client Error\. \(Request ID: ",
    ),
    # Arguments --------------------------------------------------------------------------------------------------------
    Failure(
        "unknown-flag",
        "The image's vLLM does not know {arguments}",
        "take it out of vllm.extra_args, or choose an image that knows it.",
        r"unrecognized arguments: (?P<arguments>\S[^\n]*)",
    ),
    Failure(
        "refused-argument",
        "vLLM refused its argument {flag} ({why})",
        "correct it in the stack file.",
        r"error: argument (?P<flag>\S+): (?P<why>\S[^\n]*)",
    ),
    Failure(
        "entry-point-missing",
        "The image has no {module}, with which the container is started",
        _OWN_IMAGE,
        r"Error while finding module specification for '(?P<module>vllm[\w.]*)'",
    ),
    Failure(
        "entry-point-missing",
        "The image has no {module}, with which the container is started",
        _OWN_IMAGE,
        r"No module named '?(?P<module>vllm(?:\.entrypoints[\w.]*)?)'?(?![\w.'])",
    ),
    Failure(
        "entry-point-missing",
        "The image has no {module}, with which the container is started",
        _OWN_IMAGE,
        r'exec: "(?P<module>[^"\n]+)": executable file not found',
    ),
    Failure(
        "tool-parser-missing",
        "Tool calls were turned on without the parser that reads them",
        "set vllm.tool_calling: true, or add --tool-call-parser=… to vllm.extra_args.",
        r"--enable-auto-tool-choice requires --tool-call-parser",
    ),
    Failure(
        "tool-parser-unknown",
        "The image's vLLM has no tool call parser {parser}",
        f"set vllm.tool_calling: true, with which the parser is the catalogue's for the model, or {_NEWER_IMAGE}.",
        r"invalid tool call parser: (?P<parser>[\w.-]+) \(cho(?:se|ose|sen) from",
    ),
    Failure(
        "chat-template-unreadable",
        "There is no chat template {template} in the container",
        "set vllm.chat_template to a .jinja file beside the stack file, to a shipped one (plain, chatml, llama-3), or "
        "remove it where the model has its own.",
        r"supplied chat template (?:string )?\((?P<template>[^)\n]+)\) (?:looks like a file path|appears path-like)",
    ),
    Failure(
        "remote-code",
        "The model's repository has Python code of its own, which vLLM runs only when told to",
        "read that code, then set vllm.trust_remote_code: true.",
        r"requires you to execute the (?:configuration|tokenizer|model|modeling) file in that repo"
        r"|contains custom code which must be executed",
    ),
    Failure(
        "longer-than-model",
        "vllm.max_model_len ({length}) is longer than the model's {limit} positions",
        "set it to {limit} or less.",
        r"User-specified max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len"
        r" \(\w+=(?P<limit>\d+)",
    ),
    Failure(
        "batch-shorter-than-length",
        "--max-num-batched-tokens ({tokens}) is less than vllm.max_model_len ({length})",
        "raise it to {length}, take it out of vllm.extra_args, or lower vllm.max_model_len.",
        r"max_num_batched_tokens \((?P<tokens>\d+)\) is smaller than max_model_len \((?P<length>\d+)\)",
    ),
    Failure(
        "batch-smaller-than-sequences",
        "--max-num-batched-tokens ({tokens}) is less than vllm.max_num_seqs ({sequences})",
        "raise it to {sequences} or more, or lower vllm.max_num_seqs.",
        r"max_num_batched_tokens \((?P<tokens>\d+)\) must be greater than or equal to max_num_seqs"
        r" \((?P<sequences>\d+)\)",
    ),
    Failure(
        "batch-smaller-than-image",
        "One image takes {item} tokens, which is more than --max-num-batched-tokens",
        "add --max-num-batched-tokens={item} (or more) to vllm.extra_args.",
        r"Chunked MM input disabled but max_tokens_per_mm_item \((?P<item>\d+)\) is larger than"
        r" max_num_batched_tokens",
    ),
    Failure(
        "lora-unsupported",
        "The image's vLLM has no LoRA for this model",
        "set vllm.enable_lora: false, or merge the adapter into the weights.",
        r"does not support LoRA,? (?:but LoRA is enabled|yet)",
    ),
    Failure(
        "fewer-cpu-loras",
        "vllm.max_cpu_loras ({cpu}) is less than vllm.max_loras ({loras})",
        "raise vllm.max_cpu_loras to {loras} or more.",
        r"max_cpu_loras \((?P<cpu>\d+)\) must be (?:>=|greater than or equal to) max_loras \((?P<loras>\d+)\)",
    ),
    Failure(
        "quantization-mismatch",
        "The checkpoint is quantised with {own}, and --quantization says {asked}",
        "take --quantization out of vllm.extra_args: vLLM reads it from the checkpoint.",
        r"Quantization method specified in the model config \((?P<own>[^)\n]+)\) does not match the quantization"
        r" method specified in the [`']?quantization[`']? argument \((?P<asked>[^)\n]+)\)",
    ),
    # Model, version and GPU -------------------------------------------------------------------------------------------
    Failure(
        "architecture-broken",
        "The image's vLLM has the architecture {names}, and could not import its own code of it",
        _BROKEN_IMAGE,
        r"Error in inspecting model architecture (?P<names>'\w+')",
    ),
    Failure(
        "architecture-broken",
        "The image's vLLM has the architecture {names}, and could not import its own code of it",
        _BROKEN_IMAGE,
        r"Model architectures \[(?P<names>[^\]\n]+)\] failed to be inspected",
    ),
    Failure(
        "architecture-broken",
        "The image's vLLM has the architecture {names}, and could not import its own code of it",
        _BROKEN_IMAGE,
        r"Model architectures \[(?P<names>'\w+')\] are not supported for now\. Supported architectures:"
        r"[^\n]*[\[\s](?P=names)[,\]]",
    ),
    Failure(
        "architecture-unsupported",
        "The image's vLLM does not have the architecture {names}",
        f"{_NEWER_IMAGE} whose vLLM has it.",
        r"Model architectures \[(?P<names>[^\]\n]+)\] are not supported for now",
    ),
    Failure(
        "model-type-unknown",
        "The image's Transformers does not know models of type {type}",
        f"{_NEWER_IMAGE}.",
        r"model type [`'](?P<type>\w+)[`'] but Transformers does not recognize this architecture",
    ),
    Failure(
        "rope-scaling-unknown",
        "The image's Transformers is older than the model's rope_scaling (4.43 brought that of Llama 3.1)",
        f"{_NEWER_IMAGE}.",
        r"rope_scaling[`']? must be a dictionary with (?:with )?two fields",
    ),
    Failure(
        "tokenizer-too-new",
        "The image's tokenizers library is older than the model's tokenizer.json",
        f"{_NEWER_IMAGE}.",
        r"did not match any variant of untagged enum ModelWrapper",
    ),
    Failure(
        "bfloat16-unsupported",
        "The {gpu} has no bfloat16 (compute capability {capability}, 8.0 is needed)",
        "set vllm.dtype: half.",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\. Your (?P<gpu>[^\n]+?) GPU has"
        r" compute capability (?P<capability>\d+\.\d+)",
    ),
    Failure(
        "quantization-unsupported",
        "The GPU is too old for quantization {method} (capability {has}, {needed} is needed)",
        "take hardware with a newer GPU, or a checkpoint that is not quantised so.",
        r"quantization method (?P<method>\S+) is not supported for the current GPU\. Minimum capability:"
        r" (?P<needed>\d+)\. Current capability: (?P<has>\d+)",
    ),
    Failure(
        "quantization-unsupported",
        "The GPU is too old for the checkpoint's quantization (capability {has}, {needed} is needed)",
        "take hardware with a newer GPU, or a checkpoint that is not quantised so.",
        r"Quantization scheme is not supported for[^\d\n]+Min capability: (?P<needed>\d+)[^\d\n]+Current capability:"
        r" (?P<has>\d+)",
    ),
    Failure(
        "image-not-for-gpu",
        "The image is not built for this generation of GPU",
        f"{_NEWER_IMAGE}, or another GPU.",
        r"no kernel image is available for execution on the device",
    ),
    Failure(
        "image-not-for-processor",
        "The image is built for another processor than the machine's",
        "take an image for it: those with arm in their name are for a4x machines, the others for all the rest.",
        r"exec format error",
    ),
    Failure(
        "driver-too-old",
        "The machine's NVIDIA driver is older than the CUDA of the image",
        "take an older container.image_uri, or another hardware.machine_type.",
        r"NVIDIA driver on your system is too old|unsatisfied condition: cuda>="
        r"|unsupported display driver / cuda driver combination",
    ),
    Failure(
        "no-gpu",
        "The container sees no GPU",
        "check hardware.accelerator_type and accelerator_count, and that the image is one for GPUs.",
        r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver",
    ),
    # Many GPUs --------------------------------------------------------------------------------------------------------
    Failure(
        "heads-not-divisible",
        "The model's {heads} attention heads cannot be split over {size} GPUs",
        _WHOLE,
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size"
        r" \((?P<size>\d+)\)",
    ),
    Failure(
        "sizes-not-divisible",
        "A size of the model, {number}, cannot be split over {size} GPUs",
        _WHOLE,
        r"AssertionError: (?P<number>\d+) is not divisible by (?P<size>\d+)",
    ),
    Failure(
        "sizes-not-divisible",
        "The model's {number} experts cannot be split over {size} GPUs",
        _WHOLE,
        r"n_physical_experts=(?P<number>\d+) must be divisible by ep_size=(?P<size>\d+)",
    ),
    Failure(
        "sizes-not-divisible",
        "The model's attention heads cannot be split over so many GPUs",
        _WHOLE,
        r"assert self\.total_num_(?:kv_)?heads % (?:self\.)?(?:tp_size|tensor_model_parallel_world_size) == 0",
    ),
    Failure(
        "blocks-not-divisible",
        "A GPU's share of a weight ({size}) is no multiple of the checkpoint's quantization blocks ({block})",
        _WHOLE,
        r"= (?P<size>\d+) is not divisible by weight quantization block_[nk] = (?P<block>\d+)",
    ),
    Failure(
        "more-gpus-than-there-are",
        "The parallel sizes ask for more GPUs than the machine has",
        _WHOLE,
        r"number of required GPUs exceeds the total number of available GPUs|Cannot provide a placement group of"
        r"|World size \(\d+\) is larger than the number of available GPUs",
    ),
    Failure(
        "shared-memory",
        "The container's shared memory is too small for the exchange between GPUs",
        "raise container.shared_memory_size_mb.",
        r"creating shared memory segment /dev/shm/\S+ \(size \d+\), error: No space left on device"
        r"|insufficient shared memory \(shm\)|unable to write to file </torch_"
        r"|unable to (?:allocate|mmap) \d+ bytes from file </torch_|No space left on device: '?/dev/shm",
    ),
    Failure(
        "nccl",
        "NCCL, which connects the GPUs, failed",
        "run `pulumi up` again; if it stays, add --disable-custom-all-reduce to vllm.extra_args, or take one "
        "larger GPU.",
        r"NCCL error(?: in)?:|ncclSystemError|ncclUnhandledCudaError|NCCL WARN Cuda failure",
    ),
    # The machine ------------------------------------------------------------------------------------------------------
    Failure(
        "host-memory",
        "The machine's own memory ran out, and the system ended the process",
        "take a larger hardware.machine_type, or lower vllm.swap_space.",
        r"Out of memory: Killed process|killed due to the node running low on memory|was sent SIGKILL! Perhaps out of"
        r" memory|\boom-kill\b",
    ),
    Failure(
        "disk-full",
        "The container's disk is full",
        "take a smaller or quantised checkpoint, or another hardware.machine_type.",
        r"No space left on device",
    ),
    # Vertex AI --------------------------------------------------------------------------------------------------------
    Failure(
        "quota",
        "The quota is too small: {metrics}",
        "ask for more of it, or choose another hardware.machine_type, fewer replicas or another gcp:region.",
        r"quotas? (?:are|is) exceeded: (?P<metrics>[\w./-]+(?:, [\w./-]+)*)",
    ),
    Failure(
        "quota",
        "The quota is too small: {metrics}",
        "ask for more of it, or choose another hardware.machine_type, fewer replicas or another gcp:region.",
        r"quota metrics exceed quota limits: (?P<metrics>[\w./-]+(?:, [\w./-]+)*)",
    ),
    Failure(
        "stock-out",
        "The region has no such machine free at present",
        "run `pulumi up` again later, or choose another hardware.machine_type, hardware.spot, or gcp:region.",
        r"Machine type temporarily unavailable|Resources are insufficient in region|resources? pool exhausted"
        r"|does not have enough resources available",
    ),
    Failure(
        "image-not-pulled",
        "The image cannot be pulled",
        "check container.image_uri and its tag, and grant Vertex AI's service agent roles/artifactregistry.reader on "
        "its repository.",
        r"Failed to pull image|artifactregistry\.repositories\.downloadArtifacts|manifest unknown"
        r"|manifest for \S+ not found",
    ),
    Failure(
        "service-account",
        "You may not let Vertex AI act as the service account",
        "grant yourself roles/iam.serviceAccountUser on it, and check that it exists. A grant takes two to seven "
        "minutes to work.",
        r"permission to act as service account|iam\.serviceAccounts\.actAs",
    ),
    Failure(
        "permission",
        "The caller has no permission {permission}",
        "grant it (roles/aiplatform.user has those needed here). A grant takes two to seven minutes to work.",
        r"Permission '(?P<permission>[\w.]+)' denied",
    ),
    # Of requests ------------------------------------------------------------------------------------------------------
    Failure(
        "chat-template-missing",
        "The model has no chat template, so that chat completions fail",
        "set vllm.chat_template (plain, chatml, llama-3, or a .jinja file), or serve the Instruct model.",
        r"default chat template is no longer allowed|because tokenizer\.chat_template is not set",
        Weight.REQUEST,
    ),
    Failure(
        "tool-choice-off",
        "A request brought tools, and tool calls are not turned on",
        "set vllm.tool_calling: true.",
        r"tool choice requires --enable-auto-tool-choice and --tool-call-parser",
        Weight.REQUEST,
    ),
    Failure(
        "lora-rank",
        "An adapter has rank {rank}, and at most {limit} is allowed",
        "add --max-lora-rank={rank} to vllm.extra_args.",
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<limit>\d+)",
        Weight.REQUEST,
    ),
    # What may pass ----------------------------------------------------------------------------------------------------
    Failure(
        "hub-busy",
        "Hugging Face answered that there were too many requests",
        "run `pulumi up` again later; with a token (vertex-vllm:hfToken) more are allowed, and with weights: "
        "gs://bucket/prefix none is needed.",
        r"429 (?:Client Error: )?Too Many Requests|\(429 Too Many Requests\)",
        Weight.PASSING,
    ),
    Failure(
        "hub-unreachable",
        "The container could not reach Hugging Face",
        "run `pulumi up` again; where the network lets nothing out, copy the weights into a bucket: weights: "
        "gs://bucket/prefix.",
        r"We couldn't connect to 'https://huggingface\.co'|LocalEntryNotFoundError"
        r"|Connection to (?:[\w.-]+\.)?(?:huggingface\.co|hf\.co) timed out"
        r"|HTTPSConnectionPool\(host='(?:[\w.-]+\.)?(?:huggingface\.co|hf\.co)'[^\n]*Max retries exceeded"
        r"|CAS service error",
        Weight.PASSING,
    ),
    # How it ended -----------------------------------------------------------------------------------------------------
    Failure(
        "wrong-address",
        "The server listens on {address}, where Vertex AI cannot reach it",
        "take --host and --port out of vllm.extra_args: Vertex AI asks port 8080, from outside the container.",
        r"Uvicorn running on https?://(?P<address>(?:127\.0\.0\.1|localhost|\[::1\]):\d+|[^\s/]+:(?!8080\b)\d+)",
        Weight.OUTCOME,
    ),
    Failure(
        "never-ready",
        "The container ran, and did not answer Vertex AI's health check in time",
        "raise container.deployment_timeout (at most 7200) where it was still loading. An image of your own must "
        "answer GET /ping on port 8080.",
        r"Model server never became ready",
        Weight.OUTCOME,
    ),
)

"""The stack file: one model on one GPU topology, as typed values.

Owns the keys, their types, limits and defaults, and the turning of wrong files into errors. Whether the values work
together (machine, model, region, image) is for :mod:`infra.recipes.plan`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from infra.expiry import PATTERN, Expiry
from infra.recipes.defaults import LENGTH, with_defaults
from infra.recipes.errors import StackError, StackFileError, raise_problems, show_file
from infra.recipes.images import DEFAULT_IMAGE
from infra.recipes.invalid import explain
from infra.recipes.yamlfile import Lines, parse_yaml, read_text

__all__ = [
    "DEFAULT_IMAGE",
    "AutoscalingMetric",
    "ContainerOptions",
    "EndpointOptions",
    "Hardware",
    "Replicas",
    "Rollout",
    "StackFile",
    "VllmOptions",
    "load_stack_file",
]

_INT32: Final = 2**31 - 1  # replica and accelerator counts, and percentages, are int32 in the API
_Positive = Annotated[int, Field(ge=1, le=_INT32)]
_GCS: Final = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s]*)?")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Hardware(_Part):
    """The machine of one replica."""

    machine_type: str = Field(description="Compute Engine machine type, one of those that serve models.")
    accelerator_type: str = Field(description="Vertex AI's name of the GPU, such as NVIDIA_L4.")
    accelerator_count: _Positive = Field(
        description="GPUs of one machine; vLLM splits the model over all of them."
    )
    spot: bool = Field(default=False, description="Spot capacity: cheaper, may be taken away at any time.")


class AutoscalingMetric(_Part):
    """One target that decides how many replicas run."""

    metric_name: str = Field(description="Full name of the metric.")
    target: _Positive = Field(description="Value to hold; percent for utilisations, else a count.")


class Replicas(_Part):
    """How many machines serve."""

    min_replica_count: _Positive = Field(default=1, description="Machines that always run.")
    max_replica_count: _Positive = Field(default=1, description="Most machines; quota is charged for these.")
    autoscaling: tuple[AutoscalingMetric, ...] = Field(
        default=(),
        strict=False,
        description="Metrics to scale on; none: Vertex AI's default (60 % of GPU or CPU).",
    )


class VllmOptions(_Part):
    """Options of vLLM, under vLLM's own names. Where the hardware is exactly that of one of the model's recommended
    recipes, its values are the defaults, its extra_args only with its image too. Else max_model_len is at most the
    model's positions, and max_num_seqs is 12 for models that read images.
    """

    tensor_parallel_size: _Positive | None = Field(
        default=None,
        description="GPUs that share each layer; by default as many as the model's heads and widths allow.",
    )
    pipeline_parallel_size: _Positive | None = Field(
        default=None,
        description="Groups of layers on GPUs of their own; by default what uses the GPUs that are left.",
    )
    max_model_len: _Positive = Field(default=LENGTH, description="Longest prompt plus answer, in tokens.")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Share of each GPU's memory that vLLM may use, above 0 up to 1."
    )
    max_num_seqs: _Positive = Field(default=256, description="Most requests served at once.")
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = Field(
        default="auto", description="Type of weights and activations; auto is the checkpoint's own."
    )
    enforce_eager: bool = Field(
        default=False, description="No CUDA graphs: less memory, faster start, slower tokens."
    )
    enable_lora: bool = Field(
        default=False, description="Requests may name a LoRA adapter (text models only)."
    )
    max_loras: _Positive = Field(default=1, description="LoRA adapters in one batch.")
    max_cpu_loras: _Positive = Field(
        default=8, description="LoRA adapters kept in host memory; at least max_loras."
    )
    swap_space: Annotated[int, Field(ge=0, le=_INT32)] = Field(
        default=16,
        description="Host memory for swapped-out requests, GiB a GPU; by default less where the machine has too"
        " little; images from vLLM 0.18 have none.",
    )
    disable_log_stats: bool = Field(
        default=True, description="No periodic statistics; autoscaling on vLLM's metrics needs false."
    )
    trust_remote_code: bool = Field(default=False, description="Run Python code of the model's repository.")
    model_type: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Family of prompts in Google's images, such as llama3.1.",
    )
    chat_template: str | None = Field(
        default=None,
        description="A shipped template's name, a .jinja file beside this one or in a bucket (gs://), an absolute path"
        " in the container, or none for no chat; models without a template of their own need one of these. none takes"
        " no template away that the model has.",
    )
    tool_calling: bool = Field(
        default=False, description="Chats may have tools that the model calls; needs a parser of its calls."
    )
    tool_call_parser: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="vLLM's name of that parser; by default the catalogue's for the model, where it has one.",
    )
    extra_args: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Further arguments, each as --flag or --flag=value; checked against the image's vLLM version. None"
        " may carry a secret: a Hugging Face token is vertex-vllm:hfToken.",
    )


class ContainerOptions(_Part):
    """The serving container."""

    image_uri: str = Field(
        default=DEFAULT_IMAGE, description="Image in Artifact Registry, with a tag or a digest."
    )
    vllm_version: str | None = Field(
        default=None,
        pattern=r"^\d+\.\d+(\.\d+)?(\.post\d+)?$",
        description="vLLM version of an image of which the catalogue does not know it, such as 0.11.0: flags and memory"
        " are then checked. A build from before a release (rc, dev) counts as the release.",
    )
    shared_memory_size_mb: _Positive = Field(
        default=16384, description="Shared memory, MiB; by default less where the machine has less."
    )
    deployment_timeout: Annotated[int, Field(ge=1, le=7200)] = Field(
        default=7200,
        description="Seconds in which the container must become healthy; the platform allows 7200.",
    )


class EndpointOptions(_Part):
    """The endpoint."""

    dedicated: bool = Field(
        default=False,
        description="A DNS name of its own: 10 MB requests, streaming, answers of up to an hour.",
    )
    traffic: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="Percent of the endpoint's traffic, where several stacks serve behind it (a canary); by default"
        " what the others leave. A stack that is alone there has all of it.",
    )


class Rollout(_Part):
    """What a change does that cannot be made in place. None of it changes what is deployed."""

    strategy: Literal["auto", "surge", "recreate"] = Field(
        default="auto",
        description="surge: the old one serves until the new one does, both are paid meanwhile; recreate: the old one"
        " goes first, with a gap; auto: surge where the quota left holds both, else recreate.",
    )
    smoke: bool = Field(
        default=True, description="Whether the new one must answer a prediction before it gets the traffic."
    )
    steps: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(
        default=(),
        strict=False,
        description="Percents of the stack's own traffic, ascending, before all of it; none: at once.",
    )
    bake_seconds: Annotated[int, Field(ge=0, le=43200)] = Field(
        default=300, description="Seconds to watch the errors after each step."
    )
    max_error_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=5, description="Answers with HTTP 5xx, of a hundred, with which a step is passed at most."
    )
    old_model: Literal["delete", "keep"] = Field(
        default="delete",
        description="What becomes of the model that was replaced; keep: a version of one model in the registry.",
    )


class StackFile(_Part):
    """One model on one GPU topology."""

    model: str = Field(description="Hugging Face id of a model of the catalogue.")
    weights: str = Field(
        default="huggingface",
        description="huggingface, or gs://bucket/prefix with the model's files (needs no token).",
    )
    hardware: Hardware = Field(description="Machine and GPUs of one replica.")
    replicas: Replicas = Field(default_factory=Replicas, description="How many replicas.")
    vllm: VllmOptions = Field(default_factory=VllmOptions, description="Options of vLLM.")
    container: ContainerOptions = Field(
        default_factory=ContainerOptions, description="The serving container."
    )
    endpoint: EndpointOptions = Field(default_factory=EndpointOptions, description="The endpoint.")
    rollout: Rollout = Field(
        default_factory=Rollout,
        description="What a change does that cannot be made in place; or its strategy alone.",
    )
    lora: dict[str, str] = Field(
        default_factory=dict,
        description="LoRA adapters by a name of yours: a folder beside this file, such as ./adapters/sql, which the"
        " stack uploads into its bucket; gs://bucket/prefix (the container may then read that bucket); or a Hugging"
        " Face id. Requests name one in lora_id by what the stack's output lora has for the name.",
    )
    fit: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="What a preview does with a model that would not fit into the GPUs' memory: refuse, or only warn.",
    )
    expires_after: str | None = Field(
        default=None,
        pattern=PATTERN,
        description="Until when it is wanted: hours or days after each deployment (8h, 3d), or the last day"
        " (2027-03-31). Becomes the label expiry; previews warn, and a sweep undeploys what has expired.",
    )
    deploy_request_timeout: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=1800, description="Seconds to wait for the deployment."
    )

    @field_validator("expires_after")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        """The pattern lets days pass that no month has."""
        if value is not None and not Expiry.of(value).known:
            raise PydanticCustomError("string_pattern_mismatch", "no such day")
        return value

    @field_validator("rollout", mode="before")
    @classmethod
    def _strategy(cls, value: Any) -> Any:
        return {"strategy": value} if isinstance(value, str) else value

    _lines: Lines = PrivateAttr(default_factory=dict)
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that say which defaults a recommended recipe gave; empty where the file has every value."""
        return self._notes

    def wrote(self, section: str, name: str) -> bool:
        """Whether the file has this key of a section; of a stack that was read from no file, whether it was given."""
        if self._lines:
            return self.has_line(f"{section}.{name}")
        part: BaseModel = getattr(self, section)
        return name in part.model_fields_set

    def has_line(self, key: str) -> bool:
        """Whether the file has this dotted key, rather than its default."""
        return key in self._lines

    def line_of(self, key: str) -> int | None:
        """The line of a dotted key in the file, or of the section that would hold it; None for neither."""
        while key and key not in self._lines:
            key = re.sub(r"(\.?[^.\[]+|\[\d+\])$", "", key)
        return self._lines.get(key) if key else None


def weights_uri(weights: str) -> str | None:
    """The ``gs://`` prefix of the weights without a slash at the end; None for Hugging Face."""
    return weights.rstrip("/") if weights.startswith("gs://") else None


def is_gcs_uri(text: str) -> bool:
    """Whether it is ``gs://bucket`` or ``gs://bucket/path`` with a bucket name that can exist."""
    return bool(_GCS.fullmatch(text))


def load_stack_file(path: Path) -> StackFile:
    """Read a stack file.

    Args:
        path: the YAML file.

    Raises:
        StackFileError: it is missing, not YAML, or has unknown keys or wrong types; all problems of the file that can
            be told apart are in one error.
        UnknownModel: the model is not in the catalogue and the file leaves the hardware to it.
    """
    file = show_file(path)
    raw, lines = parse_yaml(read_text(path), file)
    return parse_stack(raw, file=file, lines=lines)


def parse_stack(raw: Any, *, file: str, lines: Lines) -> StackFile:
    """Turn parsed YAML into a stack file; see :func:`load_stack_file`."""
    if raw is None:
        raise StackFileError(
            "the file is empty.",
            file=file,
            remedy="write at least `model:` and `hardware:`; copy a file of stacks/",
        )
    if not isinstance(raw, dict):
        kind = "a list" if isinstance(raw, list) else "a single value"
        raise StackFileError(
            f"the file holds {kind}, not keys with values.",
            file=file,
            line=lines.get("", 1),
            remedy="begin with `model: <Hugging Face id>` at the start of a line, without a dash",
        )
    filled = with_defaults(raw, file=file, lines=lines)
    problems: list[StackError] = []
    try:
        stack = StackFile.model_validate(filled.raw)
    except ValidationError as error:
        problems = explain(error, StackFile, file=file, lines=lines)
    # Outside of the handler: pydantic's error, whose text has the values, must not follow in a traceback.
    raise_problems(problems, file=file, kind=StackFileError)
    stack._lines = lines
    plain = {f"vllm.{name}": field.default for name, field in VllmOptions.model_fields.items()}
    stack._notes = filled.notes({**plain, "container.image_uri": DEFAULT_IMAGE})
    return stack

"""From a stack file to a serving plan: everything that can be refused without asking the cloud is refused here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from infra.cards import ModelCard
from infra.fit import Fit
from infra.recipes.adapters import StagedAdapter, is_repository
from infra.recipes.arguments import CHAT_TEMPLATE, container_arguments, parse_arguments
from infra.recipes.catalog import Accelerator, MachineType, QuotaUse, catalog
from infra.recipes.checks import Report, check
from infra.recipes.errors import PlanError, ValueProblem, raise_problems, show_file
from infra.recipes.memory import check_memory
from infra.recipes.prices import Price
from infra.recipes.stackfile import EndpointOptions, Hardware, Replicas, StackFile, VllmOptions, weights_uri
from infra.recipes.templates import TemplateProblem, argument_of

__all__ = ["DEPLOY_SOURCE", "HEALTH_ROUTE", "PORT", "PREDICT_ROUTE", "ContainerSpec", "ServingPlan", "plan"]

DEPLOY_SOURCE: Final = "vertex-vllm"
PORT: Final = 8080
PREDICT_ROUTE: Final = "/generate"
HEALTH_ROUTE: Final = "/ping"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What is uploaded as the model's container: the fields of ``ModelContainerSpec`` without the token.

    ``shared_memory_size_mb`` is in MiB, ``deployment_timeout_seconds`` at most 7200.
    """

    image_uri: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    shared_memory_size_mb: int
    deployment_timeout_seconds: int
    command: tuple[str, ...] = ()
    ports: tuple[int, ...] = (PORT,)
    predict_route: str = PREDICT_ROUTE
    health_route: str = HEALTH_ROUTE

    def inputs(self) -> dict[str, Any]:
        """The container as the resource of an uploaded model takes it; the model's id is derived from that."""
        return {
            "imageUri": self.image_uri,
            "command": list(self.command),
            "args": list(self.args),
            "env": dict(self.env),
            "ports": list(self.ports),
            "predictRoute": self.predict_route,
            "healthRoute": self.health_route,
            "sharedMemorySizeMb": self.shared_memory_size_mb,
            "deploymentTimeoutSeconds": self.deployment_timeout_seconds,
        }


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """A checked stack file in one region; everything that the program needs to serve it.

    ``name`` is the stack file's name without its ending. ``vllm`` has every option filled in. ``vllm_version`` is the
    image's, None when nobody has documented it. ``deploy_request_timeout`` is in seconds. ``price`` is for one replica,
    None when it is not known. ``warnings`` are sentences for the user, ``notes`` say what a recommended recipe gave.
    ``stack`` is the stack file that was planned, ``fit`` the memory of one GPU at start-up, None when the image's vLLM
    version or the GPU's memory is not known. ``adapters`` are those that the stack uploads.
    """

    name: str
    model: ModelCard
    machine: MachineType
    accelerator: Accelerator
    hardware: Hardware
    region: str
    replicas: Replicas
    vllm: VllmOptions
    vllm_version: str | None
    container: ContainerSpec
    endpoint: EndpointOptions
    deploy_request_timeout: int
    weights_uri: str | None
    needs_token: bool
    quota: tuple[QuotaUse, ...]
    price: Price | None
    warnings: tuple[str, ...]
    stack: StackFile
    fit: Fit | None = None
    notes: tuple[str, ...] = ()
    adapters: tuple[StagedAdapter, ...] = ()

    @property
    def chat_template_uri(self) -> str | None:
        """The ``gs://`` path of the chat template; None where the arguments have its text, or there is none."""
        template = self.vllm.chat_template
        inlined = parse_arguments(self.container.args).get(CHAT_TEMPLATE) != template
        return template if template is not None and template.startswith("gs://") and not inlined else None

    def with_chat_template(self, text: str) -> ServingPlan:
        """The plan with the text of the chat template in the place of its ``gs://`` path, which vLLM cannot read.

        Raises:
            ValueProblem: the text is no template that can be passed.
        """
        uri = self.chat_template_uri
        try:
            value = argument_of(text, self.vllm_version)
        except TemplateProblem as problem:
            key = "vllm.chat_template"
            raise ValueProblem(problem.problem, key=key, value=uri, remedy=problem.remedy) from None
        args = tuple(
            f"{CHAT_TEMPLATE}={value}" if argument == f"{CHAT_TEMPLATE}={uri}" else argument
            for argument in self.container.args
        )
        return replace(self, container=replace(self.container, args=args))

    @property
    def reads_hugging_face(self) -> bool:
        """Whether the container fetches anything from the hub: its weights, or an adapter."""
        return self.weights_uri is None or any(is_repository(place) for place in self.stack.lora.values())

    @property
    def usd_per_hour(self) -> float | None:
        """What ``min_replica_count`` replicas cost an hour, US dollars; None when not known."""
        return None if self.price is None else self.price.usd_per_hour * self.replicas.min_replica_count


def plan(stack: StackFile, *, region: str, source: str) -> ServingPlan:
    """Check a stack file against the catalogue and derive what is deployed.

    Args:
        stack: the stack file.
        region: the region of the environment.
        source: path of the stack file, for error texts and the plan's name.

    Raises:
        PlanError: something cannot work; one error holds all problems that were found. Its subclasses say which:
            UnknownModel, UnknownMachine, HardwareMismatch, UnknownRegion, UnknownImage, FlagError, ValueProblem.
    """
    file = show_file(source)
    report = Report(stack, region=region, file=file)
    checked = check(report, folder=Path(source).parent)
    raise_problems(report.problems, file=file, kind=PlanError)
    if checked is None:  # comes only together with problems
        raise PlanError("cannot be planned.", file=file)
    fit = check_memory(report, checked, folder=Path(source).parent)
    raise_problems(report.problems, file=file, kind=PlanError)
    gcs = weights_uri(stack.weights)
    hardware, card, memory = stack.hardware, checked.card, checked.host_memory
    vllm = stack.vllm.model_copy(update={"swap_space": memory.swap_space})
    container = ContainerSpec(
        image_uri=stack.container.image_uri,
        args=container_arguments(
            model=gcs or stack.model,
            split=checked.split,
            vllm=vllm,
            flags=checked.flags,
            chat_template=checked.chat_template,
            tool_call_parser=checked.tool_call_parser,
        ),
        env=MappingProxyType({"MODEL_ID": stack.model, "DEPLOY_SOURCE": DEPLOY_SOURCE}),
        shared_memory_size_mb=memory.shared_memory_size_mb,
        deployment_timeout_seconds=stack.container.deployment_timeout,
    )
    books = catalog()
    return ServingPlan(
        name=Path(source).stem,
        model=card,
        machine=checked.machine,
        accelerator=books.accelerator(hardware.accelerator_type),
        hardware=hardware,
        region=region,
        replicas=stack.replicas,
        vllm=vllm.model_copy(
            update={
                "tensor_parallel_size": checked.split.tensor,
                "pipeline_parallel_size": checked.split.pipeline,
            }
        ),
        vllm_version=checked.vllm_version,
        container=container,
        endpoint=stack.endpoint,
        deploy_request_timeout=stack.deploy_request_timeout,
        weights_uri=gcs,
        needs_token=card.gated and gcs is None,
        quota=books.quota_use(
            hardware.machine_type,
            hardware.accelerator_type,
            hardware.accelerator_count,
            stack.replicas.max_replica_count,
            hardware.spot,
        ),
        price=books.price(
            hardware.machine_type,
            region,
            hardware.spot,
            accelerator_type=hardware.accelerator_type,
            accelerator_count=hardware.accelerator_count,
        ),
        warnings=tuple(report.warnings),
        stack=stack,
        fit=fit,
        notes=(*stack.notes, *memory.notes),
        adapters=checked.adapters,
    )

"""Stack files, the catalogue and what follows from them: the plan, the container's arguments and addresses.

Owns everything about a deployment that can be known without asking a cloud. Imports no pulumi and no google library,
does no network I/O, reads only the stack file, a chat template and adapters beside it, and ``infra/catalog``. Whether a
model fits into GPU memory is for :mod:`infra.fit`.
"""

from __future__ import annotations

from infra.cards import Architecture, ModelCard, RecommendedRecipe, Vision, Weights
from infra.recipes.adapters import StagedAdapter
from infra.recipes.arguments import container_arguments
from infra.recipes.catalog import (
    Accelerator,
    ArchitectureRun,
    Catalog,
    ContainerImage,
    MachineType,
    QuotaRef,
    QuotaUse,
    catalog,
)
from infra.recipes.errors import (
    DoesNotFit,
    FlagError,
    HardwareMismatch,
    PlanError,
    SettingsError,
    StackError,
    StackFileError,
    UnknownImage,
    UnknownKey,
    UnknownMachine,
    UnknownModel,
    UnknownRegion,
    ValueProblem,
    nearest,
)
from infra.recipes.flags import FlagTable
from infra.recipes.parallel import Split
from infra.recipes.plan import ContainerSpec, ServingPlan, plan
from infra.recipes.prices import Price
from infra.recipes.stackfile import (
    AutoscalingMetric,
    ContainerOptions,
    EndpointOptions,
    Hardware,
    Replicas,
    Rollout,
    StackFile,
    VllmOptions,
    load_stack_file,
)
from infra.recipes.urls import EndpointUrls, api_host, endpoint_urls

__all__ = [
    "Accelerator",
    "Architecture",
    "ArchitectureRun",
    "AutoscalingMetric",
    "Catalog",
    "ContainerImage",
    "ContainerOptions",
    "ContainerSpec",
    "DoesNotFit",
    "EndpointOptions",
    "EndpointUrls",
    "FlagError",
    "FlagTable",
    "Hardware",
    "HardwareMismatch",
    "MachineType",
    "ModelCard",
    "PlanError",
    "Price",
    "QuotaRef",
    "QuotaUse",
    "RecommendedRecipe",
    "Replicas",
    "Rollout",
    "ServingPlan",
    "SettingsError",
    "Split",
    "StackError",
    "StackFile",
    "StackFileError",
    "StagedAdapter",
    "UnknownImage",
    "UnknownKey",
    "UnknownMachine",
    "UnknownModel",
    "UnknownRegion",
    "ValueProblem",
    "Vision",
    "VllmOptions",
    "Weights",
    "api_host",
    "catalog",
    "container_arguments",
    "endpoint_urls",
    "load_stack_file",
    "nearest",
    "plan",
]

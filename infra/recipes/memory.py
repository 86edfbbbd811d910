"""Will a stack file's model fit: asks :mod:`infra.fit` for a plan, and looks for what would fit.

Owns how vLLM's options of a stack file become the arithmetic's, and the search over catalogued hardware. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from infra.cards import ModelCard
from infra.fit import Fit, Limits, Options, gpu_of, limits, predict
from infra.recipes.arguments import passed
from infra.recipes.catalog import catalog
from infra.recipes.checks import Checked, Report, check
from infra.recipes.checks.flag_values import read_size
from infra.recipes.parallel import Split
from infra.recipes.plan import ServingPlan
from infra.recipes.stackfile import ContainerOptions, Hardware, StackFile, VllmOptions

__all__ = ["Choice", "choices", "fit_of", "fit_options", "limits_of", "memory_of"]

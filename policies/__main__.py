"""The policy pack: every rule of `rules`, handed to the engine. `PolicyPack()` never returns, so nothing follows it."""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

# The engine has only this folder on the path; the budget asks the repository's catalogue for prices.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from rules.pack import policies

PolicyPack(name="vertex-vllm", policies=policies())

"""The policy pack: every rule of `rules`, handed to the engine. `PolicyPack()` never returns, so nothing follows it."""

from pulumi_policy import PolicyPack
from rules.pack import policies

PolicyPack(name="vertex-vllm", policies=policies())

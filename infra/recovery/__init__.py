"""Recovery after a crash: a stale lock and pending operations of any stack, on any backend, made whole again.

Owns who holds a stack's lock, what a killed run did create, and the repaired state; `vertex-vllm recover`, `make up`
and `make down` use it. Leaves to Pulumi how a state is stored and a lock taken away, to the next run what is deployed.
"""

from infra.recovery.engine import EngineFailed, StackEngine
from infra.recovery.locks import Lock, is_alive
from infra.recovery.run import InUse, Recovered, recover, sweep

__all__ = ["EngineFailed", "InUse", "Lock", "Recovered", "StackEngine", "is_alive", "recover", "sweep"]

"""A resource that exists in the state alone, for what its delete does."""

from __future__ import annotations

from infra.plugin import Context, Resource, State
from infra.plugin.resource import Properties


class StateOnly(Resource):
    """Its inputs are all that there is of it: changing or reading it calls nothing."""

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        """Remembers the new inputs; nothing is called."""
        return State(id, dict(news))

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        """What the state says: there is nothing else."""
        return State(id, state, inputs) if state else None

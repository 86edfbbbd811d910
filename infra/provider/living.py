"""Which remote objects the program still has, as the engine shows it during one run."""

from __future__ import annotations


class Living:
    """The ids of live resources: those made, adopted or found to stay as they are in this run of the engine.

    The ids of models and deployed models follow from their content. So a program that goes back to what it had adopts
    what the earlier run was about to delete, and the state then has one id twice: live, and still to be deleted. Only
    the state tells the two apart, and it reaches the provider as calls: before the engine deletes what was replaced,
    it asks for the difference of every live resource of the program, in every run anew. So nothing has to be kept
    between runs, and nothing is lost by a kill. A destroy compares nothing, and deletes both.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()  # adding and asking are atomic; nothing is ever taken out

    def add(self, id: str) -> None:
        """Remembers a live resource."""
        self._ids.add(id)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

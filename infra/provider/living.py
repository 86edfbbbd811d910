"""Which remote objects the program still has, as the engine shows it during one run."""

from __future__ import annotations


class Living:
    """The ids of live resources: those made, adopted or found to stay as they are in this run of the engine.

    The ids of models and deployed models follow from their content. So a program that goes back to what it had adopts
    what the earlier run was about to delete, and the state then has one id twice: live, and still to be deleted. Only
    the state tells the two apart, and it reaches the provider as calls: before the engine deletes what was replaced,
    it checks the inputs of every resource of the program and asks for their difference, in every run anew. So nothing
    has to be kept between runs, and nothing is lost by a kill. A destroy checks nothing, and deletes both.

    A refresh asks for differences too, of all that the state has, before the program runs or a destroy begins. It
    checks no inputs: that tells it apart, and a difference without a check before it says nothing of the program.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()  # adding and asking are atomic; nothing is ever taken out
        self._checked: set[str] = set()

    def checked(self, urn: str) -> None:
        """Remembers that the program has a resource."""
        self._checked.add(urn)

    def of_program(self, urn: str) -> bool:
        """Whether the program has a resource; false in a refresh."""
        return urn in self._checked

    def stays(self, urn: str, id: str) -> bool:
        """Remembers that what a resource of the state is stays, if the program has that resource; whether it has."""
        if urn not in self._checked:
            return False
        self._ids.add(id)
        return True

    def add(self, id: str) -> None:
        """Remembers a live resource."""
        self._ids.add(id)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

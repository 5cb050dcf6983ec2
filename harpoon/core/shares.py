"""How the places of a crew are shared between workflows: one whose attempts take long leaves room for others."""

from collections import Counter
from typing import Final

from harpoon.core.lines import Workflow

#: Places that a workflow may have for each that is free: alone, it has four fifths of all.
SHARE: Final = 4


class Shares:
    """Who has the places that are taken."""

    __slots__ = ("_of", "count")

    def __init__(self) -> None:
        #: Of all workflows.
        self.count = 0
        self._of: Counter[Workflow] = Counter()

    def change(self, workflow: Workflow, by: int) -> None:
        """Take note that a workflow has one more (1), or one less (-1)."""
        self.count += by
        self._of[workflow] += by
        if not self._of[workflow]:
            del self._of[workflow]

    def may_have(self, workflow: Workflow, places: int) -> bool:
        """Whether a workflow may have one more, of so many that there are."""
        return self._of[workflow] < SHARE * (places - self.count)

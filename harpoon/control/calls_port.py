"""What conductors tell of runs that end: to whoever waits for the sub-runs among them."""

from typing import Protocol

from harpoon.control.conducted import Conducted
from harpoon.control.draft import Draft


class Ends(Protocol):
    """Knows who waits for which run; it is told at once, as `control.exchange_port` is."""

    def ended(self, conducted: Conducted, draft: Draft) -> None:
        """Take note that a run has ended, which is durable once ``draft`` is."""

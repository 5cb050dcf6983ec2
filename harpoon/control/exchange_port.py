"""What conductors tell the exchange: which attempts workers may have, and which they have no longer.

All of it is said at once, as it is decided, before it is durable: so that what one closing opens can be claimed in the
very commit of the closing. Nothing of it may be shown to a worker before the claim that it leads to is durable, which
`harpoon.control.conductor.Conductor.claim` tells by its landing. What comes of it otherwise is told here, too.

An exchange is told things in between two awaits, often in the middle of a batch, so it is quick, does not fail, and
may call the conductor back.
"""

from collections.abc import Iterable
from typing import Protocol

from harpoon.control.draft import Draft
from harpoon.core.run import Run
from harpoon.core.visit import Attempt, Ref


class Exchange(Protocol):
    """Matches attempts with workers that ask for some."""

    def ready(self, run: Run, attempts: Iterable[Attempt]) -> None:
        """Offer attempts that somebody can claim, each from its ``ready_ms`` on; they may have been offered before."""

    def claimed(self, run: Run, attempts: Iterable[Attempt]) -> None:
        """Take note of claims that were made before this instance conducted the run."""

    def withdrawn(self, run: Run, refs: Iterable[Ref], reason: str, draft: Draft) -> None:
        """Offer these no longer; whoever has claimed one is to be told why it is not its own any more.

        Not said of what its claimant closed itself. What was claimed counts under its limit until the draft is durable.
        """

    def over(self, run: Run, draft: Draft) -> None:
        """Forget a run that has ended; what was claimed of it counts under its limit until the draft is durable."""

    def left(self, run: Run) -> None:
        """Forget a run that this instance conducts no longer, and tell no worker of it: it goes on elsewhere."""

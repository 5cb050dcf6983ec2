"""What conductors tell of the waits of their runs: to those who have something for whatever run waits with a key."""

from typing import Protocol

from harpoon.core.run import Run


class Waits(Protocol):
    """Knows which runs wait for which signals with which keys; it is told at once, as `control.exchange_port` is."""

    def standing(self, run: Run) -> None:
        """Take note of how a run waits now; it may wait as it did before, or be over."""

    def left(self, run: Run) -> None:
        """Forget a run that this instance conducts no longer."""

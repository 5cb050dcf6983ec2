"""Which other instances share what there is to hold, and from when on each of them is handed its own.

An instance that is new settles first: one that dies at once would move everything twice.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from harpoon.control.means import Means
from harpoon.control.membership import Membership
from harpoon.core.assign import Verdict, decide

#: Timers of a loop that looks at the clock once a turn may fire so much too early.
_EARLY_S: Final = 0.05


class Settling:
    """What this instance does about one thing that may be held, given whose it is."""

    def __init__(self, means: Means, member: Membership) -> None:
        self._means = means
        self._member = member
        #: Other fit instances → from when on (elapsed) things are handed over to them.
        self._settled: dict[str, timedelta] = {}
        self.others: frozenset[str] = frozenset()

    def see(self, settle: timedelta, then: Callable[[], None]) -> None:
        """Note which other instances are there; ``then`` is called once one that is new has settled."""
        ready = self._means.clock.now().elapsed + settle
        self.others = self._member.fit() - {self._means.instance}
        is_new = not self.others <= self._settled.keys()
        self._settled = {name: self._settled.get(name, ready) for name in self.others}
        if is_new and settle:
            asyncio.get_running_loop().call_later(settle.total_seconds() + _EARLY_S, then)

    def verdict(self, holder: str | None, belongs_to: str | None) -> Verdict:
        """Return what to do about a thing, given who holds it and whose it is."""
        verdict = decide(self._means.instance, holder, belongs_to)
        if verdict is Verdict.HAND_OVER and not self._has_settled(belongs_to or ""):
            return Verdict.KEEP
        return verdict

    def _has_settled(self, instance: str) -> bool:
        return self._means.clock.now().elapsed >= self._settled.get(instance, timedelta.max)

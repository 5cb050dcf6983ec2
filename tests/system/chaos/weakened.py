"""Parts with one of their guards taken out: what is found then shows that faults and checks are strong enough.

``HARPOON_WEAKENED`` names the guard, for every process that is started by `tests.system.chaos.part`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any


def no_fence() -> None:
    """An agent takes tokens that have been overtaken."""
    from harpoon.agent.fence import Fence, Mark

    async def admit(self: Fence, token: Any, instance: str, cluster: str | None = None) -> None:
        known = "" if self.mark is None else self.mark.cluster
        denials = {} if self.mark is None else self.mark.denials
        self.mark = Mark(token=token, instance=instance, cluster=known if cluster is None else cluster, denials=denials)

    Fence.check = lambda self, token, instance: None
    Fence.admit = admit


def no_denials() -> None:
    """An agent confirms denials, and keeps none."""
    from harpoon.agent.fence import Fence

    async def deny(self: Fence, token: Any, instance: str, tasks: Any) -> None:
        return None

    Fence.deny = deny
    Fence.is_denied = lambda self, task: False


def no_patience() -> None:
    """The scheduler takes a revoked placement for denied, as if to be told were to have obeyed."""
    from harpoon.core import exclusive, rollout

    whole = exclusive.roll_exclusive

    def hasty(job: Any, standings: Any, now: Any, **more: Any) -> Any:
        told = [one._replace(placement=replace(one.placement, is_denied=one.placement.is_revoked)) for one in standings]
        return whole(job, told, now, **more)

    rollout.roll_exclusive = hasty


def no_memory() -> None:
    """An agent that is started again finds nothing of what an earlier one has started, and starts it anew."""
    from harpoon.agent.drivers.process import ProcessDriver

    ProcessDriver.find = lambda self, file, changed: None
    # Or it would kill them, as nobody's.
    ProcessDriver.clear_strays = lambda self: None


def no_compare() -> None:
    """A ledger writes a shard though it was taken by another: its commits do not compare the hold."""
    from harpoon.control import ledger
    from harpoon.control.pen import Pen

    class Bold(Pen):
        async def commit(self, compares: Any, writes: Any) -> bool:
            revision = await self._together.commit(compares, writes)
            self._last = revision or self._last
            return revision is not None

    ledger.Pen = Bold


def no_waiting() -> None:
    """What was decided about runs is told before it is durable."""
    from harpoon.control.draft import Landing

    def told_at_once(self: Landing[Any]) -> Any:
        yield from ()
        told = self._told()
        return told if self._then is None else (yield from self._then(told).__await__())

    Landing.__await__ = told_at_once


WEAKENED: Mapping[str, Callable[[], None]] = {
    one.__name__: one for one in (no_fence, no_denials, no_patience, no_memory, no_compare, no_waiting)
}

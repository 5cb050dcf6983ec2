"""Waiting for anything of one job, or of one agent, to change, without asking again and again."""

import asyncio
from collections.abc import Callable
from typing import Final

from harpoon.control.view import View, job_key_of, parent_of
from harpoon.store.table import RowChange


class Waiters:
    """Those who wait, by the key of the job or agent they wait for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        view.mirror.listen(self._hear)

    async def touched(self, key: str, after: int, concerns: Callable[[RowChange], bool]) -> None:
        """Return once a change that ``concerns`` somebody has happened after a revision, or may have.

        Args:
            key: Of the job, or `agent_key`, whose changes are looked at.
            after: May lie far back, or ahead.
            concerns: Whether a change is one to return for.
        """
        while (happened := self._view.mirror.since(after)) is not None:
            if any(concerns(change) for _, changes in happened for change in changes):
                return
            after = max(after, self._view.revision)
            await self.changed(key, after)

    async def changed(self, key: str, after: int) -> None:
        """Return once anything of the job, or agent, has changed after a revision; perhaps earlier, so look again."""
        if self._view.revision > after:
            return
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(key, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiters.get(key) is waiters:
                del self._waiters[key]

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        if not self._waiters:
            return
        for change in changes:
            for key in keys_of(self._view, change):
                for waiter in self._waiters.get(key, ()):
                    if not waiter.done():
                        waiter.set_result(None)


def agent_key(name: str) -> str:
    """Return the key by which an agent is waited for; no job has it."""
    return f"@{name}"


#: What moves are waited for by; no agent and no job has it.
MOVES_KEY: Final = "@"


def keys_of(view: View, change: RowChange) -> tuple[str, ...]:
    """Return the keys of the job and the agent whose objects a change is part of."""
    table = change.table
    if table is view.placements or table is view.actual:
        agent, _, task = change.key.partition("/")
        return (*_shown_in(view, job_key_of(task)), agent_key(agent))
    if table is view.moves:
        return (MOVES_KEY,)
    if table is view.jobs:
        parents = {parent_of(row.value) for row in (change.old, change.new) if row is not None} - {""}
        return (change.key, *parents)
    if table is view.batches:
        return _shown_in(view, change.key)
    if table in (view.pending, view.rollouts, view.cron):
        return (change.key,)
    return (agent_key(change.key),) if table in (view.agents, view.links, view.cordons) else ()


def _shown_in(view: View, key: str) -> tuple[str, ...]:
    """Return the keys of a job, and of the cron job that is shown with what runs of it."""
    row = view.jobs.rows.get(key)
    return (key,) if row is None or row.value.owner is None else (key, parent_of(row.value))

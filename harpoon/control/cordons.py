"""What operators decide of agents: that one takes no new tasks, that it is to be emptied, that it is dead.

It writes the decision, and no more: that nothing is placed on a cordoned agent, and that tasks leave one that is being
drained, follows from its record (`core.place`, `core.rollout`). Only of an agent that is dead the records are deleted
here, for nobody else will ever tell what became of its tasks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from harpoon.control.view import ACTUAL, AGENTS, CORDONS, DEAD, DISOWNED, LINKS, PLACEMENTS, View
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, NotFound, Unavailable
from harpoon.model.agent import Agent, Cordon, Death, LinkState
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Tries against others that change the same agent.
TRIES: Final = 5
#: Records of a dead agent deleted in one commit; the last one has room for what else belongs to it.
DELETES_AT_ONCE: Final = 90

#: Deaths that are kept; of more, the oldest go, a few with each new one.
DEAD_MAX: Final = 1000
_FORGOTTEN_AT_ONCE: Final = 4

#: Given what the mutation comes to (the revision, given that of the commit), what else is to be written with it, and
#: the condition for all of it; see `control.receipts`.
Extra = Callable[[Callable[[int], tuple[int, ...]]], tuple[Sequence[Compare], Sequence[Write]]]


class Cordons:
    """The one writer of cordons, and of deaths.

    Each verb returns the revision at which the agent came to stand as asked, which is an earlier one if it did already.
    """

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock

    async def cordon(self, name: str, *, reason: str | None = None, extra: Extra | None = None) -> int:
        """Have an agent take no new tasks; one that is being drained keeps what it still has.

        Args:
            name: Of the agent.
            reason: Why; None: as it is told already, if it is.
            extra: To be written with it.

        Raises:
            NotFound: There is no such agent.
        """
        return await self._set(name, is_draining=False, reason=reason, extra=extra)

    async def drain(
        self, name: str, *, deadline: timedelta | None = None, reason: str | None = None, extra: Extra | None = None
    ) -> int:
        """Have an agent take no new tasks, and its tasks moved elsewhere.

        Args:
            name: Of the agent.
            deadline: After so long from now, tasks go also if they fit nowhere else; None: as it was decided already,
                and else never.
            reason: As for `cordon`.
            extra: To be written with it.

        Raises:
            NotFound: There is no such agent.
        """
        return await self._set(name, is_draining=True, deadline=deadline, reason=reason, extra=extra)

    async def uncordon(self, name: str, *, extra: Extra | None = None) -> int:
        """Let an agent take new tasks again; a drain ends.

        Raises:
            NotFound: There is no such agent.
        """
        for _ in range(TRIES):
            row, cordon = self._registered(name), self._view.cordons.rows.get(name)
            writes = [] if cordon is None else [Delete(CORDONS + name)]
            revision = await self._commit(row, cordon, writes, row.mod_revision, extra)
            if revision is not None:
                return revision
        raise Unavailable(f"others keep changing agent {name}; try again")

    async def declare_dead(self, name: str, *, reason: str | None = None, extra: Extra | None = None) -> int:
        """Record that an agent will never come back, and forget it: its tasks are gone, and may run elsewhere.

        Its records go in parts, its registration last: what was broken off in between can be asked for again. So can be
        what came to be placed on an agent at the very moment in which it was removed. Should it come back all the same,
        its tasks are stopped.

        Raises:
            NotFound: There is no such agent, nothing is left of one, and none of that name is dead.
            Conflict: It is connected, so it is not dead.
        """
        for _ in range(TRIES):
            row, dead = self._view.agents.rows.get(name), self._view.dead.rows.get(name)
            is_left = row is not None or any(self._parts(name))
            if not is_left and dead is None:
                raise NotFound(f"there is no agent {name}")
            revision = await (self._bury(name, row, reason or "", extra) if is_left else self._again(name, dead, extra))
            if revision is not None:
                return revision
        raise Unavailable(f"others keep changing agent {name}; try again")

    async def _set(
        self,
        name: str,
        *,
        is_draining: bool,
        deadline: timedelta | None = None,
        reason: str | None,
        extra: Extra | None,
    ) -> int:
        for _ in range(TRIES):
            row, known = self._registered(name), self._view.cordons.rows.get(name)
            now_ms = self._clock.now().wall
            cordon = Cordon(agent=name, is_draining=is_draining, since_ms=now_ms, reason=reason or "")
            if known is not None:
                cordon = _after(known.value, cordon, reason)
            if deadline is not None:
                cordon = replace(cordon, deadline_ms=now_ms + deadline // timedelta(milliseconds=1))
            is_known = known is not None and known.value == cordon
            writes = [] if is_known else [Put(CORDONS + name, codec.dump(cordon))]
            unchanged = row.mod_revision if known is None else known.mod_revision
            revision = await self._commit(row, known, writes, unchanged, extra)
            if revision is not None:
                return revision
        raise Unavailable(f"others keep changing agent {name}; try again")

    def _registered(self, name: str) -> Row[Agent]:
        row = self._view.agents.rows.get(name)
        if row is None:
            raise NotFound(f"there is no agent {name}")
        return row

    async def _commit(
        self,
        row: Row[Agent],
        cordon: Row[Cordon] | None,
        writes: Sequence[Write],
        unchanged: int,
        extra: Extra | None,
    ) -> int | None:
        """Write what was decided of an agent that stands as it was read; None: it does not."""
        name = row.value.name
        compares = [_is_same(AGENTS + name, row), _is_same(CORDONS + name, cordon)]
        return await self._write(compares, writes, unchanged, extra)

    async def _write(
        self, compares: list[Compare], writes: Sequence[Write], unchanged: int, extra: Extra | None
    ) -> int | None:
        """Commit, with what belongs to it, and wait until the view shows it; ``unchanged`` if there is nothing to."""
        others: Sequence[Write] = ()
        if extra is not None:
            conditions, others = extra(lambda at: (at if writes else unchanged,))
            compares = [*compares, *conditions]
        if not writes and not others:
            return unchanged
        revision = await settle.commit(self._store, compares, [*writes, *others])
        if revision is None:
            await settle.see_others(self._store, self._view.mirror, compares)
            return None
        await self._view.mirror.shows(revision)
        return revision if writes else unchanged

    async def _bury(self, name: str, row: Row[Agent] | None, reason: str, extra: Extra | None) -> int | None:
        link = self._view.links.rows.get(name)
        if link is not None and link.value.state is LinkState.CONNECTED:
            raise Conflict(
                f"agent {name} is connected, so it is not dead; stop it first, or only empty it: harpoon drain {name}"
            )
        # Compared each time: what happens late is to take nothing from an agent that came back since.
        compares = [_is_same(AGENTS + name, row), _is_same(LINKS + name, link)]
        uid = "" if row is None else row.value.uid
        death = Death(agent=name, uid=uid, at_ms=self._clock.now().wall, reason=reason)
        record = Put(DEAD + name, codec.dump(death))
        for part in self._parts(name):
            # With the first of them its slots are free: by whose word is to be known, also when the rest is broken off.
            if await settle.commit(self._store, compares, [*part, record]) is None:
                await settle.see_others(self._store, self._view.mirror, compares)
                return None
        gone = [Delete(table + name) for table in (LINKS, CORDONS, AGENTS)]
        return await self._write(compares, [record, *gone, *self._forgotten(name)], 0, extra)

    async def _again(self, name: str, dead: Row[Death] | None, extra: Extra | None) -> int | None:
        assert dead is not None, "one that is not registered is dead"
        compares = [Compare(AGENTS + name, mod=0), _is_same(DEAD + name, dead)]
        return await self._write(compares, (), dead.mod_revision, extra)

    def _forgotten(self, name: str) -> list[Delete]:
        """Return what drops the oldest deaths, if there are too many beside a new one."""
        others = [row.value for key, row in self._view.dead.rows.items() if key != name]
        over = sorted(others, key=lambda one: (one.at_ms, one.agent))[: max(0, len(others) + 1 - DEAD_MAX)]
        return [Delete(DEAD + one.agent) for one in over[:_FORGOTTEN_AT_ONCE]]

    def _parts(self, name: str) -> Iterator[list[Write]]:
        """Yield what deletes an agent's placements and what it reported, in parts."""
        view = self._view
        keys = [f"{PLACEMENTS}{name}/{task}" for task in view.placements_on(name)]
        keys += [f"{ACTUAL}{name}/{task}" for task in view.tasks_on(name)]
        keys += [f"{DISOWNED}{name}/{task}" for task in view.disowned_on(name)]
        for start in range(0, len(keys), DELETES_AT_ONCE):
            yield [Delete(key) for key in keys[start : start + DELETES_AT_ONCE]]


def _after(known: Cordon, wanted: Cordon, reason: str | None) -> Cordon:
    """Return what becomes of a cordon when another is asked for: what the new one does not say stays."""
    if known.is_draining == wanted.is_draining:
        return known if reason is None else replace(known, reason=reason)
    return replace(wanted, reason=known.reason if reason is None else reason)


def _is_same(key: str, row: Row[Any] | None) -> Compare:
    return Compare(key, mod=0 if row is None else row.mod_revision)

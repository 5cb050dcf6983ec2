"""What does not progress, and why: gathered from the view when it is asked for, in slices; nothing is kept for it.

The cost is that of looking at every job, placement and task once, which is less than a microsecond each.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from harpoon.control.drain import drain_status
from harpoon.control.status import lost_reason, trouble
from harpoon.control.view import View, job_key_of
from harpoon.core.exclusive import waits_for_agent
from harpoon.model.agent import Agent, LinkState
from harpoon.model.decision import Pending
from harpoon.model.job import Job
from harpoon.model.standstill import Waiter, WaitingGroup, WaitingList
from harpoon.model.task import Placement, Task, TaskState
from harpoon.store.table import Table

#: What is not ready for so long is told; until then it is on its way.
MOMENT_MS: Final = 10_000
SUBJECTS_MAX: Final = 20
#: The smallest groups beyond are left out.
GROUPS_MAX: Final = 500
#: Records looked at before others get their turn on the event loop.
_SLICE: Final = 500
#: What tells apart those that wait for the same reason: ids of tasks, numbers, addresses, spans of time.
_PARTICULAR: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+){2,}|\d+(?:[.:/-]\d+)*(?:ms|s|m|h)?\b")


class _Stuck(NamedTuple):
    """One thing that waits."""

    kind: Waiter
    subject: str
    #: Those with the same make one group; the rest of the reason is of this one only.
    group: str
    reason: str
    since_ms: int


async def standstill(view: View, now_ms: int, namespace: str | None = None) -> WaitingList:
    """Return everything that does not progress.

    Args:
        view: Where to look.
        now_ms: The present moment, UTC milliseconds.
        namespace: Only jobs and tasks of this one, and no agents, which are of none.
    """
    revision = view.revision
    look = _Look(view, now_ms)
    groups: dict[tuple[Waiter, str], list[_Stuck]] = {}
    for table, ask, mark in look.sources():
        for count, (key, row) in enumerate(table.snapshot().items(), 1):
            stuck = ask(key, row.value)
            if stuck is not None and (namespace is None or stuck.subject.startswith(f"{stuck.kind}/{namespace}{mark}")):
                groups.setdefault((stuck.kind, stuck.group), []).append(stuck)
            if count % _SLICE == 0:
                await asyncio.sleep(0)
    items = sorted(map(_told, groups.values()), key=lambda item: (-item.count, item.kind, item.since_ms, item.reason))
    return WaitingList(revision=view.external(revision), items=tuple(items[:GROUPS_MAX]))


def _told(group: list[_Stuck]) -> WaitingGroup:
    group.sort(key=lambda stuck: (stuck.since_ms, stuck.subject))
    oldest = group[0]
    return WaitingGroup(
        kind=oldest.kind,
        reason=oldest.reason,
        count=len(group),
        since_ms=oldest.since_ms,
        subjects=tuple(stuck.subject for stuck in group[:SUBJECTS_MAX]),
    )


_Source = tuple[Table[Any], Callable[[str, Any], _Stuck | None], str]


class _Look:
    """Looks at one record after the other."""

    def __init__(self, view: View, now_ms: int) -> None:
        self._view = view
        self._late_ms = now_ms - MOMENT_MS

    def sources(self) -> tuple[_Source, ...]:
        """Return where to look, with what, and what follows the namespace in the subjects found there."""
        view = self._view
        return (
            (view.jobs, self._job, "/"),
            (view.pending, self._pending, "/"),
            (view.placements, self._placement, "."),
            (view.actual, self._task, "."),
            # No subject has this: agents are of no namespace.
            (view.agents, self._agent, "//"),
        )

    def _job(self, key: str, job: Job) -> _Stuck | None:
        if not job.is_terminating:
            return None
        left = len(self._view.placements_of(key).keys() | self._view.tasks_of(key).keys())
        reason = f"it is being unscheduled, and {left} of its tasks are left"
        return _Stuck(Waiter.JOB, f"job/{key}", "terminating", reason, job.updated_ms)

    def _pending(self, key: str, pending: Pending) -> _Stuck:
        predicates = Counter(blocker.predicate for blocker in pending.blockers)
        group = "pending: " + ", ".join(sorted(predicates) or [_general(pending.reason)])
        return _Stuck(Waiter.JOB, f"job/{key}", group, pending.reason, pending.since_ms)

    def _placement(self, key: str, placement: Placement) -> _Stuck | None:
        if placement.decided_ms > self._late_ms:
            return None
        reported = self._view.actual.rows.get(key)
        waits = waits_for_agent(placement, None if reported is None else reported.value)
        if waits:
            since_ms = placement.decided_ms if reported is None else max(placement.decided_ms, reported.value.since_ms)
            return _Stuck(Waiter.TASK, f"task/{placement.task}", f"exclusive {placement.agent}", waits, since_ms)
        if reported is not None or placement.is_revoked:
            return None
        link = self._view.links.rows.get(placement.agent)
        state = LinkState.UNKNOWN if link is None else link.value.state
        reason = f"it is placed on agent {placement.agent}, which has not reported it yet and is {state}"
        return _Stuck(Waiter.TASK, f"task/{placement.task}", f"unreported {state}", reason, placement.decided_ms)

    def _task(self, key: str, task: Task) -> _Stuck | None:
        is_unclaimed = task.state is TaskState.UNCLAIMED
        is_well = task.ready or task.state is TaskState.FINISHED
        if is_well or (task.since_ms > self._late_ms and not is_unclaimed):
            return None
        placed = self._view.placements.rows.get(key)
        # What is over and placed no more is kept for its logs.
        if task.state.is_over if placed is None else waits_for_agent(placed.value, task):
            return None
        reason = f"it {trouble(task)}"
        if task.state is TaskState.LOST and (job := self._view.jobs.rows.get(job_key_of(task.id))) is not None:
            reason += f"; {lost_reason(job.value, self._view.halted)}"
        group = task.state.value if is_unclaimed else _general(reason, task.agent)
        return _Stuck(Waiter.TASK, f"task/{task.id}", group, reason, task.since_ms)

    def _agent(self, name: str, agent: Agent) -> _Stuck | None:
        row = self._view.links.rows.get(name)
        state = LinkState.UNKNOWN if row is None else row.value.state
        if state is LinkState.CONNECTED:
            return self._drain(name)
        said = row.value.reason if row is not None and row.value.reason else f"{agent.endpoint} was not reached yet"
        since_ms = 0 if row is None else row.value.since_ms
        group = f"{state}: {_general(said.replace(agent.endpoint, '…'), name)}"
        return _Stuck(Waiter.AGENT, f"agent/{name}", group, f"it is {state}: {said}", since_ms)

    def _drain(self, name: str) -> _Stuck | None:
        cordon = self._view.cordons.rows.get(name)
        if cordon is None or not cordon.value.is_draining or cordon.value.since_ms > self._late_ms:
            return None
        drain = drain_status(self._view, name)
        if drain.is_done:
            return None
        reason = f"it is being drained, and {drain.left} tasks are left: {drain.waiting[0]}"
        return _Stuck(Waiter.AGENT, f"agent/{name}", "draining", reason, cordon.value.since_ms)


def _general(reason: str, agent: str | None = None) -> str:
    """Return what is left of a reason that others may share, on other agents too."""
    shared = reason if agent is None else re.sub(rf"(?<![\w.-]){re.escape(agent)}(?![\w-])", "…", reason)
    return _PARTICULAR.sub("…", shared)

"""What a rollout, a migrate, a drain and a more urgent job take away, and when: S19, S20 and S21."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from harpoon.model.units import parse_duration
from tests.proof.history import Committed
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State, job_of, slot_of
from tests.proof.wanted import is_batch, is_system, is_wanted, slots_of

#: Whoever decides sees what is so, or was so at most so long ago.
_LAG_S: Final = 30.0
#: A task that has been ready for less was perhaps not known to be: by a view that is behind, or a commit that is late.
_SEEN_S: Final = 12.0
#: Since when a task is ready is noted by another clock than that of whoever decides by it.
_CLOCKS_S: Final = 2.5


class _Service(NamedTuple):
    """When a task was ready, the last time that it was; it is still if ``until`` is None."""

    since: float
    until: float | None


class MakesBeforeItBreaks(Check):
    """S19. Judged by what is withdrawn, and not by what is ready: tasks die of faults, too, and that is no decision.

    A slot is *open* from when a ready task of it was withdrawn though no other of it had served for as long as the job's
    updates ask, until one is ready. Of a job that is not exclusive at most ``update.unavailable`` slots are open at once;
    of an exclusive one, which breaks before it makes, one at least. What the deadline of a drain, an operator's word
    that an agent is dead, a smaller scale, the end of the job or a more urgent one takes is not decided by the rollout;
    nor is it one that has a batch job's tasks start over.

    That a task has served for so long is told from when the store had it ready; the clocks of those who note it and of
    those who decide by it may differ, and one that is set is found out a little later, so it is not judged then.
    """

    name = "S19"
    tables = ("placements", "actual")
    says = "No more ready tasks are withdrawn before their successors serve than the job's updates allow."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Agent and task → when it was ready.
        self._served: dict[str, _Service] = {}
        #: Job → its open slots.
        self._open: dict[str, set[str]] = {}
        self._is_clock_off = False

    def on_fault(self, event: Any) -> None:
        self._is_clock_off |= "clock" in event.what

    def on_committed(self, event: Committed) -> None:
        state = self.state
        if state.is_anew:
            self._served, self._open = {}, {}
            return
        for change in state.changed:
            if change.table == "actual":
                self._note(change, event.t)
        for change in self._withdrawn(event.t):
            slot = slot_of(change.key.partition("/")[2])
            if not self._has_successor(slot, event.t):
                opened = self._open.setdefault(job_of(change.key.partition("/")[2]), set())
                opened.add(slot)
                self._judge(change, opened, event)

    def _note(self, change: Change, t: float) -> None:
        is_ready = change.new is not None and bool(change.new.value.get("ready"))
        known = self._served.get(change.key)
        if is_ready and (known is None or known.until is not None):
            self._served[change.key] = _Service(t, None)
            task = change.key.partition("/")[2]
            self._open.get(job_of(task), set()).discard(slot_of(task))
        elif known is not None and known.until is None and not is_ready:
            self._served[change.key] = known._replace(until=t)

    def _withdrawn(self, t: float) -> Iterator[Change]:
        """Yield the placements of ready tasks that this commit takes back by the rules of rollouts."""
        for change in self.state.changed:
            if change.table != "placements" or change.old is None or change.old.value.get("is_revoked"):
                continue
            is_gone = change.new is None or change.new.value.get("is_revoked")
            served = self._served.get(change.key)
            is_known = served is not None and served.until is None and served.since <= t - _SEEN_S
            if is_gone and is_known and not self._is_excused(change):
                yield change

    def _is_excused(self, change: Change) -> bool:
        assert change.old is not None
        agent, _, task = change.key.partition("/")
        job, cordon = self.state.value("jobs", job_of(task)), self.state.value("cordons", agent)
        if job is None or is_batch(job) or not is_wanted(self.state, job_of(task), job, change.old.value, task):
            return True
        # What goes last from an agent that is being drained goes nowhere else.
        is_last = is_system(job) and cordon is not None and cordon["is_draining"]
        has_deadline = cordon is not None and cordon.get("deadline_ms") is not None
        return (
            is_last
            or has_deadline
            or self.state.is_preempted(task)
            or self.state.is_dead(agent)
            or self.state.row("agents", agent) is None
        )

    def _has_successor(self, slot: str, t: float) -> bool:
        """Whether another task of the slot serves, or did a moment ago, for as long as it is to."""
        job = self.state.value("jobs", job_of(f"{slot}.0-0"))
        wanted = _healthy_for(job).total_seconds() - _CLOCKS_S
        for agent, task, placement in self.state.placements_of(slot):
            if placement.get("is_revoked"):
                continue
            served = self._served.get(f"{agent}/{task}")
            report = self.state.reported(agent, task)
            if report is not None and report["state"] == "finished":
                return True
            if served is None or (served.until is not None and served.until < t - _LAG_S):
                continue
            if self._is_clock_off or (served.until or t) - served.since >= wanted:
                return True
        return False

    def _judge(self, change: Change, opened: set[str], event: Committed) -> None:
        key = job_of(change.key.partition("/")[2])
        job = self.state.value("jobs", key)
        spec, wanted = job["spec"], slots_of(self.state, key, job, self.state.table("agents"))
        # What is not wanted any more is not open, and will not come to serve.
        opened -= {slot for slot in opened if slot.rpartition(".")[2] not in wanted}
        allowed = spec.get("update", {}).get("unavailable", 0)
        allowed = max(1, allowed) if spec.get("exclusive") else allowed
        if len(opened) > allowed:
            told = f"{change.key} was ready, and is withdrawn before another of its slot serves"
            raise self.refute(f"{told}; open: {', '.join(sorted(opened))}, allowed: {allowed}", event)


class CanariesFew(Check):
    """S20. Of a generation that is on trial no more slots are given one than the job has canaries."""

    name = "S20"
    tables = ("placements",)
    says = "Until it is promoted, no more slots have the new generation than there are canaries."

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.table == "placements" and change.old is None and change.new is not None:
                self._judge(change.new.value, event)

    def _judge(self, placement: Mapping[str, Any], event: Committed) -> None:
        key = f"{placement['namespace']}/{placement['job']}"
        record, job = self.state.value("rollouts", key), self.state.value("jobs", key)
        if record is None or job is None or record.get("is_promoted") or record.get("stable") is None:
            return
        if not record["generation"] == job["generation"] == placement["generation"]:
            return
        canaries = job["spec"].get("update", {}).get("canary", 0)
        prefix = key.replace("/", ".") + "."
        slots = {
            slot
            for slot in self.state.slots
            if slot.startswith(prefix)
            for _, _, one in self.state.placements_of(slot)
            if one["generation"] == placement["generation"]
        }
        if canaries and len(slots) > canaries:
            raise self.refute(f"{len(slots)} slots of {key} are on trial, and it has {canaries} canaries", event)


class PreemptsLower(Check):
    """S21. A job that says of another's task that it goes for its sake, in the commit that takes that, may have it."""

    name = "S21"
    tables = ("placements", "pending")
    says = "Only a job that asks for it has tasks of others stopped, and only those of lower priority."

    def on_committed(self, event: Committed) -> None:
        state = self.state
        said = [change.new.value for change in state.changed if change.table == "pending" and change.new is not None]
        for change in state.changed if said else ():
            task = change.key.partition("/")[2]
            if change.table != "placements" or change.old is None or change.old.value.get("is_revoked"):
                continue
            for pending in said if change.new is None or change.new.value.get("is_revoked") else ():
                if task in pending.get("awaited", ()):
                    self._judge(f"{pending['namespace']}/{pending['job']}", task, event)

    def _judge(self, key: str, task: str, event: Committed) -> None:
        job, victim = self.state.value("jobs", key), self.state.value("jobs", job_of(task))
        told = f"{task} goes for job {key}"
        if job is None or not job["spec"].get("preempt"):
            raise self.refute(f"{told}, which did not ask for that", event)
        if victim is not None and _priority(victim) >= _priority(job):
            raise self.refute(f"{told}, whose priority is {_priority(job)}, not above {_priority(victim)}", event)


def _priority(job: Mapping[str, Any]) -> int:
    return int(job["spec"].get("priority", 50))


def _healthy_for(job: Mapping[str, Any] | None) -> timedelta:
    told = None if job is None else job["spec"].get("update", {}).get("healthy_for")
    return timedelta(0) if told is None else parse_duration(str(told))

"""How long jobs wait until they are looked at: L6 and L7."""

from typing import Any, NamedTuple

from tests.proof.checks.watching import WATCH_GAP
from tests.proof.history import Calm, Committed, Down, Ended, Event, Fault, Healed, Settled, Up
from tests.proof.judge import Check, Terms
from tests.proof.state import State, job_of
from tests.proof.wanted import is_batch, record_of, slots_of

#: A job is looked at within so long when nothing is in the way; in a simulation it takes milliseconds.
_PATIENCE_S = 10.0
#: After whatever happened, for leases to run out and the next one to begin.
_RECOVERY_S = 15.0
#: What a `Fault` is called that asks for much at once; it is over when it is `Healed`.
BURST = "burst"
#: So long after a burst everything is as before.
_BURST_OVER_S = 60.0
#: Waits as short as that are as good as none.
_SHORT_S = 1.0


class _Wait(NamedTuple):
    since: float
    event: Committed


class _Waits(Check):
    """Follows each job from its being changed until something is decided of it: a placement, a drop, what it waits for,
    how its rollout stands, or what came of its run.

    A job whose slots are all placed as they should be waits for nothing; one that is exclusive, for its agents, too. Of
    a batch job it is asked only until something of its run was placed, or came to something: then it may be the turn of
    others, or nobody's for a while.
    """

    tables = ("jobs", "placements", "pending", "rollouts", "batches", "links")

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Job → since when it waits, oldest first.
        self._waiting: dict[str, _Wait] = {}

    def on_committed(self, event: Committed) -> None:
        decided = []
        for change in self.state.changed:
            if change.table == "placements":
                decided.append(job_of(change.key.partition("/")[2]))
            elif change.table in ("pending", "rollouts", "batches"):
                decided.append(change.key)
        for key in decided:
            wait = self._waiting.pop(key, None)
            if wait is not None:
                self._judge(key, wait, event)
        for change in self.state.changed:
            if change.table == "jobs":
                self._waiting.pop(change.key, None)
                if change.new is not None and not self._has_all(change.key, change.new.value):
                    self._waiting[change.key] = _Wait(event.t, event)
        self._judge_oldest(event)

    def on_settled(self, event: Settled) -> None:
        self._judge_oldest(event)

    def on_ended(self, event: Ended) -> None:
        self._judge_oldest(event)

    def _judge_oldest(self, event: Event) -> None:
        for key, wait in self._waiting.items():
            self._judge(key, wait, event)
            return

    def _has_all(self, key: str, job: Any) -> bool:
        wanted = slots_of(self.state, key, job, self.state.table("agents"))
        of, slots = key.replace("/", "."), self.state.slots
        if is_batch(job) and wanted and self._is_begun(key, job):
            return True
        for name in wanted:
            placed = [self.state.placement(agent, task) for task, agent in slots.get(f"{of}.{name}", {}).items()]
            if any(one.get("is_revoked") for one in placed):
                return True
            if len(placed) != 1 or placed[0]["generation"] != job["generation"]:
                return self._is_pending(key, job)
        mine = (slot for slot in slots if slot.rpartition(".")[0] == of)
        return not any(slots[slot] for slot in mine if slot.rpartition(".")[2] not in wanted)

    def _is_begun(self, key: str, job: Any) -> bool:
        if record_of(self.state, key, job):
            return True
        prefix = f"{key.replace('/', '.')}."
        tasks = (task for slot, found in self.state.slots.items() if slot.startswith(prefix) for task in found.items())
        placed = (self.state.placement(agent, task) for task, agent in tasks)
        return any(one["version"] >= job["run"]["version"] for one in placed)

    def _is_pending(self, key: str, job: Any) -> bool:
        pending = self.state.value("pending", key)
        return pending is not None and bool(pending["generation"] == job["generation"])

    def _judge(self, key: str, wait: _Wait, event: Event) -> None:
        raise NotImplementedError


class NoStarvation(_Waits):
    """L6. Judged only while nothing is broken: from 15 s and two leases after the last fault was healed, or all was calm,
    or an agent came or went; and while all agents are connected, for jobs may wait for one that is not.

    A fault that is never healed silences this check until `Calm`; one by which the store leaves something out of a watch
    (see S11) does for good, since the scheduler finds it ten minutes later.
    """

    name = "L6"
    says = "While nothing is broken each job that changes is looked at within seconds, whatever others do."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._broken: set[tuple[str, str]] = set()
        self._has_gap = False
        self._calm_from = 0.0
        self._recovery_s = 2 * terms.lease_ttl_s + _RECOVERY_S + terms.grace_s

    def on_fault(self, event: Fault) -> None:
        self._broken.add((event.what, event.target))
        self._has_gap |= event.what == WATCH_GAP

    def on_healed(self, event: Healed) -> None:
        self._broken.discard((event.what, event.target))
        self._calm_from = event.t + self._recovery_s

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.table == "links" and (
                change.old is None or change.new is None or change.old.value["state"] != change.new.value["state"]
            ):
                self._calm_from = event.t + self._recovery_s
        super().on_committed(event)

    def on_up(self, event: Up) -> None:
        self._calm_from = event.t + self._recovery_s

    def on_down(self, event: Down) -> None:
        self._calm_from = event.t + self._recovery_s

    def on_calm(self, event: Calm) -> None:
        if event.is_whole:
            self._broken.clear()
        self._calm_from = event.t + self._recovery_s

    def _judge(self, key: str, wait: _Wait, event: Event) -> None:
        span = event.t - max(wait.since, self._calm_from)
        if self._broken or self._has_gap or span <= _PATIENCE_S + self.terms.grace_s:
            return
        if all(self.state.link(agent) == "connected" for agent in self.state.table("agents")):
            raise self.refute(f"job {key} changed, and nothing was decided of it for {span:g} s", wait.event, event)


class NoLastingOverload(_Waits):
    """L7. A burst is told as a `Fault` named ``burst`` and is over when that is `Healed`; without one nothing is judged.

    Compared is the longest wait before it, in which nothing else was broken, with each one from a minute after it.
    """

    name = "L7"
    says = "A minute after a burst of requests, jobs are looked at as soon as before it."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._longest = 0.0
        self._has_begun = False
        self._over_from: float | None = None

    def on_fault(self, event: Fault) -> None:
        if event.what == BURST:
            self._has_begun, self._over_from = True, None
        else:
            # What else is broken makes waits of its own.
            self._over_from = None

    def on_healed(self, event: Healed) -> None:
        if event.what == BURST:
            self._over_from = event.t + _BURST_OVER_S

    def _judge(self, key: str, wait: _Wait, event: Event) -> None:
        span = event.t - wait.since
        if not self._has_begun:
            self._longest = max(self._longest, span)
        elif self._over_from is not None and wait.since >= self._over_from and span > self._usual():
            text = f"job {key} waited {span:g} s long after a burst, and {self._longest:g} s at most before it"
            raise self.refute(text, wait.event, event)

    def _usual(self) -> float:
        return max(2 * self._longest, _SHORT_S) + self.terms.grace_s

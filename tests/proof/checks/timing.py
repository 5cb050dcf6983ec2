"""Nothing comes too early: L4."""

from collections.abc import Mapping
from typing import Any

from harpoon.model.units import parse_duration
from tests.proof.history import Booted, Committed, Event, Exited, Fault, Started
from tests.proof.judge import Check, Terms
from tests.proof.state import State

#: Restarts so young always count for the backoff.
_CALM_S = 60.0
#: Timers of a loop that looks at the clock once a turn may fire so much too early.
_EARLY_S = 0.06


class TimersHold(Check):
    """L4. When an agent was reached last is told by the records of its link, which are dated by whoever wrote them.

    So nothing is said of losses once a fault that is called something with *clock* was done, nor of restarts on the
    agent that it was done to. How often a task was started again is counted by its processes, a little too low rather
    than too high, since when the agent heard of an end is not known. That a timer fires late is L1's and L6's to see.
    """

    name = "L4"
    says = "No agent is lost before its time, and no task started again sooner or more often than its policy has it."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._has_skew = False
        self._odd: set[str] = set()
        #: Agent and task → when it was started again, and when its last process ended.
        self._restarts: dict[tuple[str, str], list[float]] = {}
        self._ends: dict[tuple[str, str], Exited] = {}
        self._uids: dict[str, str] = {}

    def on_fault(self, event: Fault) -> None:
        what = event.what.lower()
        if "clock" in what or "disk" in what:
            self._odd.add(event.target)
            self._has_skew |= "clock" in what

    def on_booted(self, event: Booted) -> None:
        if self._uids.get(event.node, event.uid) != event.uid:
            self._ends = {key: value for key, value in self._ends.items() if key[0] != event.node}
            self._restarts = {key: value for key, value in self._restarts.items() if key[0] != event.node}
        self._uids[event.node] = event.uid

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew or self._has_skew:
            return
        for change in self.state.changed:
            if change.table == "links" and change.new is not None and change.new.value["state"] == "lost":
                self._judge_loss(change.key, None if change.old is None else change.old.value, change.new.value, event)

    def _judge_loss(self, agent: str, old: Mapping[str, Any] | None, new: Mapping[str, Any], event: Event) -> None:
        if old is None or old["state"] == "unknown":
            raise self.refute(f"agent {agent} is lost, and was never reached", event)
        if old["state"] == "lost":
            return
        away_s = (new["since_ms"] - old["since_ms"]) / 1000
        if away_s < self.terms.lost_after_s - self.terms.skew_s:
            text = (
                f"agent {agent} is lost {away_s:g} s after it was {old['state']}, and not {self.terms.lost_after_s:g} s"
            )
            raise self.refute(text, event)

    def on_exited(self, event: Exited) -> None:
        self._ends[event.node, event.task] = event

    def on_started(self, event: Started) -> None:
        key = event.node, event.task
        end = self._ends.get(key)
        if end is None or event.node in self._odd or "" in self._odd:
            return
        policy = self._policy(*key)
        if policy is None:
            return
        restarts = self._restarts.setdefault(key, [])
        self._judge_restart(policy, restarts, end, event)
        restarts.append(event.t)

    def _policy(self, agent: str, task: str) -> Mapping[str, Any] | None:
        placed = self.state.placed.get((agent, task))
        if placed is None:
            return None
        made = placed.value
        version = self.state.value("versions", f"{made['namespace']}/{made['job']}/{made['version']}")
        if version is None or version["generation"] != made["generation"]:
            return None
        found: Mapping[str, Any] = version["spec"]["task"].get("restart", {})
        return found

    def _judge_restart(self, policy: Mapping[str, Any], restarts: list[float], end: Exited, event: Started) -> None:
        within = parse_duration(policy.get("within", "10m")).total_seconds()
        attempts = policy.get("attempts", 5)
        slack = 1.0 + self.terms.grace_s
        if policy.get("policy") == "never":
            raise self.refute(f"{event.task} starts again on {event.node}, and is never to", end, event)
        if sum(t > event.t - within + slack for t in restarts) >= attempts:
            text = f"{event.task} starts again on {event.node} more than {attempts} times within {within:g} s"
            raise self.refute(text, event)
        young = sum(t > event.t - max(within, _CALM_S) + slack for t in restarts)
        backoff = policy.get("backoff", {})
        if young:
            initial, longest = (
                parse_duration(backoff.get(name, usual)).total_seconds()
                for name, usual in (("initial", "1s"), ("max", "1m"))
            )
            span = min(longest, initial * backoff.get("factor", 2.0) ** min(young - 1, 64))
            span = max(0.1, span * (1 - backoff.get("jitter", 0.2)))
            if event.t - end.t < span - _EARLY_S - self.terms.grace_s:
                text = f"{event.task} starts again on {event.node} after {event.t - end.t:g} s, and not {span:g} s"
                raise self.refute(text, end, event)

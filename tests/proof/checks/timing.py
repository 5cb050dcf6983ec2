"""Nothing comes too early: L4."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harpoon.model.units import parse_duration
from tests.proof.history import Applied, Booted, Committed, Event, Exited, Fault, Started
from tests.proof.judge import Check, Terms
from tests.proof.state import State

#: Restarts so young always count for the backoff.
_CALM_S = 60.0
#: Shortest wait of every restart but the first of its window.
_WAIT_MIN_S = 0.1
#: Timers of a loop that looks at the clock once a turn may fire so much too early.
_EARLY_S = 0.06


class _Policy(NamedTuple):
    """How a task is started again."""

    is_never: bool
    attempts: int
    within_s: float
    initial_s: float
    max_s: float
    factor: float
    #: Jitter makes a wait this much of itself at least.
    least: float

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "_Policy":
        """Read one as stored: what is as usual is not told."""
        backoff = told.get("backoff", {})
        return cls(
            is_never=told.get("policy") == "never",
            attempts=told.get("attempts", 5),
            within_s=parse_duration(told.get("within", "10m")).total_seconds(),
            initial_s=parse_duration(backoff.get("initial", "1s")).total_seconds(),
            max_s=parse_duration(backoff.get("max", "1m")).total_seconds(),
            factor=backoff.get("factor", 2.0),
            least=1 - backoff.get("jitter", 0.2),
        )


class TimersHold(Check):
    """L4. When an agent was reached last is told by the records of its link, which are dated by whoever wrote them.

    So nothing is said of losses once a fault that is called something with *clock* was done, nor of restarts on the
    agent that it was done to. How often a task was started again is counted by its processes, a little too low rather
    than too high, since when the agent heard of an end is not known. That a timer fires late is L1's and L6's to see.
    A host that lost power (a fault called something with *power*) may have lost its count of them, which is not written
    durably. What an agent was told to forget is new to it when an order to start it comes again, as late as may be.
    """

    name = "L4"
    tables = ("links",)
    says = "No agent is lost before its time, and no task started again sooner or more often than its policy has it."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._has_skew = False
        self._odd: set[str] = set()
        #: Agent and task → when it was started again, and when its last process ended.
        self._restarts: dict[tuple[str, str], list[float]] = {}
        self._ends: dict[tuple[str, str], Exited] = {}
        self._uids: dict[str, str] = {}
        #: Agents whose host lost power, and that have not begun again since.
        self._unpowered: set[str] = set()
        #: Version of a job → its record, and the policy it has.
        self._policies: dict[str, tuple[Any, _Policy]] = {}

    def on_fault(self, event: Fault) -> None:
        what = event.what.lower()
        if "clock" in what or "disk" in what:
            self._odd.add(event.target)
            self._has_skew |= "clock" in what
        if "power" in what:
            self._unpowered.add(event.target)

    def on_booted(self, event: Booted) -> None:
        if self._uids.get(event.node, event.uid) != event.uid or event.node in self._unpowered:
            self._forget(event.node)
        self._unpowered.discard(event.node)
        self._uids[event.node] = event.uid

    def on_applied(self, event: Applied) -> None:
        if event.command == "forget" and event.is_ok:
            self._ends.pop((event.node, event.task), None)
            self._restarts.pop((event.node, event.task), None)

    def _forget(self, agent: str) -> None:
        """Take all that starts there for new."""
        self._ends = {key: value for key, value in self._ends.items() if key[0] != agent}
        self._restarts = {key: value for key, value in self._restarts.items() if key[0] != agent}

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

    def _policy(self, agent: str, task: str) -> _Policy | None:
        placed = self.state.placed.get((agent, task))
        if placed is None:
            return None
        made = placed.value
        key = f"{made['namespace']}/{made['job']}/{made['version']}"
        version = self.state.value("versions", key)
        if version is None or version["generation"] != made["generation"]:
            return None
        known = self._policies.get(key)
        if known is None or known[0] is not version:
            known = self._policies[key] = version, _Policy.of(version["spec"]["task"].get("restart", {}))
        return known[1]

    def _judge_restart(self, policy: _Policy, restarts: list[float], end: Exited, event: Started) -> None:
        slack = 1.0 + self.terms.grace_s
        if policy.is_never:
            raise self.refute(f"{event.task} starts again on {event.node}, and is never to", end, event)
        if sum([t > event.t - policy.within_s + slack for t in restarts]) >= policy.attempts:
            text = f"{event.task} starts again on {event.node} more than {policy.attempts} times"
            raise self.refute(f"{text} within {policy.within_s:g} s", event)
        young = sum([t > event.t - max(policy.within_s, _CALM_S) + slack for t in restarts])
        if young:
            span = max(
                _WAIT_MIN_S, min(policy.max_s, policy.initial_s * policy.factor ** min(young - 1, 64)) * policy.least
            )
            if event.t - end.t < span - _EARLY_S - self.terms.grace_s:
                text = f"{event.task} starts again on {event.node} after {event.t - end.t:g} s, and not {span:g} s"
                raise self.refute(text, end, event)

"""What is never too much: S16 and S17."""

from bisect import bisect_right
from typing import Final

from harpoon.core.eviction import BURST, PER_SECOND
from tests.proof.history import Committed, Pair
from tests.proof.judge import Check, Terms
from tests.proof.room import capacity, named, taken
from tests.proof.state import SCHEDULER, State, job_of, number_of, slot_of

#: Decided, and not committed yet, at most: a commit's answer is waited for so long.
_UNDERWAY_S: Final = 5.0


class EvictionsBounded(Check):
    """S16. What counts is when they are committed, so what may have been held up on the way is allowed for.

    Whether replacing was halted is asked of the revision that the placement was decided on, which its number tells;
    that it tells the truth about that is not known. A scheduler that takes over begins with a full bucket. A slot whose
    agent has denied it moves as in any migrate, though the agent came to be lost before it could say more of it.
    """

    name = "S16"
    tables = ("placements", "links", "agents")
    says = "Lost tasks are replaced 200 at once, then 20 a second, none while most agents are lost, nor where they are to wait."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._token: Pair | None = None
        self._level, self._t = 0.0, 0.0
        #: From which revision on it was halted, or was not.
        self._halts: list[tuple[int, str]] = [(0, "")]

    def on_committed(self, event: Committed) -> None:
        state = self.state
        if state.is_anew:
            self._halts = [(0, "")]
        evicted = self._evicted()
        if evicted:
            self._judge_waiting(evicted, event)
            self._judge_halt(evicted, event)
            self._judge_rate(len(evicted), event)
        if any(change.table in ("links", "agents") for change in state.changed):
            halt = self._halt()
            if halt != self._halts[-1][1]:
                self._halts.append((state.revision, halt))

    def _evicted(self) -> list[str]:
        """Return the placements that replace one whose task is lost."""
        state = self.state
        made = [change for change in state.changed if change.table == "placements" and change.old is None]
        if not made:
            return []
        lost = set()
        for change in state.changed:
            if change.table == "placements" and change.new is None:
                report = state.value("actual", change.key)
                is_denied = change.old is not None and change.old.value.get("is_denied")
                if report is not None and report["state"] == "lost" and not is_denied:
                    lost.add(slot_of(change.key.partition("/")[2]))
        tasks = (change.key.partition("/")[2] for change in made)
        return [task for task in tasks if slot_of(task) in lost and number_of(task)[0] == state.incarnation]

    def _judge_waiting(self, evicted: list[str], event: Committed) -> None:
        """A job that waits for its agents has what is lost replaced by nobody but an operator."""
        for task in evicted:
            job = self.state.job_at(job_of(task), number_of(task)[1])
            if job is not None and job["spec"].get("on_lost") == "wait":
                raise self.refute(f"{task} replaces a lost one, whose job waits for its agent", event)

    def _judge_halt(self, evicted: list[str], event: Committed) -> None:
        for task in evicted:
            at = bisect_right(self._halts, (number_of(task)[1], "\uffff")) - 1
            if self._halts[at][1]:
                raise self.refute(f"{task} replaces a lost one, decided while {self._halts[at][1]}", event)

    def _judge_rate(self, count: int, event: Committed) -> None:
        token = self.state.token(SCHEDULER)
        if token != self._token:
            self._token, self._level = token, 0.0
        self._level = max(0.0, self._level - PER_SECOND * (event.t - self._t)) + count
        self._t = event.t
        if self._level > BURST + 1 + PER_SECOND * (_UNDERWAY_S + self.terms.grace_s):
            raise self.refute(f"{self._level:.0f} lost tasks beyond {PER_SECOND} a second are replaced at once", event)

    def _halt(self) -> str:
        agents = self.state.table("agents")
        lost = sum(self.state.link(agent) == "lost" for agent in agents)
        return f"{lost} of {len(agents)} agents are lost" if lost >= 2 and 2 * lost > len(agents) else ""


class NeverOverCommitted(Check):
    """S17. Asked whenever something is placed: an agent may register with less, or what was lost may come back, any time.

    A placement reserves until it is denied, or gone and its task over. What came to be there without having been
    decided here (an adopted task, a stray that was reported after the decision) is not held against a placement; nor is
    a stray of which no version is left to tell what it reserves: a host that lost power came back with it.
    """

    name = "S17"
    tables = ("placements",)
    says = "Nothing is placed on an agent beyond the capacity that it stated, nor on a port that is taken."

    def on_committed(self, event: Committed) -> None:
        state = self.state
        if state.is_anew:
            return
        for change in state.changed:
            if change.table == "placements" and change.old is None and change.new is not None:
                agent, _, task = change.key.partition("/")
                if number_of(task)[0] == state.incarnation and not change.new.value.get("is_revoked"):
                    self._judge(agent, task, event)

    def _judge(self, agent: str, task: str, event: Committed) -> None:
        state, decided = self.state, number_of(task)[1]
        row = state.row("agents", agent)
        if row is None or row.mod > decided:
            return
        over = self._over(agent, task, ())
        if over and (over := self._over(agent, task, self._unforeseen(agent, decided))):
            raise self.refute(f"{task} is placed on agent {agent} beyond what it has: {over}", event)

    def _over(self, agent: str, task: str, without: tuple[str, ...]) -> str:
        state = self.state
        wants = state.placement(agent, task).get("reserve", {})
        found = state.value("agents", agent)
        cpu_offered, memory_offered = capacity(found)
        cpu, memory, ports, counted = taken(state, agent, without)
        if cpu > cpu_offered and wants.get("cpu"):
            return f"{cpu} of {cpu_offered} thousandths of a processor"
        if memory > memory_offered and wants.get("memory"):
            return f"{memory} of {memory_offered} bytes"
        for name, _ in wants.get("named", ()):
            if counted[name] > (offered := named(found).get(name, 0)):
                return f"{counted[name]} of {offered} {name}"
        twice = [port for port in wants.get("ports", ()) if ports.count(port) > 1]
        return f"port {twice[0]} is taken" if twice else ""

    def _unforeseen(self, agent: str, decided: int) -> tuple[str, ...]:
        state, found = self.state, []
        for task in state.tasks_on.get(agent, ()):
            report = state.row("actual", f"{agent}/{task}")
            is_stray = state.placement(agent, task) is None and report is not None
            is_stray = is_stray and (report.create > decided or not self._is_known(task, report.value["generation"]))
            if is_stray or number_of(task)[0] < state.incarnation:
                found.append(task)
        return tuple(found)

    def _is_known(self, task: str, generation: str) -> bool:
        """Return whether a version of its job tells what a task of this generation reserves."""
        versions, job = self.state.table("versions"), f"{job_of(task)}/"
        return any(key.startswith(job) and row.value["generation"] == generation for key, row in versions.items())

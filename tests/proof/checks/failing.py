"""Nothing is taken away because something could not be known: S18."""

from collections.abc import Mapping
from typing import Any

from tests.proof.checks.placing import Words
from tests.proof.history import Applied, Committed, Ended, Fault, Settled
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State, job_of, slot_of
from tests.proof.wanted import is_wanted

#: A cordon that was lifted may still be what was decided on so long after.
_LIFTED_S = 10.0


class FailStatic(Check):
    """S18. Two halves: no task is ended that is placed; no placement is withdrawn that its job wants as it is.

    Once deleted, a placement never comes back within one life of the registry; so it does not matter how old the view
    is on which a task was told to stop: it must be gone, or revoked, by the time of the command. As in S4 what
    declaring dead deletes is judged once all has settled, if it was not told.
    """

    name = "S18"
    tables = ("placements", "cordons")
    says = (
        "A task is ended only when its placement is gone or revoked, and no wanted slot loses its last one for nothing."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._words = Words(self.state)
        self._early: list[tuple[str, str, Applied]] = []
        self._emptied: list[tuple[str, str, Committed]] = []
        #: Agent → when its cordon was lifted.
        self._lifted: dict[str, float] = {}

    def on_fault(self, event: Fault) -> None:
        self._words.hear(event)

    def on_applied(self, event: Applied) -> None:
        if event.command != "start" and event.is_ok:
            self._judge_end(event.node, event.task, event)

    def _judge_end(self, agent: str, task: str, event: Applied) -> None:
        placement = self.state.placement(agent, task)
        if placement is None or placement.get("is_revoked"):
            return
        if self.terms.is_exact:
            raise self._baseless(agent, task, event)
        self._early.append((agent, task, event))

    def _baseless(self, agent: str, task: str, event: Applied) -> Exception:
        return self.refute(f"{task} is to end on {agent}, where it is placed", event)

    def on_committed(self, event: Committed) -> None:
        if self._early:
            self._judge_early(event.t)
        if self.state.is_anew:
            return
        for change in self.state.changed:
            if change.table == "placements" and change.old is not None:
                self._judge_change(change, event)
            elif change.table == "cordons":
                self._lifted[change.key] = event.t

    def on_settled(self, event: Settled) -> None:
        self._judge_emptied()

    def on_ended(self, event: Ended) -> None:
        self._judge_emptied()

    def end(self) -> None:
        self._judge_early(float("inf"))
        self._judge_emptied()

    def _judge_early(self, t: float) -> None:
        """Judge what was heard of before the store, which is to have told by now."""
        waiting = []
        for agent, task, event in self._early:
            placement = self.state.placement(agent, task)
            if placement is not None and not placement.get("is_revoked"):
                if t > event.t + self.terms.grace_s:
                    raise self._baseless(agent, task, event)
                waiting.append((agent, task, event))
        self._early = waiting

    def _judge_change(self, change: Change, event: Committed) -> None:
        assert change.old is not None
        agent, _, task = change.key.partition("/")
        job = self.state.value("jobs", job_of(task))
        if job is None or not is_wanted(self.state, job_of(task), job, change.old.value, task):
            return
        if not self._is_as_wanted(agent, task, change.old.value, job, event):
            return
        if change.new is None:
            self._judge_gone(agent, task, change.old.value, event)
        elif change.new.value.get("is_revoked") and not change.old.value.get("is_revoked"):
            self._judge_revoked(agent, task, change.new.value, event)

    def _is_as_wanted(
        self, agent: str, task: str, old: Mapping[str, Any], job: Mapping[str, Any], event: Committed
    ) -> bool:
        """Whether nothing is a reason to replace it: what is old or has failed may go first, to make room for the next."""
        if old["generation"] != job["generation"] or old.get("bindings") or _refers(job):
            return False
        if self.state.row("cordons", agent) is not None or self._is_just_lifted(agent, event):
            return False
        if self._is_moving(f"{agent}/{task}") or self.state.is_preempted(task):
            return False
        report = self.state.reported(agent, task)
        return report is None or report["state"] not in ("failed", "finished")

    def _judge_gone(self, agent: str, task: str, old: Mapping[str, Any], event: Committed) -> None:
        state = self.state
        if old.get("is_denied") or state.slots.get(slot_of(task)) or self._words.is_dead(agent):
            return
        if state.link(agent) == "connected":
            raise self._emptied_by(agent, task, event)
        self._emptied.append((agent, task, event))

    def _judge_emptied(self) -> None:
        for agent, task, event in self._emptied:
            if not self._words.is_dead(agent) and agent not in self.state.deaths:
                raise self._emptied_by(agent, task, event)
        self._emptied = []

    def _emptied_by(self, agent: str, task: str, event: Committed) -> Exception:
        return self.refute(
            f"slot {slot_of(task)} is wanted, and loses {task} on {agent} with nothing in its place", event
        )

    def _judge_revoked(self, agent: str, task: str, new: Mapping[str, Any], event: Committed) -> None:
        # A start that was refused as denied is recorded as revoked and denied at once: the store had been set back.
        if len(self.state.slots.get(slot_of(task), ())) == 1 and not new.get("is_denied"):
            raise self.refute(f"{task} on {agent} is as wanted, and is revoked", event)

    def _is_moving(self, key: str) -> bool:
        """Whether an operator has it moved; that word goes with the placement."""
        is_gone = any(change.table == "moves" and change.key == key for change in self.state.changed)
        return is_gone or self.state.row("moves", key) is not None

    def _is_just_lifted(self, agent: str, event: Committed) -> bool:
        return event.t - self._lifted.get(agent, float("-inf")) <= _LIFTED_S + self.terms.grace_s


def _refers(job: Mapping[str, Any]) -> bool:
    """Return whether endpoints of other jobs are in its environment: those that change make it old."""
    return any(isinstance(value, dict) for value in job["spec"]["task"].get("env", {}).values())

"""Nothing is taken away because something could not be known: S18."""

from collections.abc import Mapping
from typing import Any

from tests.proof.checks.placing import Words
from tests.proof.history import Applied, Committed, Ended, Fault, Sent, Settled
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State, job_of, slot_of

#: A cordon that was lifted may still be what was decided on so long after.
_LIFTED_S = 10.0


class FailStatic(Check):
    """S18. Two halves: no task is ended that is placed; no placement is withdrawn that its job wants, for nothing.

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
        self._early: list[tuple[str, str, Sent | Applied]] = []
        self._emptied: list[tuple[str, str, Committed]] = []
        #: Agent → when its cordon was lifted.
        self._lifted: dict[str, float] = {}

    def on_fault(self, event: Fault) -> None:
        self._words.hear(event)

    def on_sent(self, event: Sent) -> None:
        for kind, task in event.commands:
            if kind != "start":
                self._judge_end(event.agent, task, event)

    def on_applied(self, event: Applied) -> None:
        if event.command != "start" and event.is_ok:
            self._judge_end(event.node, event.task, event)

    def _judge_end(self, agent: str, task: str, event: Sent | Applied) -> None:
        placement = self.state.placement(agent, task)
        if placement is None or placement.get("is_revoked"):
            return
        if self.terms.is_exact:
            raise self._baseless(agent, task, event)
        self._early.append((agent, task, event))

    def _baseless(self, agent: str, task: str, event: Sent | Applied) -> Exception:
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
                if isinstance(event, Sent) and self._is_overtaken(agent, event):
                    continue
                if t > event.t + self.terms.grace_s:
                    raise self._baseless(agent, task, event)
                waiting.append((agent, task, event))
        self._early = waiting

    def _is_overtaken(self, agent: str, event: Sent) -> bool:
        """Whether whoever sent that has lost the agent: he knows nothing newer, and the agent knows better."""
        token = self.state.token(agent)
        return token is None or token > event.token

    def _judge_change(self, change: Change, event: Committed) -> None:
        assert change.old is not None
        agent, _, task = change.key.partition("/")
        job = self.state.value("jobs", job_of(task))
        if job is None or job.get("is_terminating") or change.old.value["slot"] >= job["spec"].get("scale", 1):
            return
        if change.new is None:
            self._judge_gone(agent, task, change.old.value, event)
        elif change.new.value.get("is_revoked") and not change.old.value.get("is_revoked"):
            self._judge_revoked(agent, task, change.old.value, job, event)

    def _judge_gone(self, agent: str, task: str, old: Mapping[str, Any], event: Committed) -> None:
        state = self.state
        if old.get("is_denied") or state.slots.get(slot_of(task)) or self._words.is_dead(agent):
            return
        cordon = state.value("cordons", agent)
        has_deadline = cordon is not None and cordon["is_draining"] and cordon.get("deadline_ms") is not None
        if has_deadline or self._is_just_lifted(agent, event):
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

    def _judge_revoked(
        self, agent: str, task: str, old: Mapping[str, Any], job: Mapping[str, Any], event: Committed
    ) -> None:
        """An exclusive placement that is as it should be is not taken back."""
        report = self.state.reported(agent, task)
        is_well = report is not None and report["state"] == "running" and report.get("ready")
        is_present = old["generation"] == job["generation"] and not old.get("bindings") and not self._env_refers(job)
        is_alone = len(self.state.slots.get(slot_of(task), ())) == 1
        is_cordoned = self.state.row("cordons", agent) is not None or self._is_just_lifted(agent, event)
        if is_well and is_present and is_alone and not is_cordoned:
            # That it was denied is recorded together with its being revoked, when the store was set back.
            placement = self.state.placement(agent, task)
            if not placement.get("is_denied"):
                raise self.refute(f"{task} on {agent} is ready and as wanted, and is revoked", event)

    def _is_just_lifted(self, agent: str, event: Committed) -> bool:
        return event.t - self._lifted.get(agent, float("-inf")) <= _LIFTED_S + self.terms.grace_s

    def _env_refers(self, job: Mapping[str, Any]) -> bool:
        """Whether endpoints of other jobs are in its environment: those that change make it old."""
        return any(isinstance(value, dict) for value in job["spec"]["task"].get("env", {}).values())

"""One task of a system job on each agent: S26. That there is one on each, and none elsewhere, L1 and L5 say."""

from collections.abc import Mapping
from typing import Any

from tests.proof.history import Committed
from tests.proof.judge import Check
from tests.proof.state import Change, is_over, job_of, number_of, slot_of
from tests.proof.wanted import is_system, meets


class OncePerAgent(Check):
    """S26. Asked whenever one is placed. What is lost counts, for it waits for its agent; what is over does not.

    Beside the one that it replaces there may be another, if the job's updates ever let it make before it breaks; of one
    form, made of the same values, there is one.
    """

    name = "S26"
    tables = ("placements",)
    says = "An agent has one task of a system job, and one that replaces it if updates allow that; others have none."

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            return
        for change in self.state.changed:
            if change.table == "placements" and change.old is None and change.new is not None:
                job = self.state.value("jobs", job_of(change.key.partition("/")[2]))
                if job is not None and is_system(job) and change.new.value["incarnation"] == self.state.incarnation:
                    self._judge(change.key.partition("/")[2], change.new.value, job, event)

    def _judge(self, task: str, placement: Mapping[str, Any], job: Mapping[str, Any], event: Committed) -> None:
        agent = placement["agent"]
        if slot_of(task).rpartition(".")[2] != agent:
            raise self.refute(f"{task} of a system job is placed on {agent}, which is not its slot", event)
        row, cordon = self.state.row("agents", agent), self.state.row("cordons", agent)
        decided = number_of(task)[1]
        if row is not None and row.mod <= decided and not meets(job, row.value):
            raise self.refute(f"{task} is placed on {agent}, which its job is not for", event)
        others = [
            one
            for where, other, one in self.state.placements_of(slot_of(task))
            if other != task and where == agent and not self._is_over(agent, other)
        ]
        if cordon is not None and cordon.mod <= decided and not others and not self._replaces(task):
            raise self.refute(f"{task} is placed on {agent}, which is cordoned and had none", event)
        alike = [one for one in others if _form(one) == _form(placement)]
        if alike or len(others) > self._most(job_of(task)):
            told = ", ".join(f"{one['version']} of {one['incarnation']}-{one['revision']}" for one in others)
            raise self.refute(f"{task} is placed on {agent} beside version {told}", event)

    def _is_over(self, agent: str, task: str) -> bool:
        report = self.state.reported(agent, task)
        return report is not None and is_over(report)

    def _replaces(self, task: str) -> bool:
        """Whether another of the slot goes in this very commit."""
        return any(self._goes(change) == slot_of(task) for change in self.state.changed)

    @staticmethod
    def _goes(change: Change) -> str:
        is_gone = change.table == "placements" and change.new is None
        return slot_of(change.key.partition("/")[2]) if is_gone else ""

    def _most(self, key: str) -> int:
        """Return how many may be replaced at once by what is placed on an agent, by whatever form the job had."""
        forms = (job["spec"].get("update", {}) for _, job in self.state.jobs_past.get(key, ()) if job is not None)
        return max((1 if form.get("surge", 1) or form.get("canary") else 0 for form in forms), default=0)


def _form(placement: Mapping[str, Any]) -> tuple[str, Any]:
    return placement["generation"], placement.get("bindings")

"""What is desired comes about, and then all is silent: L1, and L5, which is the same beside what is broken for ever."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.proof.history import Calm, Committed, Ended, Event, Exited, Sent, Settled, Started
from tests.proof.judge import Check, Terms
from tests.proof.room import has_room, is_plain
from tests.proof.state import LEASED, Change, State, is_over
from tests.proof.wanted import busy_tasks, is_batch, is_noted, is_system, parallel_of, slots_of

#: Written by nobody who converges, and by time alone.
_TIMELESS = LEASED | {"meta", "idem"}


class _Converged(Check):
    """Compares the store's desired state with its actual one, and both with the processes there are."""

    #: Of a whole system, or of the core of one that is broken.
    is_of_whole: bool

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._calm: Calm | None = None
        self._settled: Settled | None = None
        #: Agent and task → its processes.
        self._running: dict[tuple[str, str], set[str]] = {}
        self._has_started = False

    def on_started(self, event: Started) -> None:
        self._has_started = True
        self._running.setdefault((event.node, event.task), set()).add(event.run)

    def on_exited(self, event: Exited) -> None:
        self._running.get((event.node, event.task), set()).discard(event.run)

    def on_calm(self, event: Calm) -> None:
        self._calm = event if event.is_whole is self.is_of_whole else None
        self._settled = None

    def on_settled(self, event: Settled) -> None:
        if self._calm is not None:
            self._settled = event
            self._judge(event)

    def on_ended(self, event: Ended) -> None:
        if self._settled is not None:
            self._judge(event)

    def _judge(self, event: Event) -> None:
        for amiss in (*self._amiss_on_agents(), *self._amiss_in_jobs()):
            raise self.refute(amiss, self._calm, event)

    def _core(self) -> list[str]:
        assert self._calm is not None
        agents = self.state.table("agents")
        return [node for node in self._calm.core if node in agents]

    def _amiss_on_agents(self) -> Iterator[str]:
        state = self.state
        for agent in self._core():
            if state.link(agent) != "connected":
                yield f"agent {agent} is {state.link(agent)}"
            for task in sorted(state.tasks_on.get(agent, ())):
                placed, report = state.placement(agent, task), state.reported(agent, task)
                if placed is not None:
                    amiss = self._amiss_of(agent, task, placed, report)
                    if amiss:
                        yield amiss
                elif report["state"] != "unclaimed" and not (is_over(report) and is_noted(state, task)):
                    yield f"agent {agent} still has {task}, which nothing places there: it is {report['state']}"

    def _amiss_of(self, agent: str, task: str, placed: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
        if placed.get("is_revoked"):
            return "" if placed.get("is_denied") else f"{task} is revoked, and agent {agent} has not denied it"
        if report is None:
            return f"{task} is placed on agent {agent}, which has not reported it"
        if report["state"] == "finished":
            return "" if self._may_finish(placed) else f"{task} has finished on agent {agent}, and is to run always"
        if report["state"] != "running" or not report.get("ready"):
            return f"{task} on agent {agent} is {report['state']}, not ready: {report.get('reason', '')}"
        if self._has_started and not self._running.get((agent, task)):
            return f"{task} is said to run on agent {agent}, and no process of it does"
        return ""

    def _may_finish(self, placed: Mapping[str, Any]) -> bool:
        version = self.state.value("versions", f"{placed['namespace']}/{placed['job']}/{placed['version']}")
        return version is None or version["spec"]["task"].get("restart", {}).get("policy", "always") != "always"

    def _amiss_in_jobs(self) -> Iterator[str]:
        for key, row in self.state.table("jobs").items():
            yield from self._amiss_in_job(key, row.value)

    def _amiss_in_job(self, key: str, job: Mapping[str, Any]) -> Iterator[str]:
        core, of = set(self._core()), key.replace("/", ".")
        wanted = slots_of(self.state, key, job, core)
        slots = {slot for slot in self.state.slots if slot.rpartition(".")[0] == of and self.state.slots[slot]}
        placed = {slot: list(self.state.placements_of(slot)) for slot in slots}
        is_away = any(agent not in core for found in placed.values() for agent, _, _ in found)
        if job.get("is_terminating") and not is_away and not self._is_left_away(of, core):
            yield f"job {key} is unscheduled, and still there"
        for slot, found in sorted(placed.items()):
            if slot.rpartition(".")[2] not in wanted and any(agent in core for agent, _, _ in found):
                yield f"slot {slot} is not wanted, and still placed: {found[0][1]}"
        for name in wanted:
            amiss = self._amiss_in_slot(key, job, name, placed.get(f"{of}.{name}", []), core)
            if amiss:
                yield amiss
        # Where nothing is missing: a slot that waits for room, for an agent or for people keeps it open.
        everywhere = slots_of(self.state, key, job, self.state.table("agents"))
        if all(self._is_current(job, placed.get(f"{of}.{name}", [])) for name in everywhere):
            amiss = "" if job.get("is_terminating") else self._amiss_in_rollout(key, job)
            if amiss:
                yield amiss

    def _is_current(self, job: Mapping[str, Any], found: list[tuple[str, str, Any]]) -> bool:
        """Whether a slot has what it should, and nothing else."""
        if [placement["generation"] for _, _, placement in found] != [job["generation"]]:
            return False
        agent, task, _ = found[0]
        report = self.state.reported(agent, task)
        return report is not None and (bool(report.get("ready")) or report["state"] == "finished")

    def _amiss_in_rollout(self, key: str, job: Mapping[str, Any]) -> str:
        """Say of a rollout that has come about that it is not said to be complete."""
        record = self.state.value("rollouts", key)
        if record is None or record.get("is_complete") or record["generation"] != job["generation"]:
            return ""
        # A task that is to be replaced since endpoints have changed may fit nowhere beside the old one.
        if self._waits_for_people(key, job) or self.state.value("pending", key) is not None:
            return ""
        return f"the rollout of job {key} came about, and is not complete"

    def _is_left_away(self, of: str, core: set[str]) -> bool:
        """Whether agents outside the core have tasks of a job."""
        tasks_on = self.state.tasks_on
        return any(task.startswith(f"{of}.") for agent in tasks_on.keys() - core for task in tasks_on[agent])

    def _amiss_in_slot(
        self, key: str, job: Mapping[str, Any], name: str, found: list[tuple[str, str, Any]], core: set[str]
    ) -> str:
        live = [one for one in found if not one[2].get("is_denied")]
        if any(agent not in core for agent, _, _ in live):
            # What becomes of it is not for the core alone to say: it may wait, or be reached after all.
            return self._amiss_lost(job, live, core) if is_plain(job["spec"]) else ""
        if not live:
            return self._amiss_unplaced(key, job, name)
        if self._waits_for_people(key, job):
            return ""
        if len(live) > 1:
            return f"slot {key}/{name} has {len(live)} placements: {', '.join(task for _, task, _ in live)}"
        agent, task, placement = live[0]
        if placement["generation"] != job["generation"]:
            amiss = f"{task} is of generation {placement['generation']}, and the job's is {job['generation']}"
            return amiss if self._may_go_on(key, job, core) else ""
        cordon = self.state.value("cordons", agent)
        # Those of batch jobs run to their end where they are, and those of system jobs go nowhere else.
        is_movable = is_plain(job["spec"]) and not is_batch(job) and not is_system(job)
        if cordon is not None and cordon["is_draining"] and is_movable:
            better = self._roomy(job, core)
            return f"{task} is still on {agent}, which is being drained, and {better} has room" if better else ""
        return ""

    def _waits_for_people(self, key: str, job: Mapping[str, Any]) -> bool:
        """Whether a rollout is paused, or on trial: then slots have either form, and canaries both."""
        record = self.state.value("rollouts", key)
        if record is None or record.get("is_complete") or record["generation"] != job["generation"]:
            return False
        return bool(record.get("paused_by") or not record.get("is_promoted"))

    def _may_go_on(self, key: str, job: Mapping[str, Any], core: set[str]) -> bool:
        """Whether a migrate is not held up: by a successor that fits nowhere beside the old, or by a slot elsewhere."""
        pending, of = self.state.value("pending", key), key.replace("/", ".")
        if pending is not None and pending["generation"] == job["generation"]:
            return bool(is_plain(job["spec"]) and not is_system(job) and self._roomy(job, core))
        slots = (slot for slot in self.state.slots if slot.rpartition(".")[0] == of)
        return all(agent in core for slot in slots for agent, _, _ in self.state.placements_of(slot))

    def _amiss_lost(self, job: Mapping[str, Any], live: list[tuple[str, str, Any]], core: set[str]) -> str:
        """Say of a slot all of whose tasks are known to be lost that one could run in the core, and is to."""
        spec, agents = job["spec"], self.state.table("agents")
        lost = sum(self.state.link(agent) == "lost" for agent in agents)
        if spec.get("exclusive") or spec.get("on_lost") == "wait" or (lost >= 2 and 2 * lost > len(agents)):
            return ""
        if any((self.state.reported(agent, task) or {}).get("state") != "lost" for agent, task, _ in live):
            return ""
        better = self._roomy(job, core)
        return f"{live[0][1]} is lost with agent {live[0][0]}, and {better} has room" if better else ""

    def _amiss_unplaced(self, key: str, job: Mapping[str, Any], name: str) -> str:
        pending = self.state.value("pending", key) or {}
        waiting = pending.get("members", ()) if is_system(job) else tuple(map(str, pending.get("slots", ())))
        if name not in waiting:
            # As many as may run at once do, or wait for what they say.
            is_full = is_batch(job) and sum(1 for _ in busy_tasks(self.state, key)) + len(waiting) >= parallel_of(job)
            return "" if is_full else f"slot {name} of job {key} is not placed, and nothing says what it waits for"
        core = {name} if is_system(job) else set(self._core())
        # That an agent is one that a system job is for is all that the job asks for beside room.
        is_judged = not job["spec"].get("depends_on") if is_system(job) else is_plain(job["spec"])
        better = self._roomy(job, core) if is_judged else ""
        return f"slot {name} of job {key} is not placed ({pending['reason']}), and {better} has room" if better else ""

    def _roomy(self, job: Mapping[str, Any], core: set[str]) -> str:
        return next((agent for agent in sorted(core) if has_room(self.state, agent, job["spec"])), "")


class Converges(_Converged):
    """L1. Judged at `Settled`, and at `Ended` again, when no fault is left; between the two all must be silent.

    A task that fails for ever never settles: such jobs are not to be in a history that goes on to `Settled`. That an
    instance forgets who failed to reach an agent is due ten minutes later, once for each agent, and is not counted.
    """

    name = "L1"
    says = "When all is calm, what is desired comes about and stays; from then on nothing is commanded or written."
    is_of_whole = True

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._forgiven: set[str] = set()

    def on_sent(self, event: Sent) -> None:
        if self._settled is not None:
            raise self.refute(f"{event.node} still commands agent {event.agent}", self._settled, event)

    def on_committed(self, event: Committed) -> None:
        if self._settled is None:
            return
        for change in self.state.changed:
            if change.table not in _TIMELESS and not self._is_forgetting(change):
                raise self.refute(f"{change.table}/{change.key} is still being written", self._settled, event)

    def _is_forgetting(self, change: Change) -> bool:
        if change.table != "links" or change.old is None or change.new is None or change.key in self._forgiven:
            return False
        self._forgiven.add(change.key)
        before, after = ({**row.value, "failed_by": ()} for row in (change.old, change.new))
        return before == after


class CoreConverges(_Converged):
    """L5. As L1, of the core alone; what is broken for ever beside it may go on making work, so silence is not asked.

    A slot that is placed outside the core is not judged: its job may wait for that agent, or that agent may be well.
    """

    name = "L5"
    says = "Beside what is broken for ever, what is desired comes about on the agents that are as they should be."
    is_of_whole = False

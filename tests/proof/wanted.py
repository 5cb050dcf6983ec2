"""Which slots a job of whatever type wants, and what came of those of a batch job: told from the store alone."""

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from harpoon.kit import codec
from harpoon.model.job import Spec
from harpoon.model.units import parse_duration
from tests.builders import T0
from tests.proof.state import State, is_over, job_of, slot_of

#: Of tasks without a placement that count for nothing: nobody can tell, or they are nobody's.
BEYOND: Final = ("lost", "unclaimed")
_NOTHING: Final[Mapping[str, Any]] = {}


def is_batch(job: Mapping[str, Any]) -> bool:
    """Return whether a job's tasks run to completion; those of a cron job are its children's."""
    return job["spec"].get("type") == "batch" and not job["spec"].get("cron")


def is_system(job: Mapping[str, Any]) -> bool:
    """Return whether a job has a slot on each agent that it is for."""
    return bool(job["spec"].get("type") == "system")


def is_kept(job: Mapping[str, Any]) -> bool:
    """Return whether a slot of a job waits for its agent when that is lost."""
    spec = job["spec"]
    return bool(spec.get("exclusive")) or spec.get("on_lost") == "wait" or is_system(job)


def parallel_of(job: Mapping[str, Any]) -> int:
    """Return how many tasks of a batch job may run at once."""
    completions = int(job["spec"].get("scale", 1))
    return min(job["spec"].get("parallel") or completions, completions)


def record_of(state: State, key: str, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what came of the present run of a batch job; empty: nothing was noted of it."""
    record = state.value("batches", key)
    return record if record is not None and record["version"] == job["run"]["version"] else _NOTHING


def results_of(record: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return what came of each slot of which a task has ended, the latest."""
    return {one["slot"]: one for one in record.get("results", ())}


def is_noted(state: State, task: str) -> bool:
    """Return whether a task is kept, though it is over and has no placement, since its job's record tells of it."""
    record = state.value("batches", job_of(task))
    return record is not None and any(one["task"] == task for one in record.get("results", ()))


def meets(job: Mapping[str, Any], agent: Mapping[str, Any]) -> bool:
    """Return whether an agent is one that a system job is for."""
    rules = codec.load(Spec, codec.dump(job["spec"])).placement.require
    attributes = {**agent.get("tags", {}), **agent.get("facts", {})}
    return all(rule.holds(attributes) for rule in rules)


def is_wanted(state: State, key: str, job: Mapping[str, Any], placement: Mapping[str, Any], task: str) -> bool:
    """Return whether a job wants what is placed, as far as which slots it has goes."""
    if job.get("is_terminating"):
        return False
    if is_system(job):
        agent = state.value("agents", placement["agent"])
        return agent is not None and meets(job, agent)
    if placement["slot"] >= job["spec"].get("scale", 1):
        return False
    if not is_batch(job):
        return True
    record = record_of(state, key, job)
    result = results_of(record).get(placement["slot"], _NOTHING)
    is_of_run = placement["version"] >= job["run"]["version"]
    return is_of_run and not record.get("outcome") and not result.get("is_complete") and result.get("task") != task


def slots_of(state: State, key: str, job: Mapping[str, Any], agents: Collection[str]) -> tuple[str, ...]:
    """Return the slots that a job wants, as tasks name them; of a system job, those of these agents."""
    if job.get("is_terminating"):
        return ()
    if is_system(job):
        of = f"{key.replace('/', '.')}."
        known = state.table("agents")
        members = [agent for agent in sorted(agents) if agent in known and meets(job, known[agent].value)]
        return tuple(one for one in members if state.row("cordons", one) is None or state.slots.get(of + one))
    numbers = range(job["spec"].get("scale", 1))
    if not is_batch(job):
        return tuple(map(str, numbers))
    record = record_of(state, key, job)
    results = results_of(record)
    left = () if record.get("outcome") else numbers
    return tuple(str(number) for number in left if not results.get(number, _NOTHING).get("is_complete"))


def busy_tasks(state: State, key: str) -> Iterator[str]:
    """Yield the tasks of a job that run or stop, or may come to."""
    of = f"{key.replace('/', '.')}."
    for agent, tasks in state.tasks_on.items():
        yield from (task for task in tasks if slot_of(task).startswith(of) and is_busy(state, agent, task))


def is_busy(state: State, agent: str, task: str) -> bool:
    """Return whether a task runs or stops, or may come to, as far as the store shows it."""
    placed, report = state.placement(agent, task), state.reported(agent, task)
    if report is not None and is_over(report):
        return False
    if placed is not None:
        return not placed.get("is_denied")
    return report is not None and report["state"] not in BEYOND


def deadline_ms_of(job: Mapping[str, Any]) -> int | None:
    """Return when the deadline of a batch job passes, UTC milliseconds."""
    told = job["spec"].get("deadline")
    if told is None:
        return None
    since_ms: int = job["run"]["since_ms"]
    return since_ms + parse_duration(str(told)) // timedelta(milliseconds=1)


def clock_ms(t: float) -> float:
    """Return what clocks say at a moment of a simulated run, UTC milliseconds."""
    return T0 + 1000 * t

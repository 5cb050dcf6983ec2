"""What keeps tasks and agents from being as they should be: records of the view, put into `model.why.Reason`s."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from harpoon.agent.health import check_name
from harpoon.control.drain import drain_status, reason_to_stay
from harpoon.control.view import AGENT_HOLDS, View, job_key_of
from harpoon.core.blockers import about_size, moment
from harpoon.core.exclusive import waits_for_agent
from harpoon.core.restart import describe_exit
from harpoon.core.waits import agents_word
from harpoon.model.agent import Agent, Cordon, Link, LinkState
from harpoon.model.batch import BatchRecord, Ending
from harpoon.model.check import Check, OnFail
from harpoon.model.instant import Instant
from harpoon.model.job import JobType
from harpoon.model.name import TaskId
from harpoon.model.task import CheckResult, Placement, Task, TaskState
from harpoon.model.units import format_cpu, format_duration
from harpoon.model.why import Reason, ReasonCode

#: Tasks named in one sentence.
_NAMED: Final = 3
_MILLISECOND = timedelta(milliseconds=1)
_STATES: Final[Mapping[TaskState, ReasonCode]] = {
    TaskState.PENDING: ReasonCode.UNREPORTED,
    TaskState.PLACED: ReasonCode.UNREPORTED,
    TaskState.STARTING: ReasonCode.STARTING,
    TaskState.RUNNING: ReasonCode.NOT_READY,
    TaskState.STOPPING: ReasonCode.STOPPING,
    TaskState.FINISHED: ReasonCode.FINISHED,
    TaskState.FAILED: ReasonCode.FAILED,
    TaskState.LOST: ReasonCode.LOST,
    TaskState.UNCLAIMED: ReasonCode.UNCLAIMED,
}
_LINKS: Final[Mapping[LinkState, ReasonCode]] = {
    LinkState.UNKNOWN: ReasonCode.AGENT_UNKNOWN,
    LinkState.INTERRUPTED: ReasonCode.AGENT_INTERRUPTED,
    LinkState.LOST: ReasonCode.AGENT_LOST,
}


def link_state(view: View, agent: str) -> LinkState:
    """Return what is known of reaching an agent."""
    row = view.links.rows.get(agent)
    return LinkState.UNKNOWN if row is None else row.value.state


def preemptor_of(view: View, task: TaskId) -> str | None:
    """Return the job that waits for the room of a task of another one, as ``<namespace>/<job>``; None: none does."""
    return next((key for key, row in view.pending.rows.items() if task in row.value.awaited), None)


# Tasks.


def task_causes(view: View, task: Task, placement: Placement | None, now: Instant) -> Iterator[Reason]:
    """Yield what keeps a task from being ready, the decisive first; of one that is ready, that it is."""
    yield state_reason(task)
    if task.exit_code is not None and not task.ready and task.state is not TaskState.FINISHED:
        yield _exit_reason(task)
    if placement is not None:
        reported = None if view.task(task.id) is None else task
        waits = waits_for_agent(placement, reported)
        if waits:
            evidence = {"task": str(task.id), "agent": placement.agent}
            yield Reason(code=agents_word(placement, reported), sentence=waits, evidence=evidence)
    template = None if placement is None else view.template(placement)
    checks = {} if template is None else {check_name(check): check for check in template.checks}
    for result in task.checks:
        if not result.is_passing:
            yield check_reason(task, result, checks.get(result.name), now)


def state_reason(task: Task) -> Reason:
    """Return the state of a task as a reason."""
    code = ReasonCode.READY if task.ready else _STATES[task.state]
    if code is ReasonCode.STARTING and task.restarts:
        code = ReasonCode.RESTARTING
    state = "ready" if task.ready else task.state.value
    evidence: dict[str, str | int] = {"task": str(task.id), "agent": task.agent, "since_ms": task.since_ms}
    if task.exit_code is not None:
        evidence["exit_code"] = task.exit_code
    if task.restarts:
        evidence["restarts"] = task.restarts
    return Reason(code=code, sentence=f"it is {state}: {task.reason or 'no reason was reported'}", evidence=evidence)


def _exit_reason(task: Task) -> Reason:
    again = {0: "", 1: ", and was started again once"}.get(
        task.restarts, f", and was started again {task.restarts} times"
    )
    return Reason(
        code=ReasonCode.EXITED,
        sentence=(
            f"its last process {describe_exit(task.exit_code)}{again}; "
            f"what it wrote: harpoon logs {task.id} --stream stderr"
        ),
        evidence={"exit_code": task.exit_code or 0, "restarts": task.restarts},
    )


def check_reason(task: Task, result: CheckResult, check: Check | None, now: Instant) -> Reason:
    """Return why a check keeps a task from being ready: since when it fails, with what, and what comes of it.

    Args:
        task: Whose it is.
        result: What its agent reported of it last.
        check: How it was declared; None: that is not known any more.
        now: For how much is left of ``start_within``.
    """
    evidence: dict[str, str | int] = {"check": result.name, "found": result.detail}
    since = f" since {moment(result.since_ms)}" if result.since_ms else ""
    sentence = f"check {result.name} fails{since}: {result.detail or 'it says nothing'}"
    if result.since_ms:
        evidence["since_ms"] = result.since_ms
    if check is None:
        return Reason(code=ReasonCode.CHECK_FAILING, sentence=sentence, evidence=evidence)
    evidence |= {"every_ms": check.every // _MILLISECOND, "fail_after": check.fail_after}
    sentence += f"; asked each {format_duration(check.every)}"
    if check.on_fail is OnFail.RESTART:
        sentence += f", and {check.fail_after} failures in a row restart it"
    # One that has failed for as long as the process runs has never passed.
    is_first = 0 < result.since_ms <= task.since_ms
    left = result.since_ms * _MILLISECOND + check.start_within - now.wall * _MILLISECOND
    if is_first and left > timedelta(0):
        evidence["start_within_left_ms"] = left // _MILLISECOND
        within, rest = format_duration(check.start_within), max(1, round(left.total_seconds()))
        sentence += f"; it has never passed, and failures count in {rest} s, after start_within {within}"
    return Reason(code=ReasonCode.CHECK_FAILING, sentence=sentence, evidence=evidence)


# Agents.


def link_causes(view: View, agent: str, lost_after: timedelta | None) -> Iterator[Reason]:
    """Yield why an agent is not reached, since when, by whom, and what comes of it; nothing if it is.

    Args:
        view: Has its link.
        agent: Its name.
        lost_after: When an interrupted one counts as lost; None: that is not told.
    """
    row, state = view.links.rows.get(agent), link_state(view, agent)
    if state is LinkState.CONNECTED:
        return
    link = None if row is None else row.value
    tried = tuple(dict.fromkeys((*_holder(view, agent), *(() if link is None else link.failed_by))))
    evidence: dict[str, str | int | tuple[str, ...]] = {"agent": agent, "state": state.value, "tried_by": tried}
    sentence = f"agent {agent} is {state}"
    if link is not None:
        evidence |= {"since_ms": link.since_ms, "error": link.reason}
        since = f" since {moment(link.since_ms)}" if link.since_ms else ""
        sentence += since + (f": {link.reason}" if link.reason else "")
    if tried:
        sentence += f"; tried by {', '.join(tried)}"
    if link is not None and state is LinkState.INTERRUPTED and lost_after is not None:
        evidence["lost_at_ms"] = link.since_ms + lost_after // _MILLISECOND
        sentence += f"; {_until_lost(view, link, lost_after)}"
    if not tried:
        sentence += "; no server minds it"
    yield Reason(code=_LINKS[state], sentence=sentence, evidence=evidence)


def _holder(view: View, agent: str) -> Iterator[str]:
    row = view.holds.rows.get(AGENT_HOLDS + agent)
    if row is not None:
        yield row.value.instance


def _until_lost(view: View, link: Link, lost_after: timedelta) -> str:
    at = moment(link.since_ms + lost_after // _MILLISECOND)
    others = len(view.instances.rows) > 1 and not link.failed_by
    also = ", and another server has failed to reach it, too" if others else ""
    return (
        f"nothing is commanded there, and what runs runs on; it counts as lost from {at} on, unless it is reached{also}"
    )


def loss_causes(view: View, agent: str) -> Iterator[Reason]:
    """Yield what becomes of the tasks of an agent that is lost; nothing if it is not."""
    if agent not in view.lost:
        return
    if view.halted is not None:
        lost, agents = len(view.lost), len(view.agents.rows)
        said = f"{view.halted}, so the fault is likelier here"
        evidence: dict[str, str | int | tuple[str, ...]] = {"lost": lost, "agents": agents}
        yield Reason(code=ReasonCode.EVICTION_HALTED, sentence=said, evidence=evidence)
    waiting: list[str] = []
    replaced: list[str] = []
    sentences: list[str] = []
    why = "exclusive, or on_lost is wait"
    for task, row in view.placements_on(agent).items():
        job = view.jobs.rows.get(job_key_of(task))
        waits = row.value.is_exclusive or (job is not None and job.value.spec.waits_for_lost)
        if job is not None and (job.value.spec.type is JobType.SYSTEM or job.value.spec.placement.agents):
            why = "exclusive, on_lost is wait, or for this agent only"
        (waiting if waits else replaced).append(str(task))
    if replaced:
        some = _some(replaced)
        sentences.append(f"{some} {'is' if len(replaced) == 1 else 'are'} replaced elsewhere, as fast as that may go")
    if waiting:
        does = "waits" if len(waiting) == 1 else "wait"
        sentences.append(
            f"{_some(waiting)} {does} for it ({why}); if it will never come back: harpoon declare-dead {agent}"
        )
    if sentences:
        evidence = {"replaced": len(replaced), "waiting": tuple(sorted(waiting)[:20])}
        yield Reason(code=ReasonCode.LOST_TASKS, sentence="; ".join(sentences), evidence=evidence)


def _some(tasks: list[str]) -> str:
    named = ", ".join(sorted(tasks)[:_NAMED])
    return named + (f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else "")


def cordon_causes(view: View, cordon: Cordon) -> Iterator[Reason]:
    """Yield why an agent takes no new tasks, and what its drain still waits for."""
    why = f": {cordon.reason}" if cordon.reason else ""
    since = moment(cordon.since_ms)
    evidence: dict[str, str | int] = {"since_ms": cordon.since_ms, "reason": cordon.reason}
    if not cordon.is_draining:
        said = f"it is cordoned since {since} and takes no new tasks{why}"
        yield Reason(code=ReasonCode.CORDONED, sentence=said, evidence=evidence)
        return
    drain = drain_status(view, cordon.agent)
    until = "" if cordon.deadline_ms is None else f", until {moment(cordon.deadline_ms)} at the latest"
    left = {0: "no task is left", 1: "1 task is left"}.get(drain.left, f"{drain.left} tasks are left")
    evidence["left"] = drain.left
    if cordon.deadline_ms is not None:
        evidence["deadline_ms"] = cordon.deadline_ms
    said = f"it is being drained since {since}{until}, and {left}{why}"
    yield Reason(code=ReasonCode.DRAINING, sentence=said, evidence=evidence)
    for task in drain.tasks:
        stays = reason_to_stay(view, cordon.agent, task)
        evidence = {"task": str(task), "because": stays.code.value}
        yield Reason(
            code=ReasonCode.DRAIN_WAITS, sentence=f"{task} {stays.sentence}", evidence={**evidence, **stays.evidence}
        )


def ended_causes(record: BatchRecord) -> Iterator[Reason]:
    """Yield how a batch job ended, if it has, with the last words of the task at fault."""
    if record.outcome is Ending.SUCCEEDED:
        evidence: dict[str, str | int | tuple[str, ...]] = {"ended_ms": record.ended_ms}
        yield Reason(code=ReasonCode.SUCCEEDED, sentence="every slot is complete", evidence=evidence)
    elif record.outcome is Ending.FAILED:
        evidence = {"ended_ms": record.ended_ms}
        witness = record.witness
        if witness is not None:
            evidence |= {"task": str(witness.task), "agent": witness.agent, "log": witness.log}
            evidence |= {} if witness.exit_code is None else {"exit_code": witness.exit_code}
        yield Reason(code=ReasonCode.BATCH_FAILED, sentence=record.reason, evidence=evidence)


def slot_cause(record: BatchRecord, slot: int, attempts: int) -> Reason | None:
    """Return that a slot of a batch job is complete, or has no attempts left; None: neither."""
    result = next((one for one in record.results if one.slot == slot), None)
    if result is None or not (result.is_complete or result.attempts >= attempts):
        return None
    if not result.is_complete:
        code = "" if result.exit_code is None else f" with exit code {result.exit_code}"
        said = f"it has no attempts left: {result.task} on {result.agent} failed{code}" + (
            f": {result.reason}" if result.reason else ""
        )
        spent: dict[str, str | int] = {
            "task": str(result.task),
            "agent": result.agent,
            "at_ms": result.at_ms,
            "attempts": result.attempts,
        }
        return Reason(code=ReasonCode.SPENT, sentence=said, evidence=spent)
    said = f"{result.task} finished on {result.agent} at {moment(result.at_ms)}: the slot never runs again"
    evidence: dict[str, str | int] = {
        "task": str(result.task),
        "agent": result.agent,
        "at_ms": result.at_ms,
        "attempts": result.attempts,
    }
    return Reason(code=ReasonCode.COMPLETE, sentence=said, evidence=evidence)


def reserved(agent: Agent, placed: list[Placement]) -> Reason:
    """Say what is reserved on an agent."""
    cpu, memory = (sum(getattr(one.reserve, what) for one in placed) for what in ("cpu", "memory"))
    named: Counter[str] = Counter()
    for one in placed:
        named.update(dict(one.reserve.named))
    offered = sorted(agent.capacity.named.items())
    amounts = [
        f"{format_cpu(cpu)} of {format_cpu(agent.capacity.cpu)} cpu",
        f"{about_size(memory)} of {about_size(agent.capacity.memory)} memory",
        *(f"{named[name]} of {count} {name}" for name, count in offered),
    ]
    evidence: dict[str, str | int] = {
        "cpu": cpu,
        "cpu_capacity": agent.capacity.cpu,
        "memory": memory,
        "memory_capacity": agent.capacity.memory,
        **{f"resource_{name}": named[name] for name, _ in offered},
        **{f"resource_{name}_capacity": count for name, count in offered},
        "placements": len(placed),
    }
    sentence = f"{', '.join(amounts[:-1])} and {amounts[-1]} are reserved by {len(placed)} placements"
    return Reason(code=ReasonCode.RESERVED, sentence=sentence, evidence=evidence)

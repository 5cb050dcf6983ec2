"""Builders of the model's nouns, with what a test does not care about filled in. Pure: no clock, no randomness.

`a_job(scale=3)` is a job of three slots; whatever a test is about, it says itself. Times are milliseconds after `T0`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from harpoon.model import wire
from harpoon.model.agent import Agent, Capacity, Cordon, Link, LinkState, PortRange
from harpoon.model.decision import Want
from harpoon.model.dependency import Dependency
from harpoon.model.instant import Instant
from harpoon.model.job import PRIORITY, Job, JobType, OnLost, Run, Spec, Update
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.name import TaskId
from harpoon.model.rules import Distinct, PlacementRules, Preference, Requirement, Spread
from harpoon.model.task import Number, Placement, Reservation, Task, TaskState, task_id
from harpoon.model.template import Resources, TaskTemplate

#: The wall clock at the beginning of every test: 2026-01-01T00:00:00Z.
T0 = 1_767_225_600_000
CLUSTER = "c1"
GENERATION = "g1"
MIB = 1 << 20


def at(seconds: float = 0.0, *, wall_skew_s: float = 0.0) -> Instant:
    """The moment so many seconds after the beginning; the wall clock may be off."""
    return Instant(elapsed=timedelta(seconds=100 + seconds), wall=T0 + round(1000 * (seconds + wall_skew_s)))


def a_template(
    *,
    cpu: int = 0,
    memory: int = 0,
    named: Mapping[str, int] | None = None,
    restart: RestartPolicy = RestartPolicy.ALWAYS,
    **fields: Any,
) -> TaskTemplate:
    """A task template; ``cpu`` in thousandths, ``memory`` in bytes."""
    resources = Resources(cpu=cpu, memory=memory, named=named or {})
    given = {"command": ("sleep", "1000"), "resources": resources} | fields
    return TaskTemplate(restart=Restart(policy=restart), **given)


def a_job(
    *,
    name: str = "web",
    namespace: str = "default",
    scale: int = 1,
    generation: str = GENERATION,
    version: int = 1,
    surge: int = 1,
    unavailable: int = 0,
    require: Sequence[Requirement] = (),
    prefer: Sequence[Preference] = (),
    spread: Sequence[str] = (),
    distinct: Distinct | None = None,
    depends_on: Sequence[str] = (),
    on_lost: OnLost | None = None,
    exclusive: bool = False,
    priority: int = PRIORITY,
    preempt: bool = False,
    update: Update | None = None,
    task: TaskTemplate | None = None,
    is_terminating: bool = False,
    **template: Any,
) -> Job:
    """A job; fields of its template may be given beside its own."""
    spec = Spec(
        task=a_template(**template) if task is None else task,
        scale=scale,
        placement=PlacementRules(
            require=tuple(require),
            prefer=tuple(prefer),
            spread=tuple(Spread(tag=tag) for tag in spread),
            distinct=distinct,
        ),
        update=Update(surge=surge, unavailable=unavailable) if update is None else update,
        depends_on=tuple(Dependency(job=name) for name in depends_on),
        on_lost=on_lost,
        exclusive=exclusive,
        priority=priority,
        preempt=preempt,
    )
    return Job(
        namespace=namespace,
        name=name,
        spec=spec,
        generation=generation,
        version=version,
        created_ms=T0,
        updated_ms=T0,
        is_terminating=is_terminating,
    )


def a_batch(
    *, name: str = "web", version: int = 1, run: int = 1, is_terminating: bool = False, cpu: int = 0, **spec: Any
) -> Job:
    """A batch job; fields of its spec may be given. Its run was declared at the beginning."""
    given: dict[str, Any] = {"task": a_template(cpu=cpu, restart=RestartPolicy.NEVER)} | spec
    return Job(
        namespace="default",
        name=name,
        spec=Spec(type=JobType.BATCH, **given),
        generation=f"g{run}",
        version=version,
        created_ms=T0,
        updated_ms=T0,
        is_terminating=is_terminating,
        run=Run(version=run, since_ms=T0),
    )


def a_system(*names: str, **fields: Any) -> Job:
    """A system job as it is decided on, for these agents."""
    job = a_job(scale=len(names), **fields)
    return replace(job, spec=replace(job.spec, type=JobType.SYSTEM), members=names)


def a_task_id(
    *, job: str = "web", slot: int = 0, revision: int = 1, incarnation: int = 1, namespace: str = "default"
) -> TaskId:
    """A task's id."""
    return task_id(namespace, job, slot, Number(incarnation, revision))


def a_placement(
    *,
    job: str = "web",
    slot: int = 0,
    revision: int = 1,
    agent: str = "a1",
    generation: str = GENERATION,
    **fields: Any,
) -> Placement:
    """A placement of a slot; its revision is its number."""
    reserve = Reservation(
        cpu=fields.pop("cpu", 0),
        memory=fields.pop("memory", 0),
        ports=tuple(fields.pop("ports", ())),
        named=tuple(sorted(fields.pop("named", {}).items())),
    )
    given: dict[str, Any] = {
        "namespace": "default",
        "incarnation": 1,
        "version": 1,
        "reason": "spread: it had the fewest",
        "decided_ms": T0,
        "reserve": reserve,
    }
    return Placement(job=job, slot=slot, revision=revision, agent=agent, generation=generation, **(given | fields))


def a_task(
    of: Placement | None = None, *, state: TaskState = TaskState.RUNNING, ready: bool | None = None, **fields: Any
) -> Task:
    """What an agent reports of a placement; a running task is ready unless told otherwise."""
    placement = a_placement() if of is None else of
    given: dict[str, Any] = {
        "id": placement.task,
        "agent": placement.agent,
        "generation": placement.generation,
        "since_ms": placement.decided_ms,
        "address": "127.0.0.1",
        "cluster": CLUSTER,
    }
    is_ready = state is TaskState.RUNNING if ready is None else ready
    return Task(state=state, ready=is_ready, **(given | fields))


def an_agent(
    name: str = "a1",
    *,
    cpu: int = 4000,
    memory: int = 4096 * MIB,
    named: Mapping[str, int] | None = None,
    **fields: Any,
) -> Agent:
    """An agent; its facts name it."""
    given: dict[str, Any] = {
        "uid": f"uid-{name}",
        "endpoint": "http://127.0.0.1:4451",
        "ports": PortRange(low=20000, high=20999),
        "facts": {"name": name, "arch": "x86_64", "os": "linux"},
    }
    return Agent(name=name, capacity=Capacity(cpu=cpu, memory=memory, named=named or {}), **(given | fields))


def a_cordon(agent: str = "a1", *, is_draining: bool = False, **fields: Any) -> Cordon:
    """An operator's word that an agent takes nothing."""
    return Cordon(agent=agent, is_draining=is_draining, **({"since_ms": T0} | fields))


def a_link(agent: str = "a1", state: LinkState = LinkState.CONNECTED, *, since_ms: int = T0, reason: str = "") -> Link:
    """The link to an agent."""
    return Link(agent=agent, state=state, since_ms=since_ms, reason=reason)


def a_want(slot: int = 0, **fields: Any) -> Want:
    """A slot that is to be placed."""
    return replace(Want(slot=slot, reason=f"slot {slot} has no placement"), **fields)


def a_snapshot(
    *tasks: Task, agent: str = "a1", uid: str | None = None, seq: int = 1, boot: str = "b1"
) -> wire.Snapshot:
    """All that an agent has."""
    return wire.Snapshot(agent=agent, uid=f"uid-{agent}" if uid is None else uid, seq=seq, boot=boot, tasks=tasks)


def a_change(*tasks: Task, seq: int = 2, boot: str = "b1", gone: Sequence[TaskId] = ()) -> wire.Changed:
    """What changed at an agent."""
    return wire.Changed(boot=boot, seq=seq, tasks=tasks, gone=tuple(gone))

"""What a plan was made from, as a plan document tells it: agents and tasks as they stood, and only what matters."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harpoon.core.fleet import Fleet, reservation
from harpoon.core.foretold import Outset
from harpoon.core.standing import Standing, look
from harpoon.model.agent import Agent, Capacity
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.promise import AgentsSeen, BrakeSeen, TaskSeen
from harpoon.model.rules import PlacementRules
from harpoon.model.task import Placement, Reservation, TaskState, parse_task_id
from harpoon.model.volumes import allowance

_NOTHING = Reservation()


def agents_seen(outsets: Sequence[Outset], fleet: Fleet) -> tuple[AgentsSeen, ...]:
    """Return all registered agents, those that are alike for these jobs together."""
    jobs = [form for one in outsets for form in (one.job, *(() if one.brake is None else (one.brake.form,)))]
    tags = sorted({tag for job in jobs for tag in _named_by(job.spec.placement)})
    needs = [reservation(job.spec.task) for job in jobs]
    ports = sorted({port for need in needs for port in need.ports})
    paths = sorted({path for need in needs for path, _ in need.paths})
    groups: dict[object, tuple[list[str], AgentsSeen]] = {}
    for name, agent, host in fleet.agents():
        known = {**agent.tags, **agent.facts}
        cordon = None if host.cordon is None else "draining" if host.cordon.is_draining else "cordoned"
        seen = AgentsSeen(
            names=(),
            capacity=agent.capacity,
            reserved=Capacity(cpu=host.cpu, memory=host.memory, named=dict(sorted(host.named.items()))),
            link=host.link,
            cordon=cordon,
            attributes={tag: known[tag] for tag in tags if tag in known},
            ports={str(port): tuple(sorted(host.ports[port])) for port in ports if port in host.ports},
            host_paths=_allowed(agent, paths),
            mounts=agent.mounts and any(need.mounts for need in needs),
            drivers=agent.drivers,
        )
        key = (
            *(seen.capacity, seen.reserved, host.link, cordon, *seen.attributes.items(), *seen.ports.items()),
            *(*seen.host_paths.items(), seen.mounts, *seen.drivers),
        )
        groups.setdefault(str(key), ([], seen))[0].append(name)
    return tuple(replace(seen, names=tuple(names)) for names, seen in groups.values())


def _allowed(agent: Agent, paths: Sequence[str]) -> dict[str, bool]:
    """Return which of these paths an agent lets tasks have, and whether to write."""
    told = ((path, allowance(agent.host_paths, path)) for path in paths)
    return {path: may_write for path, may_write in told if may_write is not None}


def _named_by(rules: PlacementRules) -> Iterator[str]:
    """Yield the tags and facts that rules name."""
    yield from (rule.tag for rule in rules.require)
    yield from (rule.tag for rule in rules.prefer)
    yield from (rule.tag for rule in rules.spread)


def brake_seen(outset: Outset) -> BrakeSeen | None:
    """Return what keeps the rollout of a job from going on by itself."""
    brake = outset.brake
    if brake is None:
        return None
    return BrakeSeen(
        version=brake.form.version,
        generation=brake.form.generation,
        spec=brake.form.spec,
        reserve=reservation(brake.form.spec.task),
        canaries=brake.canaries,
        is_paused=brake.is_paused,
    )


def tasks_seen(outset: Outset, fleet: Fleet, now: Instant) -> tuple[TaskSeen, ...]:
    """Return the tasks of a job: those that are placed, and those that run on without that."""
    placed = {one.placement.task: one for one in outset.standings}
    tasks = [_placed(outset, one, fleet, now) for one in outset.standings]
    counted = {placement.task: placement for placement in fleet.placements_of(outset.job)}
    for task in sorted({*counted, *outset.leaving} - placed.keys()):
        state = TaskState.STOPPING if task in outset.leaving else TaskState.LOST
        tasks.append(_unplaced(task, counted.get(task), state))
    return tuple(sorted(tasks, key=lambda one: (one.slot, parse_task_id(one.id).number)))


def _placed(outset: Outset, standing: Standing, fleet: Fleet, now: Instant) -> TaskSeen:
    placement, task, is_moving = standing
    counted, known, brake = fleet.placement(placement.task), placement.bindings or {}, outset.brake
    is_former = brake is not None and placement.generation == brake.form.generation
    bound = brake.bindings if brake is not None and is_former else outset.replacing
    looked = look(outset.job, standing, bound, now, is_evictable=True)
    return TaskSeen(
        id=placement.task,
        agent=placement.agent,
        slot=placement.slot,
        generation=placement.generation,
        reserve=placement.reserve if counted is None else counted.reserve,
        state=None if task is None else task.state,
        ready=task is not None and task.ready,
        is_counted=counted is not None,
        is_outdated=any(known.get(name, "") != value for name, value in bound.items()),
        is_unproven=looked.unproven_for is not None and not looked.is_healthy,
        is_moving=is_moving,
        is_revoked=placement.is_revoked,
        is_denied=placement.is_denied,
        failures=placement.failures,
    )


def _unplaced(task: TaskId, counted: Placement | None, state: TaskState) -> TaskSeen:
    return TaskSeen(
        id=task,
        agent="" if counted is None else counted.agent,
        slot=parse_task_id(task).slot,
        generation="" if counted is None else counted.generation,
        reserve=_NOTHING if counted is None else counted.reserve,
        state=state,
        is_placed=False,
        is_counted=counted is not None,
    )

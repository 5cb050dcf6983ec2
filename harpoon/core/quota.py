"""What jobs reserve of their namespace's quota, and whether a change of them fits it.

Rules.

1. A job counts with what it would reserve at full scale, whether it is placed or not; what it has beyond that for a
   moment, in the course of a migrate, is not counted. One that is being unscheduled does not count. A batch job counts
   with as many tasks as run at once; once it has ended, only as a job. So does a system job: how many tasks it has is a
   matter of how many agents there are. A namespace in which cpu, memory or tasks are limited takes none.
2. A change is refused by the limits that it comes to pass or passes further, and by no other: what reserves less, or
   as much, is always taken, however far the namespace is over its quota.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from harpoon.model.job import Job, JobType
from harpoon.model.namespace import Excess, Quota, Use
from harpoon.model.units import format_cpu, format_size

#: The limits of a quota, in the order in which they are told.
FIELDS: Final = ("cpu", "memory", "tasks", "jobs")


def use_of(job: Job | None, *, is_over: bool = False) -> Use:
    """Return what a job takes of its namespace's quota; nothing, if there is no job.

    Args:
        job: The job.
        is_over: It is a batch job that has ended.
    """
    if job is None or job.is_terminating:
        return Use()
    if is_over or job.spec.type is JobType.SYSTEM:
        return Use(jobs=1)
    scale, resources = _at_once(job), job.spec.task.resources
    return Use(cpu=scale * resources.cpu, memory=scale * resources.memory, tasks=scale, jobs=1)


def _at_once(job: Job) -> int:
    """Return how many tasks of a job there are at once at most, but for its being replaced."""
    return job.spec.batch.parallel if job.run is not None else job.spec.scale


def add(one: Use, other: Use, sign: int = 1) -> Use:
    """Return what two use together; with -1 for ``sign``, the one without the other."""
    return Use(
        cpu=one.cpu + sign * other.cpu,
        memory=one.memory + sign * other.memory,
        tasks=one.tasks + sign * other.tasks,
        jobs=one.jobs + sign * other.jobs,
    )


def grows(before: Use, after: Use) -> bool:
    """Return whether anything is used more than before."""
    return any(getattr(after, field) > getattr(before, field) for field in FIELDS)


def excess(namespace: str, quota: Quota, before: Use, after: Use) -> tuple[Excess, ...]:
    """Return the limits that refuse a change of what a namespace uses (rule 2); none: it fits."""
    found = []
    for field in FIELDS:
        limit, used, wanted = getattr(quota, field), getattr(before, field), getattr(after, field)
        if limit is not None and wanted > limit and wanted > used:
            now, then, most = (_write(field, amount) for amount in (used, wanted, limit))
            found.append(Excess(namespace=namespace, field=field, used=now, wanted=then, limit=most))
    return tuple(found)


def over(quota: Quota, used: Use) -> tuple[str, ...]:
    """Return a sentence for each limit that is passed."""
    passed = (field for field in FIELDS if _is_over(quota, used, field))
    return tuple(
        f"{field} {_write(field, getattr(used, field))} of {_write(field, getattr(quota, field))}" for field in passed
    )


def room(quota: Quota, others: Use, job: Job) -> int:
    """Return the highest scale at which a job fits a quota beside the others of its namespace; -1: not even at 0."""
    if quota.jobs is not None and others.jobs + 1 > quota.jobs:
        return -1
    resources = job.spec.task.resources
    needs = {"cpu": resources.cpu, "memory": resources.memory, "tasks": 1}
    fits = [_at_once(job)]
    for field, need in needs.items():
        limit = getattr(quota, field)
        if limit is not None and need:
            fits.append(max(0, limit - getattr(others, field)) // need)
    return min(fits)


def sentence(excesses: Sequence[Excess], fix: str) -> str:
    """Say what refuses a change, and what would help.

    Args:
        excesses: At least one.
        fix: What can be done beside raising the quota.
    """
    namespaces = dict.fromkeys(one.namespace for one in excesses)
    told = (f"quota of namespace {name}: {_listed(excesses, name)}" for name in namespaces)
    return f"{'; '.join(told)}; {fix} or raise the quota"


def _listed(excesses: Iterable[Excess], namespace: str) -> str:
    found = (one for one in excesses if one.namespace == namespace)
    return ", ".join(f"{one.field} {one.wanted} of {one.limit} (now {one.used})" for one in found)


def _is_over(quota: Quota, used: Use, field: str) -> bool:
    limit = getattr(quota, field)
    return limit is not None and getattr(used, field) > limit


def _write(field: str, amount: int) -> str:
    match field:
        case "cpu":
            return format_cpu(amount)
        case "memory":
            return format_size(amount)
        case _:
            return str(amount)

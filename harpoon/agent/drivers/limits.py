"""Which limits a task is held to on this host, in files of its control groups or by what its shim sets; all of it pure.

*Memory is a hard limit*: a task that uses more than it reserved is killed, for it would take what others have
reserved. *A processor is a share*, as with Nomad and with requests in Kubernetes: when all of it is wanted, each task
gets what it reserved in proportion, and while it is not, a task may have more. So reserving little never makes a task
slow on an idle host; a task that reserves none gets what others leave. *Processes and threads* have a hard limit.

Without a group for memory, each process is refused more memory than `data_limit` says, by an rlimit. That is a limit of
one process, not of the task, and of what it has mapped, not of what it uses, so it is set far above what was reserved:
it is to stop one that runs away, and no other. What it does not give is not called enforced. There is no rlimit that
would do for the other two: the kernel counts processes by user, and processor time as a total.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from harpoon.model.task import Limit
from harpoon.model.template import Resources
from harpoon.model.units import format_cpu, format_size

#: What a task's groups are made for.
WANTED: Final = ("memory", "cpu", "pids")
#: A processor in shares, and what the kernel takes.
_SHARES: Final = 1024
_SHARES_MIN: Final = 2
_SHARES_MAX: Final = 262_144
_WEIGHT_MAX: Final = 10_000
#: A program maps more than it uses: stacks of threads, what it might need later.
_DATA_FACTOR: Final = 4
_DATA_MIN: Final = 1 << 30


class Setting(NamedTuple):
    """What is written to one file of a group."""

    controller: str
    file: str
    value: str
    #: Not every kernel has the file, and without it the limit is a little weaker.
    is_optional: bool = False


def settings(resources: Resources, unified: Mapping[str, bool]) -> Iterator[Setting]:
    """Yield what a task's groups are set to.

    Args:
        resources: The task's.
        unified: Controller → whether it is one of a unified hierarchy (v2), for those that there are.
    """
    if resources.memory and (is_unified := unified.get("memory")) is not None:
        limit = str(resources.memory)
        yield Setting("memory", "memory.max" if is_unified else "memory.limit_in_bytes", limit)
        # Or what it uses beyond that would go to the disk.
        swap = ("memory.swap.max", "0") if is_unified else ("memory.memsw.limit_in_bytes", limit)
        yield Setting("memory", *swap, is_optional=True)
    if "cpu" in unified:
        yield share(resources.cpu, is_unified=unified["cpu"])
    if resources.pids and (is_unified := unified.get("pids")) is not None:
        yield Setting("pids", "pids.max", str(resources.pids))


def share(cpu: int, *, is_unified: bool) -> Setting:
    """Return what a group has of the processors against its neighbours, for ``cpu`` thousandths."""
    shares = min(max(cpu * _SHARES // 1000, _SHARES_MIN), _SHARES_MAX)
    if not is_unified:
        return Setting("cpu", "cpu.shares", str(shares))
    # As container runtimes convert one into the other, so that neighbours of theirs are treated alike.
    weight = 1 + (shares - _SHARES_MIN) * (_WEIGHT_MAX - 1) // (_SHARES_MAX - _SHARES_MIN)
    return Setting("cpu", "cpu.weight", str(weight))


def needed(resources: Resources) -> tuple[str, ...]:
    """Return the controllers that this task needs a group of; all need a share of the processors."""
    wanted = {"memory": resources.memory, "cpu": True, "pids": resources.pids}
    return tuple(name for name in WANTED if wanted[name])


def told(resources: Resources, missing: Mapping[str, str]) -> tuple[Limit, ...]:
    """Say which of the limits that a task has are enforced.

    Args:
        resources: The task's.
        missing: Controller → why there is none.
    """
    memory, pids = format_size(resources.memory), str(resources.pids)
    kept = {
        "memory": (resources.memory, f"{memory}, then it is killed"),
        "cpu": (resources.cpu, f"a share of {format_cpu(resources.cpu)}, and what is free"),
        "pids": (resources.pids, f"{pids}, then it is refused more"),
    }
    return tuple(
        Limit(name=name, is_enforced=False, detail=_instead(name, resources, missing[name]))
        if name in missing
        else Limit(name=name, is_enforced=True, detail=detail)
        for name, (amount, detail) in kept.items()
        if amount
    )


def data_limit(resources: Resources, missing: Mapping[str, str]) -> int | None:
    """Return how many bytes of data each of the task's processes may map; None: as many as it likes."""
    if not resources.memory or "memory" not in missing:
        return None
    return max(_DATA_FACTOR * resources.memory, _DATA_MIN)


def _instead(name: str, resources: Resources, why: str) -> str:
    limit = data_limit(resources, {name: why})
    return why if limit is None else f"{why}; each process of it is refused more than {format_size(limit)}"

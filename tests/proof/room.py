"""Room on agents, told from the store alone."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from harpoon.core.fleet import reservation as reservation_of
from harpoon.kit import codec
from harpoon.model.job import Spec
from harpoon.model.units import parse_cpu, parse_size
from tests.proof.state import State, reservation


def capacity(agent: Mapping[str, Any]) -> tuple[int, int]:
    """Return what an agent offers: thousandths of a processor, and bytes."""
    offered = agent["capacity"]
    return parse_cpu(offered["cpu"]), parse_size(offered["memory"])


def named(agent: Mapping[str, Any]) -> Mapping[str, int]:
    """Return what an agent offers of named resources."""
    offered: Mapping[str, int] = agent["capacity"].get("named", {})
    return offered


def taken(state: State, agent: str, without: Collection[str] = ()) -> tuple[int, int, list[int], Counter[str]]:
    """Return what is reserved on an agent: processor, memory, each fixed port as often as it is, named resources."""
    cpu = memory = 0
    ports: list[int] = []
    counted: Counter[str] = Counter()
    for task in state.tasks_on.get(agent, ()):
        if task not in without:
            reserve = reservation(state, agent, task)
            cpu += reserve.get("cpu", 0)
            memory += reserve.get("memory", 0)
            ports += reserve.get("ports", ())
            counted.update(dict(reserve.get("named", ())))
    return cpu, memory, ports, counted


def has_room(state: State, agent: str, spec: Mapping[str, Any]) -> bool:
    """Return whether one more task of a job would fit on an agent that takes any."""
    found = state.value("agents", agent)
    if found is None or state.link(agent) != "connected" or state.row("cordons", agent) is not None:
        return False
    wanted = reservation_of(codec.load(Spec, codec.dump(spec)).task)
    cpu, memory, ports, counted = taken(state, agent)
    cpu_offered, memory_offered = capacity(found)
    fits = cpu + wanted.cpu <= cpu_offered and memory + wanted.memory <= memory_offered
    has_named = all(counted[name] + count <= named(found).get(name, 0) for name, count in wanted.named)
    return fits and has_named and not set(ports) & set(wanted.ports)


def is_plain(spec: Mapping[str, Any]) -> bool:
    """Return whether room is all that a job asks of an agent, and nothing of other jobs."""
    return not spec.get("placement") and not spec.get("depends_on")

"""The fleet's index, kept change by change, is the one that a fresh start would build."""

import asyncio
from dataclasses import replace

import pytest

from harpoon.control.bookings import Bookings
from harpoon.control.view import ACTUAL, AGENTS, CORDONS, JOBS, LINKS, VERSIONS, View, placement_key
from harpoon.kit import codec
from harpoon.kit.clock import Random
from harpoon.model.agent import Agent, Capacity, Cordon, Link, LinkState, PortRange
from harpoon.model.job import Job, Spec, Version
from harpoon.model.task import Placement, Reservation, Task, TaskState
from harpoon.model.template import Resources, TaskTemplate
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Delete, Put, Write

RESERVE = Reservation(cpu=100, memory=1 << 20)


def a_placement(rng: Random) -> Placement:
    job, slot, revision = rng.choice(("web", "db")), rng.randrange(3), rng.randrange(2)
    return Placement(
        namespace="default",
        job=job,
        slot=slot,
        incarnation=1,
        revision=revision,
        agent=f"a{(slot + revision) % 2 + 1}",
        generation="g",
        version=1,
        reason="",
        decided_ms=0,
        reserve=RESERVE,
    )


def a_version(job: str) -> Version:
    template = TaskTemplate(command=("serve",), resources=Resources(cpu=RESERVE.cpu, memory=RESERVE.memory))
    return Version(namespace="default", name=job, version=1, generation="g", spec=Spec(task=template), at_ms=0)


def a_job(name: str) -> Job:
    version = a_version(name)
    return Job(namespace="default", name=name, spec=version.spec, generation="g", version=1, created_ms=0, updated_ms=0)


def an_agent(name: str, rng: Random) -> Agent:
    capacity = Capacity(cpu=rng.choice((1000, 2000)), memory=1 << 30)
    return Agent(name=name, uid=name, endpoint=f"http://{name}", capacity=capacity, ports=PortRange(low=1, high=9))


def writes(rng: Random) -> list[Write]:
    """Return one commit that some loop may make."""
    placement = a_placement(rng)
    kind = rng.choice(
        (
            *("place", "place", "revoke", "deny", "drop", "report", "report", "gone"),
            *("agent", "remove", "link", "cordon", "uncordon"),
        )
    )
    actual = f"{ACTUAL}{placement.agent}/{placement.task}"
    match kind:
        case "place":
            return [Put(placement_key(placement), codec.dump(placement))]
        case "revoke" | "deny":
            going = replace(placement, is_exclusive=True, is_revoked=True, is_denied=kind == "deny")
            return [Put(placement_key(placement), codec.dump(going))]
        case "drop":
            return [Delete(placement_key(placement))]
        case "report":
            state = rng.choice((TaskState.RUNNING, TaskState.FINISHED, TaskState.STOPPING))
            task = Task(id=placement.task, agent=placement.agent, generation="g", state=state)
            return [Put(actual, codec.dump(task))]
        case "gone":
            return [Delete(actual)]
        case "agent":
            agent = an_agent(placement.agent, rng)
            return [Put(AGENTS + agent.name, codec.dump(agent))]
        case "remove":
            return [Delete(AGENTS + placement.agent), Delete(LINKS + placement.agent)]
        case "cordon":
            cordon = Cordon(agent=placement.agent, is_draining=rng.choice((True, False)), since_ms=0)
            return [Put(CORDONS + cordon.agent, codec.dump(cordon))]
        case "uncordon":
            return [Delete(CORDONS + placement.agent)]
        case _:
            link = Link(agent=placement.agent, state=rng.choice(list(LinkState)), since_ms=0)
            return [Put(LINKS + link.agent, codec.dump(link))]


@pytest.mark.parametrize("seed", range(20))
async def test_the_kept_index_equals_one_built_afresh(seed: int) -> None:
    rng = Random(seed)
    store = MemoryStore()
    for job in ("web", "db"):
        version = Put(f"{VERSIONS}default/{job}/1", codec.dump(a_version(job)))
        await store.commit((), [version, Put(f"{JOBS}default/{job}", codec.dump(a_job(job)))])
    view = View(store, incarnation=1, cluster="c")
    await view.mirror.load()
    kept = Bookings(view)
    await kept.load()
    view.mirror.listen(lambda _, changes: kept.hear(changes))
    following = asyncio.ensure_future(view.mirror.run())
    for _ in range(60):
        revision = await store.commit((), writes(rng))
        await view.mirror.reached(min(revision or 0, await store.revision()))
        fresh = Bookings(view)
        await fresh.load()
        assert kept.fleet == fresh.fleet
    following.cancel()

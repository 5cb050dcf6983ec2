"""Several instances share agents: each agent has one minder at any time, and whatever ends one, others go on."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from harpoon.control.view import INSTANCES
from harpoon.core.assign import owner
from harpoon.kit import codec
from harpoon.model.agent import LinkState
from harpoon.model.instance import Holder
from harpoon.store.hold import HOLDS
from harpoon.store.port import Compare, Delete, Put, StoreUnavailable, Write
from tests.control import crew as crew_module
from tests.control.crew import SCHEDULER, Crew, Mate, soon
from tests.control.test_controller import a_manifest, settled
from tests.fakes import FakeAgent
from tests.faulty import Fault, FaultyStore

pytestmark = pytest.mark.usefixtures("in_haste")

AGENTS = 12


def a_crew(agents: int = AGENTS, **settings: object) -> Crew:
    return Crew(FaultyStore(), [FakeAgent(f"a{number}") for number in range(agents)], **settings)


def shares(crew: Crew) -> dict[str, set[str]]:
    """Which agents each instance minds."""
    return {name: {agent for agent in crew.agents if crew.minder(agent) == name} for name in crew.mates}


def is_shared(crew: Crew) -> bool:
    """Whether each agent is minded by the one whose it is."""
    return all(crew.minder(agent) == owner(agent, crew.mates) for agent in crew.agents)


async def a_job(crew: Crew, scale: int = AGENTS) -> dict[str, int]:
    """Have something run everywhere; return how many commands each agent has obeyed."""
    plane = next(iter(crew.mates.values())).plane
    await plane.registry.put(a_manifest(scale=scale))
    await settled(plane)
    return {name: len(agent.obeyed) for name, agent in crew.agents.items()}


def obeyed(crew: Crew) -> dict[str, int]:
    return {name: len(agent.obeyed) for name, agent in crew.agents.items()}


async def test_three_instances_share_agents_and_one_leads() -> None:
    async with a_crew().at_work("i1", "i2", "i3") as crew:
        await soon(lambda: is_shared(crew))
        assert all(shares(crew).values())
        holds = await crew.holds()
        assert holds == {SCHEDULER: crew.leader()} | {f"agents/{agent}": crew.minder(agent) for agent in crew.agents}
        started = await a_job(crew)
        assert set(started.values()) == {1}


@pytest.mark.parametrize("is_leader", [True, False])
async def test_a_killed_instances_agents_are_others_when_its_lease_is_over_and_no_task_hears_of_it(
    is_leader: bool,
) -> None:
    async with a_crew().at_work("i1", "i2", "i3") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        dies = next(name for name in crew.mates if (name == crew.leader()) is is_leader)
        old, marks = shares(crew), {name: agent.mark for name, agent in crew.agents.items()}
        mate = await crew.kill(dies)
        await asyncio.sleep(0.1)
        # As long as its lease lasts, nobody knows.
        assert all(crew.minder(agent) is None for agent in old[dies])
        crew.lapse(mate)
        await soon(lambda: is_shared(crew) and crew.leader() is not None)
        new = shares(crew)
        for name, agent in crew.agents.items():
            assert (agent.mark > marks[name]) is (name in old[dies])
        assert all(old[name] <= new[name] for name in crew.mates)
        assert obeyed(crew) == before
        plane = next(iter(crew.mates.values())).plane
        await plane.registry.scale("default", "web", 2 * AGENTS)
        await settled(plane)
        assert {len(agent.tasks) for agent in crew.agents.values()} == {2}


async def test_one_that_joins_takes_its_share_and_moves_nothing_else() -> None:
    async with a_crew().at_work("i1", "i2") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        old, marks = shares(crew), {name: agent.mark for name, agent in crew.agents.items()}
        await crew.join("i3")
        await soon(lambda: is_shared(crew))
        new = shares(crew)
        assert new["i3"]
        for name in ("i1", "i2"):
            assert new[name] == old[name] - new["i3"]
        for name, agent in crew.agents.items():
            assert (agent.mark > marks[name]) is (name in new["i3"])
        assert obeyed(crew) == before


async def test_one_that_joins_takes_its_share_though_timers_are_early(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_crew(settle=timedelta(milliseconds=200)).at_work("i1") as crew:
        loop = asyncio.get_running_loop()
        real = loop.call_later
        # A loop that looks at the clock once a turn counts from the beginning of the turn.
        monkeypatch.setattr(loop, "call_later", lambda after_s, *rest, **more: real(after_s - 0.005, *rest, **more))
        await crew.join("i2")
        await soon(lambda: is_shared(crew))


async def test_one_that_joins_and_dies_at_once_moves_no_agent() -> None:
    async with a_crew(settle=timedelta(seconds=1)).at_work("i1", "i2") as crew:
        await soon(lambda: is_shared(crew))
        marks = {name: agent.mark for name, agent in crew.agents.items()}
        mate = await crew.join("i3")
        await soon(lambda: "i3" in crew.mates["i1"].plane.view.instances.rows)
        await crew.kill("i3")
        await asyncio.sleep(0.2)
        crew.lapse(mate)
        await asyncio.sleep(1.1)
        assert {name: agent.mark for name, agent in crew.agents.items()} == marks


async def test_one_that_leaves_gives_only_its_own() -> None:
    async with a_crew().at_work("i1", "i2", "i3") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        old, marks = shares(crew), {name: agent.mark for name, agent in crew.agents.items()}
        leaves = crew.leader()
        assert leaves is not None
        await crew.leave(leaves)
        # Its lease was given back, so nobody waits for it.
        async with asyncio.timeout(0.5):
            await soon(lambda: is_shared(crew) and crew.leader() is not None)
        for name, agent in crew.agents.items():
            assert (agent.mark > marks[name]) is (name in old[leaves])
        assert obeyed(crew) == before


async def test_agents_are_handed_over_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.control.shepherd.HANDED_OVER_AT_ONCE", 2)
    monkeypatch.setattr("harpoon.control.shepherd.HAND_OVER_AGAIN_S", 0.1)
    async with a_crew(40).at_work("i1") as crew:
        i1 = crew.mates["i1"]
        away: list[int] = []
        await crew.join("i2")
        while not is_shared(crew):
            away.append(sum(crew.minder(agent) is None for agent in crew.agents))
            await asyncio.sleep(0.005)
        assert max(away) <= 2
        assert i1.count("harpoon_agents_handed_over_total") == len(shares(crew)["i2"])


# An agent that not everybody reaches.


def pass_on_fast(**settings: object) -> Crew:
    return a_crew(3, lost_after=timedelta(milliseconds=400), **settings)


def link(mate: Mate, agent: str):
    return mate.plane.view.links.rows[agent].value


async def test_an_agent_that_its_instance_does_not_reach_is_passed_on_and_stays_where_it_is_reached() -> None:
    async with pass_on_fast().at_work("i1", "i2", "i3") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        first = crew.minder("a0")
        assert first is not None
        states: list[tuple[LinkState, str | None]] = []
        crew.mates[first].roads["a0"].cut()
        await soon(lambda: crew.minder("a0") not in (None, first))
        second = crew.minder("a0")
        await soon(lambda: link(crew.mates[first], "a0").state is LinkState.CONNECTED)
        marks = crew.agents["a0"].mark
        # For many times as long as it takes to give up.
        for _ in range(100):
            await asyncio.sleep(0.02)
            states.append((link(crew.mates[first], "a0").state, crew.minder("a0")))
        assert set(states) == {(LinkState.CONNECTED, second)}
        assert crew.agents["a0"].mark == marks
        assert obeyed(crew) == before
        assert crew.mates[first].count("harpoon_agents_passed_on_total") == 1


async def test_an_agent_that_only_the_last_one_reaches_is_never_lost() -> None:
    async with pass_on_fast().at_work("i1", "i2", "i3") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        seen: set[LinkState] = set()
        first = crew.minder("a0")
        able = next(name for name in crew.mates if name != first)
        view = crew.mates[able].plane.view
        view.mirror.listen(lambda *_: seen.add(view.links.rows["a0"].value.state))
        for mate in crew.mates.values():
            if mate.name != able:
                mate.roads["a0"].cut()
        await soon(lambda: crew.minder("a0") == able)
        assert LinkState.INTERRUPTED in seen
        assert obeyed(crew) == before
        # What is lost on the way is not what this is about: two had failed.
        states = {task.state for agent in crew.agents.values() for task in agent.tasks.values()}
        assert len(states) == 1


async def test_an_agent_is_lost_only_after_two_instances_failed_and_its_time_is_over() -> None:
    async with pass_on_fast().at_work("i1", "i2", "i3") as crew:
        await a_job(crew, 3)
        await soon(lambda: is_shared(crew))
        told: list[tuple[LinkState, tuple[str, ...], float]] = []
        view = crew.mates["i1"].plane.view
        clock = asyncio.get_running_loop().time
        view.mirror.listen(
            lambda _, changes: told.extend(
                (change.new.value.state, change.new.value.failed_by, clock())
                for change in changes
                if change.table is view.links and change.new is not None and change.key == "a0"
            )
        )
        for mate in crew.mates.values():
            mate.roads["a0"].cut()
        await soon(lambda: any(state is LinkState.LOST for state, _, _ in told))
        states = [state for state, _, _ in told]
        lost = states.index(LinkState.LOST)
        assert set(states[:lost]) == {LinkState.INTERRUPTED}
        assert told[lost - 1][1]
        assert told[lost][2] - told[0][2] >= 0.39
        # Whoever reaches it first, has it, and it is as it was.
        mate = crew.mates["i2"]
        for one in crew.mates.values():
            one.roads["a0"].heal()
        await soon(lambda: crew.minder("a0") is not None)
        await soon(lambda: link(mate, "a0").state is LinkState.CONNECTED)


# An instance that is not to be relied on.


async def test_an_instance_whose_clock_is_off_gives_its_holds_to_others_until_it_is_right_again() -> None:
    async with a_crew().at_work("i1", "i2", "i3") as crew:
        before = await a_job(crew)
        await soon(lambda: is_shared(crew))
        off = crew.leader()
        assert off is not None
        others = {name for name in crew.mates if name != off}
        crew.mates[off].clock.ahead_ms = 5000
        await soon(lambda: all(crew.minder(agent) == owner(agent, others) for agent in crew.agents))
        await soon(lambda: crew.leader() in others)
        told = crew.mates[next(iter(others))].plane.view.instances.rows[off].value
        assert "5.0 s ahead of that of the others" in told.unfit
        crew.mates[off].clock.ahead_ms = 500
        await soon(lambda: is_shared(crew))
        assert obeyed(crew) == before


async def test_one_that_joins_with_a_clock_that_is_off_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_crew(settle=timedelta(seconds=1)).at_work("i1", "i2") as crew:
        await soon(lambda: is_shared(crew))
        marks = {name: agent.mark for name, agent in crew.agents.items()}
        real = Crew._ask

        async def ask(self: Crew, url: str):
            if url == "i3":
                self.mates["i3"].clock.ahead_ms = -60_000
            return await real(self, url)

        monkeypatch.setattr(Crew, "_ask", ask)
        mate = await crew.join("i3")
        mate.clock.ahead_ms = -60_000
        await soon(lambda: bool((row := mate.plane.view.instances.rows.get("i3")) and row.value.unfit))
        await asyncio.sleep(1.2)
        assert {name: agent.mark for name, agent in crew.agents.items()} == marks
        assert mate.count("harpoon_holds_taken_total", kind="agent") == 0
        assert "behind" in mate.plane.view.instances.rows["i3"].value.unfit


async def test_one_that_joins_with_a_clock_that_is_off_does_not_take_what_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_crew(settle=timedelta(seconds=1)).at_work("i1", "i2") as crew:
        await soon(lambda: is_shared(crew))
        its_own = [agent for agent in crew.agents if owner(agent, ("i1", "i2", "i3")) == "i3"]
        real, is_asking = Crew._ask, asyncio.Event()

        async def ask(self: Crew, url: str):
            if "i3" in self.mates and not is_asking.is_set():
                # Before it knows how it stands, what would be its own is to be had.
                is_asking.set()
                await self.store.commit((), [Delete(f"{HOLDS}agents/{agent}") for agent in its_own])
                await asyncio.sleep(0.1)
            return await real(self, url)

        monkeypatch.setattr(Crew, "_ask", ask)
        shifted = crew_module.Shifted()
        shifted.ahead_ms = -60_000
        monkeypatch.setattr(crew_module, "Shifted", lambda: shifted)
        mate = await crew.join("i3")
        await soon(lambda: bool((row := mate.plane.view.instances.rows.get("i3")) and row.value.unfit))
        await soon(lambda: all(crew.minder(agent) == owner(agent, ("i1", "i2")) for agent in crew.agents))
        assert mate.count("harpoon_holds_taken_total", kind="agent") == 0


async def test_what_an_instance_last_said_of_its_clock_is_what_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_crew().at_work("i1", "i2", "i3") as crew:
        assert isinstance(crew.store, FaultyStore)
        await soon(lambda: is_shared(crew))
        off = "i2"
        crew.store.fail(Fault.LATE, prefix=INSTANCES)
        crew.mates[off].clock.ahead_ms = 5000
        await soon(lambda: crew.store.is_through)
        crew.mates[off].clock.ahead_ms = 0
        await asyncio.sleep(0.2)
        await crew.store.deliver()
        await asyncio.sleep(0.2)
        await soon(lambda: is_shared(crew))
        assert not crew.mates[off].plane.view.instances.rows[off].value.unfit


# Tokens.


async def test_a_paused_instances_late_command_is_refused_and_it_joins_again_by_itself() -> None:
    async with a_crew(1).at_work("i1", "i2") as crew:
        await a_job(crew, 1)
        await soon(lambda: is_shared(crew))
        first = crew.minder("a0")
        assert first is not None
        slow, term = crew.mates[first], crew.mates[first].plane.term
        slow.roads["a0"].hold_up()
        await slow.plane.registry.scale("default", "web", 2)
        await soon(lambda: slow.roads["a0"].waiting > 0)
        # It stands still with a command on its way, until others have what was its own.
        lease, count = slow.way.leases[-1], len(crew.agents["a0"].obeyed)
        slow.way.cut()
        lost, lease.lost = lease.lost, asyncio.Event()
        crew.store._end(lease)
        await soon(lambda: crew.mates[next(n for n in crew.mates if n != first)].plane.is_commandable("a0"))
        await settled(crew.mates[next(n for n in crew.mates if n != first)].plane)
        assert len(crew.agents["a0"].obeyed) == count + 1
        slow.roads["a0"].let_go()
        await soon(lambda: slow.count("harpoon_fenced_total") == 1)
        slow.way.heal()
        lost.set()
        lease.lost.set()
        await soon(lambda: slow.plane.term not in (None, term) and is_shared(crew))
        assert len(crew.agents["a0"].obeyed) == count + 1
        assert len(crew.agents["a0"].tasks) == 2


class Grudging(FaultyStore):
    """A store in which somebody else is faster with one agent, and that fails whoever then tries one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.is_grudging = False
        self.grudged = 0

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        keys = [write.key for write in writes if write.key.startswith(f"{HOLDS}agents/")]
        if self.is_grudging and len(keys) > 1:
            await super().commit((), (Put(keys[0], codec.dump(Holder(instance="another"))),))
        elif self.is_grudging and keys:
            self.grudged += 1
            self.is_grudging = self.grudged < 3
            raise StoreUnavailable("as the test wants: refused", maybe_applied=False)
        return await super().commit(compares, writes)


async def test_agents_that_another_is_faster_with_are_taken_though_the_store_fails_meanwhile() -> None:
    store = Grudging()
    async with Crew(store, [FakeAgent(f"a{number}") for number in range(4)]).at_work("i1") as crew:
        await soon(lambda: is_shared(crew))
        store.is_grudging = True
        store.lapse(is_gone=True)
        await soon(lambda: store.grudged == 3)
        await soon(lambda: sum(crew.minder(agent) is not None for agent in crew.agents) == 3)
        assert not crew.mates["i1"].life.done()
        [lost] = [agent for agent in crew.agents if crew.minder(agent) is None]
        await store.commit((), (Delete(f"{HOLDS}agents/{lost}"),))
        await soon(lambda: is_shared(crew))

"""What each fault of a plan does to a world, and undoes. The table of faults is `tests.sim.drawing.FAULTS`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harpoon.control.ledger_records import shard_of
from harpoon.control.runs import SHARD_HOLDS, shard_name
from harpoon.kit.errors import Conflict, HarpoonError, NotFound
from harpoon.model.rebalance import Rebalancing
from harpoon.store.port import StoreUnavailable
from tests.proof.history import Fault as Told
from tests.proof.history import Healed
from tests.proof.state import AGENT_HOLDS, SCHEDULER
from tests.sim.plan import Fault

if TYPE_CHECKING:
    from tests.sim.world import World

#: An operator looks after so long.
OPERATOR_S = 14.0
#: Somebody starts again what has ended, after so long.
RESTART_S = 1.0


def NOBODY() -> None:  # noqa: N802
    """Undoes what did not happen, for there was nobody whom it could befall."""


class Nemesis:
    """Breaks things: a method a kind of fault; what it returns undoes it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        #: What is broken now → how to undo it.
        self._broken: dict[Fault, Callable[[], object]] = {}

    async def run(self, fault: Fault) -> None:
        """Break something in time, and undo it in time."""
        await asyncio.sleep(max(0.0, fault.at - self._world.loop.now))
        self.do(fault)
        await asyncio.sleep(fault.span)
        self.undo(fault)

    def do(self, fault: Fault) -> None:
        """Break something now."""
        self._world.tell(
            Told(t=self._world.loop.now, node="nemesis", what=fault.what, target=fault.target, detail=str(fault))
        )
        undo = getattr(self, fault.what)(fault)
        if undo is NOBODY:
            return
        self._world.net.happened[fault.what] += 1
        if undo is not None:
            self._broken[fault] = undo

    def undo(self, fault: Fault) -> None:
        """Mend it, if it is still broken."""
        undo = self._broken.pop(fault, None)
        if undo is not None:
            undo()
            self._world.tell(Healed(t=self._world.loop.now, node="nemesis", what=fault.what, target=fault.target))

    def undo_all(self) -> None:
        for fault in list(self._broken):
            self.undo(fault)
        for instance in self._world.instances.values():
            instance.way.forgive()

    # Instances.

    def kill_instance(self, fault: Fault) -> Callable[[], object]:
        self._world.kill_instance(fault.target)
        return lambda: self._world.start_instance(fault.target)

    def stop_instance(self, fault: Fault) -> Callable[[], object]:
        self._world.instances[fault.target].stop()
        return lambda: self._world.start_instance(fault.target)

    def pause_instance(self, fault: Fault) -> Callable[[], object]:
        node = self._world.instances[fault.target].node
        self._world.loop.pause(node)
        return lambda: self._world.loop.resume(node)

    def kill_leader(self, _fault: Fault) -> Callable[[], object]:
        """Whoever schedules dies."""
        return self._befall(SCHEDULER, self.kill_instance)

    def pause_leader(self, _fault: Fault) -> Callable[[], object]:
        return self._befall(SCHEDULER, self.pause_instance)

    def cut_leader(self, fault: Fault) -> Callable[[], object]:
        return self._befall(SCHEDULER, lambda of: self.cut_from_store(replace(of, amount=fault.amount)))

    def kill_owner(self, fault: Fault) -> Callable[[], object]:
        """Whoever minds an agent dies."""
        return self._befall(AGENT_HOLDS + fault.target, self.kill_instance)

    def pause_owner(self, fault: Fault) -> Callable[[], object]:
        return self._befall(AGENT_HOLDS + fault.target, self.pause_instance)

    def stop_owner(self, fault: Fault) -> Callable[[], object]:
        """Whoever minds an agent hands it over, and leaves."""
        return self._befall(AGENT_HOLDS + fault.target, self.stop_instance)

    def kill_conductor(self, fault: Fault) -> Callable[[], object]:
        """Whoever conducts a run dies."""
        return self._befall(_hold_of(fault.target), self.kill_instance)

    def pause_conductor(self, fault: Fault) -> Callable[[], object]:
        return self._befall(_hold_of(fault.target), self.pause_instance)

    def stop_conductor(self, fault: Fault) -> Callable[[], object]:
        """Whoever conducts a run hands it over, and leaves."""
        return self._befall(_hold_of(fault.target), self.stop_instance)

    def _befall(self, hold: str, deed: Callable[[Fault], Callable[[], object]]) -> Callable[[], object]:
        name = self._world.holder(hold)
        return NOBODY if name is None else deed(Fault(at=0, what="", target=name))

    def clock_rate(self, fault: Fault) -> Callable[[], object]:
        node, loop = self._world.instances[fault.target].node, self._world.loop
        loop.run_at(node, fault.amount)
        return lambda: loop.run_at(node, 1.0)

    def clock_jump(self, fault: Fault) -> Callable[[], object]:
        node = self._world.instances[fault.target].node
        node.ahead_ms += int(fault.amount * 1000)

        def back() -> None:
            node.ahead_ms = 0

        return back

    # Workers of runs.

    def kill_worker(self, fault: Fault) -> Callable[[], object]:
        self._world.crew.kill(fault.target)
        return lambda: self._world.crew.start(fault.target)

    def stop_worker(self, fault: Fault) -> Callable[[], object]:
        self._world.crew.stop(fault.target)
        return lambda: self._again(fault.target)

    def _again(self, worker: str) -> None:
        """Have a worker's successor start, whether the former has come to its end or not."""
        self._world.crew.kill(worker)
        self._world.crew.start(worker)

    def pause_worker(self, fault: Fault) -> Callable[[], object] | None:
        node = self._world.net.nodes.get(fault.target)
        if node is None:
            return None
        self._world.loop.pause(node)
        return lambda: self._world.loop.resume(node)

    def cut_worker(self, fault: Fault) -> Callable[[], object]:
        return self._cut(fault.target, (fault.other,), 3 if fault.amount == 1 else 2)

    def slow_to_worker(self, fault: Fault) -> Callable[[], object]:
        """What is asked arrives late, and so does what is answered."""
        there = self._worse(fault.target, fault.other, late=fault.amount, late_s=(0.1, 8.0))
        back = self._worse(fault.other, fault.target, late=fault.amount, late_s=(0.1, 8.0))
        return lambda: (there(), back())

    # Ways.

    def cut_from_store(self, fault: Fault) -> Callable[[], object]:
        return self._cut(fault.target, ("store",), int(fault.amount))

    def cut_from_agents(self, fault: Fault) -> Callable[[], object]:
        return self._cut(fault.target, (fault.other,) if fault.other else self._world.plan.agents, int(fault.amount))

    def cut_peers(self, fault: Fault) -> Callable[[], object]:
        return self._cut(fault.target, (fault.other,), 3)

    def slow_to_agent(self, fault: Fault) -> Callable[[], object]:
        """What is sent arrives after its sender has given up, or after another took over."""
        return self._worse(fault.target, fault.other, late=fault.amount, late_s=(1.0, 25.0))

    def slow_to_store(self, fault: Fault) -> Callable[[], object]:
        return self._worse(fault.target, "store", late=fault.amount, late_s=(0.1, 8.0))

    def lossy(self, fault: Fault) -> Callable[[], object]:
        return self._worse(fault.target, fault.other, loss=fault.amount / 2)

    def twice(self, fault: Fault) -> Callable[[], object]:
        return self._worse(fault.target, fault.other, twice=fault.amount)

    # The store.

    def store_away(self, _fault: Fault) -> Callable[[], object]:
        store = self._world.store
        store.leave()
        return store.come_back

    def leases_extended(self, _fault: Fault) -> None:
        self._world.store.extend_leases()

    def watch_compacted(self, _fault: Fault) -> None:
        self._world.store.drop_history()

    def commit_late(self, fault: Fault) -> None:
        self._fate(fault, ("late", 2.5 + fault.span))

    def commit_silent(self, fault: Fault) -> None:
        self._fate(fault, ("silent", 0.0))

    def _fate(self, fault: Fault, fate: tuple[str, float]) -> None:
        self._world.instances[fault.target].way.fates.extend([fate] * int(fault.amount))

    def view_behind(self, fault: Fault) -> Callable[[], object]:
        way = self._world.instances[fault.target].way
        way.lag_s = fault.amount

        def back() -> None:
            way.lag_s = 0.0

        return back

    def watch_rewound(self, fault: Fault) -> None:
        self._world.instances[fault.target].way.rewind()

    def watch_gap(self, fault: Fault) -> None:
        self._world.instances[fault.target].way.gap(int(fault.amount))

    def stale_list(self, fault: Fault) -> None:
        self._world.instances[fault.target].way.stale(int(fault.amount) * 3)

    # Agents and their hosts.

    def kill_agent(self, fault: Fault) -> Callable[[], object]:
        self._world.kill_agent(fault.target)
        return lambda: self._world.start_agent(fault.target)

    def pause_agent(self, fault: Fault) -> Callable[[], object] | None:
        node = self._world.net.nodes.get(fault.target)
        if node is None:
            return None
        self._world.loop.pause(node)
        return lambda: self._world.loop.resume(node)

    def reboot_host(self, fault: Fault) -> Callable[[], object]:
        self._world.kill_agent(fault.target)
        self._world.hosts[fault.target].reboot()
        return lambda: self._world.start_agent(fault.target)

    def power_cut(self, fault: Fault) -> Callable[[], object]:
        """As a reboot, and what was not made durable is lost."""
        self._world.kill_agent(fault.target)
        self._world.hosts[fault.target].reboot(loses=True)
        return lambda: self._world.start_agent(fault.target)

    def move_agent(self, fault: Fault) -> Callable[[], object]:
        """It is started again where it listens elsewhere, and says so itself."""
        if fault.target not in self._world.plan.unlisted:
            return NOBODY
        self._world.kill_agent(fault.target)
        self._world.ports[fault.target] += 1
        return lambda: self._world.start_agent(fault.target)

    def replace_host(self, fault: Fault) -> None:
        """The machine is gone for good, and an operator says so when it is lost; another of its name comes."""
        self._world.kill_agent(fault.target)
        self._world.hosts[fault.target].wipe()
        self._world.begin(self._replace(fault.target))

    async def _replace(self, agent: str) -> None:
        world = self._world
        await asyncio.sleep(OPERATOR_S)
        await world.insist(lambda instance: instance.controller.cordons.declare_dead(agent, reason="it burnt down"))
        world.start_agent(agent)

    def mistake_for_dead(self, fault: Fault) -> Callable[[], object]:
        """It is cut off from all instances, and an operator says that it is dead; it is not, and comes back."""
        back = [self._cut(instance, (fault.target,), 3) for instance in self._world.plan.instances]
        self._world.begin(self._bury(fault.target))
        return lambda: [undo() for undo in back]

    async def _bury(self, agent: str) -> None:
        await asyncio.sleep(OPERATOR_S)
        await self._world.insist(
            lambda instance: instance.controller.cordons.declare_dead(agent, reason="it is silent")
        )

    def disk_full(self, fault: Fault) -> Callable[[], object]:
        host = self._world.hosts[fault.target]
        host.disk.is_full = True

        def back() -> None:
            host.disk.is_full = False

        return back

    def refuses(self, fault: Fault) -> Callable[[], object]:
        """No process can be started there, or not each."""
        host = self._world.hosts[fault.target]
        host.refuses = fault.amount

        def back() -> None:
            host.refuses = 0.0

        return back

    def unwell(self, fault: Fault) -> Callable[[], object]:
        """All checks fail there."""
        host = self._world.hosts[fault.target]
        host.unwell = ("default.",)

        def back() -> None:
            host.unwell = ()

        return back

    def task_dies(self, fault: Fault) -> None:
        host = self._world.hosts[fault.target]
        if host.runs:
            host.kill(host.runs[0])

    def cordon(self, fault: Fault) -> None:
        self._upkeep(fault.target, fault.span, lambda instance: instance.controller.cordons.cordon(fault.target))

    def drain(self, fault: Fault) -> None:
        self._upkeep(fault.target, fault.span, lambda instance: instance.controller.cordons.drain(fault.target))

    def _upkeep(self, agent: str, span: float, ask: Callable[..., Awaitable[object]]) -> None:
        world = self._world

        async def work() -> None:
            await world.insist(ask)
            await asyncio.sleep(span)
            await world.insist(lambda instance: instance.controller.cordons.uncordon(agent))

        world.begin(work())

    def pause_rollout(self, fault: Fault) -> None:
        """An operator pauses the rollouts of a job, and lets them go on later."""
        self._world.begin(self._steer(fault.target, "pause", fault.span, "resume"))

    def promote_rollout(self, fault: Fault) -> None:
        """An operator promotes whatever is on trial."""
        self._world.begin(self._steer(fault.target, "promote"))

    def rebalance(self, _fault: Fault) -> None:
        """An operator has tasks moved to where they would be placed now, of exclusive jobs, too."""
        order = Rebalancing(max_moves=3, exclusive=True)

        async def ask(instance: Any) -> None:
            with contextlib.suppress(Conflict):
                await instance.controller.rebalancer.rebalance(order, instance.controller.bookings())

        self._world.begin(self._world.insist(ask))

    async def _steer(self, job: str, order: str, span: float = 0.0, undo: str = "") -> None:
        async def ask(instance: Any) -> None:
            # There may be no such job, or nothing to decide of it.
            with contextlib.suppress(NotFound, Conflict):
                await getattr(instance.controller.steering, order)("default", job)

        await self._world.insist(ask)
        if undo:
            await asyncio.sleep(span)
            await self._steer(job, undo)

    # Within.

    def _cut(self, source: str, targets: tuple[str, ...], ways: int) -> Callable[[], object]:
        net = self._world.net
        ends = [(source, target) for target in targets if ways & 1] + [
            (target, source) for target in targets if ways & 2
        ]
        for end in ends:
            net.cut(*end)
        return lambda: [net.heal(*end) for end in ends]

    def _worse(self, source: str, target: str, **worse: object) -> Callable[[], object]:
        way = self._world.net.way(source, target)
        for name, value in worse.items():
            setattr(way, name, value)
        return lambda: self._world.net.heal(source, target)


def _hold_of(run: str) -> str:
    return SHARD_HOLDS + shard_name(shard_of(f"default/{run}"))


#: What an operator's request may end in, to be tried again.
AGAIN = (HarpoonError, StoreUnavailable)

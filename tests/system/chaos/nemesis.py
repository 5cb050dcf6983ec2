"""Who breaks things, as planned, and mends them again."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from harpoon.client.answer import Answer
from harpoon.client.client import Client
from harpoon.kit.errors import HarpoonError
from tests.network import US, Way
from tests.proof.history import Fault, Healed
from tests.system.chaos.census import Census
from tests.system.chaos.clients import Doors
from tests.system.chaos.hosts import AGENTS, ALL, ETCDS, SERVERS, WORKERS, Hosts
from tests.system.chaos.jobs import PROGRAM, ROLLED
from tests.system.chaos.plan import Planned
from tests.system.chaos.recorder import Recorder

NODE = "nemesis"
#: What a clock jumps by, in seconds, either way.
_JUMPS_S = (2.5, 30.0)
#: Of a hundred packets so many are lost.
_LOSS = (5, 40)


class Nemesis:
    """Carries a plan out."""

    def __init__(
        self, hosts: Hosts, doors: Doors, census: Census, recorder: Recorder, followed: Callable[[], int]
    ) -> None:
        self._hosts = hosts
        self._doors = doors
        self._census = census
        self._recorder = recorder
        #: The revision up to which the store's history has been noted: what is before it may be compacted.
        self._followed = followed
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []

    async def run(self, faults: Sequence[Planned]) -> None:
        """Break, each at its time; return when everything is mended."""
        began = self._recorder.now()
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(faults):
                await asyncio.sleep(max(0.0, began + one.at - self._recorder.now()))
                group.create_task(self._carry_out(f"{number}", one))

    async def make_whole(self) -> None:
        """Mend everything there is, whether it is broken or not."""
        hosts = self._hosts
        await asyncio.to_thread(hosts.network.heal)
        for name in (*SERVERS, *AGENTS, *WORKERS):
            hosts.jump(name, 0.0)
        for agent in AGENTS:
            hosts.free(agent)
        for name in ALL:
            hosts.resume(name)
            await hosts.launch(name)
        async with asyncio.timeout(60):
            for agent in AGENTS:
                while not await self._say(agent, "uncordon", {}):
                    await asyncio.sleep(0.5)

    async def _carry_out(self, number: str, one: Planned) -> None:
        self._recorder.note(
            Fault(
                t=self._recorder.now(),
                node=NODE,
                what=one.what,
                target=one.target,
                detail=f"{one.span:g} s, {one.share}",
            )
        )
        try:
            async with getattr(self, f"_{one.what}")(number, one):
                await asyncio.sleep(one.span)
        except (OSError, HTTPException, AssertionError, RuntimeError) as error:
            # What cannot be done, as asking an etcd that has no leader, is a fault that was none.
            self.failed.append(f"{one.what} {one.target}: {type(error).__name__}: {error}"[:300])
        else:
            self.done[one.what] += 1
        self._recorder.note(Healed(t=self._recorder.now(), node=NODE, what=one.what, target=one.target))

    # Processes.

    @asynccontextmanager
    async def _down(self, name: str, end: Callable[[str], Awaitable[None]]) -> AsyncIterator[None]:
        await end(name)
        try:
            yield
        finally:
            await self._hosts.launch(name)

    @asynccontextmanager
    async def _paused(self, name: str) -> AsyncIterator[None]:
        self._hosts.pause(name)
        try:
            yield
        finally:
            self._hosts.resume(name)

    def _kill_server(self, number: str, one: Planned):
        return self._down(one.target, self._hosts.kill)

    _kill_agent = _kill_worker = _kill_etcd = _kill_server

    def _stop_server(self, number: str, one: Planned):
        return self._down(one.target, self._hosts.stop)

    _stop_agent = _stop_worker = _stop_server

    def _pause_server(self, number: str, one: Planned):
        return self._paused(one.target)

    _pause_agent = _pause_worker = _pause_etcd = _stall_server = _stall_worker = _pause_server

    @asynccontextmanager
    async def _kill_task(self, number: str, one: Planned, *, is_shim: bool = False) -> AsyncIterator[None]:
        if running := self._census.running():
            found = running[int(one.share * len(running))]
            with suppress(ProcessLookupError, FileNotFoundError):
                pid = _parent(found.pid) if is_shim else found.pid
                # The parent of a task whose shim is gone is another process.
                if (
                    str(self._hosts.directory if is_shim else PROGRAM).encode()
                    in Path(f"/proc/{pid}/cmdline").read_bytes()
                ):
                    os.kill(pid, signal.SIGKILL)
        yield

    def _kill_shim(self, number: str, one: Planned):
        return self._kill_task(number, one, is_shim=True)

    # The network.

    @asynccontextmanager
    async def _dropped(self, why: str, ways: Sequence[Way], percent: int = 100) -> AsyncIterator[None]:
        network = self._hosts.network
        await asyncio.to_thread(network.drop, why, ways, percent)
        try:
            yield
        finally:
            await asyncio.to_thread(network.heal, why)

    def _cut_server(self, number: str, one: Planned):
        return self._dropped(number, _both(one.target, (US, *_others(one.target))))

    _cut_agent = _cut_worker = _cut_server

    def _cut_etcd(self, number: str, one: Planned):
        # Not from us: what is committed is noted all the while.
        return self._dropped(number, _both(one.target, _others(one.target)))

    def _cut_server_from_etcd(self, number: str, one: Planned):
        return self._dropped(number, _both(one.target, ETCDS))

    def _cut_server_from_agents(self, number: str, one: Planned):
        first = int(one.share * len(AGENTS))
        some = (AGENTS * 2)[first : first + 1 + int(one.share * 1000) % 3]
        return self._dropped(number, _both(one.target, some))

    def _one_way_in(self, number: str, one: Planned):
        return self._dropped(number, [(other, one.target) for other in _others(one.target)])

    def _one_way_out(self, number: str, one: Planned):
        return self._dropped(number, [(one.target, other) for other in _others(one.target)])

    def _loss(self, number: str, one: Planned):
        low, high = _LOSS
        return self._dropped(number, _both(one.target, _others(one.target)), int(low + one.share * (high - low)))

    # The rest.

    async def _say(self, agent: str, what: str, body: object) -> bool:
        """Tell any server what is to become of an agent; return whether one has taken it."""
        for client in self._doors.clients:
            with suppress(HarpoonError, TimeoutError):
                async with asyncio.timeout(3):
                    await client.post("agents", agent, what, body=body)
                return True
        return False

    @asynccontextmanager
    async def _drain_agent(self, number: str, one: Planned) -> AsyncIterator[None]:
        deadline = {"deadline": f"{int(one.share * 20)}s"} if one.share < 0.5 else {}
        if not await self._say(one.target, "drain", {"reason": "an operator's wish", **deadline}):
            raise RuntimeError("no server takes it")
        try:
            yield
        finally:
            # If nobody takes it now, it is said again when all is made whole.
            await self._say(one.target, "uncordon", {})

    @asynccontextmanager
    async def _pause_rollout(self, number: str, one: Planned) -> AsyncIterator[None]:
        await self._decide(one.target, "pause")
        try:
            yield
        finally:
            await self._decide(one.target, "resume")

    @asynccontextmanager
    async def _promote_rollout(self, number: str, one: Planned) -> AsyncIterator[None]:
        await self._decide(one.target, "promote")
        yield

    async def let_go(self) -> None:
        """Have all rollouts go on that wait for people."""
        for job in ROLLED:
            told = await self._ask(lambda client, job=job: client.get("namespaces", "default", "jobs", job, "rollout"))
            # What is decided for nothing is written all the same, and the store is to come to rest.
            if told is not None and told.body["paused_by"] is not None:
                await self._decide(job, "resume")
            elif told is not None and told.body["phase"] == "awaiting_promotion":
                await self._decide(job, "promote")

    async def _decide(self, job: str, order: str) -> None:
        """Tell any server what an operator decides of a rollout; there may be none, and nobody to take it."""
        await self._ask(lambda client: client.post("namespaces", "default", "jobs", job, order, body={}))

    async def _ask(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer | None:
        """Ask one server after the other until one answers; None: none does, or it refuses."""
        for client in self._doors.clients:
            with suppress(HarpoonError, TimeoutError):
                async with asyncio.timeout(3):
                    return await question(client)
        return None

    @asynccontextmanager
    async def _fill_disk(self, number: str, one: Planned) -> AsyncIterator[None]:
        await asyncio.to_thread(self._hosts.fill, one.target)
        try:
            yield
        finally:
            self._hosts.free(one.target)

    @asynccontextmanager
    async def _jump_clock(self, number: str, one: Planned) -> AsyncIterator[None]:
        low, high = _JUMPS_S
        ahead = low + abs(2 * one.share - 1) * (high - low)
        self._hosts.jump(one.target, ahead if one.share >= 0.5 else -ahead)
        try:
            yield
        finally:
            self._hosts.jump(one.target, 0.0)

    @asynccontextmanager
    async def _kill_etcd_leader(self, number: str, one: Planned) -> AsyncIterator[None]:
        leader = await asyncio.to_thread(self._hosts.etcds.leader, within_s=5.0)
        async with self._down(leader.name, self._hosts.kill):
            yield

    @asynccontextmanager
    async def _move_etcd_leader(self, number: str, one: Planned) -> AsyncIterator[None]:
        leader = await asyncio.to_thread(self._hosts.etcds.leader, within_s=5.0)
        others = [member for member in self._hosts.etcds.members if member is not leader]
        to = {"targetID": others[int(one.share * 2)].id}
        await asyncio.to_thread(leader.ask, "maintenance/transfer-leadership", to)
        yield

    @asynccontextmanager
    async def _defragment_etcd(self, number: str, one: Planned) -> AsyncIterator[None]:
        await asyncio.to_thread(self._hosts.member(one.target).ask, "maintenance/defragment", {})
        yield

    @asynccontextmanager
    async def _compact(self, number: str, one: Planned) -> AsyncIterator[None]:
        leader = await asyncio.to_thread(self._hosts.etcds.leader, within_s=5.0)
        await asyncio.to_thread(leader.ask, "kv/compaction", {"revision": self._followed()})
        yield


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in ALL if other != name)


def _both(name: str, others: Sequence[str]) -> list[Way]:
    return [way for other in others for way in ((name, other), (other, name))]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

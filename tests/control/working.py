"""Runs with attempts, a conductor that can be held back, and workers, for tests of the work exchange."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

from harpoon.control.draft import Draft
from harpoon.control.orders import MOVED, OVER, BeatOrder, ClaimOrder, CloseOrder, Granted, Refusal
from harpoon.control.work import WorkExchange
from harpoon.core.pace import Pace
from harpoon.core.visit import Attempt, Ref
from harpoon.kit.errors import Unavailable
from harpoon.model.instant import Instant
from harpoon.model.operation import Concurrency
from harpoon.model.work import Closing, Heartbeat, WorkRequest

NAMESPACE = "default"


def durable() -> Draft:
    """A draft that was written."""
    draft = Draft("")
    draft.land()
    return draft


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.wall = 1_000_000

    def now(self) -> Instant:
        return Instant(elapsed=timedelta(milliseconds=self.wall), wall=self.wall)


class Plain:
    """A conductor of runs whose attempts close and nothing follows, unless told.

    What it decides is told only while it is `durable`.
    """

    def __init__(self) -> None:
        self.exchange: WorkExchange = None  # type: ignore[assignment]
        self.runs: dict[str, Any] = {}
        self.open: dict[tuple[str, Ref], Attempt] = {}
        self.tokens: dict[tuple[str, Ref], str] = {}
        #: What closed each.
        self.closed: dict[tuple[str, Ref], tuple[str, str]] = {}
        self.numbers = count(1)
        self.durable = asyncio.Event()
        self.durable.set()
        #: Told by the next landings of claims, if anything.
        self.refusal: Refusal | None = None
        self.is_full = False
        #: Done when something closes.
        self.then: Callable[[str, Ref], None] = lambda _key, _ref: None
        #: What was asked, in order.
        self.log: list[tuple[str, int]] = []

    def start(
        self,
        run: str = "r1",
        *ops: str,
        workflow: str = "ship",
        handler: str = "pack",
        most: int = 0,
        ready_ms: int = 0,
    ) -> None:
        """Begin a run, or add to it, with attempts that may be claimed."""
        ops = ops or ("a",)
        made = self.runs.setdefault(
            f"{NAMESPACE}/{run}",
            SimpleNamespace(
                namespace=NAMESPACE, id=run, workflow=workflow, status="succeeded", graph=SimpleNamespace(nodes={})
            ),
        )
        attempts = []
        for op in ops:
            concurrency = Concurrency(key="k", limit=most) if most else None
            spec = SimpleNamespace(worker=handler, concurrency=concurrency)
            pace = Pace(3_600_000, 720_000, 300_000, 60_000, 30_000, 6_000)
            made.graph.nodes[op] = SimpleNamespace(
                spec=spec, handler=handler, offered=frozenset({"done", "fail"}), pace=pace
            )
            attempt = Attempt(Ref(op, 1, 1), {"op": op}, ready_ms, ready_ms, key="k" if most else None)
            self.open[f"{NAMESPACE}/{run}", attempt.ref] = attempt
            attempts.append(attempt)
        self.exchange.ready(made, attempts)

    def withdraw(self, run: str, op: str, reason: str) -> None:
        """Close an attempt as its clocks do."""
        ref = Ref(op, 1, 1)
        del self.open[f"{NAMESPACE}/{run}", ref]
        self.exchange.withdrawn(self.runs[f"{NAMESPACE}/{run}"], [ref], reason, durable())

    def claim(self, orders: Sequence[ClaimOrder], /) -> Awaitable[list[Granted | Refusal]]:
        self.log.append(("claim", len(orders)))
        if self.is_full:
            raise Unavailable("the store does not keep up")
        if self.refusal is not None:
            return self._landing([self.refusal for _ in orders])
        told: list[Granted | Refusal] = []
        for order in orders:
            key = (order.run, order.ref)
            if key not in self.open or key in self.tokens:
                told.append(Refusal("taken", "it is not to be had"))
                continue
            self.tokens[key] = f"t{next(self.numbers)}"
            told.append(Granted(self.tokens[key]))
        return self._landing(told)

    def close(self, orders: Sequence[CloseOrder], /) -> Awaitable[list[Refusal | None]]:
        self.log.append(("close", len(orders)))
        return self._landing([self._close(order) for order in orders])

    def beat(self, orders: Sequence[BeatOrder], /) -> Awaitable[list[bool]]:
        self.log.append(("beat", len(orders)))
        return self._landing(
            [(one.run, one.ref) in self.open and self.tokens.get((one.run, one.ref)) == one.token for one in orders]
        )

    def _close(self, order: CloseOrder) -> Refusal | None:
        key = (order.run, order.ref)
        if self.closed.get(key) == (order.token, order.label):
            return None
        if order.run not in self.runs:
            return Refusal(OVER, "the run is not open")
        if key in self.closed:
            return Refusal("late", "it is closed")
        if key not in self.open:
            return Refusal("unknown", "there was no such attempt")
        if self.tokens.get(key) != order.token:
            return Refusal("foreign", "it is not claimed by that token")
        if order.label not in ("done", "fail"):
            return Refusal("label", "it offers done and fail")
        del self.open[key]
        self.closed[key] = (order.token, order.label)
        self.then(*key)
        return None

    async def _landing(self, told: list[Any]) -> list[Any]:
        await self.durable.wait()
        return told


class Table:
    """An exchange with one conductor."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.plain = Plain()
        self.conductors: Callable[[str], Plain | None] = lambda _key: self.plain
        self.exchange = self.plain.exchange = WorkExchange(lambda key: self.conductors(key), self.clock)

    async def ask(self, worker: str = "w1", seq: int = 1, want: int = 1, **more: Any) -> dict[str, Any]:
        """Send a request, and return what it is answered."""
        return json.loads(await self.raw(worker, seq, want, **more))

    async def raw(
        self,
        worker: str = "w1",
        seq: int = 1,
        want: int = 1,
        *,
        session: str = "s1",
        handlers: Iterable[str] = ("pack",),
        wait_s: float = 0,
        closings: Sequence[Closing] = (),
        heartbeats: Sequence[Heartbeat] = (),
        draining: bool = False,
        via: str = "",
    ) -> bytes:
        asked = WorkRequest(
            worker=worker,
            session=session,
            seq=seq,
            handlers=tuple(handlers),
            want=want,
            wait=timedelta(seconds=wait_s),
            closings=tuple(closings),
            heartbeats=tuple(heartbeats),
            draining=draining,
        )
        return await self.exchange.serve(NAMESPACE, asked, stay, via=via)

    @asynccontextmanager
    async def waiting(self, worker: str = "w1", seq: int = 1, want: int = 1, **more: Any):
        """A request that waits, as a task; it is over when the block is."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.ask(worker, seq, want, wait_s=60, **more))
            await settled()
            assert not task.done(), task
            yield task
            if not task.done():
                task.cancel()


async def stay(wait: Callable[[], Awaitable[None]]) -> None:
    await wait()


async def settled() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


def a_closing(claim: dict[str, Any], label: str = "done", **more: Any) -> Closing:
    return Closing(**which(claim), label=label, **more)


def a_beat(claim: dict[str, Any]) -> Heartbeat:
    return Heartbeat(**which(claim))


def which(claim: dict[str, Any]) -> dict[str, Any]:
    return {name: claim[name] for name in ("run", "op", "visit", "attempt", "token")}


def ops(answer: dict[str, Any]) -> list[str]:
    return [claim["op"] for claim in answer.get("claims", ())]


def statuses(answer: dict[str, Any]) -> list[int]:
    return [result["status"] for result in answer.get("results", ())]


def lost(answer: dict[str, Any]) -> dict[str, str]:
    return {one["op"]: one["reason"] for one in answer.get("lost", ())}


GONE = Refusal(MOVED, "it is conducted elsewhere")

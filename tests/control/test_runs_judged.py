"""Runs in bad weather, judged by what the store was told: answers lost, commits late, shards that change hands."""

import asyncio
from random import Random

import orjson
import pytest

from harpoon.control.ledger_records import LOG, ROOT, RUNS
from harpoon.control.orders import BeatOrder, ClaimOrder, CloseOrder, Granted
from harpoon.kit import codec
from harpoon.model.label import DONE
from harpoon.model.workflow import GraphRecord
from tests.control.stage import Stage
from tests.core.flow import retry, spec, work
from tests.faulty import Fault, FaultyStore
from tests.proof.checks.conducting import FiresOnce, OneCompletion, WithinBounds
from tests.proof.history import Committed
from tests.proof.told import Told

TRIED = spec(
    "a",
    a=work(next={"done": ["b", "c"], "fail": "b"}, visits=3, retry=retry(fail=2, lost=2), heartbeat=2000),
    b=work(next={"again": "a"}, visits=3, retry=retry(lost=2), heartbeat=2000),
    c=work(visits=3, heartbeat=2000),
    d=work(needs=["b", "c"], visits=3),
)
FAULTS = [Fault.LOST, Fault.SILENT, Fault.LATE, Fault.REFUSED]
LABELS = [DONE, DONE, DONE, "fail", "again"]
TERMS = 4
MOVES = 60
RUNS_MAX = 12


class Weather:
    """Workers and users of one shard's runs, and what becomes of what they ask for."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.store = FaultyStore()
        self.stage = None
        self.count = 0
        self.held = []
        #: What was acknowledged: run, attempt, token; and label, of a closing.
        self.granted, self.closed = set(), set()
        self.asked = []

    async def term(self, number, now_ms):
        """Let one holder conduct the shard for a while; return what its clock says then."""
        self.stage = stage = Stage(self.store, TRIED, f"i{number}")
        stage.clock.ms = now_ms
        async with stage.at_work():
            for _ in range(MOVES):
                self._move()
                for _ in range(self.random.choice([0, 0, 1, 3])):
                    await asyncio.sleep(0)
                if self.random.random() < 0.01:
                    await self.store.deliver()
            if number % 2:
                self.store.lapse(is_gone=True)
            else:
                self.store.relent()
                await stage.ledger.drained()
            await asyncio.gather(*self.asked)
            await self.store.deliver()
        self.asked = []
        self.store.lapse(is_gone=True)
        return stage.clock.ms

    def _move(self):
        moves = [self._start, self._claim, self._claim, self._claim, self._close, self._close, self._close, self._beat]
        self.random.choice([*moves, self._fail, self._pass])()

    def _ask(self, landing, took):
        async def hear():
            for told, one in zip(await landing, took, strict=True):
                one(told)

        self.asked.append(asyncio.ensure_future(hear()))

    def _start(self):
        if self.count == RUNS_MAX:
            return
        self.count += 1
        order = self.stage.order(f"r{self.count}")
        self._ask(self.stage.conductor.start([order]), [lambda _: None])

    def _claim(self):
        offered = list(self.stage.notes.open)
        if not offered:
            return
        chosen = self.random.sample(offered, min(len(offered), 2))
        orders = [ClaimOrder(f"shop/{run}", ref, "w1", "s1") for run, ref in chosen]
        self._ask(self.stage.conductor.claim(orders), [self._hear_claim(run, ref) for run, ref in chosen])

    def _hear_claim(self, run, ref):
        def hear(told):
            if isinstance(told, Granted):
                self.held.append((run, ref, told.token))
                self.granted.add((run, ref, told.token))

        return hear

    def _close(self):
        """Close something that was claimed, perhaps long ago, and perhaps closed before."""
        if not self.held:
            return
        run, ref, token = self.random.choice(self.held[-6:])
        if self.random.random() < 0.1:
            token += "0"
        label = self.random.choice(LABELS) if ref.op in ("a", "b") else DONE
        label = DONE if (ref.op, label) == ("a", "again") else label

        def hear(told):
            if told is None:
                self.closed.add((run, ref, token, label))

        self._ask(self.stage.conductor.close([CloseOrder(f"shop/{run}", ref, token, label, None, "")]), [hear])

    def _beat(self):
        orders = [BeatOrder(f"shop/{run}", ref, token) for run, ref, token in self.held[-4:]]
        if orders:
            self._ask(self.stage.conductor.beat(orders), [lambda _: None] * len(orders))

    def _fail(self):
        self.store.fail(self.random.choice(FAULTS), prefix=self.random.choice([LOG, LOG, RUNS]))

    def _pass(self):
        self.stage.clock.ms += self.random.choice([10, 500, 1500])
        self.stage.timers._is_sooner.set()

    async def judge(self):
        """Judge all that the store was told; return the events of all logs."""
        told = Told(None, OneCompletion, FiresOnce, WithinBounds)
        record = GraphRecord(namespace="shop", name="refund", generation="g1", spec=TRIED, at_ms=0)
        told.commit({"graphs/shop/refund/g1": orjson.loads(codec.dump(record))})
        last, events = await self.store.revision(), []
        watch = self.store.watch("/", after=0)
        revision = 0
        while revision < last:
            revision, changes = await anext(watch)
            written = {
                change.key: None if change.entry is None else orjson.loads(change.entry.value)
                for change in changes
                if change.key.startswith(ROOT)
            }
            told.say(Committed(t=0, node="store", revision=revision, changes=written))
            for key, value in sorted(written.items()):
                run = key.split("/")[7]
                events += [(run, event) for event in (value["started"] if key.startswith(RUNS) else value)]
        told.end()
        return events


async def weathered(seed: int) -> Weather:
    weather = Weather(seed)
    now_ms = Stage(weather.store, TRIED).clock.ms
    for number in range(TERMS):
        now_ms = await weather.term(number, now_ms)
    events = await weather.judge()
    claims = {(run, *event[3:7]) for run, event in events if event[0] == "c"}
    closings = {(run, *event[3:8]) for run, event in events if event[0] == "x"}
    assert {(run, *ref, token) for run, ref, token in weather.granted} <= claims, seed
    assert {(run, *ref, token, label) for run, ref, token, label in weather.closed} <= closings, seed
    return weather


@pytest.mark.parametrize("first", range(0, 24, 6))
async def test_whatever_the_weather_attempts_are_done_once_and_what_was_acknowledged_is_there(first: int) -> None:
    told = [await weathered(seed) for seed in range(first, first + 6)]
    assert sum(len(weather.granted) for weather in told) > 60
    assert sum(len(weather.closed) for weather in told) > 24

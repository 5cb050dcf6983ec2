"""A crew whose calls end in any way at any time, on a shard that changes hands: every attempt is closed once, none is left.

Time is set by hand. Whoever conducts the shard may hand it over, or die; what it was at is cancelled by that. Outcomes
come in any order, some of them when the attempt has timed out long ago.
"""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from harpoon.control import connecting
from harpoon.control.connector_port import Order, Report
from harpoon.control.run_reader import events_of
from harpoon.core.event import Closed
from harpoon.model.label import DONE, FAIL
from harpoon.store.memory import MemoryStore
from tests.control.crewing import Site, Strings, a_site, call
from tests.core.flow import limit, retry, spec

RUNS = [f"r{number}" for number in range(8)]
TRIED = retry(fail=3, timeout=3, lost=6)
FLOW = spec(
    on_failure="continue",
    a=call(takes=20_000, heartbeat=3_000, queue_timeout=600_000, retry=TRIED, next={"done": ("b", "c"), "fail": "c"}),
    b=call(takes=5_000, heartbeat=10_000, queue_timeout=600_000, retry=TRIED, concurrency=limit("one", most=2)),
    c=call(takes=60_000, heartbeat=1_000, queue_timeout=600_000, retry=TRIED, visits=2),
)


class Watched(Strings):
    """Nothing is carried out twice at once, nor anything after it was given up."""

    def __init__(self, *, resumes: bool) -> None:
        super().__init__(most=5, resumes=resumes)
        self.by_key: Counter[str] = Counter()

    async def carry_out(self, order: Order, report: Report) -> Any:
        name = f"{order.run}.{order.ref.op}.{order.ref.visit}.{order.ref.attempt}"
        assert name not in self.open, f"{name} is carried out twice at once"
        assert name not in dict(self.abandoned), f"{name} goes on after it was given up"
        assert not order.is_resumed or self.resumes
        key = order.idempotency_key
        self.by_key[key] += 1
        assert self.by_key[key] == 1, f"two attempts of {key} at once"
        try:
            return await super().carry_out(order, report)
        finally:
            self.by_key[key] -= 1


async def _live(site: Site, strings: Watched, rng: random.Random, steps: int) -> None:
    """Let things happen in any order."""
    for _ in range(steps):
        await _settled(site)
        choice = rng.random()
        names = sorted(strings.open)
        if names and choice < 0.6:
            for name in rng.sample(names, rng.randint(1, len(names))):
                outcome = rng.choice(
                    ((DONE, 1), (DONE, 1), (DONE, 1), (FAIL, None, "no"), (FAIL, None, "never", False))
                )
                strings.end(name, *outcome)
        elif choice < 0.9:
            await _pass(site, rng.choice((100, 1_000, 4_000)))
        else:
            site.is_found = not site.is_found
    site.is_found = True


async def _pass(site: Site, milliseconds: int) -> None:
    """Let time pass: in steps, between which heartbeats are told if anybody is there who knows of them."""
    for _ in range(-(-milliseconds // 300)):
        site.stage.clock.ms += min(milliseconds, 300)
        kept = site.crew._pulse._kept
        for beat_ms in tuple(kept):
            if site.is_found and beat_ms in kept:
                _beat(site, beat_ms)
        await _settled(site)
        await site.stage.pass_(0)
    site.exchange._deal()


def _beat(site: Site, beat_ms: int) -> None:
    """Have heartbeats told now; their own timers go by real time, in which nothing passes here."""
    pulse = site.crew._pulse
    later, pulse._beat_later = pulse._beat_later, lambda _: None  # type: ignore[method-assign]
    pulse._beat(beat_ms)
    pulse._beat_later = later  # type: ignore[method-assign]


async def _settled(site: Site) -> None:
    for _ in range(12):
        await asyncio.sleep(0)
    await site.until(lambda: site.stage.ledger.is_idle)


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_attempt_is_closed_once(
    seed: int, resumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "RETRY_S", 0)
    rng = random.Random(seed)
    store, hold, now = MemoryStore(), None, None
    for life in range(rng.randint(2, 4)):
        strings = Watched(resumes=resumes)
        async with a_site(FLOW, strings, store=store, hold=hold, name=f"i{life}") as site:
            if now is None:
                await site.stage.start(*RUNS)
            await _live(site, strings, rng, rng.randint(5, 40))
            assert len(strings.open) <= strings.most + 8 * resumes
            hold = await site.stage.sealed()
            now = site.stage.clock.ms
            if rng.random() < 0.5:
                await site.stage.conductor.leave(site.stage.turns)
                await _settled(site)
                assert (site.crew.busy(), len(site.exchange.core)) == ({":http": 0}, 0)
        assert not strings.open
    strings = Watched(resumes=resumes)
    async with a_site(FLOW, strings, store=store, hold=hold, name="last") as site:
        # Whatever was lost is tried again, and everything ends.
        for _ in range(400):
            if not site.stage.conductor.runs:
                break
            await _settled(site)
            for name in sorted(strings.open):
                strings.end(name)
            await _pass(site, 3_000)
        await _settled(site)
        assert not site.stage.conductor.runs
        assert (site.crew.busy(), len(site.exchange.core), dict(site.crew.errors)) == ({":http": 0}, 0, {})
        assert site.crew._pulse._kept.keys() <= {3_000, 10_000, 1_000}
        for run in RUNS:
            events = events_of(*await site.stage.stored(run))
            closed = [(one.op, one.visit, one.attempt) for one in events if isinstance(one, Closed)]
            assert len(closed) == len(set(closed)), run

"""Limits that hold for all instances together: what this one tells the homes of keys, and is told as one.

It carries out what `core.homes` says. To each instance that is a home of any keys this one reports what it has and
would have, and the report stays open there until there is something to tell, so permits come at once and nobody looks
now and then. What changes meanwhile is told by a new report, which ends the one before. A report says all there is;
so whatever is lost, the next one mends it.
"""

import asyncio
from collections.abc import Iterable
from itertools import count
from typing import Final

import structlog

from harpoon.control.ledger_records import SHARDS, shard_of
from harpoon.control.means import Means
from harpoon.control.permits_told import answer_told, given_of, report_of, report_told
from harpoon.control.runs import SHARD_HOLDS, Runs, shard_name
from harpoon.control.view import View
from harpoon.control.work_floor import Floor, Stay
from harpoon.core.homes import Given, Holder, Homes, Key, Report
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Invalid, Unavailable
from harpoon.kit.news import News
from harpoon.model.permits import PermitAnswer, PermitReport
from harpoon.store.table import RowChange

#: A report stays open for so long; so who does not answer any more is known a little later.
WAIT_S: Final = 5.0
WITHIN_S: Final = WAIT_S + 2.0
#: Pause between reports to one home: what happens meanwhile goes together.
PACE_S: Final = 0.005
#: And at least so many times as long as it takes to make one.
SPARE: Final = 9
#: Wait before a home that does not answer is told again.
RETRY_S: Final = 0.5
#: What was given, and nobody here has used, is given back after so long.
UNUSED_S: Final = 0.5
#: Reports that are not answered yet are waited for no longer once there are so many.
OPEN_MAX: Final = 3
_NAMES: Final = tuple(SHARD_HOLDS + shard_name(shard) for shard in range(SHARDS))

_log = structlog.get_logger(__name__)


def home_of(key: Key) -> int:
    """Return the shard whose holder keeps a limit."""
    namespace, name = key
    return shard_of(f"{namespace}/limit/{name}")


def homes_of(instance: str) -> Homes:
    """Return the homes as an instance that has just begun knows them: not at all."""
    return Homes(instance, SHARDS, home_of)


class Sharing:
    """The part of one instance in keeping limits together with others.

    Args:
        means: Who we are, and the way to others.
        view: Shows who holds which shard.
        runs: What is conducted here.
        floor: Whose attempts have limits.
    """

    def __init__(self, means: Means, view: View, runs: Runs, floor: Floor) -> None:
        homes = floor.core.gates.homes
        assert homes is not None, "its exchange knows of homes"
        self._homes = homes
        self._means = means
        self._view = view
        self._runs = runs
        self._floor = floor
        self._gates = floor.core.gates
        self._numbers = count(1)
        self._is_seen = asyncio.Event()
        #: Home elsewhere → set when there is something to tell it.
        self._news: dict[str, asyncio.Event] = {}
        #: Home elsewhere → what it was told last.
        self._told: dict[str, Report] = {}
        #: Other instance → done when there is something to answer it, or it has reported again.
        self._open: dict[str, asyncio.Future[None]] = {}
        self._said = News()

    async def run(self) -> None:
        """Take part until cancelled."""
        telling: dict[str, asyncio.Task[None]] = {}
        with self._view.mirror.listening(self._hear):
            self._runs.changed, self._floor.dealt = self._look, self._tell
            try:
                async with asyncio.TaskGroup() as group:
                    self._look()
                    while True:
                        self._is_seen.clear()
                        others = self._homes.others()
                        for instance in telling.keys() - others:
                            telling.pop(instance).cancel()
                        for instance in sorted(others - telling.keys()):
                            telling[instance] = group.create_task(self._report_to(instance), name=f"limits-{instance}")
                        await self._is_seen.wait()
            finally:
                self._runs.changed = self._floor.dealt = lambda: None

    async def answer(self, asked: PermitReport, stay: Stay) -> PermitAnswer:
        """Answer a report of another instance, when there is something to tell or its time is over.

        Args:
            asked: The report.
            stay: Has it wait.

        Raises:
            Conflict: The instance has reported again before, or it is not known here that it is live.
        """
        instance, report = asked.instance, report_of(asked)
        known = self._homes.reports.get(instance)
        entries = self._gates.hear(self._homes, instance, report)
        if entries is None:
            raise Conflict(f"instance {instance} has told something later, or is not known to be live")
        if (before := self._open.pop(instance, None)) is not None and not before.done():
            before.set_result(None)
        self._open[instance] = news = asyncio.get_running_loop().create_future()
        self._gates.able.add(instance)
        self._floor.core.call(entries)
        self._floor.deal_soon()
        if known is None or not known.wants.keys() >= report.wants.keys():
            # How it stands is to be known there, too.
            asyncio.get_running_loop().call_soon(_settle, news)
        try:
            await stay(lambda: _wait(news, asked.wait.total_seconds()))
            if self._open.get(instance) is not news:
                # It has reported again, and will not look at this.
                return PermitAnswer(number=asked.number)
            return answer_told(asked.number, self._gates.take_given(self._homes, instance))
        finally:
            if self._open.get(instance) is news:
                del self._open[instance]
                self._gates.able.discard(instance)

    # What changes here.

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        holds, instances = self._view.holds, self._view.instances
        if any(
            change.table is instances or (change.table is holds and change.key.startswith(SHARD_HOLDS))
            for change in changes
        ):
            self._look()

    def _look(self) -> None:
        """See who holds what, and what is conducted here; in this order, for what is conducted was seen to be held."""
        rows = self._view.holds.rows
        held = [rows.get(name) for name in _NAMES]
        holders = [None if row is None else Holder(row.value.instance, row.create_revision) for row in held]
        live = frozenset(self._view.instances.rows)
        self._floor.core.call(self._gates.see(self._homes, holders, live))
        conducts = {shard: one.ledger.hold.token.revision for shard, one in self._runs.conductors.items()}
        self._floor.core.call(self._gates.conduct(self._homes, conducts))
        self._floor.deal_soon()
        self._is_seen.set()

    def _tell(self) -> None:
        """Have others told what concerns them."""
        gates = self._gates
        for instance in gates.granted:
            if (news := self._open.get(instance)) is not None:
                _settle(news)
        for instance in gates.stirred:
            # Whom nobody tells anything yet is told all to begin with.
            if (heard := self._news.get(instance)) is not None:
                heard.set()
        gates.stirred.clear()

    # What is told to homes elsewhere.

    async def _report_to(self, instance: str) -> None:
        """Tell a home what there is to tell, again and again until cancelled."""
        # Its own: what told the same home before may still be ending.
        news = self._news[instance] = asyncio.Event()
        loop, sent = asyncio.get_running_loop(), list[asyncio.Task[bool]]()
        try:
            while True:
                news.clear()
                began = loop.time()
                report = self._told[instance] = self._gates.report(self._homes, instance, next(self._numbers))
                body = codec.dump(report_told(self._means.instance, report, WAIT_S))
                sent = [task for task in sent if not task.done()]
                if len(sent) >= OPEN_MAX:
                    sent.pop(0).cancel()
                sent.append(asyncio.ensure_future(self._send(instance, report, body)))
                await asyncio.sleep(max(PACE_S, SPARE * (loop.time() - began)))
                if not await _first(sent[-1], news):
                    await asyncio.sleep(RETRY_S)
        finally:
            for task in sent:
                task.cancel()
            await asyncio.gather(*sent, return_exceptions=True)
            if self._news.get(instance) is news:
                self._gates.silent.discard(instance)
                del self._news[instance]
                self._told.pop(instance, None)

    async def _send(self, instance: str, report: Report, body: bytes) -> bool:
        """Bring a report to a home, and take what it answers; return whether it did."""
        row, tell = self._view.instances.rows.get(instance), self._means.tell_home
        if row is None or tell is None or not row.value.url:
            # It is gone, or about to tell where it is.
            return False
        try:
            given = given_of(codec.load(PermitAnswer, await tell(row.value.url, body, WITHIN_S)))
        except (Unavailable, Invalid) as error:
            if self._told.get(instance) is report:
                self._gates.silent.add(instance)
                if self._said.is_news(f"{instance} {error}", asyncio.get_running_loop().time()):
                    _log.warning("limits_not_told", home=instance, reason=str(error))
            return False
        except Conflict:
            return self._told.get(instance) is not report
        self._gates.silent.discard(instance)
        if self._told.get(instance) is report:
            self._receive(instance, report, given)
        return True

    def _receive(self, instance: str, report: Report, given: Given) -> None:
        floor = self._floor
        floor.core.call(self._gates.receive(self._homes, instance, report, given))
        floor.deal_soon()
        if given.grants:
            asyncio.get_running_loop().call_later(UNUSED_S, self._give_back, tuple(given.grants), report.number)

    def _give_back(self, keys: Iterable[Key], number: int) -> None:
        for key in keys:
            self._floor.core.give_back(key, number)
        self._floor.deal_soon()


def _settle(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)


async def _wait(news: asyncio.Future[None], span_s: float) -> None:
    await asyncio.wait((news,), timeout=span_s)


async def _first(task: asyncio.Task[bool], news: asyncio.Event) -> bool:
    """Wait for an answer or for news; return False if the answer is that there is none."""
    waiting = asyncio.ensure_future(news.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    return not task.done() or task.result()

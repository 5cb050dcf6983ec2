"""The other instances, as this one sees them: each is asked now and then how it stands, and what its clock says.

It writes nothing but a change of this instance's own fitness. Who is live tells the view, by the instances' leases;
an instance that does not answer here is live all the same, and nobody waits for it.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from harpoon.control.means import Means
from harpoon.control.membership import Membership
from harpoon.control.metrics import Metrics
from harpoon.control.view import View
from harpoon.core.clocks import Reading, is_fit, skew
from harpoon.kit.errors import Unavailable
from harpoon.kit.news import News
from harpoon.store.port import StoreUnavailable

#: Each is asked so often, and has so long to answer.
ASK_EVERY_S: Final = 2.0
WITHIN_S: Final = 1.0

_MILLISECOND = timedelta(milliseconds=1)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another instance, as it answered last."""

    #: Of its view; empty: it did not answer.
    revision: str = ""
    #: By how much its clock is ahead of ours, in milliseconds; None: it did not answer.
    ahead_ms: int | None = None
    #: By how many revisions its view was behind ours; None: it did not answer, or is of another incarnation.
    lag: int | None = None
    #: Why it did not answer.
    reason: str = ""


class Peers:
    """Asks the other instances, and judges the own clock by theirs."""

    def __init__(self, means: Means, metrics: Metrics, view: View, member: Membership) -> None:
        self._means = means
        self._view = view
        self._member = member
        self._metrics = metrics
        self._news = News()
        #: Instance → how it stands.
        self.known: dict[str, Peer] = {}
        #: By how much our clock is ahead of the one taken for right.
        self.skew = timedelta(0)

    async def run(self) -> None:
        """Ask, and judge, again and again until cancelled."""
        while True:
            await asyncio.sleep(ASK_EVERY_S * self._means.rng.uniform(0.9, 1.1))
            await self.look()

    async def look(self) -> None:
        """Ask all once, and judge."""
        rows = {name: row for name, row in self._view.instances.rows.items() if name != self._means.instance}
        async with asyncio.TaskGroup() as group:
            asked = {name: group.create_task(self._ask(name, row.value.url)) for name, row in rows.items()}
        self.known = {name: task.result() for name, task in asked.items()}
        readings = [
            Reading(peer.ahead_ms, rows[name].create_revision)
            for name, peer in self.known.items()
            if peer.ahead_ms is not None
        ]
        self.skew = skew(readings, self._member.joined)
        self._metrics.skew.set(self.skew.total_seconds())
        if is_fit(self.skew, was_fit=not self._member.reason_unfit):
            unfit = ""
        else:
            how = "ahead of" if self.skew > timedelta(0) else "behind"
            told = f"its clock is {abs(self.skew).total_seconds():.1f} s {how} that of the others; set it right"
            # As it was said: the span changes all the time.
            unfit = self._member.reason_unfit or told
        try:
            await self._member.declare(unfit)
        except StoreUnavailable as error:
            if self._news.is_news(str(error), asyncio.get_running_loop().time()):
                _log.warning("fitness_not_declared", reason=str(error))

    async def _ask(self, name: str, url: str) -> Peer:
        ask, clock = self._means.ask_peer, self._means.clock
        if ask is None or not url:
            return Peer(reason="it tells no URL")
        sent = clock.now()
        try:
            async with asyncio.timeout(WITHIN_S):
                answer = await ask(url)
        except TimeoutError:
            return Peer(reason=f"{url} did not answer within {WITHIN_S:g} s")
        except Unavailable as error:
            return Peer(reason=str(error))
        if answer.instance != name:
            return Peer(reason=f"{answer.instance} answers at {url}")
        # It read its clock somewhere between: in the middle, as far as anybody can tell.
        between_ms = sent.wall + (clock.now().elapsed - sent.elapsed) / 2 // _MILLISECOND
        incarnation, _, number = answer.revision.partition(".")
        is_alike = incarnation == str(self._view.incarnation) and number.isdecimal()
        lag = max(0, self._view.revision - int(number)) if is_alike else None
        return Peer(revision=answer.revision, ahead_ms=answer.now_ms - between_ms, lag=lag)

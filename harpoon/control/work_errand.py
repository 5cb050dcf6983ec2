"""What a worker's request has to do with runs that other instances conduct: it is passed on to them, once.

What it brings back and keeps goes to whoever conducts the run. What it wants is looked for elsewhere when there is
nothing here: all others are asked to say when they have something, which costs them nothing and promises nothing; then
one of them is asked for it, as its own worker would ask. So nobody is handed more than was wanted, but for what was
claimed by answers that got lost.

To another instance, this one is a session of the worker: its requests are numbered, one after the other, and one that
was not answered is asked again, as it was, before the next. So what was claimed there is not lost with an answer, and
comes to the worker with a later one. If this instance ends before, those claims run out by their own clocks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import orjson

from harpoon.control.ledger_records import run_key
from harpoon.control.work_sent import ConductorOf
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, Unavailable
from harpoon.model.work import Closing, Heartbeat, WorkRequest

#: Another instance has so long to answer; what is not answered is asked again.
WITHIN_S: Final = 2.0
#: One that did not answer is asked for nothing for so long.
SHUNNED_S: Final = 5.0
#: One that had nothing after all is looked at again after so long.
LOOK_AGAIN_S: Final = 0.05
#: However much there is to do here, some worker asks others so often, or their runs would wait for ever; and the next
#: one does at once where there was something.
ASIDE_EVERY_S: Final = 0.25


class Elsewhere(Protocol):
    """The other instances, as one request may ask them."""

    def holder_of(self, key: str) -> str | None:
        """Return the other instance that conducts a run; None: none that can be asked."""

    def others(self) -> Sequence[str]:
        """Return the other instances that conduct any runs."""

    async def ask(self, instance: str, body: bytes, within_s: float) -> bytes:
        """Pass on a request of a worker, and return its answer.

        Raises:
            Unavailable: There is none.
            Conflict: It is refused, and would be again.
        """

    async def look(self, instance: str, handlers: Sequence[str]) -> bool:
        """Wait until an instance has something for these handlers; False: not now, ask again.

        Raises:
            Unavailable: It does not answer.
        """


class Link:
    """What a session of a worker has asked of another instance, by way of this one."""

    __slots__ = ("pending", "seq")

    def __init__(self) -> None:
        self.seq = 0
        #: The last request, if it was not answered.
        self.pending: bytes | None = None


class Away:
    """What a session has to do with other instances, from one request to the next."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        #: Told by others and not told to the worker yet.
        self.claims: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        #: Loop time until which an instance is asked for nothing.
        self.shunned: dict[str, float] = {}

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell the worker."""
        return bool(self.claims or self.lost)


class Asides:
    """Whom workers ask although there is something to do here, and when; for all workers of this instance."""

    def __init__(self) -> None:
        #: Namespace → loop time at which somebody is to be asked again.
        self._due_s: dict[str, float] = {}
        self._count = 0

    def turn(self, namespace: str, others: Sequence[str]) -> str | None:
        """Return whom to ask now; None: nobody."""
        now_s = asyncio.get_running_loop().time()
        if not others or self._due_s.setdefault(namespace, now_s + ASIDE_EVERY_S) > now_s:
            return None
        self._due_s[namespace] = now_s + ASIDE_EVERY_S
        self._count += 1
        return others[self._count % len(others)]

    def again(self, namespace: str) -> None:
        """Take note that there was something to do elsewhere."""
        self._due_s[namespace] = 0.0


class Errand:
    """The part of one request that concerns other instances.

    Args:
        namespace: Whose work it is.
        asked: The request.
        elsewhere: The others.
        away: What the session has to do with them.
    """

    def __init__(self, namespace: str, asked: WorkRequest, elsewhere: Elsewhere, away: Away) -> None:
        self._namespace = namespace
        self._asked = asked
        self._elsewhere = elsewhere
        self.away = away
        self._bringing: list[asyncio.Task[None]] = []
        #: Place among the closings → what another instance told of it.
        self.results: dict[int, dict[str, Any]] = {}

    def split(self, conductor_of: ConductorOf) -> tuple[list[int], list[Heartbeat]]:
        """Begin to bring what concerns others, and return what does not: places of closings, and heartbeats."""
        closings: dict[str | None, list[int]] = {None: []}
        beats: dict[str | None, list[Heartbeat]] = {None: []}
        for place, closing in enumerate(self._asked.closings):
            closings.setdefault(self._whose(closing, conductor_of), []).append(place)
        for beat in self._asked.heartbeats:
            beats.setdefault(self._whose(beat, conductor_of), []).append(beat)
        for instance in {**closings, **beats}:
            if instance is not None:
                bringing = self._bring(instance, closings.get(instance, []), beats.get(instance, []))
                self._bringing.append(asyncio.ensure_future(bringing))
        return closings[None], beats[None]

    async def brought(self) -> None:
        """Wait until the others have told what became of what was brought to them, or had their time."""
        if self._bringing:
            await asyncio.wait(self._bringing)
            for task in self._bringing:
                task.result()

    async def recover(self, want: int, asides: Asides) -> None:
        """Ask again for what was not answered; and now and then somebody else first, whatever there is here."""
        away, others = self.away, self._others()
        waiting = [one for one in others if one in away.links and away.links[one].pending is not None]
        if waiting:
            await asyncio.gather(*(self._try(one, partial(self._send, one, None)) for one in waiting))
        left = want - len(away.claims)
        instance = asides.turn(self._namespace, others) if left > 0 else None
        if instance is not None:
            await self._try(instance, partial(self._claim, instance, left))
            if len(away.claims) > want - left:
                asides.again(self._namespace)

    async def seek(self, want: int, hold: Callable[[], bool], go_on: Callable[[], None]) -> None:
        """Look for work elsewhere until some is claimed, or there is nobody to ask.

        Args:
            want: At most so much.
            hold: Has nothing more claimed here; False: something was.
            go_on: Has it claimed here again.
        """
        looking = {one: asyncio.ensure_future(self._look(one, 0)) for one in self._others()}
        try:
            while looking:
                await asyncio.wait(looking.values(), return_when=asyncio.FIRST_COMPLETED)
                for instance, look in list(looking.items()):
                    if not look.done():
                        continue
                    del looking[instance]
                    is_shown = look.result()
                    if is_shown:
                        if not hold():
                            return
                        await self._try(instance, partial(self._claim, instance, want))
                        if self.away.claims:
                            return
                        go_on()
                    if instance in self._others():
                        looking[instance] = asyncio.ensure_future(self._look(instance, LOOK_AGAIN_S * is_shown))
        finally:
            for look in looking.values():
                look.cancel()
            await asyncio.gather(*looking.values(), return_exceptions=True)

    def end(self) -> None:
        """Give up what is under way; what was not answered is asked again with the next request."""
        for task in self._bringing:
            task.cancel()

    def _others(self) -> list[str]:
        now_s, shunned = asyncio.get_running_loop().time(), self.away.shunned
        return [one for one in self._elsewhere.others() if shunned.get(one, now_s) <= now_s]

    def _whose(self, item: Closing | Heartbeat, conductor_of: ConductorOf) -> str | None:
        key = run_key(self._namespace, item.run)
        return None if conductor_of(key) is not None else self._elsewhere.holder_of(key)

    async def _bring(self, instance: str, places: Sequence[int], beats: Sequence[Heartbeat]) -> None:
        closings = [self._asked.closings[place] for place in places]

        async def bring() -> None:
            told = await self._send(instance, {"closings": closings, "heartbeats": beats})
            self.results.update(zip(places, told.get("results", ()), strict=False))

        await self._try(instance, bring)

    async def _claim(self, instance: str, want: int) -> None:
        await self._send(instance, {"handlers": self._asked.handlers, "want": want})

    async def _look(self, instance: str, after_s: float) -> bool:
        await asyncio.sleep(after_s)
        try:
            return await self._elsewhere.look(instance, self._asked.handlers)
        except Unavailable:
            self._shun(instance)
            return False

    async def _send(self, instance: str, what: Mapping[str, object] | None) -> dict[str, Any]:
        """Ask another instance something, after what it has not answered.

        Raises:
            Unavailable: It does not answer, or refuses it.
        """
        link = self.away.links.setdefault(instance, Link())
        told: dict[str, Any] = {}
        if link.pending is not None:
            told = await self._ask(instance, link, link.pending)
        if what is not None:
            link.seq += 1
            asked = {"worker": self._asked.worker, "session": self._asked.session, "seq": link.seq, **what}
            link.pending = codec.dump(asked)
            told = await self._ask(instance, link, link.pending)
        return told

    async def _ask(self, instance: str, link: Link, body: bytes) -> dict[str, Any]:
        try:
            told: dict[str, Any] = orjson.loads(await self._elsewhere.ask(instance, body, WITHIN_S))
        except Conflict as error:
            # It would be refused again.
            link.pending = None
            raise Unavailable(f"{instance} refuses it: {error}") from error
        link.pending = None
        self.away.claims += told.get("claims", ())
        self.away.lost += told.get("lost", ())
        return told

    async def _try(self, instance: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Unavailable:
            # What was brought is told to be brought again; what was claimed is asked for again.
            self._shun(instance)

    def _shun(self, instance: str) -> None:
        self.away.shunned[instance] = asyncio.get_running_loop().time() + SHUNNED_S

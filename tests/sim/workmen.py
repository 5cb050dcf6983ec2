"""Workers under simulation: the shipped one, and odd ones that do whatever a worker should not.

Both ask by the shipped client, which is led into the simulated network; what it brings a worker is written down there.
"""

import asyncio
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import orjson

from harpoon.client import client as clients
from harpoon.client.connection import Head, unreachable
from harpoon.client.request import Request
from harpoon.kit.errors import HarpoonError
from harpoon.worker import servers
from harpoon.worker.app import Worker
from harpoon.worker.context import Context
from harpoon.worker.means import Means
from harpoon.worker.outcome import Fail, Label, Retry
from harpoon.worker.serving import serve
from harpoon.worker.settings import Settings
from tests.proof.history import Brought, Handed, Worked
from tests.sim.loop import NODE, SimClock
from tests.sim.lost import Lost
from tests.sim.plan import Hand
from tests.sim.site import Told, ask

if TYPE_CHECKING:
    from tests.sim.world import World

#: What all of them can do.
HANDLERS: Final = ("pack", "tell")
#: An odd one has no patience.
_ANSWER: Final = timedelta(seconds=4)
_OLD_MAX: Final = 4


def lead(world: "World", rng: random.Random) -> None:
    """Lead what workers are made of into this world."""
    first: dict[tuple[Any, ...], tuple[float, bytes]] = {}

    async def exchange(client: clients.Client, request: Request, within: timedelta) -> tuple[Head, bytes]:
        sent = (request.method, request.target, dict(request.headers), request.body)
        is_work = request.target.endswith("/work")
        asked = orjson.loads(request.body) if is_work else {}
        # What comes again may have been done when it came first; or something else was, and is told again.
        which = asked.get("session"), asked.get("seq"), asked.get("worker")
        since, body = first.setdefault(which, (world.loop.now, request.body))
        asked |= {"heartbeats": ()} if body != request.body else {}
        try:
            told = await ask(world, client._origin.host, sent, within.total_seconds())
        except Lost as lost:
            raise unreachable(client._origin, str(lost)) from None
        if told.status == 200 and is_work:
            _note(world, since, asked, told)
        return Head(
            status=told.status, headers={name.lower(): value for name, value in told.headers.items()}
        ), told.body

    clients.Client._exchange = exchange  # type: ignore[method-assign]
    servers.system_random = lambda: random.Random(rng.getrandbits(64))


def _note(world: "World", since: float, asked: Mapping[str, Any], answered: Told) -> None:
    """Write down what a worker was told."""
    now, node, worker, told = world.loop.now, NODE.get().name, asked["worker"], orjson.loads(answered.body)
    lost = {_place(one) for one in told.get("lost", ())}
    event = Worked(
        t=now,
        node=node,
        worker=worker,
        session=asked["session"],
        seq=asked["seq"],
        by=answered.by,
        answer=f"{crc32(answered.body):08x}",
        since=since,
        beats=tuple(one["token"] for one in asked.get("heartbeats", ()) if _place(one) not in lost),
    )
    world.tell(event)
    for one in told.get("claims", ()):
        world.net.happened["attempt handed out"] += 1
        world.tell(Handed(t=now, node=node, worker=worker, **_which(one)))
    for closing, result in _results(asked, told):
        world.net.happened[f"closing answered {result['status']}"] += 1
        label, status = closing["label"], result["status"]
        world.tell(Brought(t=now, node=node, worker=worker, **_which(closing), label=label, status=status))
    world.net.happened["claim lost, and told"] += len(told.get("lost", ()))


def _now_s() -> float:
    return SimClock().now().elapsed.total_seconds()


def _results(asked: Mapping[str, Any], told: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what was told of each closing; nothing of those that came by a number that was answered before."""
    pairs = zip(asked.get("closings", ()), told.get("results", ()), strict=False)
    return [(sent, result) for sent, result in pairs if _place(sent) == _place(result)]


def _place(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["run"], one["op"], one["visit"], one["attempt"]


def _which(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": f"default/{one['run']}",
        **{name: one[name] for name in ("op", "visit", "attempt", "token")},
    }


def _label(rng: random.Random, offered: tuple[str, ...]) -> str:
    """Draw what something is closed with: mostly ``done``, seldom ``fail``."""
    own = [label for label in offered if label not in ("done", "fail")]
    return rng.choices(("done", "fail", rng.choice(own) if own else "done"), (6, 1, 2))[0]


class Honest:
    """The shipped worker."""

    def __init__(self, hand: Hand, instances: tuple[str, ...], rng: random.Random) -> None:
        self._rng = rng
        self._takes_s = hand.takes_s
        self._worker = Worker(hand.name, concurrency=hand.places)
        for name in HANDLERS:
            self._worker.handler(name)(self._do)
        urls = tuple(f"http://{instance}" for instance in rng.sample(instances, len(instances)))
        self._settings = Settings(servers=urls, name=hand.name, grace=timedelta(seconds=2))
        self._means = Means(
            connect=lambda is_known: servers.Servers(urls, None, is_known=is_known), now=_now_s, is_timeless=True
        )
        self.life = f"{hand.name}-{rng.getrandbits(32):08x}"
        #: Once set, it finishes what it has, and ends.
        self.stop = asyncio.Event()

    async def run(self) -> None:
        await serve(self._worker, self._settings, stop=self.stop, means=self._means)

    async def _do(self, ctx: Context) -> Label:
        rng = self._rng
        if self._takes_s:
            await asyncio.sleep(self._takes_s)
            return Label("done")
        await asyncio.sleep(rng.choice((0.01, 0.2, rng.uniform(0.1, 3), rng.uniform(0.1, 6))))
        label = _label(rng, ctx.labels)
        if label == "fail":
            raise Retry("in vain") if rng.random() < 0.7 else Fail("for good")
        return Label(label, {"by": ctx.attempt})


class Odd:
    """One that brings what it has late, twice, by wrong tokens, and never; keeps alive what is not its own; and stalls.

    What it knows outlives it: ``mind`` is handed on to its next life, which may go on with the same session.
    """

    def __init__(self, hand: Hand, instances: tuple[str, ...], rng: random.Random, mind: dict[str, Any]) -> None:
        #: From then on it does as it should.
        self.is_calm = False
        self._name = hand.name
        self._places = hand.places
        self._rng = rng
        self._clients = [clients.Client(f"http://{instance}") for instance in instances]
        self._mind = mind
        if not mind or rng.random() < 0.5:
            mind |= {"session": f"{hand.name}-{rng.getrandbits(32):08x}", "seq": 0}
        mind.setdefault("mine", [])
        mind.setdefault("old", [])
        self.life: str = mind["session"]

    async def run(self) -> None:
        """Ask, again and again."""
        mind, rng = self._mind, self._rng
        body: dict[str, Any] = {}
        while True:
            if not body or self.is_calm or rng.random() > 0.15:
                # Else the last one comes again, though it was answered.
                mind["seq"] += 1
                body = self._next()
            try:
                answer = await rng.choice(self._clients).exchange_work("default", orjson.dumps(body), within=_ANSWER)
            except HarpoonError:
                if rng.random() < 0.3:
                    body = {}
                    mind["seq"] += rng.choice((0, 1))
                await asyncio.sleep(rng.uniform(0.05, 1))
                continue
            self._take(body, answer.body)
            await asyncio.sleep(rng.choice((0.05, rng.uniform(0.2, 1.5), rng.uniform(0.2, 1.5))))

    def _next(self) -> dict[str, Any]:
        mind, rng = self._mind, self._rng
        mine, old = mind["mine"], [] if self.is_calm else mind["old"]
        closings = [self._closing(one) for one in mine if rng.random() < 0.4]
        closings += [self._closing(one) for one in old if rng.random() < 0.08]
        beats = [_named(one) for one in mine if rng.random() < 0.7]
        beats += [_named(one) for one in old if rng.random() < 0.08]
        return {
            "worker": self._name,
            "session": mind["session"],
            "seq": mind["seq"],
            "handlers": HANDLERS,
            "want": max(0, self._places - len(mine)),
            "wait": "3s" if self.is_calm else rng.choice(("0s", "1s", "3s")),
            "closings": closings,
            "heartbeats": beats,
        }

    def _closing(self, one: dict[str, Any]) -> dict[str, Any]:
        rng, told = self._rng, _named(one)
        # As it was told before, as a rule.
        label = one.setdefault("label", _label(rng, tuple(one["labels"])))
        if not self.is_calm and rng.random() < 0.1:
            label = rng.choice((*one["labels"], "nonsense"))
        if not self.is_calm and rng.random() < 0.15:
            told["token"] += "0"
        return {**told, "label": label, "retryable": rng.random() < 0.7}

    def _take(self, body: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        mind = self._mind
        over = {
            (one["run"], one["op"], one["visit"], one["attempt"], sent["token"])
            for sent, one in _results(body, told)
            if one["status"] in (200, 404, 409)
        }
        known = {_key(one) for one in (*mind["mine"], *mind["old"])}
        mind["old"] += [one for one in mind["mine"] if _key(one) in over]
        mind["old"] = mind["old"][-_OLD_MAX:]
        mind["mine"] = [one for one in mind["mine"] if _key(one) not in over]
        mind["mine"] += [dict(one) for one in told.get("claims", ()) if _key(one) not in known]
        if not self.is_calm and self._rng.random() < 0.05:
            # It stalls, and thinks of them again later.
            mind["old"], mind["mine"] = [*mind["old"], *mind["mine"]], []


def _named(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("run", "op", "visit", "attempt", "token")}


def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(_named(one).values())

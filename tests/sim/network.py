"""A network between nodes: what is sent arrives later, perhaps much later, twice or never, and so does the answer.

Each way between two nodes has its own randomness, drawn from the run's seed, so that one way more or less broken leaves
what happens on the others as it was.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tests.sim.loop import NODE, TICK_S, WORLD, Node, SimLoop
from tests.sim.lost import Lost

T = TypeVar("T")
#: A way takes so long when nothing is wrong with it.
DELAY_S: Final = (0.0002, 0.003)
#: Somebody who is not there is found to be not there so soon.
REFUSED_S: Final = 0.001
#: What is lost of a connection is sent again after so long.
RESENT_S: Final = 0.5
#: And after so long it is taken for broken by the one who sends.
GIVEN_UP_S: Final = 15.0
#: Without any answer from the far end a connection lasts so long, and no new one comes about.
CONNECTION_S: Final = 10.0
#: What takes so long is, so likely, held up where the far end's process does not know of it.
HELD_UP_S: Final = 1.0
HELD_UP: Final = 0.5
#: What is sent into the void on an open connection: so often the far end may have got it, for all one knows.
POOLED: Final = 0.5


@dataclass(slots=True)
class Way:
    """One direction between two nodes; what is set here goes wrong on it."""

    rng: random.Random
    #: Since when nothing passes; None: it does.
    cut_at: float | None = None
    #: How likely it is that something is lost.
    loss: float = 0.0
    #: How likely it is that something arrives twice.
    twice: float = 0.0
    #: How likely it is that something is late, and by how much.
    late: float = 0.0
    late_s: tuple[float, float] = (0.0, 0.0)

    def passes(self) -> bool:
        return self.cut_at is None and not (self.loss and self.rng.random() < self.loss)

    def delay(self) -> float:
        span = self.rng.uniform(*DELAY_S)
        if self.late and self.rng.random() < self.late:
            span += self.rng.uniform(*self.late_s)
        return span


class Network:
    """All ways between all nodes."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.nodes: dict[str, Node] = {}
        #: What happened, for `sometimes` assertions.
        self.happened: Counter[str] = Counter()
        self._seed = seed
        self._ways: dict[tuple[str, str], Way] = {}
        self._under_way: dict[Node, dict[asyncio.Future[Any], None]] = {}
        #: Who listens → on which connections.
        self._listening: dict[Node, dict[Channel, None]] = {}

    def join(self, node: Node) -> None:
        """Have a node reached by its name from now on."""
        self.nodes[node.name] = node
        self._under_way[node] = {}

    def leave(self, node: Node) -> None:
        """Have a node's connections reset: its process has ended."""
        if self.nodes.get(node.name) is node:
            del self.nodes[node.name]
        for answer in self._under_way.pop(node, {}):
            self._reset(node.name, answer)
        for channel in self._listening.pop(node, {}):
            channel.close()

    def way(self, source: str, target: str) -> Way:
        """Return the way from one node to another."""
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = Way(random.Random(f"{self._seed}/{source}>{target}"))
        return way

    async def call(
        self, to: str, make: Callable[[], Awaitable[T]], *, connect_s: float = 5.0, within_s: float = 15.0
    ) -> T:
        """Have something done at a node, by the present one, and return what comes of it; what it raises is raised.

        Raises:
            Lost: There was no answer within ``within_s``; ``connect_s``: how long it takes to see that nobody is there.
        """
        source = NODE.get()
        there = self.way(source.name, to)
        answer = self.loop.create_future()
        if there.passes() and self._is_connected(to, source.name):
            self._deliver(source, to, make, answer, there.delay())
            if there.twice and there.rng.random() < there.twice:
                self.happened["arrived twice"] += 1
                self._deliver(source, to, make, self.loop.create_future(), there.delay() + there.rng.uniform(0, 5))
            within = within_s
        else:
            within = connect_s if there.rng.random() < POOLED else within_s
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            is_sent = within == within_s
            raise Lost(f"{to} does not answer", is_sent=is_sent) from None

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass one way."""
        self.way(source, target).cut_at = self.loop.now

    def heal(self, source: str, target: str) -> None:
        """Let everything pass one way, as it should."""
        way = self.way(source, target)
        way.cut_at, way.loss, way.twice, way.late = None, 0.0, 0.0, 0.0

    def _is_connected(self, source: str, target: str) -> bool:
        cut_at = self.way(source, target).cut_at
        return cut_at is None or self.loop.now - cut_at < CONNECTION_S

    def _deliver(
        self, source: Node, to: str, make: Callable[[], Awaitable[T]], answer: "asyncio.Future[T]", delay: float
    ) -> None:
        first, sent = self.nodes.get(to), self.loop.now
        # Before its connection is there, say: it is then with whoever listens by the time it is through.
        is_held_up = delay >= HELD_UP_S and self.way(source.name, to).rng.random() < HELD_UP
        if first is not None and not is_held_up:
            self._under_way[first][answer] = None

        def arrive() -> None:
            target = self.nodes.get(to) if is_held_up else first
            if target is None or target.is_dead:
                self._refuse(source, to, answer)
                return
            if answer.done():
                self.happened["arrived after its sender gave up"] += 1
                self.happened["arrived after 5 s"] += self.loop.now - sent > 5
            self.happened["arrived at another process than it was sent to"] += target is not first
            self._under_way[target][answer] = None
            task = self.loop.start(target, _whole(make), f"for {source.name}")
            task.add_done_callback(lambda done: self._answer(target, source, done, answer), context=target.context())

        # One that is paused has not read it yet; one that died meanwhile has had its connections reset.
        there = WORLD if is_held_up or first is None else first
        self.loop.call_later(delay, arrive, context=there.context())

    def _answer(self, node: Node, source: Node, done: "asyncio.Task[Any]", answer: "asyncio.Future[Any]") -> None:
        self._under_way.get(node, {}).pop(answer, None)
        back = self.way(node.name, source.name)
        if done.cancelled():
            self._reset(node.name, answer)
            return
        # Taken note of, lest it is told that nobody did.
        done.exception()
        if back.passes():
            self.loop.call_later(back.delay(), _settle, answer, done, context=source.context())

    def _refuse(self, source: Node, to: str, answer: "asyncio.Future[Any]") -> None:
        back = self.way(to, source.name)
        if back.passes():
            lost = Lost(f"{to} refuses the connection", is_sent=False)
            self.loop.call_later(REFUSED_S, _fail, answer, lost, context=source.context())

    def _reset(self, of: str, answer: "asyncio.Future[Any]") -> None:
        self.loop.call_later(REFUSED_S, _fail, answer, Lost(f"{of} reset the connection", is_sent=True))

    async def stream(
        self, to: str, make: Callable[[], AsyncIterator[T]], *, connect_s: float, silence_s: float
    ) -> AsyncIterator[T]:
        """Follow what a node says, in order; words that are lost on the way come later, as those of a connection do.

        Raises:
            Lost: Nobody is there, it ended, or it said nothing for ``silence_s``.
        """
        source, channel = NODE.get(), Channel(self, NODE.get(), to)
        try:
            await self.call(to, channel.open(make), connect_s=connect_s, within_s=connect_s)
            while True:
                try:
                    async with asyncio.timeout(silence_s):
                        yield await channel.take()
                except TimeoutError:
                    raise Lost(f"{to} is silent", is_sent=True) from None
        finally:
            if NODE.get() is source:
                channel.close()


class Channel:
    """A connection that one node speaks on and another listens to."""

    def __init__(self, network: Network, source: Node, to: str) -> None:
        self._network = network
        self._source = source
        self._to = to
        self._node: Node | None = None
        self._pump: asyncio.Task[None] | None = None
        self._is_closed = False
        self._heard: deque[Any] = deque()
        self._news = asyncio.Event()
        self._until = 0.0
        #: Said, and not through yet; in order.
        self._unsent: deque[Any] = deque()
        #: For so long nothing has got through.
        self._stuck = 0.0
        self._reset: asyncio.Future[Any] = network.loop.create_future()
        self._reset.add_done_callback(lambda _: self._hear(_End(f"{to} reset the connection")))

    def open(self, make: Callable[[], AsyncIterator[Any]]) -> Callable[[], Awaitable[None]]:
        async def accept() -> None:
            if self._node is not None or self._is_closed:
                # A connection is opened once, whatever arrives twice; and not any more when it was given up before.
                return
            node = self._node = NODE.get()
            self._network._under_way[node][self._reset] = None
            self._network._listening.setdefault(self._source, {})[self] = None
            self._pump = asyncio.get_running_loop().create_task(self._speak(make()))

        return accept

    async def _speak(self, words: AsyncIterator[Any]) -> None:
        async for word in words:
            self._send(word)
        self._send(_End("the stream was ended"))

    def _send(self, word: Any) -> None:
        self._unsent.append(word)
        if len(self._unsent) == 1:
            self._push()

    def _push(self) -> None:
        network, node = self._network, self._node
        assert node is not None
        way = network.way(node.name, self._source.name)
        while self._unsent:
            if not way.passes():
                # Sent again by the kernel until it gets through, and before all that follows; not for ever.
                self._stuck += RESENT_S
                if self._stuck < GIVEN_UP_S:
                    network.loop.call_later(RESENT_S, self._push, context=WORLD.context())
                else:
                    self.close()
                return
            self._stuck = 0.0
            at = max(self._until, network.loop.now + way.delay())
            self._until = at + 2 * TICK_S
            # By no node's clock, lest one that goes wrong brings them out of order.
            network.loop.call_at(at, self._arrive, self._unsent.popleft(), context=WORLD.context())

    def _arrive(self, word: Any) -> None:
        self._network.loop.call_soon(self._hear, word, context=self._source.context())

    def _hear(self, word: Any) -> None:
        self._heard.append(word)
        self._news.set()

    async def take(self) -> Any:
        while not self._heard:
            self._news.clear()
            await self._news.wait()
        word = self._heard.popleft()
        if isinstance(word, _End):
            raise Lost(word.reason, is_sent=True)
        return word

    def close(self) -> None:
        """Tell the far end that nobody listens any more."""
        self._is_closed = True
        node, pump = self._node, self._pump
        self._network._listening.get(self._source, {}).pop(self, None)
        if node is not None and pump is not None:
            self._network._under_way.get(node, {}).pop(self._reset, None)
            self._network.loop.call_later(0.001, pump.cancel, context=node.context())


class _End:
    def __init__(self, reason: str) -> None:
        self.reason = reason


async def _whole(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


def _settle(answer: "asyncio.Future[Any]", done: "asyncio.Task[Any]") -> None:
    error = done.exception()
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
        answer.exception()
    else:
        answer.set_result(done.result())


def _fail(answer: "asyncio.Future[Any]", lost: Lost) -> None:
    if not answer.done():
        answer.set_exception(lost)
        answer.exception()

"""The crew: carries out, by connectors, what the engine does itself of the runs that this instance conducts.

To the exchange it is a worker like others, who asks for as many attempts as it has room for. What it claims, keeps and
closes at one moment goes to the conductors in bulk, and so into the same commits. It never takes attempts of runs that
another instance conducts: that instance has a crew of its own.

An attempt that is over otherwise is cancelled and abandoned. One whose run goes on elsewhere is cancelled only.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from typing import Final

import orjson
import structlog

from harpoon.control.connector_port import Connector, Order, Outcome
from harpoon.control.crew_post import Held, Post, State
from harpoon.control.crew_pulse import Pulse
from harpoon.control.orders import MOVED, Granted, Refusal
from harpoon.control.work_floor import Floor, crew_session
from harpoon.control.work_sent import ConductorOf, Sent, send
from harpoon.core.offers import AttemptId, Offer
from harpoon.kit.errors import HarpoonError
from harpoon.model.label import FAIL
from harpoon.model.work import PROGRESS_MAX
from harpoon.store.port import StoreUnavailable

#: Wait before what could not be told a conductor is told again, or more is asked for.
RETRY_S: Final = 0.2
#: Codes of refusals after which an attempt may be claimed all the same, if not now.
_TO_BE_HAD: Final = frozenset({"early", MOVED})
#: Codes of refusals of what a connector said: the attempt is open, and is to be closed otherwise.
_NOT_SO: Final = frozenset({"label", "output"})
_MOVED: Final = Refusal(MOVED, "nobody here conducts the run now")
#: Attempts that are claimed in one turn of the event loop.
DEALT_AT_ONCE: Final = 250
#: Lists that an output stands in where it is stored, and some more.
_DEEPER: Final = 8
#: Frames of a connector's error that are logged.
_FRAMES: Final = 8

_log = structlog.get_logger(__name__)


class Connecting:
    """The crew of one instance; `harpoon.control.work_floor.Crew`.

    Args:
        floor: Where attempts are offered; it is told of this crew.
        conductor_of: Who conducts a run here.
        instance: Who we are.
        connectors: What carries out what; one of a kind.
    """

    def __init__(self, floor: Floor, conductor_of: ConductorOf, instance: str, connectors: Iterable[Connector]) -> None:
        self._floor = floor
        self._conductor_of = conductor_of
        self._instance = instance
        self._posts = {
            one.handler: Post(one, crew_session(one.handler, instance), self._claim_soon) for one in connectors
        }
        #: Runs all that is begun; None: the crew is not at work.
        self._group: asyncio.TaskGroup | None = None
        self._finished: list[Held] = []
        self._pulse = Pulse(conductor_of, self._spawn, self.lose)
        #: Attempts that were closed by label, and errors of connectors, by handler, since it began.
        self.closed: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        floor.crew = self

    def busy(self) -> dict[str, int]:
        """Return how many attempts each connector has now."""
        return {handler: len(post.held) for handler, post in self._posts.items()}

    async def run(self) -> None:
        """Be at work until cancelled: then what was begun is cancelled, and goes on elsewhere."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for post in self._posts.values():
                    self._enter(post)
                    for held in post.held.values():
                        # These were taken over before.
                        self._begin(post, held)
                    self._ask(post)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None
                for post in self._posts.values():
                    self._floor.core.leave(post.asker)
                    for held in tuple(post.held.values()):
                        self._let_go(post, held)

    # What the exchange tells.

    def resume(self, offer: Offer, token: str) -> None:
        """Carry on with a claim that was made before this instance conducted the run, if its connector does."""
        post = self._posts.get(offer.handler)
        if post is None or not post.connector.resumes:
            return
        held = post.held[offer.id] = Held(offer)
        held.claimed(token, is_resumed=True)
        self._floor.core.take_place(offer.id)
        if self._group is not None:
            self._begin(post, held)

    def lose(self, id_: AttemptId, reason: str) -> None:
        """End an attempt that is over otherwise, and abandon it."""
        post, held = self._find(id_)
        if post is None or held is None or held.state is State.OVER:
            return
        is_begun = held.state is State.BEGUN
        task = held.task
        self._let_go(post, held)
        if is_begun and self._group is not None:
            self._spawn(self._abandon(post, held, task, reason))

    def leave(self, id_: AttemptId) -> None:
        """End an attempt whose run goes on elsewhere."""
        post, held = self._find(id_)
        if post is not None and held is not None:
            self._let_go(post, held)

    def _find(self, id_: AttemptId) -> tuple[Post | None, Held | None]:
        for post in self._posts.values():
            held = post.held.get(id_)
            if held is not None:
                return post, held
        return None, None

    # Claims.

    def _enter(self, post: Post) -> None:
        """Have those who ask what an attempt waits for find the crew."""
        floor = self._floor
        session = floor.sessions.enter(post.session, floor.now_ms())
        session.handlers, session.is_asking = (post.connector.handler,), True
        # It is never quiet: it is here.
        session.under_way = 1
        session.want = post.room

    def _ask(self, post: Post) -> None:
        """Ask for as much as there is room for."""
        room = post.room
        session = self._floor.sessions.find(post.session)
        if session is not None:
            session.want = room
        if self._group is None or not room or post.is_resting:
            return
        post.asker.want = min(room, DEALT_AT_ONCE)
        # What waits while it is asked for is of workflows that had their share of the places: it is looked at again.
        if not post.is_asking or self._floor.core.ready(post.asker.lanes[0]):
            post.is_asking = True
            self._floor.ask_for(post.asker, post)

    def _claim_soon(self, post: Post) -> None:
        dealt, post.dealt = tuple(post.dealt), []
        core = self._floor.core
        if self._group is None:
            core.put_back(dealt, self._floor.now_ms())
            return
        # What was withdrawn since may be offered anew, and be another's.
        offers = core.dealt(post.session, dealt)
        held = [Held(offer) for offer in offers]
        post.held |= {one.id: one for one in held}
        if held:
            # It is decided here and now, so that it goes with what else is decided in this turn.
            claims = [one.claim(self._instance) for one in held]
            sent = send(claims, self._conductor_of, lambda one, own: one.claim(own))
            self._spawn(self._told_claims(post, held, sent))
        self._ask(post)

    async def _told_claims(self, post: Post, held: Sequence[Held], sent: Sent[Granted | Refusal]) -> None:
        core, is_moved = self._floor.core, False
        for one, answer in zip(held, await sent.told(_MOVED), strict=True):
            if isinstance(answer, Granted):
                if one.state is State.CLAIMING:
                    one.claimed(answer.token, is_resumed=False)
                    self._begin(post, one)
                continue
            self._let_go(post, one)
            if answer.code in _TO_BE_HAD:
                is_moved |= answer.code == MOVED
                core.put_back((one.offer,), self._floor.now_ms())
            elif core.find(one.id) is one.offer:
                core.forget((one.id,))
        self._floor.deal_soon()
        if is_moved:
            self._rest(post)
        self._ask(post)

    def _rest(self, post: Post) -> None:
        """Ask for nothing for a moment: what is dealt now could not be claimed."""
        post.is_resting = True

        def go_on() -> None:
            post.is_resting = False
            self._ask(post)

        self._floor.core.leave(post.asker)
        post.is_asking = False
        asyncio.get_running_loop().call_later(RETRY_S, go_on)

    # Carrying out.

    def _begin(self, post: Post, held: Held) -> None:
        order = held.order
        assert order is not None, "it is claimed"
        held.state = State.BEGUN
        self._pulse.keep(held)
        held.task = self._spawn(self._carry_out(post.connector, held, order))

    async def _carry_out(self, connector: Connector, held: Held, order: Order) -> None:
        try:
            outcome = await connector.carry_out(order, lambda progress: self._report(held, progress))
            _check(outcome)
        except Exception as error:  # noqa: BLE001 whatever it is, the attempt is to end by it
            outcome = self._failed(connector.handler, order, error)
        if held.state is State.BEGUN:
            held.outcome, held.state = outcome, State.CLOSING
            self._close_soon((held,))

    def _failed(self, handler: str, order: Order, error: BaseException) -> Outcome:
        """Log and count an error of a connector; what it says may hold anything, so only its kind is told."""
        kind = type(error).__name__
        where = [f"{one.filename}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)[-_FRAMES:]]
        self.errors[handler] += 1
        _log.error(
            "connector_failed", handler=handler, namespace=order.namespace, run=order.run, op=order.ref.op,
            error=kind, where=where,
        )  # fmt: skip
        return Outcome(FAIL, None, f"the server failed to carry it out ({kind}); its log tells where")

    async def _abandon(self, post: Post, held: Held, task: asyncio.Task[None] | None, reason: str) -> None:
        if task is not None:
            await asyncio.wait((task,))
        order = held.order
        assert order is not None, "it was begun"
        try:
            await post.connector.abandon(order, reason)
        except Exception as error:  # noqa: BLE001 nobody else could do anything about it
            self._failed(post.connector.handler, order, error)

    def _report(self, held: Held, progress: object) -> None:
        if held.state is State.BEGUN and len(orjson.dumps(progress)) <= PROGRESS_MAX:
            self._floor.core.advance(held.id, progress)

    def _let_go(self, post: Post, held: Held) -> None:
        """Have an attempt no longer, and end what goes on of it."""
        held.state = State.OVER
        if post.held.get(held.id) is held:
            del post.held[held.id]
        self._pulse.leave(held)
        if held.task is not None and not held.task.done():
            held.task.cancel()
        self._ask(post)

    # Closings.

    def _close_soon(self, held: Iterable[Held]) -> None:
        """Tell the conductors what came of attempts, with all that is to be told in this turn."""
        if not self._finished:
            asyncio.get_running_loop().call_soon(self._close)
        self._finished += held

    def _close(self) -> None:
        finished = [one for one in self._finished if one.state is State.CLOSING]
        self._finished = []
        if not finished or self._group is None:
            return
        floor, orders = self._floor, [one.close() for one in finished]
        floor.closing = frozenset(one.id for one in finished)
        try:
            sent = send(orders, self._conductor_of, lambda one, own: one.close(own))
        finally:
            floor.closing = frozenset()
        self._spawn(self._told_closings(finished, sent))

    async def _told_closings(self, finished: Sequence[Held], sent: Sent[Refusal | None]) -> None:
        over: list[AttemptId] = []
        again: list[Held] = []
        try:
            refusals = await sent.told(_MOVED)
        except (HarpoonError, StoreUnavailable):
            # Whether it was closed could not be found out; the same closing again is answered alike.
            refusals = [_MOVED] * len(finished)
        for one, refusal in zip(finished, refusals, strict=True):
            post = self._posts[one.offer.handler]
            if one.state is not State.CLOSING:
                continue
            if refusal is not None and refusal.code in _NOT_SO:
                one.outcome = Outcome(FAIL, None, refusal.message, is_retryable=False)
                self._close_soon((one,))
            elif refusal is not None and refusal.code == MOVED:
                again.append(one)
            else:
                if refusal is None:
                    self.closed[one.offer.handler, one.outcome.label] += 1
                over.append(one.id)
                self._let_go(post, one)
        self._floor.core.forget(over)
        self._floor.deal_soon()
        if again:
            asyncio.get_running_loop().call_later(RETRY_S, self._close_soon, again)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        assert self._group is not None, "the crew is at work"
        return self._group.create_task(work)


def _check(outcome: Outcome) -> None:
    """Check that an outcome can be written with the event that it becomes.

    Raises:
        TypeError: It cannot: its text is none, or its output is no JSON, or nested too deep.
    """
    written: object = outcome.output
    for _ in range(_DEEPER):
        written = [written]
    orjson.dumps([written, outcome.label, outcome.error])

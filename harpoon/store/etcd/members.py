"""Which member of the cluster is asked: one at a time, and the next one when it does not answer.

A call is tried again elsewhere only when that is safe: reads always, writes when they certainly did not happen.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
import structlog

from harpoon.kit.clock import Clock, Random
from harpoon.kit.news import News
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd.judge import Verdict, is_login_over, judge, refusal, unreachable
from harpoon.store.etcd.rpc import AUTHENTICATE, STATUS, Caller, Credentials, Method, metadata, read_password
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.port import RolledBack, StoreUnavailable, Trouble
from harpoon.store.url import EtcdUrl

#: A member answers the first call within so long, or the next one is asked.
CONNECT_S: Final = 1.0
#: Finding a member, over all of them, before a caller is told that there is none.
FIND_S: Final = 2.0
#: A read that takes longer is tried elsewhere; it is given up after the second span.
READ_S: Final = 2.0
READ_IN_ALL_S: Final = 5.0
#: A write that was tried before is given at least so long at the next member.
TRY_S: Final = 0.5
#: A write that takes longer has an unknown outcome.
WRITE_S: Final = 3.0
#: Pause after all members were tried in vain, growing from the first to the second.
BACKOFF_S: Final = (0.1, 1.0)
_ROUNDS_MAX: Final = 10

_log = structlog.get_logger(__name__)


class Member:
    """One endpoint of the cluster."""

    def __init__(self, endpoint: str, caller: Caller) -> None:
        self.endpoint = endpoint
        #: What was said of it.
        self.news = News()
        self._caller = caller

    @property
    def is_connected(self) -> bool:
        """Whether the channel is up, as far as is known."""
        return bool(self._caller.channel.get_state() is grpc.ChannelConnectivity.READY)

    def call(self, method: Method) -> Any:
        """Return what makes a call to this member."""
        return self._caller.call(method)

    async def close(self) -> None:
        """Close the channel; calls over it are cancelled."""
        await self._caller.channel.close()


class Members:
    """The members of one cluster, and the one that is asked at present."""

    def __init__(self, url: EtcdUrl, credentials: Credentials, vitals: Vitals, clock: Clock, rng: Random) -> None:
        self._url = url
        self._members = [Member(endpoint, credentials.open(endpoint)) for endpoint in url.endpoints]
        self._current = 0
        self._vitals = vitals
        self._clock = clock
        self._rng = rng
        self._finding = asyncio.Lock()
        self._closed = asyncio.Event()
        self._logging_in = asyncio.Lock()
        #: Members left since one answered, or since the last rest; and rests since one answered.
        self._in_vain = self._rounds = 0
        self.token = ""
        #: The highest revision that any answer told.
        self.seen = 0
        #: Called when a member is left: what is open on it is to move on.
        self.on_leave: Callable[[Member], None] = lambda _member: None
        #: Called when an answer told that the store has gone back.
        self.on_rollback: Callable[[RolledBack], None] = lambda _error: None
        #: Called when an answer told a higher revision.
        self.on_seen: Callable[[], None] = lambda: None

    @property
    def current(self) -> Member:
        """The member that is asked at present."""
        return self._members[self._current]

    async def read(self, method: Method, request: Any) -> Any:
        """Make a call that changes nothing; of any member that answers.

        Raises:
            StoreUnavailable: None did in time, or etcd refused.
            RolledBack: The store is at a lower revision than it was.
        """
        floor, give_up = self.seen, self._now() + READ_IN_ALL_S
        while True:
            member = await self.find(FIND_S)
            answer, verdict, error = await self._try(member, method, request, READ_S)
            if verdict is None:
                return self._checked(answer, floor)
            assert error is not None, "what failed has its error"
            if not verdict.is_members or self._now() >= give_up:
                raise error

    def _checked(self, answer: Any, floor: int) -> Any:
        """Return an answer that was asked for when ``floor`` was known."""
        self.succeed()
        if answer.header.revision < floor:
            self.seen = answer.header.revision
            rolled_back = RolledBack(floor, self.seen)
            self.on_rollback(rolled_back)
            raise self._vitals.fail(rolled_back)
        self.saw(answer.header.revision)
        return answer

    async def write(self, method: Method, request: Any, *, within_s: float = WRITE_S, is_put: bool = False) -> Any:
        """Make a call that changes something; at most one member carries it out.

        Args:
            method: The call.
            request: What is asked.
            within_s: Given up after so long.
            is_put: Whether it takes space, so that its success tells that there is some.

        Raises:
            StoreUnavailable: With ``maybe_applied`` when nobody knows whether it happened.
        """
        give_up = self._now() + within_s
        while True:
            member = await self.find(min(FIND_S, within_s))
            span_s = max(TRY_S, min(within_s, give_up - self._now()))
            answer, verdict, error = await self._try(member, method, request, span_s)
            if verdict is None:
                self.succeed(is_put=is_put)
                self.saw(answer.header.revision)
                return answer
            assert error is not None, "what failed has its error"
            if verdict.maybe_applied or not verdict.is_members or self._now() >= give_up:
                raise error

    async def find(self, within_s: float | None) -> Member:
        """Return a member that is connected; tries all in turn, at most for a span, or for ever.

        Raises:
            StoreUnavailable: There is none.
        """
        give_up = None if within_s is None else self._now() + within_s
        while True:
            if self._closed.is_set():
                raise _closed(maybe_applied=False)
            if self._in_vain >= len(self._members):
                await self._rest()
                continue
            if self._is_ready(self.current):
                return self.current
            error = await self._connect_one()
            if error is not None and give_up is not None and self._now() >= give_up:
                raise error

    async def _rest(self) -> None:
        """Pause after each member has had its turn in vain, growing from round to round."""
        rounds, self._in_vain = self._rounds, 0
        self._rounds = min(rounds + 1, _ROUNDS_MAX)
        await asyncio.sleep(min(BACKOFF_S[0] * 2**rounds, BACKOFF_S[1]) * self._rng.uniform(0.5, 1.0))

    async def _connect_one(self) -> StoreUnavailable | None:
        """Connect to the present member, or leave it; whoever comes meanwhile waits, and looks again."""
        async with self._finding:
            member = self.current
            if self._closed.is_set() or self._is_ready(member):
                return None
            error = await self._connect(member)
            if error is not None:
                self.leave(member)
            return error

    def leave(self, member: Member) -> None:
        """Ask the next member from now on; nothing when it is no longer this one that is asked."""
        if member is not self.current:
            return
        self._current = (self._current + 1) % len(self._members)
        self._in_vain += 1
        if len(self._members) > 1:
            self._vitals.counts["failovers"] += 1
            if member.news.is_news("left", self._now()):
                _log.warning("etcd_member_left", member=member.endpoint, next=self.current.endpoint)
        self.on_leave(member)

    def succeed(self, *, is_put: bool = False) -> None:
        """Take note of an answer."""
        self._in_vain = self._rounds = 0
        self._vitals.succeed(is_put=is_put)

    def saw(self, revision: int) -> None:
        """Take note of a revision that an answer told."""
        if revision > self.seen:
            self.seen = revision
            self.on_seen()

    def refused(self, member: Member, code: grpc.StatusCode, details: str) -> tuple[Verdict, StoreUnavailable]:
        """Judge an error of a member, take note of it, and leave the member if another may do better."""
        verdict = judge(code, details)
        unavailable = refusal(member.endpoint, code, details)
        if verdict.is_trouble:
            self._vitals.fail(unavailable)
        if verdict.is_members:
            self.leave(member)
        return verdict, unavailable

    async def login(self, member: Member, over: str) -> None:
        """Get a token for the user, if there is one; nothing when there is another than the one that is over.

        Raises:
            StoreUnavailable: etcd does not accept the password, or cannot be asked.
        """
        if self._url.user is None:
            return
        async with self._logging_in:
            if self.token != over:
                return
            request = pb.AuthenticateRequest(name=self._url.user, password=self._password())
            try:
                answer = await member.call(AUTHENTICATE)(request, timeout=READ_S, metadata=metadata(""))
            except grpc.aio.AioRpcError as error:
                raise self._vitals.fail(self._reason(member, error)) from None
            self.token = answer.token

    async def close(self) -> None:
        """Close all channels; calls under way fail."""
        self._closed.set()
        for member in self._members:
            await member.close()

    async def _try(
        self, member: Member, method: Method, request: Any, span_s: float
    ) -> tuple[Any, Verdict | None, StoreUnavailable | None]:
        """Make a call of one member, logging in again when the token has run out."""
        for is_last in (False, True):
            if self._closed.is_set():
                raise _closed(maybe_applied=False)
            token = self.token
            try:
                answer = await member.call(method)(request, timeout=span_s, metadata=metadata(token))
            except grpc.aio.AioRpcError as error:
                if self._url.user is None or is_last or not is_login_over(error.code(), error.details() or ""):
                    return None, *self.refused(member, error.code(), error.details() or "")
                await self.login(member, token)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._closed.is_set() or task is None or task.cancelling():
                    raise
                # It was the call that was cancelled, with its channel.
                raise _closed(maybe_applied=True) from None
            else:
                if answer is not None:
                    return answer, None, None
                return None, *self.refused(member, grpc.StatusCode.UNKNOWN, "an answer that cannot be read")
        raise AssertionError("the last try returns")

    async def _connect(self, member: Member) -> StoreUnavailable | None:
        """Connect to a member and see that it can serve; return what is in the way."""
        try:
            await member.call(STATUS)(pb.StatusRequest(), timeout=CONNECT_S, metadata=metadata(""))
        except grpc.aio.AioRpcError as error:
            # Who may ask this differs by release; a member that refuses has answered, and knows a leader.
            if judge(error.code(), error.details() or "").trouble is not Trouble.DENIED:
                return self._vitals.fail(self._reason(member, error))
        try:
            if not self.token:
                await self.login(member, "")
        except StoreUnavailable as error:
            return error
        return None

    def _reason(self, member: Member, error: grpc.aio.AioRpcError) -> StoreUnavailable:
        return unreachable(member.endpoint, error.code(), error.details() or "", is_tls=self._url.is_tls)

    def _is_ready(self, member: Member) -> bool:
        return member.is_connected and (bool(self.token) or self._url.user is None)

    def _password(self) -> str:
        try:
            return read_password(self._url)
        except ValueError as error:
            raise self._vitals.fail(
                StoreUnavailable(str(error), maybe_applied=False, trouble=Trouble.DENIED)
            ) from error

    def _now(self) -> float:
        return self._clock.now().elapsed.total_seconds()


def _closed(*, maybe_applied: bool) -> StoreUnavailable:
    return StoreUnavailable("the store is closed", maybe_applied=maybe_applied, trouble=Trouble.CLOSED)

"""Leases, renewed from a thread of their own, so that a busy event loop does not lose them.

`store.renewing` says how their time is counted.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import grpc
import structlog

from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd.rpc import AUTHENTICATE, KEEP_ALIVE, Caller, Credentials, metadata, read_password
from harpoon.store.port import Renewal
from harpoon.store.renewing import AGAIN_S, TRY_S, counted, patience
from harpoon.store.url import EtcdUrl

#: Pause after a try that failed in a way that nobody expects.
RENEW_AGAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)


class EtcdLease:
    """A lease granted by etcd. All times are `time.monotonic`."""

    def __init__(
        self,
        number: int,
        ttl_s: float,
        sent: float,
        revoke: Callable[["EtcdLease"], Awaitable[None]],
        renewal: Renewal,
    ) -> None:
        self.lost = asyncio.Event()
        #: etcd's id of it.
        self.number = number
        self.ttl_s = ttl_s
        self._renewal = renewal
        self.renewed(sent, ttl_s)
        #: Called when it may be over, and nobody knows.
        self.on_lapse: Callable[[EtcdLease], None] = lambda _lease: None
        self._revoke = revoke
        self._timer: asyncio.TimerHandle | None = None

    def renewed(self, sent: float, left_s: float) -> None:
        """Count on from when the renewal was sent that was answered with so many seconds."""
        self.until, self.due = counted(sent, left_s, self._renewal)

    async def revoke(self) -> None:
        """End the lease now and delete its keys; nothing when it is over."""
        await self._revoke(self)

    def watch_end(self) -> None:
        """Tell the holder when the lease may be over; on its event loop, again after each renewal."""
        if self._timer is not None:
            self._timer.cancel()
        left = self.until - time.monotonic()
        if left <= 0:
            self.lost.set()
            self.on_lapse(self)
        elif not self.lost.is_set():
            self._timer = asyncio.get_running_loop().call_later(left, self.watch_end)

    def end(self) -> None:
        """Tell the holder that it is over for certain; on its event loop."""
        if self._timer is not None:
            self._timer.cancel()
        self.lost.set()


class Keeper:
    """The thread that renews; it is started with the first lease and ends with `stop`."""

    def __init__(self, url: EtcdUrl, credentials: Credentials, renewed: Callable[[], None]) -> None:
        self._url = url
        self._credentials = credentials
        self._renewed = renewed
        self._loop = asyncio.get_running_loop()
        self._leases: set[EtcdLease] = set()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._is_paused = False
        self._thread: threading.Thread | None = None
        #: Of this thread's own; opened when they are used.
        self._callers: list[Caller | None] = [None] * len(url.endpoints)
        self._current = 0
        self._token = ""

    def keep(self, lease: EtcdLease) -> None:
        """Renew a lease from now on, until it is dropped or over."""
        with self._changed:
            self._leases.add(lease)
            self._changed.notify()
        lease.watch_end()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="etcd-keeper", daemon=True)
            self._thread.start()

    def drop(self, lease: EtcdLease) -> None:
        """Renew a lease no longer."""
        with self._changed:
            self._leases.discard(lease)

    def pause(self) -> None:
        """Renew nothing, as when this thread got no turn; for tests."""
        with self._changed:
            self._is_paused = True

    def all(self) -> tuple[EtcdLease, ...]:
        """Return the leases that are renewed."""
        with self._changed:
            return tuple(self._leases)

    def stop(self) -> None:
        """End the thread; it may be in the middle of a last try."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (lease := self._next()) is not None:
                try:
                    self._renew(lease)
                except Exception:  # noqa: BLE001 whatever happened: without this thread no lease lives
                    _log.exception("lease_not_renewed", lease=f"{lease.number:x}")
                    lease.due = time.monotonic() + RENEW_AGAIN_S
        finally:
            for caller in self._callers:
                if caller is not None:
                    caller.channel.close()

    def _next(self) -> EtcdLease | None:
        """Wait for the next lease to be renewed; None: stop."""
        with self._changed:
            while not self._is_stopped:
                lease = min(self._leases, key=lambda lease: lease.due, default=None)
                wait = None if lease is None or self._is_paused else lease.due - time.monotonic()
                if lease is not None and wait is not None and wait <= 0:
                    return lease
                self._changed.wait(wait)
        return None

    def _renew(self, lease: EtcdLease) -> None:
        sent = time.monotonic()
        try:
            left_s = self._ask(lease)
        except (grpc.RpcError, StopIteration) as error:
            self._fail(error)
            lease.due = time.monotonic() + AGAIN_S
            return
        if left_s <= 0:
            self.drop(lease)
            self._tell(lease.end)
            return
        lease.renewed(sent, left_s)
        self._tell(lease.watch_end)
        self._tell(self._renewed)

    def _ask(self, lease: EtcdLease) -> int:
        """Return for how many more seconds etcd keeps the lease."""
        request = pb.LeaseKeepAliveRequest(ID=lease.number)
        within = patience(lease.ttl_s)
        call = self._caller().call(KEEP_ALIVE)(iter((request,)), timeout=within, metadata=metadata(self._token))
        try:
            return int(next(call).TTL)
        finally:
            call.cancel()

    def _fail(self, error: Exception) -> None:
        """Go to the next member, or log in again."""
        code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
        if self._url.user is not None and code in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.PERMISSION_DENIED,
        ):
            with suppress(grpc.RpcError, ValueError):
                request = pb.AuthenticateRequest(name=self._url.user, password=read_password(self._url))
                self._token = self._caller().call(AUTHENTICATE)(request, timeout=TRY_S).token
            return
        self._current = (self._current + 1) % len(self._callers)

    def _caller(self) -> Caller:
        caller = self._callers[self._current]
        if caller is None:
            caller = self._callers[self._current] = self._credentials.open_plain(self._url.endpoints[self._current])
        return caller

    def _tell(self, hear: Callable[[], None]) -> None:
        # The loop is gone when the process ends without closing the store; then nobody listens.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(hear)

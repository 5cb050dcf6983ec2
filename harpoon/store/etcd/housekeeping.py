"""What is done beside the requests: judging the server at the start, and every few seconds a look at it.

Harpoon drops the history of etcd by itself, as kube-apiserver does: without that, etcd's file grows until it takes no
more writes. Every instance does so by its own notes; dropping what is dropped already is no error.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import grpc.aio
import structlog

from harpoon.kit.clock import Clock
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.etcd.committer import Committer
from harpoon.store.etcd.inspection import inspect
from harpoon.store.etcd.judge import is_compacted, is_refused
from harpoon.store.etcd.judge import judge as judge_error
from harpoon.store.etcd.members import READ_S, Members
from harpoon.store.etcd.rpc import COMPACT, RANGE, STATUS, metadata
from harpoon.store.etcd.settings import Facts, Verdict, judge
from harpoon.store.etcd.vitals import Vitals
from harpoon.store.etcd.watching import REVISION
from harpoon.store.port import StoreUnavailable, Trouble
from harpoon.store.retention import Retention
from harpoon.store.url import EtcdUrl

#: The server is looked at so often; an idle one costs nothing else.
LOOK_EVERY_S: Final = 5.0
#: From these releases on, an answer to the question how far a watch has come is in step with what it tells.
_PROGRESS_SINCE: Final = ((3, 4, 25), (3, 5, 8))

#: What a member tells over HTTP.
_SEEN_FROM_OUTSIDE: Final = ("version", "db_bytes", "used_bytes", "quota_bytes", "flags")

_log = structlog.get_logger(__name__)


class Housekeeping:
    """Looks after one cluster; `check_in` comes first, `run` goes on until cancelled."""

    def __init__(
        self, url: EtcdUrl, members: Members, vitals: Vitals, committer: Committer, clock: Clock, kept_for: timedelta
    ) -> None:
        self._url = url
        self._members = members
        self._vitals = vitals
        self._committer = committer
        self._clock = clock
        self._kept_for = kept_for
        self._retention: Retention | None = None
        self._noted = self._written = 0
        self._compacted = 0
        #: When it is next tried whether we may compact.
        self._denied_until = timedelta()
        self._facts = Facts()
        #: Whether a watch may be asked how far it has come.
        self.can_ask_progress = False

    async def check_in(self) -> None:
        """Judge the server.

        Raises:
            StoreUnavailable: It cannot be reached, or cannot be used.
        """
        member = await self._members.find(READ_S)
        self._facts = await inspect(member.endpoint, self._url)
        await self._look()
        verdict = self._judge()
        if verdict.refusals:
            told = "; ".join(verdict.refusals)
            raise self._vitals.fail(StoreUnavailable(told, maybe_applied=False, trouble=Trouble.UNFIT))
        for warning in verdict.warnings:
            _log.warning("etcd_setting", member=member.endpoint, warning=warning)
        _log.info(
            "etcd_connected",
            member=member.endpoint,
            version=self._facts.version,
            db_bytes=self._facts.db_bytes,
            quota_bytes=self._facts.quota_bytes,
        )

    async def run(self) -> None:
        """Look at the server every few seconds, and drop history that is too old or too much."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
                self._judge()
                await self._compact_old()
            except StoreUnavailable:
                # It is noted, and told by `health`; the next look comes soon.
                continue
            except Exception:  # noqa: BLE001 whatever a server says of itself, the store goes on
                _log.exception("etcd_not_looked_at")

    async def compact(self, revision: int) -> None:
        """Drop the history up to and including ``revision``; nothing when that is dropped already.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        now = self._clock.now().elapsed
        if revision <= self._compacted or now < self._denied_until:
            return
        try:
            await self._members.write(COMPACT, pb.CompactionRequest(revision=revision))
        except StoreUnavailable as error:
            if is_refused(str(error)):
                # As later releases do to all users but root; it is a warning, and tried again some time.
                self._facts = replace(self._facts, may_compact=False)
                self._denied_until = now + self._kept_for
                self._vitals.mend(Trouble.DENIED)
                return
            if not is_compacted(str(error)):
                raise
        self._facts = replace(self._facts, may_compact=True)
        self._compacted = revision
        self._vitals.counts["compactions"] += 1

    async def _look(self) -> None:
        """Ask the present member how it does."""
        member = await self._members.find(READ_S)
        try:
            token = metadata(self._members.token)
            status: Any = await member.call(STATUS)(pb.StatusRequest(), timeout=READ_S, metadata=token)
        except grpc.aio.AioRpcError as error:
            if self._members.token and judge_error(error.code(), error.details() or "").trouble is Trouble.DENIED:
                await self._look_from_outside(member.endpoint)
                return
            raise self._members.refused(member, error.code(), error.details() or "")[1] from None
        self._facts = replace(
            self._facts,
            version=status.version,
            db_bytes=status.dbSize,
            used_bytes=status.dbSizeInUse,
            quota_bytes=status.dbSizeQuota or self._facts.quota_bytes,
            alarms=tuple(alarm for alarm in ("NOSPACE", "CORRUPT") if any(alarm in told for told in status.errors)),
        )
        if "NOSPACE" not in self._facts.alarms:
            self._vitals.mend(Trouble.FULL)
        self._tell(status.header.revision)

    async def _look_from_outside(self, endpoint: str) -> None:
        """Learn what can be learnt of a member that does not tell our user how it does, as some releases do not."""
        seen = await inspect(endpoint, self._url)
        told = {name: value for name in _SEEN_FROM_OUTSIDE if (value := getattr(seen, name))}
        self._facts = replace(self._facts, **told)
        answer = await self._members.read(RANGE, REVISION)
        self._tell(answer.header.revision)

    def _tell(self, revision: int) -> None:
        facts = self._facts
        self._vitals.version = facts.version
        sizes = {"db_bytes": facts.db_bytes, "db_used_bytes": facts.used_bytes, "db_quota_bytes": facts.quota_bytes}
        self._vitals.gauges.update({name: size for name, size in sizes.items() if size})
        self.can_ask_progress = _can_ask_progress(facts.version)
        self._note(revision)

    def _judge(self) -> Verdict:
        verdict = judge(self._facts, self._kept_for)
        self._vitals.warning = verdict.warnings[0] if verdict.warnings else ""
        return verdict

    def _note(self, revision: int) -> None:
        """Take note of the store's revision, for what is to be dropped some time."""
        self._members.saw(revision)
        revision = self._members.seen
        now, written = self._clock.now().elapsed, self._committer.written
        if self._retention is None or revision < self._noted:
            # At the beginning, or when the store was rolled back: what was noted of it is not true any more.
            self._retention, self._compacted = Retention(revision, now, self._kept_for), 0
        self._retention.note(revision, written - self._written, now)
        self._noted, self._written = revision, written

    async def _compact_old(self) -> None:
        assert self._retention is not None, "a look notes the revision"
        floor = self._retention.floor(self._clock.now().elapsed)
        if floor > self._compacted:
            await self.compact(floor)


def _can_ask_progress(version: str) -> bool:
    try:
        numbers = tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        return False
    first = next((since for since in _PROGRESS_SINCE if since[:2] == numbers[:2]), _PROGRESS_SINCE[-1])
    return numbers >= first

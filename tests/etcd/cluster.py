"""Three members as plain processes on addresses of this machine: they can be killed and paused, not cut off."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType

from tests.etcd.members import Member, start_together

ELECTED_WITHIN_S = 20.0


class Cluster:
    """Members that know each other."""

    def __init__(self, folder: Path, flags: Sequence[str] = (), size: int = 3) -> None:
        self.members = [
            Member(folder, name=f"m{number}", address=f"127.0.0.{number}", flags=flags) for number in range(1, size + 1)
        ]
        for member in self.members:
            member.peers = self.members

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The store URL of all members."""
        return "etcd://" + ",".join(member.endpoint for member in self.members)

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members if member.is_running]

    def start(self) -> None:
        """Start all members, and wait until they serve."""
        start_together(self.members)

    def kill(self) -> None:
        """End all with SIGKILL, also those that are paused."""
        for member in self.members:
            member.kill()

    def leader(self, *, other_than: Member | None = None, within_s: float = ELECTED_WITHIN_S) -> Member:
        """Return the member that most members call the leader, as soon as there is one (other than the one given)."""
        until = time.monotonic() + within_s
        while True:
            found = self._leader()
            if found is not None and found is not other_than:
                return found
            assert time.monotonic() < until, "no leader:\n" + "\n".join(member.log(10) for member in self.members)
            time.sleep(0.02)

    def followers(self) -> list[Member]:
        """Return all members but the leader, also those that do not run."""
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def wait_until_agreed(self, within_s: float = ELECTED_WITHIN_S) -> Member:
        """Wait until every running member serves and names the same leader; return it. So it is after a `heal`."""
        until = time.monotonic() + within_s
        for member in self.running:
            member.wait_until_ready(within_s)
        while len(self._named()) != 1 or (leader := self._leader()) is None:
            assert time.monotonic() < until, "members disagree:\n" + "\n".join(m.log(10) for m in self.members)
            time.sleep(0.02)
        return leader

    def _named(self) -> Counter[str]:
        """Return how many members name each leader; an empty one stands for none, and for no answer."""
        named: Counter[str] = Counter()
        for member in self.running:
            told = {}
            with suppress(OSError, HTTPException, AssertionError):
                told = member.status()
            named[told.get("leader", "")] += 1
        return named

    def _leader(self) -> Member | None:
        named = self._named()
        for member in self.members:
            if member.id and named[member.id] > len(self.members) // 2:
                return member
        return None

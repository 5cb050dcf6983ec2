"""Following what changes: messages in order, over as many connections as it takes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from harpoon.client.answer import parse
from harpoon.client.request import Query
from harpoon.kit.clock import Random, system_random
from harpoon.kit.errors import Gone, HarpoonError, Unavailable

#: A watch brings a bookmark every 15 s; three missed, and the connection is taken for dead.
SILENCE: Final = timedelta(seconds=45)
#: Bytes of one message: a snapshot of some 100,000 tasks.
LINE_BYTES_MAX: Final = 256 << 20
#: Waits before a watch is taken up again: the first, and the longest.
RESUME_AFTER: Final = (timedelta(milliseconds=100), timedelta(seconds=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a watch is to tell of."""

    #: Some of ``jobs``, ``placements``, ``tasks``, ``agents``; or some of ``workflows``, ``runs``, ``attempts``.
    kinds: tuple[str, ...]
    namespace: str | None = None
    #: Of a job, an agent or a workflow; or the id of the one run of the namespace that is watched until it is over.
    name: str | None = None
    #: ``key=value``; all must hold.
    tags: tuple[str, ...] = ()
    #: Of which runs are to be.
    workflow: str | None = None
    #: How runs are to stand after what is told; any of these, or in any way.
    statuses: tuple[str, ...] = ()
    #: Changes after this revision only (of one run: the number of an event); without it a snapshot comes first.
    after: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Where it is asked for."""
        return ("watch",)

    def query(self, after: str | None) -> Query:
        """Return the parameters that ask for it, from a revision on."""
        return {
            "kinds": ",".join(self.kinds),
            "namespace": self.namespace,
            "name": self.name,
            "tag": self.tags,
            "workflow": self.workflow,
            "status": self.statuses,
            "after": after,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSelection:
    """Which runs a watch is to tell of: one, or all of a namespace."""

    #: None: of all.
    namespace: str | None
    #: Its id; None: all of them.
    run: str | None = None
    #: What comes after this only: the number of an event of the one run, or a revision.
    after: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Where it is asked for."""
        place = () if self.namespace is None else ("namespaces", self.namespace)
        return (*place, "runs", *(() if self.run is None else (self.run,)))

    def query(self, after: str | None) -> Query:
        """Return the parameters that ask for it, from a position on."""
        return {"watch": "true", "after": after}


@dataclass(frozen=True, slots=True)
class Told:
    """One message of a watch."""

    #: As it came.
    data: bytes
    #: Its JSON.
    message: dict[str, Any]


@dataclass(slots=True)
class Place:
    """How far a watch has come."""

    #: A revision, or the number of an event of the run that is watched.
    after: str | None
    failures: int = 0
    #: Whether there ever was a connection.
    has_begun: bool = False
    rng: Random = field(default_factory=system_random)

    def note(self, told: list[Told]) -> None:
        """Take down that these were handed on."""
        self.has_begun, self.failures = True, 0
        for one in reversed(told):
            position = one.message.get("revision") or one.message.get("seq")
            if position is not None:
                self.after = str(position)
                return

    def pause(self) -> float:
        """Return how long to wait before the next try, in seconds: doubling, less up to a half at random."""
        first, longest = (span.total_seconds() for span in RESUME_AFTER)
        self.failures += 1
        return min(longest, first * 2.0 ** min(self.failures - 1, 16)) * (1 - self.rng.random() / 2)


class Lines:
    """Cuts a stream into lines."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> list[bytes]:
        """Return the lines that this piece completes.

        Raises:
            HarpoonError: A line is longer than any message.
        """
        head, mark, tail = data.partition(b"\n")
        if not mark:
            self._keep(data)
            return []
        whole = [b"".join((*self._rest, head)), *tail.split(b"\n")]
        self._rest, self._size = [], 0
        self._keep(whole.pop())
        return whole

    def _keep(self, data: bytes) -> None:
        self._rest.append(data)
        self._size += len(data)
        if self._size > LINE_BYTES_MAX:
            raise HarpoonError(f"a message of the watch is larger than {LINE_BYTES_MAX >> 20} MiB")


def told_of(lines: list[bytes], url: str) -> Iterator[Told]:
    """Yield the messages that lines hold.

    Raises:
        Gone: The history that is needed is not kept.
        Unavailable: The server ends the stream, and says why.
        HarpoonError: It is no message.
    """
    for line in lines:
        if not line or line.isspace():
            continue
        message = parse(line, url)
        if not isinstance(message, dict):
            raise HarpoonError(f"{url} does not speak harpoon's API: a watch line is no object")
        if message.get("type") in ("error", "bye"):
            raise _end_of(message)
        yield Told(line, message)


def _end_of(message: dict[str, Any]) -> HarpoonError:
    detail = str(message.get("detail") or message.get("code") or "the server is stopping")
    if message.get("code") == "gone":
        return Gone(detail, oldest=str(message.get("oldest") or ""))
    return Unavailable(detail)

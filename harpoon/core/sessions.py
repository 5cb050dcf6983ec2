"""Sessions of workers: what each said last, and what it was answered.

A worker is known by its name; a session is one life of it. Each request of a session has a number, and the answer to
a request is kept until a higher number acknowledges it: a request that comes again is answered alike, so a lost
answer costs nothing. A session never heard of may begin with any number: it may have talked to another instance
before.

When two sessions of one name are heard, the one that came later is the worker's present one. The other is most likely
what is left of a process that was replaced: it may give back what it has, but gets nothing more until its successor
has gone quiet.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from harpoon.core.offers import AttemptId, SessionId

#: A session that nothing was heard of for so long is not waited for, milliseconds: three heartbeats of the usual ones.
QUIET_MS: Final = 30_000
#: It is forgotten after so long: whoever looks for a worker that went away is to find it, for a while.
FORGET_MS: Final = 600_000


class Turn(Enum):
    """What a request is, by its number."""

    #: To be answered.
    NEW = auto()
    #: Answered before; the answer is kept.
    AGAIN = auto()
    #: Older than one that was answered.
    STALE = auto()


class Lost(NamedTuple):
    """An attempt that a session has no longer, and why."""

    id: AttemptId
    reason: str


class Session:
    """One session of a worker; it equals itself alone."""

    __slots__ = (
        "answer", "born_ms", "handlers", "heard_ms", "id", "is_asking", "is_draining", "lost", "number", "seq",
        "under_way", "want",
    )  # fmt: skip

    def __init__(self, id_: SessionId, number: int, now_ms: int) -> None:
        self.id = id_
        #: Sessions that came later have higher ones.
        self.number = number
        self.born_ms = self.heard_ms = now_ms
        #: Of the request that was answered last; 0: none was.
        self.seq = 0
        self.answer = b""
        #: Requests of it that are being answered.
        self.under_way = 0
        self.handlers: tuple[str, ...] = ()
        #: How many more it would take, as it said last.
        self.want = 0
        #: Has ever wanted anything; a worker may have sessions that only bring things back.
        self.is_asking = False
        self.is_draining = False
        #: What it is to be told.
        self.lost: dict[AttemptId, str] = {}

    def is_quiet(self, now_ms: int) -> bool:
        """Whether nothing was heard of it for so long that nobody counts on it."""
        return not self.under_way and now_ms - self.heard_ms > QUIET_MS


class Sessions:
    """All sessions that this instance has heard of and not forgotten."""

    def __init__(self) -> None:
        self._sessions: dict[SessionId, Session] = {}
        #: Namespace, worker and by way of whom → the sessions, the youngest last.
        self._of_worker: dict[tuple[str, str, str], list[Session]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, id_: SessionId) -> Session | None:
        """Return a session that is known."""
        return self._sessions.get(id_)

    def of(self, namespace: str) -> list[Session]:
        """Return the sessions of a namespace, in the order in which they came."""
        return [session for id_, session in self._sessions.items() if id_.namespace == namespace]

    def namespaces(self) -> list[str]:
        """Return the namespaces that there are sessions of, sorted."""
        return sorted({id_.namespace for id_ in self._sessions})

    def enter(self, id_: SessionId, now_ms: int) -> Session:
        """Return a session, which is known from now on, and note that it is heard."""
        session = self._sessions.get(id_)
        if session is None:
            self._count += 1
            session = self._sessions[id_] = Session(id_, self._count, now_ms)
            self._of_worker.setdefault(_worker(id_), []).append(session)
        session.heard_ms = max(session.heard_ms, now_ms)
        return session

    def is_superseded(self, session: Session, now_ms: int) -> bool:
        """Whether a later session of the same worker is heard."""
        return any(
            other.number > session.number and not other.is_quiet(now_ms)
            for other in self._of_worker[_worker(session.id)]
        )

    def forget(self, now_ms: int) -> list[Session]:
        """Forget the sessions that have been quiet for long, and those that left; return them."""
        gone = [session for session in self._sessions.values() if _is_gone(session, now_ms)]
        for session in gone:
            del self._sessions[session.id]
            own = self._of_worker[_worker(session.id)]
            own.remove(session)
            if not own:
                del self._of_worker[_worker(session.id)]
        return gone


def _worker(id_: SessionId) -> tuple[str, str, str]:
    # What other instances pass on, they have looked at themselves.
    return id_.namespace, id_.worker, id_.via


def turn(session: Session, seq: int) -> Turn:
    """Return what a request of a session is, by its number."""
    if seq > session.seq:
        return Turn.NEW
    return Turn.AGAIN if seq == session.seq else Turn.STALE


def answered(session: Session, seq: int, answer: bytes) -> None:
    """Keep what a request was answered; what was kept before has been acknowledged by it."""
    session.seq, session.answer = seq, answer


def _is_gone(session: Session, now_ms: int) -> bool:
    if session.under_way:
        return False
    has_left = session.is_draining and session.is_quiet(now_ms)
    return has_left or now_ms - session.heard_ms > FORGET_MS

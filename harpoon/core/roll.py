"""Which workers there are, as far as instances have heard of them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harpoon.core.exchange import Exchange
from harpoon.core.sessions import Session, Sessions
from harpoon.model.work import SHOWN_MAX, HeldAttempt, WorkerObject, WorkerSession


class _Heard(NamedTuple):
    """One session, as one instance has heard of it."""

    worker: str
    handlers: tuple[str, ...]
    session: WorkerSession


def roll(exchange: Exchange, sessions: Sessions, namespace: str, now_ms: int) -> list[WorkerObject]:
    """Return the workers of a namespace that this instance has heard of, by name.

    A session that offers nothing and has nothing only brings back what others of its worker took.
    """
    own = [one for one in sessions.of(namespace) if one.handlers or exchange.held(one.id)]
    return _workers(_heard(exchange, one, now_ms) for one in own)


def united(rolls: Iterable[Sequence[WorkerObject]]) -> list[WorkerObject]:
    """Return all workers that several instances have heard of, by name.

    A session may be known to several: it asked one after the other, or one has passed on what it asked. What it has is
    known to each for the runs that it conducts.
    """
    return _workers(
        _Heard(worker.name, worker.handlers, session) for one in rolls for worker in one for session in worker.sessions
    )


def _heard(exchange: Exchange, session: Session, now_ms: int) -> _Heard:
    held = exchange.held(session.id)
    told = WorkerSession(
        id=session.id.session,
        since_ms=session.born_ms,
        heard_ms=session.heard_ms,
        is_quiet=session.is_quiet(now_ms),
        is_draining=session.is_draining,
        want=session.want,
        busy=len(held),
        attempts=tuple(
            HeldAttempt(run=id_.run, op=id_.op, visit=id_.visit, attempt=id_.attempt, progress=exchange.progress(id_))
            for id_ in held[:SHOWN_MAX]
        ),
    )
    return _Heard(session.id.worker, session.handlers, told)


def _workers(heard: Iterable[_Heard]) -> list[WorkerObject]:
    found: dict[str, dict[str, list[_Heard]]] = {}
    for one in heard:
        found.setdefault(one.worker, {}).setdefault(one.session.id, []).append(one)
    return [_worker(name, list(found[name].values())) for name in sorted(found)]


def _worker(name: str, heard: Sequence[Sequence[_Heard]]) -> WorkerObject:
    handlers = max((one for own in heard for one in own), key=lambda one: one.session.heard_ms).handlers
    sessions = sorted((_session([one.session for one in own]) for own in heard), key=lambda one: (one.since_ms, one.id))
    return WorkerObject(
        name=name,
        handlers=tuple(sorted(handlers)),
        busy=sum(one.busy for one in sessions),
        since_ms=sessions[0].since_ms,
        heard_ms=max(one.heard_ms for one in sessions),
        is_quiet=all(one.is_quiet for one in sessions),
        sessions=tuple(sessions),
    )


def _session(heard: Sequence[WorkerSession]) -> WorkerSession:
    latest = max(heard, key=lambda one: one.heard_ms)
    return WorkerSession(
        id=latest.id,
        since_ms=min(one.since_ms for one in heard),
        heard_ms=latest.heard_ms,
        is_quiet=all(one.is_quiet for one in heard),
        is_draining=latest.is_draining,
        want=latest.want,
        busy=sum(one.busy for one in heard),
        attempts=tuple(attempt for one in heard for attempt in one.attempts)[:SHOWN_MAX],
    )

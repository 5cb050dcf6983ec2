"""Waiting until a change is done, a job is ready or gone, agents are connected, or one is drained.

Whatever is waited for goes on without the one who waits: neither a timeout nor Ctrl-C takes anything back.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from harpoon.cli import results, terminal
from harpoon.cli.outcome import EndedInFailure, NotPlaced, TimedOut
from harpoon.cli.progress import Progress, Report, progress
from harpoon.cli.session import Session
from harpoon.cli.wakeup import Wakeups
from harpoon.client.client import TIMEOUT
from harpoon.client.watch import Selection
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound, Unavailable
from harpoon.model.units import format_duration

#: A blocked request answers after so long even when nothing is done, so that what it waits for can be shown.
LOOK_EVERY: Final = timedelta(seconds=1)
#: Pause before an unreachable server is asked again.
RETRY_AFTER: Final = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How what is waited for stands."""

    is_done: bool
    phase: str
    summary: str
    waiting: Sequence[str] = ()
    #: What a plan promised, and is not so.
    unkept: Sequence[str] = ()


#: Waits for at most the given span until something may have changed, then reads how it stands.
Look = Callable[[timedelta], Standing]


def wait_until(subject: str, look: Look, timeout: timedelta, *, again: str) -> Standing:
    """Look until it is done, and say meanwhile what is in the way. An unreachable server is asked again.

    Args:
        subject: What is waited for, such as ``job/web``.
        look: How to see how it stands.
        timeout: How long to wait.
        again: The command that waits for the same, told when the wait is interrupted.

    Raises:
        TimedOut: It was not done in time.
        Unavailable: The server could not be reached when the time was over.
    """
    began = _elapsed()
    last = Standing(is_done=False, phase="waiting", summary="")
    failure: HarpoonError | None = None
    span = timedelta(0)
    try:
        with progress() as shown:
            is_first = True
            while (left := timeout - (_elapsed() - began)) > timedelta(0) or is_first:
                is_first = False
                try:
                    last, failure = look(max(timedelta(0), min(span, left))), None
                except Unavailable as error:
                    failure = error
                if failure is None and last.is_done:
                    return last
                _show(shown, subject, last, failure, _elapsed() - began, timeout)
                if failure is not None:
                    time.sleep(max(timedelta(0), min(RETRY_AFTER, left)).total_seconds())
                span = LOOK_EVERY
    except KeyboardInterrupt:
        terminal.say(f"interrupted; {subject} goes on by itself. To wait again: {again}")
        raise
    if failure is not None:
        raise failure
    raise TimedOut(f"{subject} is not done after {format_duration(timeout)}: {_stand(last)}. To wait on: {again}")


def wait_change(client: Session, change: str, timeout: timedelta) -> Standing:
    """Wait until a change is done: new tasks ready and old ones gone.

    Raises:
        Conflict: A later change took its place.
        EndedInFailure: It failed.
        NotPlaced: The time was over, and some slot has no agent that could run it.
        HarpoonError: As for `wait_until`; the kind of error the server answered.
    """
    namespace, name = _job_of(change)

    def look(span: timedelta) -> Standing:
        query = {"wait": format_duration(_milliseconds(span))}
        told = client.get("changes", change, query=query, timeout=TIMEOUT + span).body
        if told["state"] == "superseded":
            raise Conflict(f"change {change} was superseded by a later one: {told['summary']}")
        if told["state"] == "failed":
            _tell_last_words(client, namespace, name)
            raise EndedInFailure(f"change {change} failed: {told['summary']}")
        return _standing(told, is_done=told["is_done"])

    try:
        return wait_until(f"job/{name}", look, timeout, again=f"harpoon wait change/{change}")
    except TimedOut as error:
        raise _unplaced(client, namespace, name) or error from error


def wait_changes(client: Session, changes: Sequence[str], timeout: timedelta) -> None:
    """Wait until all of these changes are done, and tell of each; they share the time.

    Raises:
        HarpoonError: As for `wait_change`, of the first that is not done.
    """
    began = _elapsed()
    for change in changes:
        left = timeout - (_elapsed() - began)
        done = wait_change(client, change, max(left, timedelta(milliseconds=1)))
        took = (_elapsed() - began).total_seconds()
        terminal.say(
            f"job/{_job_of(change)[1]} is done after {took:.1f} s" + (f": {done.summary}" if done.summary else "")
        )
        for told in done.unkept:
            terminal.say(f"  {terminal.plain(told)}")


def wait_ready(client: Session, namespace: str, name: str, timeout: timedelta, *, is_batch: bool = False) -> Standing:
    """Wait until a job is ready: every slot has one ready task of the present generation, and nothing older is left.

    A batch job is waited for until it has succeeded.

    Args:
        client: Asks the server.
        namespace: Of the job.
        name: Of the job.
        timeout: How long to wait.
        is_batch: Only a batch job is waited for.

    Raises:
        NotFound: There is no such job.
        EndedInFailure: It is a batch job, and has failed.
        Invalid: It is none, and is to be one.
        HarpoonError: As for `wait_change`.
    """
    wakeups = Wakeups(client, _job_selection(namespace, name))

    def look(span: timedelta) -> Standing:
        if span:
            wakeups.wait(span)
        status = _status(client, namespace, name)
        batch = status.get("batch")
        if is_batch and batch is None:
            raise Invalid(f"job {name} is no batch job, and never succeeds; wait for it to be ready")
        if status["state"] == "failed" and batch is not None:
            _tell(results.last_words(batch))
            raise EndedInFailure(f"job/{name} failed: {terminal.plain(batch['reason'])}")
        return _standing(status, is_done=status["state"] in ("ready", "succeeded"))

    try:
        return wait_until(f"job/{name}", look, timeout, again=f"harpoon wait job/{name} -n {namespace}")
    except TimedOut as error:
        raise _unplaced(client, namespace, name) or error from error


def wait_gone(client: Session, namespace: str, name: str, timeout: timedelta) -> Standing:
    """Wait until there is no such job any more, its tasks included.

    Raises:
        HarpoonError: As for `wait_until`.
    """
    wakeups = Wakeups(client, _job_selection(namespace, name))

    def look(span: timedelta) -> Standing:
        if span:
            wakeups.wait(span)
        try:
            return _standing(_status(client, namespace, name), is_done=False)
        except NotFound:
            return Standing(is_done=True, phase="gone", summary="")

    return wait_until(f"job/{name}", look, timeout, again=f"harpoon wait job/{name} -n {namespace} --for gone")


def wait_agents(client: Session, count: int, timeout: timedelta) -> Standing:
    """Wait until so many agents are connected; the server may still be starting.

    Raises:
        HarpoonError: As for `wait_until`.
    """
    wakeups = Wakeups(client, Selection(kinds=("agents",)))

    def look(span: timedelta) -> Standing:
        if span:
            wakeups.wait(span)
        agents = client.get("agents").body["items"]
        connected = [agent for agent in agents if agent["link"]["state"] == "connected"]
        waiting = [f"{agent['name']} is {agent['link']['state']}" for agent in agents if agent not in connected]
        is_done = len(connected) >= count
        summary = f"{len(connected)}/{count} connected"
        return Standing(is_done=is_done, phase="ready" if is_done else "waiting", summary=summary, waiting=waiting)

    return wait_until("agents", look, timeout, again=f"harpoon wait agents --count {count}")


def wait_drained(client: Session, name: str, timeout: timedelta) -> None:
    """Wait until an agent that is being drained has no task left, and tell of it.

    Raises:
        Conflict: The drain was taken back.
        NotFound: There is no such agent any more.
        HarpoonError: As for `wait_until`.
    """
    began = _elapsed()

    def look(span: timedelta) -> Standing:
        query = {"wait": format_duration(_milliseconds(span))}
        drain = client.get("agents", name, query=query, timeout=TIMEOUT + span).body["drain"]
        if drain is None:
            raise Conflict(f"the drain of agent/{name} was taken back; what it has moved stays where it is")
        phase = "drained" if drain["is_done"] else "draining"
        return Standing(
            is_done=drain["is_done"], phase=phase, summary=f"{drain['left']} tasks left", waiting=drain["waiting"]
        )

    undo = f"harpoon drain {name}. To take it back: harpoon uncordon {name}"
    wait_until(f"the drain of agent/{name}", look, timeout, again=undo)
    took = (_elapsed() - began).total_seconds()
    terminal.say(f"agent/{name} is drained after {took:.1f} s. To use it again: harpoon uncordon {name}")


def blocked(client: Session, path: Sequence[str], span: timedelta) -> Any:
    """Read what is at a path, once it changes or the span is over.

    Raises:
        HarpoonError: As for the client.
    """
    query = {"wait": format_duration(_milliseconds(span))}
    return client.get(*path, query=query, timeout=TIMEOUT + span).body


def _job_of(change: str) -> tuple[str, str]:
    """Return the namespace and name in a change's id, ``<namespace>.<job>.<incarnation>-<revision>``."""
    namespace, _, rest = change.partition(".")
    return namespace, rest.partition(".")[0]


def _standing(told: Mapping[str, Any], *, is_done: bool) -> Standing:
    return Standing(
        is_done=is_done,
        phase=told["state"],
        summary=told["summary"],
        waiting=told.get("waiting") or (),
        unkept=told.get("unkept") or (),
    )


def _unplaced(client: Session, namespace: str, name: str) -> NotPlaced | None:
    """Return the error that tells why slots of a job have no agent, if that is so."""
    try:
        pending: Mapping[str, Any] | None = _status(client, namespace, name).get("pending")
    except HarpoonError:
        return None
    if not pending:
        return None
    again = f"It stays declared; to see more: harpoon describe job/{name} -n {namespace}"
    return NotPlaced(f"job/{name} cannot be placed: {terminal.plain(str(pending['reason'])).rstrip('.')}. {again}")


def _tell_last_words(client: Session, namespace: str, name: str) -> None:
    """Tell what the task wrote last that a batch job failed by, if that is still known."""
    try:
        batch = _status(client, namespace, name).get("batch")
    except HarpoonError:
        return
    _tell(results.last_words(batch or {}))


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        terminal.say(line)


def _status(client: Session, namespace: str, name: str) -> Mapping[str, Any]:
    status: Mapping[str, Any] = client.get("namespaces", namespace, "jobs", name, "status").body
    return status


def _job_selection(namespace: str, name: str) -> Selection:
    return Selection(kinds=("jobs", "placements", "tasks"), namespace=namespace, name=name)


def _show(
    shown: Progress, subject: str, last: Standing, failure: HarpoonError | None, elapsed: timedelta, timeout: timedelta
) -> None:
    waiting = last.waiting if failure is None else (f"{failure}, trying again",)
    shown.show(
        Report(
            subject=subject,
            phase=last.phase,
            summary=last.summary,
            waiting=tuple(map(str, waiting)),
            elapsed=elapsed,
            timeout=timeout,
        )
    )


def _stand(last: Standing) -> str:
    told = f"{last.phase}, {last.summary}" if last.summary else last.phase
    return f"{told}; waits: {terminal.plain(str(last.waiting[0]))}" if last.waiting else told


def _milliseconds(span: timedelta) -> timedelta:
    """Round to what a duration can say, and never to nothing."""
    return timedelta(milliseconds=max(1, round(span / timedelta(milliseconds=1))))


def _elapsed() -> timedelta:
    return SystemClock().now().elapsed

"""Whether a task whose process has ended is started again, and when: the agent's own, first answer to a failure.

The scheduler's answer, a new placement, comes only after this one is used up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from signal import Signals
from typing import Final

from harpoon.model.instant import Instant
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from harpoon.model.task import TaskState
from harpoon.model.units import format_duration, format_size

#: Restarts so young always count for the backoff, so that not even a policy with a tiny window is a hot loop.
_CALM: Final = timedelta(minutes=1)
#: Shortest wait of every restart but the first of its window, for the same reason.
_WAIT_MIN: Final = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended."""

    #: What counts for ``on_failure``: an exit code that is not 0, a signal, a check that kept failing.
    is_failure: bool
    #: Such as ``exited 1`` or ``was killed by KILL``.
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAgain:
    """Start it again."""

    after: timedelta
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveEnded:
    """Do not start it again."""

    #: ``finished`` or ``failed``.
    state: TaskState
    reason: str


def next_restart(
    policy: Restart, history: Sequence[int], ended: Ended, now: Instant, jitter: float
) -> StartAgain | LeaveEnded:
    """Decide what follows the end of a process that nobody ordered to stop.

    The first restart of a window comes at once, the n-th after it waits for the policy's backoff.

    Args:
        policy: The task's.
        history: When it was started again before, UTC milliseconds, in any order.
        ended: How it ended this time.
        now: The present moment.
        jitter: From 0 to 1, evenly spread; 0.5 is none.
    """
    if policy.policy is RestartPolicy.NEVER:
        state = TaskState.FAILED if ended.is_failure else TaskState.FINISHED
        return LeaveEnded(state=state, reason=f"{ended.detail}; its restart policy is never")
    if policy.policy is RestartPolicy.ON_FAILURE and not ended.is_failure:
        return LeaveEnded(state=TaskState.FINISHED, reason=ended.detail)
    recent = _younger(history, now, policy.within)
    if recent >= policy.attempts:
        return LeaveEnded(state=TaskState.FAILED, reason=_used_up(policy, recent, ended))
    after = _wait(policy.backoff, _younger(history, now, max(policy.within, _CALM)), jitter)
    when = f"in {format_duration(after)}" if after else "at once"
    return StartAgain(
        after=after, reason=f"{ended.detail}; starts again {when}, restart {recent + 1} of {policy.attempts}"
    )


def kept_history(policy: Restart, history: Sequence[int], now: Instant) -> tuple[int, ...]:
    """Return the part of ``history`` that can still matter to `next_restart`: bounded, in ascending order."""
    since = now.wall - max(policy.within, _CALM) // timedelta(milliseconds=1)
    return tuple(sorted(moment for moment in history if moment > since))[-max(policy.attempts, 64) :]


def describe_exit(code: int | None) -> str:
    """Say in words how a process ended: its exit code; negative: the signal; None: nobody knows."""
    if code is None:
        return "ended, and its exit code is not known"
    if code >= 0:
        return f"exited {code}"
    try:
        return f"was killed by {Signals(-code).name.removeprefix('SIG')}"
    except ValueError:
        return f"was killed by signal {-code}"


def describe_memory_kill(limit: int | None, code: int | None) -> str:
    """Say in words how a task ended of which processes were killed for want of memory.

    Args:
        limit: What it was held to, when it had come to that; None: its host had no more.
        code: How its own first process ended.
    """
    why = "its host had no more" if limit is None else f"it used more than {format_size(limit)}"
    # A shell, and what else passes on how its child ended, makes 137 of KILL.
    if code in (-Signals.SIGKILL, 128 + Signals.SIGKILL):
        return f"was killed for memory: {why}"
    return f"{describe_exit(code)}, after processes of it were killed for memory: {why}"


def _younger(history: Sequence[int], now: Instant, span: timedelta) -> int:
    since = now.wall - span // timedelta(milliseconds=1)
    return sum(moment > since for moment in history)


def _wait(backoff: Backoff, restarts: int, jitter: float) -> timedelta:
    if restarts == 0:
        return timedelta(0)
    doublings = min(restarts - 1, 64)
    span = min(backoff.max.total_seconds(), backoff.initial.total_seconds() * backoff.factor**doublings)
    jittered = timedelta(seconds=span * (1 + backoff.jitter * (2 * jitter - 1)))
    return timedelta(milliseconds=round(max(_WAIT_MIN, jittered) / timedelta(milliseconds=1)))


def _used_up(policy: Restart, recent: int, ended: Ended) -> str:
    if policy.attempts == 0:
        return f"{ended.detail}; its restart policy allows no restart"
    within = format_duration(policy.within)
    return f"ended {recent + 1} times within {within}, and {policy.attempts} restarts are allowed; last: {ended.detail}"

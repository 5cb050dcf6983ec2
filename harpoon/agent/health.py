"""Checks: whether the answers of a task add up to that it can serve.

`Standing` counts and judges, and never asks; a `probes.Prober` asks, and never judges.
"""

import shlex
from datetime import timedelta
from typing import Final, NamedTuple

from harpoon.model.check import Check, ExecProbe, HttpProbe, OnFail, TcpProbe
from harpoon.model.task import CheckResult


class _Pace(NamedTuple):
    """How a check is asked until it first passes: after ``first``, then ever more seldom, but each ``longest``."""

    first: timedelta
    longest: timedelta


_EAGER: Final = _Pace(timedelta(milliseconds=10), timedelta(milliseconds=100))
#: A program is a process to start, a few milliseconds of a processor, where a connection is a fraction of one.
_EAGER_PROGRAM: Final = _Pace(timedelta(milliseconds=100), timedelta(seconds=1))
_EAGER_GROWTH: Final = 1.4
#: A process older than this starts slowly, and is asked each ``every`` like any other.
_EAGER_FOR: Final = timedelta(seconds=20)
#: What keeps failing in other words than before is told anew, but not sooner than this, and then ever more seldom: a
#: program may print the time, and what is told is stored.
_EVIDENCE_FIRST: Final = timedelta(seconds=1)
_EVIDENCE_LONGEST: Final = timedelta(minutes=1)
#: Letters of a check's name, and of its evidence.
DETAIL_MAX: Final = 200


def check_name(check: Check) -> str:
    """Return what a check is called in a task's report."""
    name = _name(check.http or check.tcp or check.exec_)
    return "".join(letter if letter.isprintable() else " " for letter in name[:DETAIL_MAX])


class Standing:
    """What the answers to one check of one process add up to."""

    def __init__(self, check: Check, *, is_passing: bool = False, begun_ms: int = 0) -> None:
        """Begin to count; ``is_passing``: what an earlier daemon had found; ``begun_ms``: when that is, UTC."""
        self.check = check
        self._begun_ms = begun_ms
        #: How old the process was when it began to fail.
        self._failing_at = timedelta(0)
        self.is_passing = is_passing
        #: Whether it failed so often that the task is to be started again.
        self.wants_restart = False
        self.detail = "" if is_passing else "not answered yet"
        self._passes = 0
        self._failures = 0
        self._has_passed = is_passing
        self._told = (is_passing, self.detail)
        self._told_at = timedelta(0)
        self._quiet_for = _EVIDENCE_FIRST

    @property
    def result(self) -> CheckResult:
        """The latest outcome, as reported."""
        is_passing, detail = self._told
        # What passes is told without a moment, which would be another one, and a write, whenever the agent starts.
        since_ms = 0 if is_passing else self._begun_ms + self._failing_at // timedelta(milliseconds=1)
        return CheckResult(name=check_name(self.check), is_passing=is_passing, detail=detail, since_ms=since_ms)

    def hear(self, failure: str | None, age: timedelta) -> bool:
        """Count an answer.

        Args:
            failure: Why it is no pass; None: it is one.
            age: How long ago the process started.

        Returns:
            Whether that is worth telling: the check began or ceased to pass, or fails for another reason.
        """
        if failure is None:
            self._failures = 0
            self._passes += 1
            self.is_passing = self.is_passing or self._passes >= self.check.ready_after
            self._has_passed = self._has_passed or self.is_passing
            self.detail = ""
        else:
            self._passes = 0
            self.detail = failure
            if self._has_passed or age >= self.check.start_within:
                self._failures += 1
            if self._failures >= self.check.fail_after:
                self._failing_at = age if self.is_passing else self._failing_at
                self.is_passing = False
                self.wants_restart = self.check.on_fail is OnFail.RESTART
        return self._tell(age)

    def pause(self, age: timedelta, asked: int) -> timedelta:
        """Return how long to wait before it is asked again; ``asked``: how often it has been."""
        if self._has_passed or age >= _EAGER_FOR:
            return self.check.every
        pace = _EAGER if self.check.exec_ is None else _EAGER_PROGRAM
        return min(self.check.every, pace.longest, pace.first * _EAGER_GROWTH ** min(asked, 32))

    def reason(self) -> str:
        """Say why it asks for a restart."""
        return f"check {check_name(self.check)} failed {self._failures} times: {self.detail}"

    def _tell(self, age: timedelta) -> bool:
        detail = "" if self.is_passing else self.detail
        is_other = self.is_passing != self._told[0]
        is_due = detail != self._told[1] and age - self._told_at >= self._quiet_for
        if is_other:
            self._quiet_for = _EVIDENCE_FIRST
        elif is_due:
            self._quiet_for = min(self._quiet_for * 2, _EVIDENCE_LONGEST)
        if is_other or is_due:
            self._told, self._told_at = (self.is_passing, detail), age
        return is_other or is_due or self.wants_restart


def _name(probe: HttpProbe | TcpProbe | ExecProbe | None) -> str:
    match probe:
        case HttpProbe():
            return f"http {probe.port} {probe.path}"
        case TcpProbe():
            return f"tcp {probe.port}"
        case ExecProbe():
            return f"exec {shlex.join(probe.command)}"
        case None:
            raise AssertionError("a check without a probe cannot be made")

"""Checks: asking a task whether it can serve.

`Standing` counts and judges, and never asks; `Prober` asks, and never judges.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import aiohttp
from yarl import URL

from harpoon.kit.clock import Clock, Random
from harpoon.model.job import Check, OnFail
from harpoon.model.task import CheckResult
from harpoon.model.units import format_duration

#: Until a check first passes it is asked after this span, then ever more seldom, but each `_EAGER_MAX` while young.
_EAGER_FIRST: Final = timedelta(milliseconds=10)
_EAGER_GROWTH: Final = 1.4
_EAGER_MAX: Final = timedelta(milliseconds=100)
#: A process older than this starts slowly, and is asked each ``every`` like any other.
_EAGER_FOR: Final = timedelta(seconds=20)
#: What keeps failing in other words than before is told anew, but no more often than this.
_EVIDENCE_EVERY: Final = timedelta(seconds=1)
#: Checks asked at a time, over all tasks: more would only wait for each other inside their timeouts.
_PROBES_MAX: Final = 256
_DETAIL_MAX: Final = 200


def check_name(check: Check) -> str:
    """Return what a check is called in a task's report."""
    return f"http {check.http.port} {check.http.path}"[:_DETAIL_MAX]


class Standing:
    """What the answers to one check of one process add up to."""

    def __init__(self, check: Check, *, is_passing: bool = False) -> None:
        """Begin to count; ``is_passing``: what an earlier daemon had found."""
        self.check = check
        self.is_passing = is_passing
        #: Whether it failed so often that the task is to be started again.
        self.wants_restart = False
        self.detail = "" if is_passing else "not answered yet"
        self._passes = 0
        self._failures = 0
        self._has_passed = is_passing
        self._told = (is_passing, self.detail)
        self._told_at = timedelta(0)

    @property
    def result(self) -> CheckResult:
        """The latest outcome, as reported."""
        is_passing, detail = self._told
        return CheckResult(name=check_name(self.check), is_passing=is_passing, detail=detail)

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
                self.is_passing = False
                self.wants_restart = self.check.on_fail is OnFail.RESTART
        return self._tell(age)

    def pause(self, age: timedelta, asked: int) -> timedelta:
        """Return how long to wait before it is asked again; ``asked``: how often it has been."""
        if self._has_passed or age >= _EAGER_FOR:
            return self.check.every
        return min(self.check.every, _EAGER_MAX, _EAGER_FIRST * _EAGER_GROWTH ** min(asked, 32))

    def reason(self) -> str:
        """Say why it asks for a restart."""
        return f"check {check_name(self.check)} failed {self._failures} times: {self.detail}"

    def _tell(self, age: timedelta) -> bool:
        detail = "" if self.is_passing else self.detail
        is_other = self.is_passing != self._told[0]
        is_due = detail != self._told[1] and age - self._told_at >= _EVIDENCE_EVERY
        if is_other or is_due:
            self._told, self._told_at = (self.is_passing, detail), age
        return is_other or is_due or self.wants_restart


class Prober:
    """Asks checks over HTTP: one connection a question, no redirects, no body."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock, rng: Random) -> None:
        self._session = session
        self._clock = clock
        self._rng = rng
        self._places = asyncio.Semaphore(_PROBES_MAX)

    async def watch(self, standing: Standing, host: str, port: int, changed: Callable[[], None]) -> None:
        """Ask one check of a process that has just started, until cancelled; call when there is something to tell."""
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # Put together as text, because joined as a reference a path such as //elsewhere/ would name another host.
        url = URL(f"http://{authority}{standing.check.http.path}", encoded=True)
        since = self._clock.now().elapsed
        asked = 0
        while True:
            async with self._places:
                failure = await self._ask(url, standing.check.timeout)
            age = self._clock.now().elapsed - since
            asked += 1
            if standing.hear(failure, age):
                changed()
            pause = standing.pause(age, asked).total_seconds()
            await asyncio.sleep(pause * self._rng.uniform(0.95, 1.05))

    async def _ask(self, url: URL, within: timedelta) -> str | None:
        """Return why the answer is no pass, or None."""
        limit = aiohttp.ClientTimeout(total=within.total_seconds(), ceil_threshold=3600)
        try:
            async with self._session.get(url, timeout=limit, allow_redirects=False) as response:
                status = response.status
                # What follows the head is not wanted, however long it is.
                response.close()
        except TimeoutError:
            return f"no answer within {format_duration(within)}"
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            return (os.strerror(number).lower() if number else str(error.os_error))[:_DETAIL_MAX]
        except aiohttp.ServerDisconnectedError:
            return "closed the connection without an answer"
        except aiohttp.ClientResponseError as error:
            return f"no HTTP answer: {error.message.splitlines()[0]}"[:_DETAIL_MAX]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:_DETAIL_MAX]
        return None if 200 <= status < 400 else f"answered {status}"


def probe_session() -> aiohttp.ClientSession:
    """Make a session for a `Prober`: each question is asked anew, so a full queue of the task's shows."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "harpoon-agent"}
    )

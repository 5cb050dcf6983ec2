"""What a task at fault wrote last, asked of its agent before a failure is written down.

That takes a moment, in which nothing waits for it; an agent that does not answer in time has nothing to tell.
"""

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final

import structlog

from harpoon.control.means import Means
from harpoon.control.view import View
from harpoon.kit.errors import NotFound, Unavailable
from harpoon.model.rollout import Witness

#: An agent has so long to tell the last lines of a task.
_ASK_S: Final = 3.0
#: Agents asked at once.
_ASKED_AT_ONCE: Final = 8

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Inquiry:
    """Why something of a job failed."""

    version: int
    #: Who is to blame, if anybody is.
    witness: Witness | None
    _: KW_ONLY
    #: All that can be known of it is.
    is_closed: bool


class Evidence:
    """Asks agents what tasks wrote last: of each job one task at a time."""

    def __init__(self, means: Means, view: View, wake: Callable[[str], None]) -> None:
        self._means = means
        self._view = view
        self._wake = wake
        #: By the key of their job.
        self._inquiries: dict[str, Inquiry] = {}
        self._open: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Ask agents for evidence until cancelled."""
        free = asyncio.Semaphore(_ASKED_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                key = await self._open.get()
                await free.acquire()
                group.create_task(self._ask(key)).add_done_callback(lambda _: free.release())

    def known(self, key: str, version: int) -> Inquiry | None:
        """Return what is known, or being asked, of the failure of a job's version."""
        inquiry = self._inquiries.get(key)
        return inquiry if inquiry is not None and inquiry.version == version else None

    def inquire(self, key: str, version: int, witness: Witness | None) -> Inquiry:
        """Begin to ask; the job is woken once all is known that can be."""
        is_closed = witness is None or self._means.last_lines is None
        inquiry = self._inquiries[key] = Inquiry(version, witness, is_closed=is_closed)
        if not is_closed:
            self._open.put_nowait(key)
        return inquiry

    def forget(self, key: str) -> None:
        """Forget what is known of a job."""
        self._inquiries.pop(key, None)

    async def _ask(self, key: str) -> None:
        """Complete a witness by the last lines of its log, and have its job decided again."""
        inquiry, ask = self._inquiries.get(key), self._means.last_lines
        if inquiry is None or inquiry.witness is None or ask is None:
            return
        witness = inquiry.witness
        agent = self._view.agents.rows.get(witness.agent)
        try:
            async with asyncio.timeout(_ASK_S):
                lines = () if agent is None else await ask(agent.value.endpoint, witness.task)
                inquiry.witness = replace(witness, log=tuple(lines))
        except (Unavailable, NotFound, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            _log.info("evidence_missing", task=witness.task, agent=witness.agent, reason=reason)
        inquiry.is_closed = True
        self._wake(key)

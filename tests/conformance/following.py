"""A reader that comes back whenever it is cut off, from the last whole event it has."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.conformance.events import SSE, Event, Violation
from tests.conformance.wire import PATIENCE_S, Address, Refusal, Stream, Torn


@dataclass
class Followed:
    """What was read, and at what price."""

    events: list[Event] = field(default_factory=list)
    #: Connections that were used.
    visits: int = 0
    #: Those that ended within an event.
    torn_within: int = 0

    @property
    def cursor(self) -> str | None:
        """After which to come back."""
        return next((event.revision for event in reversed(self.events) if "revision" in event.body), None)


async def follow(
    address: Address,
    query: str,
    encoding: str,
    until: Callable[[Event], bool],
    *,
    after: str | None = None,
    silence_s: float = PATIENCE_S,
    within_s: float = PATIENCE_S,
) -> Followed:
    """Read up to the event that is it, through whatever lies between.

    Args:
        address: Whose watch.
        query: Of the selection.
        encoding: To ask for.
        until: The last event.
        after: From where; absent, from a snapshot.
        silence_s: A connection that tells nothing for so long is given up.
        within_s: All of it takes no longer.
    """
    followed = Followed()
    async with asyncio.timeout(within_s):
        while True:
            followed.visits += 1
            cursor = followed.cursor or after
            # Browsers come back by the header; what is read by lines, by the parameter.
            by = {"last_id": cursor} if encoding == SSE else {"after": cursor}
            stream: Stream | None = None
            try:
                async with asyncio.timeout(None) as silence, address.watch(query, encoding, **by) as stream:
                    if await _read(stream, followed, until, silence, silence_s):
                        return followed
            except (Torn, TimeoutError, OSError, asyncio.IncompleteReadError):
                pass
            except Refusal as refusal:
                if refusal.answer.status != 503:
                    raise Violation(f"what was just told cannot be resumed after {cursor}: {refusal}") from refusal
            if stream is not None and stream.parser.rest:
                followed.torn_within += 1


async def _read(
    stream: Stream, followed: Followed, until: Callable[[Event], bool], silence: asyncio.Timeout, silence_s: float
) -> bool:
    loop = asyncio.get_running_loop()
    while True:
        silence.reschedule(loop.time() + silence_s)
        event = await stream.next()
        if event is None or event.type in ("bye", "error"):
            return False
        followed.events.append(event)
        if until(event):
            return True

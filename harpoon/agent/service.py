"""What an agent does for servers, by whatever way they come to it; over HTTP they come through doors (`agent.api`).

A server adopts the agent, then commands it; both bear a token, which the fence admits, and a uid, which must be this
agent's. Whoever follows is told all tasks, and then each change.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from harpoon.agent.feed import Feed
from harpoon.agent.fence import Fence
from harpoon.agent.metrics import Metrics
from harpoon.agent.stream import KEEPALIVE, encode
from harpoon.agent.tasks import Tasks
from harpoon.kit.errors import HarpoonError, Invalid, Unavailable
from harpoon.model.agent import Agent
from harpoon.model.command import Command, CommandResult, ForgetTask
from harpoon.model.wire import Adopt, Commands, Results, Snapshot

#: A stream says something at least so often, so that its reader knows the agent is there.
KEEPALIVE_S: Final = 5.0
#: Commands carried out before others get their turn.
_SLICE: Final = 8

_log = structlog.get_logger(__name__)


class OtherAgent(HarpoonError):
    """The caller means an agent of another uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentService:
    """One agent, as servers see it; and its parts, for those that run it."""

    name: str
    uid: str
    tasks: Tasks
    feed: Feed
    fence: Fence
    metrics: Metrics
    #: Tells who the agent is, given the port it listens at.
    describe: Callable[[int], Agent]

    def snapshot(self) -> Snapshot:
        """Return all tasks as they are now."""
        self.feed.flush()
        return Snapshot(
            agent=self.name,
            uid=self.uid,
            seq=self.feed.seq,
            boot=self.feed.boot,
            tasks=tuple(self.tasks),
            mark=None if self.fence.mark is None else self.fence.mark.token,
        )

    async def adopt(self, order: Adopt) -> Snapshot:
        """Take a token for the highest, durably, and tell all tasks.

        Raises:
            OtherAgent: Another one is meant.
            Fenced: There was a higher one.
            Unavailable: It could not be made durable; nothing changed.
        """
        self._check_uid(order.uid)
        await self.fence.admit(order.token, order.instance, order.cluster)
        _log.info("adopted", token=str(order.token), instance=order.instance)
        return self.snapshot()

    async def command(self, order: Commands) -> Results:
        """Carry out commands, in order; what they deny is on disk before any is answered.

        Raises:
            OtherAgent: Another agent is meant.
            Fenced: There was a higher token, or came to be meanwhile: the first of the commands may be carried out.
            Unavailable: The token could not be made durable; nothing changed.
        """
        fence = self.fence
        self._check_uid(order.uid)
        await fence.admit(order.token, order.instance)
        refusal = await self._deny(order)
        # Another holder may have taken over meanwhile.
        fence.check(order.token, order.instance)
        results: list[CommandResult] = []
        for start in range(0, len(order.commands), _SLICE):
            if start:
                await asyncio.sleep(0)
                fence.check(order.token, order.instance)
            slice_ = order.commands[start : start + _SLICE]
            results += (done := [self._obey(command, refusal) for command in slice_])
            # Told before anyone else has a turn: what is broken off here has happened so far, and before what follows.
            told = [_told(command, result) for command, result in zip(slice_, done, strict=True)]
            _log.info("commands_carried_out", token=str(order.token), instance=order.instance, results=told)
        return Results(results=tuple(results))

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Follow: the bytes of a snapshot, then of all that changes, until the follower is cut off. To be closed."""
        snapshot = encode("snapshot", self.snapshot())
        # No turn of the loop lies between the snapshot and the following of what comes after it.
        follower = self.feed.follow()
        try:
            yield snapshot
            while not follower.is_cut:
                events = await follower.take(KEEPALIVE_S)
                if not follower.is_cut:
                    yield KEEPALIVE if events is None else events
        finally:
            self.feed.leave(follower)

    def _obey(self, command: Command, refusal: str) -> CommandResult:
        """Carry out a command, unless it is to confirm a denial that is not on disk."""
        mark = self.fence.mark
        assert mark is not None, "a token was admitted"
        if refusal and isinstance(command, ForgetTask) and command.is_denied:
            return CommandResult(task=command.task, is_ok=False, reason=refusal)
        return self.tasks.obey(command, mark.cluster)

    async def _deny(self, order: Commands) -> str:
        """Put on disk what the commands deny, all at once, before any is answered; return why it is not there."""
        denied = [one.task for one in order.commands if isinstance(one, ForgetTask) and one.is_denied]
        try:
            if denied:
                await self.fence.deny(order.token, order.instance, denied)
        except (Invalid, Unavailable) as error:
            return str(error)
        return ""

    def _check_uid(self, uid: str) -> None:
        if uid != self.uid:
            raise OtherAgent(f"this agent is {self.uid}, and {uid[:80]!r} was meant")


def _told(command: Command, result: CommandResult) -> str:
    """Say what became of a command, for the log."""
    if result.is_ok:
        return f"{command.kind} {command.task}: {'denied' if result.is_denied else 'done'}"
    return f"{command.kind} {command.task}: {'refused as denied' if result.is_denied else 'refused'}: {result.reason}"

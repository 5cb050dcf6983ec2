"""The fence: the highest token this agent has taken, on disk before anything is done by virtue of it.

A former holder does not know that it is one; its commands may arrive hours late. So the agent compares every token
with its mark, also after a restart. A lower one is refused; an equal one is taken from the same instance only.

It also keeps what has been *denied*: "this slot, at this placement and all before it, is never started here". That is
what lets a slot be placed elsewhere while a start of it may still be on its way to this agent. A denial must hold as
long as its token is the mark. Once that rises, starts on their way carry a lower token, and are refused for that; the
latest `DENIALS_KEPT` are kept all the same, since a registry that is restored from a backup may ask for a start that it
had come to have denied. They share one file, which is replaced whole: a daemon killed at whatever moment leaves the old
mark with its denials, or the new one with what is kept; never the old mark and fewer denials.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harpoon.agent import home
from harpoon.agent.record import check_task_id
from harpoon.kit import codec
from harpoon.kit.errors import Fenced, Invalid, Unavailable
from harpoon.model.name import TaskId
from harpoon.model.task import parse_task_id
from harpoon.model.token import Token

#: Slots denied at once: each was an exclusive job's, and went away from here since the agent was taken over last.
DENIALS_MAX: Final = 10_000
#: Of those denied by virtue of earlier tokens, so many are kept.
DENIALS_KEPT: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The highest token taken, who had it, and of which cluster."""

    token: Token
    instance: str
    #: Tasks started from now on belong to it; empty until a holder has adopted.
    cluster: str = ""
    #: Slot, as ``<namespace>.<job>.<slot>`` → the highest placement that is denied; incarnation and revision. The
    #: slot denied last comes last.
    denials: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    v: int = 1


class Fence:
    """Guards the agent by its mark. One writer at a time."""

    def __init__(self, path: Path) -> None:
        """Read the mark, if there is one. It blocks.

        Raises:
            Invalid: There is a mark that cannot be read. Going on without it could obey a former holder.
            OSError: Likewise.
        """
        self._path = path
        self._writing = asyncio.Lock()
        try:
            self.mark: Mark | None = codec.load(Mark, path.read_bytes())
        except FileNotFoundError:
            self.mark = None
        except Invalid as error:
            raise Invalid(f"{path} cannot be read, so this agent cannot tell old commands from new: {error}") from error

    async def admit(self, token: Token, instance: str, cluster: str | None = None) -> None:
        """Let this token pass, making it the mark, durably, if it is higher.

        Args:
            token: What the caller acts by virtue of.
            instance: Who the caller is.
            cluster: When adopting: the caller's cluster.

        Raises:
            Fenced: It is lower, or equal and another instance's.
            Unavailable: It is higher and could not be made durable; nothing changed.
        """
        self.check(token, instance)
        if self.mark is not None and self.mark.token == token and cluster in (None, self.mark.cluster):
            return
        async with self._writing:
            self.check(token, instance)
            known = "" if self.mark is None else self.mark.cluster
            denials = {} if self.mark is None else self.mark.denials
            if self.mark is not None and self.mark.token != token:
                denials = dict(list(denials.items())[-DENIALS_KEPT:])
            named = known if cluster is None else cluster
            await self._keep(Mark(token=token, instance=instance, cluster=named, denials=denials), "the token")

    async def deny(self, token: Token, instance: str, tasks: Iterable[TaskId]) -> None:
        """Deny the slots of these tasks up to their placements, durably, by virtue of a token that was admitted.

        Raises:
            Fenced: The token has been overtaken.
            Invalid: One of them is no task's id.
            Unavailable: It could not be made durable, or there are too many; nothing changed.
        """
        names = [parse(task) for task in tasks]
        async with self._writing:
            self.check(token, instance)
            assert self.mark is not None, "a token was admitted"
            denials = dict(self.mark.denials)
            for slot, number in names:
                denials[slot] = max(number, denials.get(slot, number))
            if len(denials) > DENIALS_MAX:
                raise Unavailable(
                    f"{DENIALS_MAX} slots are denied here already; that ends when another server takes this agent over"
                )
            await self._keep(replace(self.mark, denials=denials), "the denial")

    def is_denied(self, task: TaskId) -> bool:
        """Return whether this task is never to be started here."""
        if self.mark is None or not self.mark.denials:
            return False
        slot, number = parse(task)
        denied = self.mark.denials.get(slot)
        return denied is not None and number <= denied

    async def _keep(self, mark: Mark, what: str) -> None:
        if mark == self.mark:
            return
        try:
            await asyncio.to_thread(home.write_durably, self._path, codec.dump(mark))
        except OSError as error:
            raise Unavailable(f"{what} could not be made durable: {error.strerror}") from error
        self.mark = mark

    def check(self, token: Token, instance: str) -> None:
        """Refuse a token that has been overtaken.

        Raises:
            Fenced: It is lower than the mark, or equal and another instance's.
        """
        mark = self.mark
        if mark is None or token > mark.token or (token == mark.token and instance == mark.instance):
            return
        what = "another instance holds it" if token == mark.token else f"{mark.token} has been taken since"
        raise Fenced(f"token {token} is refused: {what}", mark=mark.token)


def parse(task: TaskId) -> tuple[str, tuple[int, int]]:
    """Return the slot of a task, by which it is denied, and the number of its placement.

    Raises:
        Invalid: It is no task's id.
    """
    try:
        name = parse_task_id(check_task_id(task))
    except ValueError as error:
        raise Invalid(str(error)) from error
    return f"{name.namespace}.{name.job}.{name.place}", (name.number.incarnation, name.number.revision)

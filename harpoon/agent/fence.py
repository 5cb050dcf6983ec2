"""The fence: the highest token this agent has taken, on disk before anything is done by virtue of it.

A former holder does not know that it is one; its commands may arrive hours late. So the agent compares every token
with its mark, also after a restart. A lower one is refused; an equal one is taken from the same instance only.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from harpoon.agent import home
from harpoon.kit import codec
from harpoon.kit.errors import Fenced, Invalid, Unavailable
from harpoon.model.token import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The highest token taken, who had it, and of which cluster."""

    token: Token
    instance: str
    #: Tasks started from now on belong to it; empty until a holder has adopted.
    cluster: str = ""
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
            mark = Mark(token=token, instance=instance, cluster=known if cluster is None else cluster)
            if mark == self.mark:
                return
            try:
                await asyncio.to_thread(home.write_durably, self._path, codec.dump(mark))
            except OSError as error:
                raise Unavailable(f"the token could not be made durable: {error.strerror}") from error
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

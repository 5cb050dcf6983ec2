"""What crosses between server and agent: the bodies of the agent's HTTP API.

``GET /v1/tasks`` streams a `Snapshot` (event ``snapshot``), then a `Changed` (event ``changed``) for each turn in
which something changed. ``POST /v1/adopt`` takes `Adopt` and answers `Snapshot`; ``POST /v1/commands`` takes
`Commands` and answers `Results`. A token below the agent's mark is answered with 409 and that mark.
"""

from dataclasses import dataclass

from harpoon.model.command import Command, CommandResult
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.model.token import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every task that the agent knows."""

    agent: str
    uid: str
    #: Rises with each change the agent reports within one life of its daemon; `Changed` goes on from it.
    seq: int
    #: One life of the agent's daemon; another boot starts ``seq`` again.
    boot: str
    tasks: tuple[Task, ...]
    #: The highest token adopted so far.
    mark: Token | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Tasks that changed, complete, and tasks that are gone."""

    boot: str
    seq: int
    tasks: tuple[Task, ...] = ()
    gone: tuple[TaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take this token for the highest from now on, and say all you have."""

    token: Token
    #: The server instance that holds the token: an equal token is taken from the same instance only.
    instance: str
    #: Of the agent that is meant.
    uid: str
    #: Of the cluster; tasks started from now on belong to it.
    cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Commands by virtue of a token, carried out in order."""

    token: Token
    instance: str
    uid: str
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One result for each command, in their order."""

    results: tuple[CommandResult, ...]

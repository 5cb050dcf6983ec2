"""Rebalancing: tasks that are to move to where placing would put them today, as asked for, decided, kept and told."""

from dataclasses import dataclass

from harpoon.model.name import TaskId, check_name

#: Moves that may be under way at once: they are written in one commit.
MOVES_MAX = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalancing:
    """Tasks are to be moved to where placing would put them today: at most so many, those that gain most."""

    max_moves: int
    #: Of one namespace only; absent: of all.
    namespace: str | None = None
    #: Of one job of that namespace only; absent: of all.
    job: str | None = None
    #: Also tasks of exclusive jobs, which are stopped before they are started elsewhere.
    exclusive: bool = False
    #: Only say which would be moved.
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_moves <= MOVES_MAX:
            raise ValueError(f"max_moves is 1 to {MOVES_MAX}")
        if self.namespace is not None:
            check_name("namespace", self.namespace)
        if self.job is not None:
            check_name("job", self.job)
            if self.namespace is None:
                raise ValueError("job names one of a namespace; name that, too")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A task that is to be replaced elsewhere, and where placing would put it now."""

    task: TaskId
    #: Where it is.
    agent: str
    #: Where it is to go; what happens until then may make it another one.
    to: str
    #: One sentence.
    reason: str
    #: How many tasks of the job there are where it is, with it; or how much that is preferred.
    before: int
    #: Likewise where it is to go, with it.
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRecord:
    """A move that is under way: the record. It goes with the placement, or when there is no better place any more."""

    move: Move
    #: When it was decided, UTC milliseconds.
    at_ms: int
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """Moves that were decided, best first; or those that are under way, by agent."""

    #: Of the commit; of the state that it is told from, if there is none.
    revision: str
    moves: tuple[Move, ...]
    #: Whether nothing was cut off: else there may be more that gain as much.
    is_whole: bool

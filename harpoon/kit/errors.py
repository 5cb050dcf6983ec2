"""The errors that cross floors. The doors map each to one status, once; below, nobody knows of HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass

from harpoon.model.namespace import Excess


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with an input: where (JSON pointer), and what would be right."""

    pointer: str
    detail: str


class HarpoonError(Exception):
    """Something a caller can be told about; the message is for a person and holds no secret."""


class Invalid(HarpoonError):
    """The input is wrong; the same input will always be."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotFound(HarpoonError):
    """There is no such thing."""


class Conflict(HarpoonError):
    """It changed, or exists, contrary to what the caller assumed; ``current`` is what stands now, if known."""

    def __init__(self, message: str, *, current: object = None) -> None:
        super().__init__(message)
        self.current = current


class PreconditionFailed(Conflict):
    """An If-Match or If-None-Match did not hold."""


class Outdated(Conflict):
    """What was to be done was decided on something that has changed since; ``problems`` tells what."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class Reused(HarpoonError):
    """The id was used before, for something else; ``reused`` is it."""

    def __init__(self, message: str, *, reused: str) -> None:
        super().__init__(message)
        self.reused = reused


class Exceeded(HarpoonError):
    """A bound that somebody set would be passed; ``excesses`` are the limits."""

    def __init__(self, message: str, excesses: Sequence[Excess] = ()) -> None:
        super().__init__(message)
        self.excesses = tuple(excesses)


class Gone(HarpoonError):
    """The history asked for is no longer kept; ``oldest`` is, except for ``gaps``, if these are known."""

    def __init__(self, message: str, *, oldest: str, gaps: object = None) -> None:
        super().__init__(message)
        self.oldest = oldest
        self.gaps = gaps


class Fenced(HarpoonError):
    """The token is lower than one already seen, the ``mark``: another holder has taken over."""

    def __init__(self, message: str, *, mark: object = None) -> None:
        super().__init__(message)
        self.mark = mark


class Unavailable(HarpoonError):
    """Not now; trying again later may work."""


class Unreachable(Unavailable):
    """Nothing answers there, or the connection broke before the answer was whole."""


class Denied(HarpoonError):
    """The server does not let this caller do that."""


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group, out of the groups within it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found

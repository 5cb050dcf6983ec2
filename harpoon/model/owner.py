"""Who had a job made that no user declared."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOwner:
    """The attempt of an operation that a job is the task of, in the same namespace; it is swept when that is over."""

    run: str
    #: The operation, and which of its visits and of that visit's attempts.
    op: str
    visit: int
    attempt: int

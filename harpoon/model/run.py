"""A run of a workflow: how it stands."""

from enum import StrEnum


class Status(StrEnum):
    """How a run stands, or how it ended."""

    RUNNING = "running"
    #: Nothing was left to do.
    SUCCEEDED = "succeeded"
    #: A failure that no edge took, an operation that ends it so, or outputs that could not be evaluated.
    FAILED = "failed"
    #: Its deadline passed.
    TIMED_OUT = "timed_out"
    #: Somebody asked for it.
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen in it any more."""
        return self is not Status.RUNNING

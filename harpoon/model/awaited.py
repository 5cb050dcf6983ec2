"""A run that jobs wait for, as the scheduler has found it."""

from dataclasses import dataclass

from harpoon.model.run import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedRun:
    """How a run stood when it was looked at last; what is decided of jobs rests on this record, not on the run."""

    namespace: str
    run: str
    #: None: there is no such run.
    status: Status | None = None
    workflow: str = ""
    #: Why it ended as it did.
    reason: str = ""
    #: UTC milliseconds; None: it has not ended, or when it did is not kept.
    ended_ms: int | None = None
    v: int = 1

    @property
    def has_succeeded(self) -> bool:
        """Whether what waits for it waits no more."""
        return self.status is Status.SUCCEEDED

    @property
    def found(self) -> str:
        """How it stands, in a few words."""
        if self.status is None:
            return "there is no such run"
        return f"{self.status}: {self.reason}" if self.reason else self.status.value

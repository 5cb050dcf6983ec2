"""What a job waits for before its slots are first placed: other jobs, and runs of workflows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harpoon.model.name import check_name
from harpoon.model.tombstone import check_run_id


class Condition(StrEnum):
    """What is waited for."""

    #: Of a job: every slot has a ready task of its present generation, and nothing older is left.
    READY = "ready"
    #: Of a run: it has ended, and well.
    SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What another job or a run of the namespace must be before a slot is first placed; exactly one of them is set."""

    job: str | None = None
    #: The id of a run of a workflow.
    run: str | None = None
    #: Left out: ``ready`` of a job, ``succeeded`` of a run. There is no other.
    is_: Condition | None = None

    def __post_init__(self) -> None:
        if (self.job is None) is (self.run is None):
            raise ValueError("a dependency sets exactly one of job, run")
        if self.job is not None:
            check_name("job", self.job)
        if self.run is not None:
            check_run_id(self.run)
        wanted = Condition.READY if self.run is None else Condition.SUCCEEDED
        if self.is_ not in (None, wanted):
            raise ValueError(f"is: {self.is_} has no meaning of a {self.kind}; write {wanted}, or leave it out")
        object.__setattr__(self, "is_", wanted)

    @property
    def kind(self) -> str:
        """Of what: ``job`` or ``run``."""
        return "job" if self.run is None else "run"

    @property
    def name(self) -> str:
        """The job, or the run."""
        return self.job or self.run or ""

    @property
    def wanted(self) -> Condition:
        """What it is to be."""
        return Condition.READY if self.run is None else Condition.SUCCEEDED

    @property
    def label(self) -> str:
        """What it is called where both kinds are: a job by its name, a run as ``run/<id>``."""
        return self.name if self.run is None else f"run/{self.run}"


#: How each condition is put into a sentence.
WORDS: Final = {Condition.READY: "to be ready", Condition.SUCCEEDED: "to have succeeded"}

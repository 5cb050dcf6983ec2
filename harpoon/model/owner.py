"""What attempts of operations have ordered of jobs, and whose a job is that one of them had made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOwner:
    """The attempt of an operation that a job is the task of, in the same namespace; it is swept when that is over."""

    run: str
    #: The operation, and which of its visits and of that visit's attempts.
    op: str
    visit: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """What an order of an attempt came to: written in the commit of just that, and kept while the attempt is open."""

    namespace: str
    owner: RunOwner
    #: The job's name.
    job: str
    version: int
    generation: str
    #: The revision at which the job was last written; 0: that of this record.
    written: int = 0
    v: int = 1

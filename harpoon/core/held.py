"""Slots that wait for another job, a run, or a secret: the record that says so.

It does not find out whether a dependency holds (that takes the other job's tasks, or the run), nor which slots wait
(`core.rollout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harpoon.core.members import named
from harpoon.model.decision import Blocker, Pending
from harpoon.model.dependency import WORDS, Dependency
from harpoon.model.instant import Instant
from harpoon.model.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A dependency that does not hold."""

    dependency: Dependency
    #: How that stands, such as ``1/3 ready``.
    found: str
    #: What would have it hold, if something would.
    fix: str = ""

    @property
    def name(self) -> str:
        """The job, or ``run/<id>``."""
        return self.dependency.label

    @property
    def wanted(self) -> str:
        """What it is to be."""
        return str(self.dependency.wanted)

    @property
    def predicate(self) -> str:
        """What is tested."""
        return f"depends_on {self.name}"

    @property
    def told(self) -> str:
        """What is waited for."""
        one = self.dependency
        return f"for {one.kind} {one.name} {WORDS[one.wanted]} (found {self.found})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSecret:
    """A value of a secret that a job refers to, and that it cannot have."""

    #: ``<name>/<key>``.
    name: str
    #: Why not, such as ``there is no such secret``.
    found: str

    @property
    def wanted(self) -> str:
        """What it is to be."""
        return "set"

    @property
    def predicate(self) -> str:
        """What is tested."""
        return f"secret {self.name}"

    @property
    def told(self) -> str:
        """What is waited for."""
        return f"for secret {self.name} to be set ({self.found})"


#: What slots wait for.
Missing = Unmet | NoSecret


def hold_back(
    job: Job, slots: Sequence[int], unmet: Sequence[Missing], pending: Pending | None, now: Instant
) -> Pending | None:
    """Return what to record of a job of which some slots are held back, and perhaps others cannot be placed.

    Args:
        job: Whose slots they are.
        slots: Those that are held back.
        unmet: The dependencies and secrets that hold them back, in the order the job names them.
        pending: What cannot be placed for another reason; None: nothing.
        now: When this is decided.
    """
    if not slots:
        return pending
    waits = " and ".join(one.told for one in unmet)
    reason = f"{len(slots)} of {job.spec.scale} wanted slots wait {waits}"
    blockers = tuple(
        Blocker(
            predicate=one.predicate,
            wanted=one.wanted,
            found=one.found,
            agents=(),
            agents_count=0,
        )
        for one in unmet
    )
    if pending is not None:
        return replace(
            pending,
            slots=tuple(sorted({*pending.slots, *slots})),
            reason=f"{reason}; {pending.reason}",
            blockers=(*blockers, *pending.blockers),
            members=named(job, {*pending.slots, *slots}),
        )
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(slots),
        reason=reason,
        blockers=blockers,
        since_ms=now.wall,
        members=named(job, slots),
    )

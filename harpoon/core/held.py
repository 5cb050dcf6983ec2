"""Slots that wait for another job: the record that says so.

It does not find out whether a dependency holds (that takes the other job's tasks), nor which slots wait
(`core.rollout`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harpoon.model.decision import Blocker, Pending
from harpoon.model.instant import Instant
from harpoon.model.job import Dependency, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A dependency that does not hold."""

    dependency: Dependency
    #: How the other job stands, such as ``1/3 ready``.
    found: str


def hold_back(
    job: Job, slots: Sequence[int], unmet: Sequence[Unmet], pending: Pending | None, now: Instant
) -> Pending | None:
    """Return what to record of a job of which some slots are held back, and perhaps others cannot be placed.

    Args:
        job: Whose slots they are.
        slots: Those that are held back.
        unmet: The dependencies that hold them back, in the order the job names them.
        pending: What cannot be placed for another reason; None: nothing.
        now: When this is decided.
    """
    if not slots:
        return pending
    waits = " and ".join(
        f"for job {one.dependency.job} to be {one.dependency.is_} (found {one.found})" for one in unmet
    )
    reason = f"{len(slots)} of {job.spec.scale} wanted slots wait {waits}"
    blockers = tuple(
        Blocker(
            predicate=f"depends_on {one.dependency.job}",
            wanted=str(one.dependency.is_),
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
        )
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(slots),
        reason=reason,
        blockers=blockers,
        since_ms=now.wall,
    )

"""A job's versions: which are kept, which of them a rollback brings back, and how two of them differ."""

from typing import Any, Final

import orjson

from harpoon.control.view import View, job_key
from harpoon.core.diff import diff
from harpoon.kit import codec
from harpoon.kit.errors import NotFound
from harpoon.model.edit import Diff, Edit
from harpoon.model.job import Job, Spec, Version
from harpoon.model.versions import ShownVersion, VersionList

#: Versions back from the present one that may be kept though no task runs them; older ones are not looked for.
VERSIONS_SEARCHED: Final = 50
#: Past versions kept of a job, beside those that tasks still run.
VERSIONS_KEPT: Final = 10
#: Outdated versions that one mutation deletes at most; those still in use stay for a later one.
PRUNED_AT_ONCE: Final = 5
#: Numbers named when one is asked for that is not kept.
_NAMED_MAX: Final = 20


def outdated_versions(view: View, job: Job) -> list[str]:
    """Return the keys of some versions of a job that are neither recent nor run by any task, oldest last."""
    if job.version <= VERSIONS_KEPT:
        return []
    key = job_key(job.namespace, job.name)
    in_use = {placement.value.version for placement in view.placements_of(key).values()} | _awaited(view, key)
    outdated = [
        f"{key}/{number}"
        for number in range(job.version - VERSIONS_KEPT, max(0, job.version - VERSIONS_SEARCHED), -1)
        if number not in in_use and f"{key}/{number}" in view.versions.rows
    ]
    return outdated[-PRUNED_AT_ONCE:]


def _awaited(view: View, key: str) -> frozenset[int]:
    """Return the version that a rollout may go back to."""
    row = view.rollouts.rows.get(key)
    stable = None if row is None or row.value.is_complete else row.value.stable
    return frozenset() if stable is None else frozenset({stable})


def kept_versions(view: View, job: Job) -> list[Version]:
    """Return the versions of a job that are kept, newest first."""
    key, rows = job_key(job.namespace, job.name), view.versions.rows
    # Ten are kept, and those that tasks run; what is older than those is pruned as the job is changed.
    numbers = {placed.value.version for placed in view.placements_of(key).values()} | _awaited(view, key)
    numbers.update(range(job.version, max(0, job.version - VERSIONS_SEARCHED), -1))
    found = (rows.get(f"{key}/{number}") for number in sorted(numbers, reverse=True))
    return [row.value for row in found if row is not None]


def shown_versions(view: View, job: Job) -> VersionList:
    """Return the versions of a job as they are shown."""
    items = tuple(_shown(view, job, version) for version in kept_versions(view, job))
    return VersionList(revision=view.external(view.revision), items=items)


def shown_version(view: View, job: Job, number: int) -> ShownVersion:
    """Return one version of a job as it is shown.

    Raises:
        NotFound: It is not kept.
    """
    return _shown(view, job, _kept(view, job, number))


def version_to_restore(view: View, job: Job, number: int | None) -> Version:
    """Return the version that a rollback brings back: the one named, else the newest earlier one of another spec.

    Raises:
        NotFound: There is none.
    """
    if number is not None:
        return _kept(view, job, number)
    for version in kept_versions(view, job):
        if version.version < job.version and version.spec != job.spec:
            return version
    raise NotFound(f"no earlier version of job {job.name} is kept that has another spec; {_told(view, job)}")


def version_diff(view: View, job: Job, old: int, new: int | None) -> Diff:
    """Return how two versions of a job differ; ``new`` is the present form when absent.

    Raises:
        NotFound: One of them is not kept.
    """
    first = _kept(view, job, old)
    then = job if new is None else _kept(view, job, new)
    return Diff(
        revision=view.external(view.revision),
        from_=old,
        to=then.version,
        is_new_generation=first.generation != then.generation,
        changes=form_diff(form_of(first.tags, first.spec), form_of(then.tags, then.spec)),
    )


def form_of(tags: Any, spec: Spec) -> dict[str, Any]:
    """Return what a user declares of a job, with defaults filled in, as JSON."""
    return {"metadata": {"tags": dict(tags)}, "spec": orjson.loads(codec.dump_full(spec))}


def form_diff(old: Any, new: Any) -> tuple[Edit, ...]:
    """Return how two such forms differ. What must not be told of a value is to be hidden here."""
    return diff(old, new)


def _kept(view: View, job: Job, number: int) -> Version:
    row = view.versions.rows.get(f"{job_key(job.namespace, job.name)}/{number}")
    if row is None:
        raise NotFound(f"version {number} of job {job.name} is not kept; {_told(view, job)}")
    return row.value


def _told(view: View, job: Job) -> str:
    numbers = [str(version.version) for version in kept_versions(view, job)]
    more = f" and {len(numbers) - _NAMED_MAX} more" if len(numbers) > _NAMED_MAX else ""
    return f"kept are {', '.join(numbers[:_NAMED_MAX]) or 'none'}{more}"


def _shown(view: View, job: Job, version: Version) -> ShownVersion:
    placed = view.placements_of(job_key(job.namespace, job.name)).values()
    return ShownVersion(
        version=version.version,
        generation=version.generation,
        at_ms=version.at_ms,
        tags=version.tags,
        spec=version.spec,
        is_current=version.version == job.version,
        reverted_from=version.reverted_from,
        tasks=sum(row.value.version == version.version for row in placed),
    )

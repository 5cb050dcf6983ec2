"""Desired state, written: jobs and their versions. Everything that a user may declare goes through here.

A mutation is answered once the store has committed it and the view shows it, so that whoever asked reads their
own write. It does not wait for tasks: that is what the returned change is for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from harpoon.control.changes import ChangeStatus, change_status
from harpoon.control.status import JobStatus, change_id, job_status
from harpoon.control.view import JOBS, VERSIONS, View, job_key
from harpoon.control.waiting import Waiters
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Invalid, NotFound, PreconditionFailed, Problem, Unavailable
from harpoon.model.job import Job, Metadata, Spec, Version
from harpoon.model.manifest import Manifest
from harpoon.model.name import check_name
from harpoon.store.port import COMMIT_BYTES_MAX, WRITES_MAX, Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Documents of one all-or-nothing apply; each writes a job and a version. What is left of the commit may prune.
APPLY_MAX: Final = 40
#: A job is written twice in one commit, as it is and as a version; with some room for the keys.
JOB_BYTES_MAX: Final = COMMIT_BYTES_MAX // 2 - 1024
#: Past versions kept of a job, beside those that tasks still run.
VERSIONS_KEPT: Final = 10
#: Of an outdated stretch of versions, so many are looked at by each mutation; those still in use stay for a later one.
PRUNED_AT_ONCE: Final = 5
#: Tries of a mutation without a precondition against others that change the same job.
TRIES: Final = 5


class Outcome(StrEnum):
    """What a mutation came to."""

    CREATED = "created"
    CHANGED = "changed"
    #: The job stands like that already; nothing was written.
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A mutation that is durable, and the change that can be waited for."""

    revision: int
    change: str
    job: Job
    outcome: Outcome


def generation_of(spec: Spec) -> str:
    """Return the hash of a job's task template: equal templates, equal generations, however they were spelled."""
    return hashlib.sha256(codec.canonical(spec.task)).hexdigest()[:12]


class Registry:
    """The one writer of desired state."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._waiters = Waiters(view)

    async def put(self, manifest: Manifest, *, if_match: int | None = None, is_new: bool = False) -> Accepted:
        """Create or replace a job.

        Args:
            manifest: What the user declares.
            if_match: The ``mod_revision`` that the job must have.
            is_new: The job must not exist.

        Raises:
            PreconditionFailed: ``if_match`` or ``is_new`` does not hold.
        """
        for _ in range(TRIES):
            row = self._row(manifest.metadata.namespace, manifest.metadata.name)
            _check(row, if_match=if_match, is_new=is_new)
            accepted = await self._commit((self._next(manifest, row),))
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def apply(self, manifests: Sequence[Manifest]) -> tuple[Accepted, ...]:
        """Create or replace several jobs in one commit, all or nothing.

        Raises:
            Invalid: More than `APPLY_MAX`, or one job twice.
        """
        if len(manifests) > APPLY_MAX:
            raise Invalid(f"apply takes at most {APPLY_MAX} documents at once; got {len(manifests)}")
        names = [job_key(manifest.metadata.namespace, manifest.metadata.name) for manifest in manifests]
        for index, name in enumerate(names):
            if name in names[:index]:
                detail = f"job {name} is declared twice; keep one"
                raise Invalid(detail, [Problem(pointer=f"/documents/{index}/metadata/name", detail=detail)])
        for _ in range(TRIES):
            rows = [self._row(manifest.metadata.namespace, manifest.metadata.name) for manifest in manifests]
            accepted = await self._commit(
                tuple(self._next(manifest, row) for manifest, row in zip(manifests, rows, strict=True))
            )
            if accepted is not None:
                return accepted
        raise Unavailable("others keep changing these jobs; try again")

    async def scale(self, namespace: str, name: str, scale: int, *, if_match: int | None = None) -> Accepted:
        """Change how many slots a job has; its tasks are not replaced.

        Raises:
            Invalid: ``scale`` is out of range.
            NotFound: There is no such job, or it is being unscheduled.
            PreconditionFailed: ``if_match`` does not hold.
        """
        for _ in range(TRIES):
            row = self._existing(namespace, name)
            _check(row, if_match=if_match, is_new=False)
            if row.value.is_terminating:
                raise NotFound(f"job {name} is being unscheduled; schedule it again to change it")
            try:
                spec = replace(row.value.spec, scale=scale)
            except ValueError as error:
                raise Invalid(str(error), [Problem(pointer="/scale", detail=str(error))]) from error
            accepted = await self._commit((self._next(_manifest(row.value, spec), row),))
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def delete(self, namespace: str, name: str, *, if_match: int | None = None) -> Accepted:
        """Unschedule a job: its tasks are stopped, then its records go.

        Raises:
            NotFound: There is no such job.
            PreconditionFailed: ``if_match`` does not hold.
        """
        for _ in range(TRIES):
            row = self._existing(namespace, name)
            _check(row, if_match=if_match, is_new=False)
            job = row.value
            if not job.is_terminating:
                job = replace(job, is_terminating=True, version=job.version + 1, updated_ms=self._clock.now().wall)
            accepted = await self._commit(((job, row),))
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    def status(self, namespace: str, name: str) -> JobStatus:
        """Return how a job stands.

        Raises:
            NotFound: There is no such job.
        """
        return job_status(self._view, self._existing(namespace, name))

    async def changed(self, key: str, after: int) -> None:
        """Return once anything of a job (by key) has changed after a revision; perhaps earlier, so look again."""
        await self._waiters.changed(key, after)

    def change(self, change: str) -> ChangeStatus:
        """Return how far a change has come.

        Raises:
            Invalid: ``change`` is not the id of one.
            NotFound: It was never made, as far as this store knows.
        """
        return change_status(self._view, change)

    def _row(self, namespace: str, name: str) -> Row[Job] | None:
        for what, text in (("namespace", namespace), ("name", name)):
            try:
                check_name(what, text)
            except ValueError as error:
                raise Invalid(str(error), [Problem(pointer=f"/metadata/{what}", detail=str(error))]) from error
        return self._view.jobs.rows.get(job_key(namespace, name))

    def _existing(self, namespace: str, name: str) -> Row[Job]:
        row = self._row(namespace, name)
        if row is None:
            raise NotFound(f"there is no job {name} in namespace {namespace}")
        return row

    def _next(self, manifest: Manifest, row: Row[Job] | None) -> tuple[Job, Row[Job] | None]:
        """Return the job that the manifest asks for; the very same record when it changes nothing."""
        now_ms = self._clock.now().wall
        old = None if row is None else row.value
        metadata, spec = manifest.metadata, manifest.spec
        if old is not None and not old.is_terminating and old.spec == spec and old.tags == metadata.tags:
            return old, row
        job = Job(
            namespace=metadata.namespace,
            name=metadata.name,
            spec=spec,
            generation=generation_of(spec),
            version=1 if old is None else old.version + 1,
            created_ms=now_ms if old is None else old.created_ms,
            updated_ms=now_ms,
            tags=metadata.tags,
        )
        return job, row

    async def _commit(self, jobs: Sequence[tuple[Job, Row[Job] | None]]) -> tuple[Accepted, ...] | None:
        """Write the jobs that changed in one commit; None when one of them was changed by someone else meanwhile."""
        compares: list[Compare] = []
        writes: list[Write] = []
        prunes: list[Write] = []
        for job, row in jobs:
            if row is None or job is not row.value:
                key = job_key(job.namespace, job.name)
                compares.append(Compare(JOBS + key, mod=0 if row is None else row.mod_revision))
                writes.append(Put(JOBS + key, _record(job)))
                if not job.is_terminating:
                    writes.append(Put(f"{VERSIONS}{key}/{job.version}", codec.dump(_version(job))))
                    prunes += self._prunes(job)
        revision: int | None = self._view.revision
        if writes:
            _check_size(writes)
            revision = await self._store.commit(compares, (writes + prunes)[:WRITES_MAX])
            if revision is None:
                await self._view.mirror.reached(await self._store.revision())
                return None
            await self._view.mirror.reached(revision)
        assert revision is not None
        return tuple(self._accepted(job, row, revision) for job, row in jobs)

    def _accepted(self, job: Job, row: Row[Job] | None, revision: int) -> Accepted:
        is_unchanged = row is not None and job is row.value
        at = row.mod_revision if row is not None and is_unchanged else revision
        outcome = Outcome.UNCHANGED if is_unchanged else Outcome.CREATED if row is None else Outcome.CHANGED
        change = change_id(self._view, job.namespace, job.name, at)
        return Accepted(revision=at, change=change, job=job, outcome=outcome)

    def _prunes(self, job: Job) -> list[Write]:
        """Return the deletion of versions that are neither recent nor run by any task."""
        key = job_key(job.namespace, job.name)
        in_use = {placement.value.version for placement in self._view.placements_of(key).values()}
        newest = job.version - VERSIONS_KEPT
        return [
            Delete(f"{VERSIONS}{key}/{outdated}")
            for outdated in range(newest, newest - PRUNED_AT_ONCE, -1)
            if outdated not in in_use and f"{key}/{outdated}" in self._view.versions.rows
        ]


def _record(job: Job) -> bytes:
    record = codec.dump(job)
    if len(record) > JOB_BYTES_MAX:
        raise Invalid(
            f"job {job.name} takes {len(record)} bytes; at most {JOB_BYTES_MAX} fit: move data out of the manifest"
        )
    return record


def _check_size(writes: Sequence[Write]) -> None:
    size = sum(len(write.value) for write in writes if isinstance(write, Put))
    if size > 2 * JOB_BYTES_MAX:
        raise Invalid(
            f"these documents take {size} bytes together; at most {2 * JOB_BYTES_MAX} fit one commit: apply fewer"
        )


def _version(job: Job) -> Version:
    return Version(
        namespace=job.namespace,
        name=job.name,
        version=job.version,
        generation=job.generation,
        spec=job.spec,
        at_ms=job.updated_ms,
        tags=job.tags,
    )


def _check(row: Row[Job] | None, *, if_match: int | None, is_new: bool) -> None:
    if is_new and row is not None:
        what = "is still being unscheduled" if row.value.is_terminating else "exists already; use migrate to change it"
        raise PreconditionFailed(f"job {row.value.name} {what}", current=row)
    if if_match is not None and (row is None or row.mod_revision != if_match):
        what = "does not exist" if row is None else "was changed by someone else meanwhile"
        raise PreconditionFailed(f"the job {what}", current=row)


def _manifest(job: Job, spec: Spec) -> Manifest:
    metadata = Metadata(name=job.name, namespace=job.namespace, tags=job.tags)
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=spec)

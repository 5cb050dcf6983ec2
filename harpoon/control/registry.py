"""Desired state, written: jobs and their versions. Everything that a user may declare goes through here.

A mutation is answered once the store has committed it and the view shows it, so that whoever asked reads their
own write. It does not wait for tasks: that is what the returned change is for. When the store's answer was lost, what
came of the mutation is read back (`store.settle`); only what cannot be found out is told to be unknown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from harpoon.control.awaited_runs import look_up_new
from harpoon.control.changes import change_status
from harpoon.control.drafts import drafted
from harpoon.control.freshness import Freshness
from harpoon.control.keyring import Keyring
from harpoon.control.quotas import CLAIMS_MAX, Quotas
from harpoon.control.receipts import Receipts
from harpoon.control.records import (
    check_documents,
    check_kind,
    check_precondition,
    check_size,
    manifest_of,
    next_job,
)
from harpoon.control.references import check_references
from harpoon.control.run_reader import RunReader
from harpoon.control.secrets import Secrets
from harpoon.control.status import change_id, job_status
from harpoon.control.unclaimed import Unclaimed
from harpoon.control.versions import version_to_restore
from harpoon.control.view import View, job_key
from harpoon.control.waiting import Waiters
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from harpoon.model.awaited import AwaitedRun
from harpoon.model.job import Job
from harpoon.model.manifest import Manifest
from harpoon.model.name import check_name
from harpoon.model.owner import RunOwner
from harpoon.model.shown import Outcome
from harpoon.model.status import ChangeStatus, JobStatus
from harpoon.store import settle
from harpoon.store.port import WRITES_MAX, Compare, Store, Write
from harpoon.store.table import Row

T = TypeVar("T")

#: Tries of a mutation without a precondition against others that change the same job.
TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A mutation that is durable, and the change that can be waited for."""

    revision: int
    #: The revision at which the job was last written: an order that leaves it as it is does not move it.
    written: int
    change: str
    job: Job
    outcome: Outcome


#: Given the revision of the commit, what the mutation came to.
Outcomes = Callable[[int], tuple[Accepted, ...]]
#: What else is to be written in the commit of a mutation, and the conditions for all of it; see `control.receipts`.
Extra = Callable[[Outcomes], tuple[Sequence[Compare], Sequence[Write]]]


class Registry:
    """The one writer of desired state."""

    def __init__(self, store: Store, view: View, clock: Clock, keyring: Keyring | None = None) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._freshness = Freshness(store, view)
        #: Of those who wait for a job or an agent to change.
        self.waiters = Waiters(view)
        #: What becomes of tasks that no record knows.
        self.unclaimed = Unclaimed(store, view, clock)
        #: What namespaces may reserve.
        self.quotas = Quotas(store, view, clock)
        self._run_reader = RunReader(store)
        #: What tasks are given and nobody sees.
        self.secrets = Secrets(store, view, clock, keyring or Keyring(), self._run_reader)
        #: Of mutations that carried an idempotency key.
        self.receipts = Receipts(store, clock)

    async def put(self, manifest: Manifest, *, if_match: int | None = None, is_new: bool = False) -> Accepted:
        """Create or replace a job.

        Args:
            manifest: What the user declares.
            if_match: The ``mod_revision`` that the job must have.
            is_new: The job must not exist.

        Raises:
            PreconditionFailed: ``if_match`` or ``is_new`` does not hold.
        """
        key = job_key(manifest.metadata.namespace, manifest.metadata.name)
        if if_match is not None:
            await self._freshness.see(key, if_match)
        for _ in range(TRIES):
            row = self._view.jobs.rows.get(key)
            check_precondition(row, if_match=if_match, is_new=is_new)
            check_references(self._view, {"": manifest})
            check_kind(manifest, None if row is None else row.value, "")
            accepted = await self._commit((self._next(manifest, row),))
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def apply(self, manifests: Sequence[Manifest], *, extra: Extra | None = None) -> tuple[Accepted, ...]:
        """Create or replace several jobs in one commit, all or nothing, and write ``extra`` with them.

        Raises:
            Invalid: More than `APPLY_MAX`, or one job twice.
        """
        check_documents(manifests)
        for _ in range(TRIES):
            accepted = await self.try_apply(manifests, extra=extra)
            if accepted is not None:
                return accepted
        raise Unavailable("others keep changing these jobs; try again")

    async def try_apply(
        self, manifests: Sequence[Manifest], *, extra: Extra | None = None
    ) -> tuple[Accepted, ...] | None:
        """Create or replace different jobs in one commit; None when one of them was changed by someone else meanwhile.

        Raises:
            Invalid: One of them refers to a job that does not exist, or they are too large together.
        """
        jobs = self.drafts(manifests)
        return await self._commit(jobs, extra=extra)

    async def commit_drafts(
        self, drafts: Sequence[tuple[Job, Row[Job] | None]], *, extra: Extra | None = None
    ) -> tuple[Accepted, ...] | None:
        """Write jobs as drafted; None when one of them was changed by someone else since it was."""
        return await self._commit(drafts, extra=extra)

    def drafts(self, manifests: Sequence[Manifest]) -> list[tuple[Job, Row[Job] | None]]:
        """Return the jobs that different documents ask for, each with how it stands; the same when nothing changes.

        Raises:
            Invalid: They refer to each other in a circle.
        """
        keys = (job_key(manifest.metadata.namespace, manifest.metadata.name) for manifest in manifests)
        rows = [self._view.jobs.rows.get(key) for key in keys]
        check_references(self._view, {f"/documents/{index}": one for index, one in enumerate(manifests)})
        for index, (manifest, row) in enumerate(zip(manifests, rows, strict=True)):
            check_kind(manifest, None if row is None else row.value, f"/documents/{index}")
        return [self._next(manifest, row) for manifest, row in zip(manifests, rows, strict=True)]

    async def scale(
        self, namespace: str, name: str, scale: int, *, if_match: int | None = None, extra: Extra | None = None
    ) -> Accepted:
        """Change how many slots a job has, and write ``extra`` with it; its tasks are not replaced.

        Raises:
            Invalid: ``scale`` is out of range.
            NotFound: There is no such job, or it is being unscheduled.
            PreconditionFailed: ``if_match`` does not hold.
        """
        await self._freshness.see(job_key(namespace, name), if_match)
        for _ in range(TRIES):
            row = self._existing(namespace, name)
            check_precondition(row, if_match=if_match, is_new=False)
            _check_stays(row.value)
            try:
                spec = replace(row.value.spec, scale=scale)
                check_kind(manifest_of(row.value, spec), row.value, "")
            except ValueError as error:
                raise Invalid(str(error), [Problem(pointer="/scale", detail=str(error))]) from error
            accepted = await self._commit((self._next(manifest_of(row.value, spec), row),), extra=extra)
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def rollback(
        self,
        namespace: str,
        name: str,
        version: int | None,
        *,
        if_match: int | None = None,
        extra: Extra | None = None,
    ) -> Accepted:
        """Bring an earlier version of a job back, with its tags, as a new version.

        Args:
            namespace: Of the job.
            name: Of the job.
            version: Which; None: the newest earlier one whose spec is another than the present.
            if_match: The ``mod_revision`` that the job must have.
            extra: To be written with it.

        Raises:
            NotFound: There is no such job or version, or the job is being unscheduled.
            PreconditionFailed: ``if_match`` does not hold.
        """
        await self._freshness.see(job_key(namespace, name), if_match)
        for _ in range(TRIES):
            row = self._existing(namespace, name)
            check_precondition(row, if_match=if_match, is_new=False)
            _check_stays(row.value)
            restored = version_to_restore(self._view, row.value, version)
            manifest = manifest_of(replace(row.value, tags=restored.tags), restored.spec)
            check_references(self._view, {"": manifest})
            check_kind(manifest, row.value, "")
            jobs = (self._next(manifest, row),)
            accepted = await self._commit(jobs, reverted_from=restored.version, extra=extra)
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def delete(self, namespace: str, name: str, *, if_match: int | None = None) -> Accepted:
        """Unschedule a job: its tasks are stopped, then its records go.

        Raises:
            NotFound: There is no such job.
            PreconditionFailed: ``if_match`` does not hold.
        """
        await self._freshness.see(job_key(namespace, name), if_match)
        for _ in range(TRIES):
            row = self._existing(namespace, name)
            check_precondition(row, if_match=if_match, is_new=False)
            job = row.value
            if not job.is_terminating:
                job = replace(job, is_terminating=True, version=job.version + 1, updated_ms=self._clock.now().wall)
            accepted = await self._commit(((job, row),))
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def make(self, manifest: Manifest, owner: RunOwner, *, extra: Extra | None = None) -> Accepted:
        """Create a job that is the task of an attempt, and write ``extra`` with it; what is there already is kept.

        Raises:
            Invalid: It is too large.
            Exceeded: It does not fit the quota of its namespace.
            Conflict: There is another job of its name.
        """
        key = job_key(manifest.metadata.namespace, manifest.metadata.name)
        for _ in range(TRIES):
            row = self._view.jobs.rows.get(key)
            if row is not None and row.value.run_owner != owner:
                raise Conflict(f"there is another job {manifest.metadata.name}; unschedule that one")
            job = replace(self._next(manifest, None)[0], run_owner=owner) if row is None else row.value
            accepted = await self._commit(((job, row),), extra=extra)
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def unschedule(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted | None:
        """Unschedule a job, and write ``extra`` with it; None: there is no such job, and nothing is written."""
        for _ in range(TRIES):
            row = self._view.jobs.rows.get(job_key(namespace, name))
            if row is None:
                return None
            job = row.value
            if not job.is_terminating:
                job = replace(job, is_terminating=True, version=job.version + 1, updated_ms=self._clock.now().wall)
            accepted = await self._commit(((job, row),), extra=extra)
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def standing(self, namespace: str, name: str) -> Row[Job]:
        """Return a job that stands, as a request that changes something beside it is to see it.

        Raises:
            NotFound: There is no such job, or it is being unscheduled.
        """
        await self._freshness.see(job_key(namespace, name), None)
        row = self._existing(namespace, name)
        _check_stays(row.value)
        return row

    async def look_up_runs(self, manifests: Sequence[Manifest]) -> dict[str, AwaitedRun]:
        """Return how runs stand, by their keys, that jobs wait for and nothing has waited for before.

        Raises:
            StoreUnavailable: The store could not answer.
        """
        return await look_up_new(self._run_reader, self._view, manifests)

    def status(self, namespace: str, name: str) -> JobStatus:
        """Return how a job stands.

        Raises:
            NotFound: There is no such job.
        """
        return job_status(self._view, self._existing(namespace, name))

    async def changed(self, key: str, after: int) -> None:
        """Return once anything of a job (by key) has changed after a revision; perhaps earlier, so look again."""
        await self.waiters.changed(key, after)

    def change(self, change: str) -> ChangeStatus:
        """Return how far a change has come.

        Raises:
            Invalid: ``change`` is not the id of one.
            NotFound: It was never made, as far as this store knows.
        """
        return change_status(self._view, change)

    def _existing(self, namespace: str, name: str) -> Row[Job]:
        for what, text in (("namespace", namespace), ("name", name)):
            try:
                check_name(what, text)
            except ValueError as error:
                raise Invalid(str(error), [Problem(pointer=f"/metadata/{what}", detail=str(error))]) from error
        row = self._view.jobs.rows.get(job_key(namespace, name))
        if row is None:
            raise NotFound(f"there is no job {name} in namespace {namespace}")
        return row

    def _next(self, manifest: Manifest, row: Row[Job] | None) -> tuple[Job, Row[Job] | None]:
        """Return the job that the manifest asks for; the very same record when it changes nothing."""
        old = None if row is None else row.value
        return next_job(manifest, old, self._clock.now().wall), row

    async def _commit(
        self,
        jobs: Sequence[tuple[Job, Row[Job] | None]],
        *,
        reverted_from: int | None = None,
        extra: Extra | None = None,
    ) -> tuple[Accepted, ...] | None:
        """Write the jobs that changed in one commit; None when one of them was changed by someone else meanwhile.

        Raises:
            Exceeded: They do not fit the quota of their namespace.
        """
        compares, writes, prunes = drafted(self._view, jobs, reverted_from)

        def outcomes(at: int) -> tuple[Accepted, ...]:
            return tuple(self._accepted(job, row, at) for job, row in jobs)

        async with self.quotas.turn(jobs):
            for _ in range(CLAIMS_MAX):
                claim = await self.quotas.claim(jobs, writes)
                if claim is None:
                    return None
                claimed, sealed = [*compares, *claim.compares], [*writes, *claim.writes]
                if extra is not None:
                    conditions, others = extra(outcomes)
                    claimed += conditions
                    sealed += others
                revision = await self._write(claimed, sealed, prunes)
                if revision is not None:
                    return outcomes(revision)
                if not self.quotas.is_overtaken(claim, jobs):
                    return None
        raise Unavailable("others keep declaring jobs in this namespace; try again")

    async def _write(self, compares: Sequence[Compare], writes: list[Write], prunes: list[Write]) -> int | None:
        """Commit, and wait until the view shows it; return the revision, or None when a compare failed."""
        if not writes:
            seen = self._view.revision
            return seen if await self._freshness.still_holds(compares) else None
        check_size(writes)
        revision = await settle.commit(self._store, compares, (writes + prunes)[:WRITES_MAX])
        if revision is None:
            await settle.see_others(self._store, self._view.mirror, compares)
            return None
        await self._view.mirror.shows(revision)
        return revision

    def _accepted(self, job: Job, row: Row[Job] | None, revision: int) -> Accepted:
        is_unchanged = row is not None and job is row.value
        at = row.mod_revision if row is not None and is_unchanged else revision
        outcome = Outcome.UNCHANGED if is_unchanged else Outcome.CREATED if row is None else Outcome.CHANGED
        change = change_id(self._view, job.namespace, job.name, at)
        return Accepted(revision=at, written=at, change=change, job=job, outcome=outcome)


def _check_stays(job: Job) -> None:
    if job.is_terminating:
        raise NotFound(f"job {job.name} is being unscheduled; schedule it again to change it")

"""Namespaces as declared, and their quotas kept to by whatever makes jobs reserve more.

What a namespace uses is no record: it is the sum of its jobs in the view. So that two commits at once cannot both slip
under a limit, whatever makes the jobs of a limited namespace reserve more writes the namespace's own record anew, and
compares how the view showed it: of two such commits one fails, and is decided again on what the other has left.

1. Jobs of namespaces without a record are declared as ever; their commit only compares that there still is none.
2. What reserves no more than before compares nothing, and is always taken. So is a rollout's being taken back
   (`control.rollouts`), though that may reserve more: it is sealed like any other, so that others see it.
3. In one process those of one limited namespace take turns, for they would only make each other try again.
4. What would be refused is looked at once more in a view as new as the store: another instance may just have made room.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from harpoon.control.freshness import Freshness
from harpoon.control.view import QUOTAS, View, job_key
from harpoon.core.quota import add, excess, grows, over, room, sentence
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Exceeded, NotFound, Unavailable
from harpoon.model.job import Job, JobType
from harpoon.model.namespace import (
    UNLIMITED,
    Excess,
    Namespace,
    NamespaceInfo,
    NamespaceManifest,
    NamespaceObject,
    NamespaceSpec,
    NamespaceStatus,
    Quota,
    Use,
)
from harpoon.model.shown import Outcome
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, Write
from harpoon.store.table import Row

#: Tries against others that declare jobs of the same namespace at the same time; each time, one of them succeeds.
CLAIMS_MAX: Final = 25
#: Jobs that are named where there are any.
_NAMED_MAX: Final = 5

#: A job as it is to be, and how it stands.
Draft = tuple[Job, Row[Job] | None]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be compared and written with jobs, so that they keep to the quotas of their namespaces."""

    compares: tuple[Compare, ...] = ()
    writes: tuple[Write, ...] = ()


class Quotas:
    """The one writer of namespaces."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._freshness = Freshness(store, view)
        #: Of limited namespaces in which jobs are being declared.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def declare(self, manifest: NamespaceManifest, *, is_dry: bool = False) -> tuple[int, Outcome]:
        """Create a namespace, or change its quota; return at which revision it came to stand so, and what was done.

        If it is dry, nothing is, and what would be is returned.

        A quota may be lower than what is used: nothing is stopped, but nothing more is taken.

        Raises:
            Unavailable: Others keep declaring jobs in it.
        """
        name, quota = manifest.metadata.name, manifest.spec.quota
        async with self._turn({name}):
            for _ in range(CLAIMS_MAX):
                row, now_ms = self._readable(name), self._clock.now().wall
                compare = _same(name, row)
                if row is not None and row.value.quota == quota:
                    if await self._freshness.still_holds((compare,)):
                        return row.mod_revision, Outcome.UNCHANGED
                    continue
                outcome = Outcome.CREATED if row is None else Outcome.CHANGED
                if is_dry:
                    return self._view.revision, outcome
                created_ms = now_ms if row is None else row.value.created_ms
                record = Namespace(name=name, quota=quota, created_ms=created_ms, updated_ms=now_ms)
                revision = await self._commit(compare, Put(QUOTAS + name, codec.dump(record)))
                if revision is not None:
                    return revision, outcome
        raise _overtaken((name,))

    async def delete(self, name: str) -> int:
        """Take a namespace back, with its quota; return the revision of that.

        Raises:
            NotFound: It is not declared.
            Conflict: It has jobs, also such as are still being unscheduled.
            Unavailable: Others keep declaring jobs in it.
        """
        async with self._turn({name}):
            for _ in range(CLAIMS_MAX):
                row = self._readable(name)
                if row is None:
                    raise NotFound(f"namespace {name} is not declared, so there is nothing of it to delete")
                self._check_empty(name)
                revision = await self._commit(_same(name, row), Delete(QUOTAS + name))
                if revision is not None:
                    return revision
        raise _overtaken((name,))

    @asynccontextmanager
    async def turn(self, drafts: Sequence[Draft]) -> AsyncIterator[None]:
        """Wait until nobody else here declares jobs in the limited ones among the namespaces of these."""
        rows = {job.namespace: self._view.quotas.rows.get(job.namespace) for job, _ in drafts}
        limited = {name for name, row in rows.items() if row is not None and row.value.quota != UNLIMITED}
        async with self._turn(limited):
            yield

    async def claim(self, drafts: Sequence[Draft], writes: Iterable[Write]) -> Claim | None:
        """Return what goes with a commit of jobs; None: one of them is not what it was when they were drafted.

        Args:
            drafts: Different jobs.
            writes: The commit's own.

        Raises:
            Exceeded: They do not fit the quota of a namespace.
            Unavailable: The record of a namespace cannot be read by this release.
        """
        if self.excesses(drafts):
            # What is refused compares nothing, so it is looked up.
            await self._view.mirror.shows(await self._store.revision())
            if not self.stands(drafts):
                return None
        if found := self.excesses(drafts):
            raise Exceeded(sentence(found, self._fix(drafts, found)), found)
        return claim_of(self._view, drafts, writes)

    def excesses(self, drafts: Sequence[Draft]) -> tuple[Excess, ...]:
        """Return the limits that refuse these jobs together; none: they fit."""
        found: list[Excess] = []
        for job, _ in drafts:
            self._readable(job.namespace)
        for job, row in drafts:
            found += self._boundless(job, row)
        for name, (before, after) in _uses(self._view, drafts).items():
            found += excess(name, self._view.quotas.rows[name].value.quota, before, after)
        return tuple(found)

    def _boundless(self, job: Job, row: Row[Job] | None) -> Iterator[Excess]:
        """Yield the limits that refuse a system job that is new: no number of its tasks can be told."""
        limited = self._view.quotas.rows.get(job.namespace)
        is_new = row is None or row.value.is_terminating
        if job.spec.type is not JobType.SYSTEM or job.is_terminating or not is_new or limited is None:
            return
        used = self._view.used(job.namespace)
        for field in ("cpu", "memory", "tasks"):
            limit = getattr(limited.value.quota, field)
            if limit is not None:
                wanted = "as much as there are agents"
                yield Excess(
                    namespace=job.namespace,
                    field=field,
                    used=str(getattr(used, field)),
                    wanted=wanted,
                    limit=str(limit),
                )

    def refusal(self, drafts: Sequence[Draft]) -> str:
        """Say why these jobs would be refused together; empty: they would not."""
        found = self.excesses(drafts)
        return sentence(found, self._fix(drafts, found)) if found else ""

    def stands(self, drafts: Sequence[Draft]) -> bool:
        """Whether the jobs are in the view what they were when they were drafted."""
        rows = self._view.jobs.rows
        return all(rows.get(job_key(job.namespace, job.name)) == row for job, row in drafts)

    def is_overtaken(self, claim: Claim, drafts: Sequence[Draft]) -> bool:
        """Whether a claim is out of date, and nothing else: the same jobs may be tried again."""
        rows = self._view.quotas.rows
        names = (compare.key.removeprefix(QUOTAS) for compare in claim.compares)
        return self.stands(drafts) and claim.compares != tuple(_same(name, rows.get(name)) for name in names)

    def _fix(self, drafts: Sequence[Draft], found: Sequence[Excess]) -> str:
        if len(drafts) > 1:
            return "declare less"
        job, row = drafts[0]
        quota = self._view.quotas.rows[job.namespace].value.quota
        others = add(self._view.used(job.namespace), self._view.use_of(None if row is None else row.value), -1)
        if job.spec.type is JobType.SYSTEM:
            return "schedule it in a namespace in which only jobs are limited"
        most = room(quota, others, job)
        if most > 0:
            return f"lower {'scale' if job.run is None else 'parallel'} to {most}"
        return "unschedule a job" if any(one.field == "jobs" for one in found) else "scale another job down"

    def _check_empty(self, name: str) -> None:
        jobs = sorted(row.value.name for row in self._view.jobs.rows.values() if row.value.namespace == name)
        if jobs:
            told = ", ".join(jobs[:_NAMED_MAX]) + (", …" if len(jobs) > _NAMED_MAX else "")
            count = f"{len(jobs)} job{'s' * (len(jobs) > 1)}"
            raise Conflict(
                f"namespace {name} has {count} ({told}): unschedule first what is there; to lift its limits only, "
                "declare it without a quota"
            )

    def _readable(self, name: str) -> Row[Namespace] | None:
        if name in self._view.quotas.unreadable:
            raise Unavailable(f"the record of namespace {name} cannot be read by this release; use a later one")
        return self._view.quotas.rows.get(name)

    @asynccontextmanager
    async def _turn(self, names: Iterable[str]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # In one order, so that nobody waits in a circle.
            for name in sorted(names):
                lock = self._turns.setdefault(name, asyncio.Lock())
                await stack.enter_async_context(lock)
            yield

    async def _commit(self, compare: Compare, write: Write) -> int | None:
        revision = await settle.commit(self._store, (compare,), (write,))
        if revision is None:
            await settle.see_others(self._store, self._view.mirror, (compare,))
            return None
        await self._view.mirror.shows(revision)
        return revision


def claim_of(view: View, drafts: Sequence[Draft], writes: Iterable[Write]) -> Claim:
    """Return what goes with a commit of jobs, whether they fit the quotas or not.

    Args:
        view: What it is decided on.
        drafts: Different jobs.
        writes: The commit's own.
    """
    changed = (job for job, row in drafts if row is None or job is not row.value)
    growing, declared = {job.namespace for job in changed if not job.is_terminating}, _uses(view, drafts)
    others = growing - declared.keys() - view.quotas.unreadable.keys()
    compares = [_same(name, None) for name in sorted(others)]
    seals: list[Write] = []
    for name, (before, after) in declared.items():
        row = view.quotas.rows[name]
        if grows(before, after):
            compares.append(_same(name, row))
            if row.value.quota != UNLIMITED:
                seals.append(Put(QUOTAS + name, codec.dump(replace(row.value, seal=_digest(writes)))))
    return Claim(tuple(compares), tuple(seals))


def shown(view: View, name: str, quota: Quota | None = None) -> NamespaceObject:
    """Return a namespace as it is shown, declared or not; with another quota than its own, if one is given."""
    row, used = view.quotas.rows.get(name), view.used(name)
    record = None if row is None else row.value
    if quota is None:
        quota = UNLIMITED if record is None else record.quota
    return NamespaceObject(
        apiVersion="harpoon/v1",
        kind="Namespace",
        metadata=NamespaceInfo(
            name=name,
            created_ms=None if record is None else record.created_ms,
            updated_ms=None if record is None else record.updated_ms,
        ),
        spec=NamespaceSpec(quota=quota),
        status=NamespaceStatus(used=used, over=over(quota, used)),
    )


def _uses(view: View, drafts: Sequence[Draft]) -> dict[str, tuple[Use, Use]]:
    """Return what each namespace that is declared uses, and would use."""
    uses: dict[str, tuple[Use, Use]] = {}
    for job, row in drafts:
        if job.namespace not in view.quotas.rows:
            continue
        used = view.used(job.namespace)
        before, after = uses.get(job.namespace, (used, used))
        old = view.use_of(None if row is None else row.value)
        uses[job.namespace] = before, add(add(after, view.use_of(job)), old, -1)
    return uses


def _same(name: str, row: Row[Namespace] | None) -> Compare:
    return Compare(QUOTAS + name, mod=0 if row is None else row.mod_revision)


def _digest(writes: Iterable[Write]) -> str:
    """Return what tells a commit from any other: whether one whose answer was lost has happened is found out by it."""
    values = (write.value for write in writes if isinstance(write, Put))
    return hashlib.sha256(b"\0".join(values)).hexdigest()[:16]


def _overtaken(names: Iterable[str]) -> Unavailable:
    return Unavailable(f"others keep declaring jobs in namespace {', '.join(names)}; try again")

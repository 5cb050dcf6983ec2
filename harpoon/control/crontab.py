"""Cron jobs, their records and their children: what of them the view shows, and how they are written.

A child is a job like any other. What makes it, writes the cron job's record in the same commit, and compares how both
stood: whoever decides it, and however often a commit is tried, a due is fired once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from harpoon.control.drafts import drafted
from harpoon.control.quotas import Draft, Quotas
from harpoon.control.records import manifest_of, next_job
from harpoon.control.running import may_run
from harpoon.control.view import CRON, JOBS, View, job_key
from harpoon.core.batch import is_over
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.model.cron import CronRecord, Firing
from harpoon.model.job import Job, Owner
from harpoon.model.parameters import Value
from harpoon.store import settle
from harpoon.store.port import Compare, Delete, Put, Store, Write

_NO_ARGUMENTS: Final[Mapping[str, Value]] = MappingProxyType({})


class Crontab:
    """The one writer of the records of cron jobs."""

    def __init__(self, store: Store, view: View, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._quotas = Quotas(store, view, clock)

    async def write(
        self,
        key: str,
        record: CronRecord | None,
        *,
        drafts: Sequence[Draft] = (),
        compares: Sequence[Compare] = (),
        writes: Sequence[Write] = (),
    ) -> int | None:
        """Write the record of a cron job, or delete it, and children with it; return the revision.

        None: a compare failed, and the view shows why. All but the other compares are made here: the cron job, its
        record and the children stand as the view shows them.

        Args:
            key: Of the cron job.
            record: None: there is to be none.
            drafts: Of children.
            compares: What else is to hold.
            writes: What else is to be written.

        Raises:
            Exceeded: The children do not fit the quota of their namespace.
            Invalid: A child is too large.
            StoreUnavailable: What came of it is not known, or nothing did.
        """
        view = self._view
        row, kept = view.jobs.rows.get(key), view.cron.rows.get(key)
        known, sealed, _ = drafted(view, drafts)
        known += [
            Compare(JOBS + key, mod=0 if row is None else row.mod_revision),
            Compare(CRON + key, mod=0 if kept is None else kept.mod_revision),
            *compares,
        ]
        if record is not None:
            sealed.append(Put(CRON + key, codec.dump(record)))
        elif kept is not None:
            sealed.append(Delete(CRON + key))
        async with self._quotas.turn(drafts):
            claim = await self._quotas.claim(drafts, sealed)
            if claim is None:
                return None
            known += claim.compares
            revision = await settle.commit(self._store, known, [*sealed, *claim.writes, *writes])
        if revision is None:
            await settle.see_others(self._store, view.mirror, known)
            return None
        await view.mirror.shows(revision)
        return revision


def child_of(parent: Job, firing: Firing, arguments: Mapping[str, Value] = _NO_ARGUMENTS) -> Job:
    """Return the child that a cron job makes: the same, but for the schedule, and for arguments given to it alone.

    Raises:
        ValueError: One of the arguments is none of the job's, or a wrong one.
    """
    given = {**parent.spec.arguments, **arguments}
    template = manifest_of(parent, replace(parent.spec, cron=None, scale=1, arguments=given))
    named = replace(template, metadata=replace(template.metadata, name=firing.job))
    child = next_job(named, None, firing.at_ms)
    return replace(child, owner=Owner(job=parent.name, due_ms=firing.due_ms, is_triggered=firing.is_triggered))


def unscheduled(child: Job, now_ms: int) -> Job:
    """Return a child that is to go."""
    return replace(child, is_terminating=True, version=child.version + 1, updated_ms=now_ms)


def running_children(view: View, key: str) -> list[str]:
    """Return the names of a cron job's children that are not over, the earliest first."""
    children = (row.value for row in view.children_of(key).values())
    running = [child for child in children if not _is_over(view, child)]
    return [child.name for child in sorted(running, key=lambda child: (child.created_ms, child.name))]


def _is_over(view: View, child: Job) -> bool:
    """Whether a child has ended, or is to go, and nothing of it runs: what has failed takes a while to stop."""
    record = view.batches.rows.get(job_key(child.namespace, child.name))
    has_ended = child.is_terminating or (record is not None and is_over(child, record.value))
    return has_ended and not may_run(view, child)

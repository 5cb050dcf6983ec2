"""Drafts of jobs: what is compared and written for them, be they declared by a user or made by a cron job."""

from collections.abc import Sequence
from typing import TypeVar

from harpoon.control.quotas import Draft
from harpoon.control.records import job_record, version_of
from harpoon.control.versions import outdated_versions
from harpoon.control.view import JOBS, VERSIONS, View, job_key
from harpoon.kit import codec
from harpoon.store.port import Compare, Delete, Put, Write
from harpoon.store.table import Table

T = TypeVar("T")


def drafted(
    view: View, jobs: Sequence[Draft], reverted_from: int | None = None
) -> tuple[list[Compare], list[Write], list[Write]]:
    """Return what is to be compared and written for jobs, and what may go with them.

    Args:
        view: What they were drafted on; it is told what to expect.
        jobs: Each as it is to be, and as it stands.
        reverted_from: The version that they bring back.
    """
    compares: list[Compare] = []
    writes: list[Write] = []
    prunes: list[Write] = []
    for job, row in jobs:
        key = job_key(job.namespace, job.name)
        # What does not change is compared, too: it may have been changed just now by way of another instance.
        compares.append(Compare(JOBS + key, mod=0 if row is None else row.mod_revision))
        if row is None or job is not row.value:
            spec = codec.dump(job.spec)
            writes.append(_put(view.jobs, key, job, job_record(job, spec)))
            if not job.is_terminating:
                version, at = version_of(job, reverted_from), f"{key}/{job.version}"
                record = codec.dump_around(version, version.spec, spec)
                writes.append(_put(view.versions, at, version, record))
                prunes += [Delete(VERSIONS + outdated) for outdated in outdated_versions(view, job)]
    return compares, writes, prunes


def _put(table: Table[T], key: str, noun: T, record: bytes) -> Put:
    table.expect(key, noun, record)
    return Put(table.prefix + key, record)

"""The records that a mutation writes, and what is checked before it does. Nothing here reads the store."""

import hashlib
from collections.abc import Sequence
from typing import Final

from harpoon.control.view import job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, PreconditionFailed, Problem
from harpoon.model.job import Job, JobType, Metadata, Run, Spec, Version
from harpoon.model.manifest import Manifest
from harpoon.store.port import COMMIT_BYTES_MAX, WRITES_MAX, Put, Write
from harpoon.store.table import Row

#: Documents of one all-or-nothing apply; each writes a job and a version. What is left of the commit may prune.
APPLY_MAX: Final = 40
#: A job is written twice in one commit, as it is and as a version; with some room for the keys.
JOB_BYTES_MAX: Final = COMMIT_BYTES_MAX // 2 - 1024


def generation_of(spec: Spec) -> str:
    """Return the hash of what a job's tasks are: equal templates, equal generations, however they were spelled."""
    return hashlib.sha256(codec.canonical(spec.given())).hexdigest()[:12]


def next_job(manifest: Manifest, old: Job | None, now_ms: int) -> Job:
    """Return the job that the manifest asks for; the very same record when it changes nothing."""
    metadata, spec = manifest.metadata, manifest.spec
    if old is not None and not old.is_terminating and old.spec == spec and old.tags == metadata.tags:
        return old
    generation = old.generation if old is not None and old.spec.given() == spec.given() else generation_of(spec)
    version = 1 if old is None else old.version + 1
    return Job(
        namespace=metadata.namespace,
        name=metadata.name,
        spec=spec,
        generation=generation,
        version=version,
        created_ms=now_ms if old is None else old.created_ms,
        updated_ms=now_ms,
        tags=metadata.tags,
        run=_run(spec, old, version, generation, now_ms),
        owner=None if old is None else old.owner,
        run_owner=None if old is None else old.run_owner,
    )


def _run(spec: Spec, old: Job | None, version: int, generation: str, now_ms: int) -> Run | None:
    """Return the run that a job is in from now on; another template begins another, and so does its coming back.

    None: it is a service, or a cron job, whose children have runs.
    """
    if spec.type is not JobType.BATCH or spec.cron is not None:
        return None
    goes_on = old is not None and not old.is_terminating and old.generation == generation
    return old.run if old is not None and goes_on else Run(version=version, since_ms=now_ms)


def job_record(job: Job, spec: bytes) -> bytes:
    """Return the job as stored, given its spec as stored.

    Raises:
        Invalid: It is too large.
    """
    record = codec.dump_around(job, job.spec, spec)
    if len(record) > JOB_BYTES_MAX:
        raise Invalid(
            f"job {job.name} takes {len(record)} bytes; at most {JOB_BYTES_MAX} fit: move data out of the manifest"
        )
    return record


def version_of(job: Job, reverted_from: int | None) -> Version:
    """Return the job's present form as one of its versions."""
    return Version(
        namespace=job.namespace,
        name=job.name,
        version=job.version,
        generation=job.generation,
        spec=job.spec,
        at_ms=job.updated_ms,
        tags=job.tags,
        reverted_from=reverted_from,
    )


def check_documents(manifests: Sequence[Manifest]) -> None:
    """Refuse documents that cannot be declared together.

    Raises:
        Invalid: They are more than `APPLY_MAX`, or one job twice.
    """
    if len(manifests) > APPLY_MAX:
        raise Invalid(f"at most {APPLY_MAX} documents are taken at once; got {len(manifests)}")
    names = [job_key(manifest.metadata.namespace, manifest.metadata.name) for manifest in manifests]
    for index, name in enumerate(names):
        if name in names[:index]:
            detail = f"job {name} is declared twice; keep one"
            raise Invalid(detail, [Problem(pointer=f"/documents/{index}/metadata/name", detail=detail)])


def check_kind(manifest: Manifest, old: Job | None, within: str) -> None:
    """Refuse to change what a job is: its type, whether it makes children, that it is exclusive, and whose slots are.

    It has tasks that were placed for that, or will run what it did not say it would.

    Args:
        manifest: What the job is to be.
        old: What it is; None: it is not there.
        within: Pointer to the document.

    Raises:
        Invalid: It is the other way now.
    """
    if old is not None and old.spec.type is not manifest.spec.type:
        detail = f"type cannot be changed while job {old.name} exists; unschedule it, and schedule it anew"
        raise Invalid(detail, [Problem(pointer=f"{within}/spec/type", detail=detail)])
    if old is not None and (old.spec.cron is None) is not (manifest.spec.cron is None):
        detail = (
            f"cron is neither added nor taken away while job {old.name} exists; unschedule it, and schedule it anew"
        )
        raise Invalid(detail, [Problem(pointer=f"{within}/spec/cron", detail=detail)])
    if manifest.spec.type is JobType.SYSTEM and manifest.spec.scale != 1:
        detail = "scale is for services: a system job has a task on each agent that meets placement.require"
        raise Invalid(detail, [Problem(pointer=f"{within}/spec/scale", detail=detail)])
    if old is not None and old.spec.exclusive is not manifest.spec.exclusive:
        detail = f"exclusive cannot be changed while job {old.name} exists; unschedule it, and schedule it anew"
        raise Invalid(detail, [Problem(pointer=f"{within}/spec/exclusive", detail=detail)])
    if old is not None and not _keeps_agents(old, manifest.spec):
        detail = (
            f"placement.agents of job {old.name} may grow at its end, and is otherwise kept as long as its task is: "
            "what came of a slot stands for its agent; unschedule the job, and schedule it anew"
        )
        raise Invalid(detail, [Problem(pointer=f"{within}/spec/placement/agents", detail=detail)])


def _keeps_agents(old: Job, spec: Spec) -> bool:
    """Return whether each slot of a batch job's run stays with the agent that it is for; another run begins anew."""
    before, after = old.spec.placement.agents, spec.placement.agents
    if old.run is None or old.is_terminating or before == after or old.spec.given() != spec.given():
        return True
    return bool(before) and after[: len(before)] == before


def check_size(writes: Sequence[Write]) -> None:
    """Refuse writes that no commit could take.

    Raises:
        Invalid: They are too large together, or too many.
    """
    if len(writes) > WRITES_MAX:
        raise Invalid("these documents are of too many namespaces with quotas for one commit; apply fewer at once")
    size = sum(len(write.value) for write in writes if isinstance(write, Put))
    if size > 2 * JOB_BYTES_MAX:
        raise Invalid(
            f"these documents take {size} bytes together; at most {2 * JOB_BYTES_MAX} fit one commit: apply fewer"
        )


def check_precondition(row: Row[Job] | None, *, if_match: int | None, is_new: bool) -> None:
    """Check that a job stands as the caller assumes.

    Raises:
        PreconditionFailed: It does not.
    """
    if is_new and row is not None:
        what = "is still being unscheduled" if row.value.is_terminating else "exists already; use migrate to change it"
        raise PreconditionFailed(f"job {row.value.name} {what}", current=row)
    if if_match is not None and (row is None or row.mod_revision != if_match):
        what = "does not exist" if row is None else "was changed by someone else meanwhile"
        raise PreconditionFailed(f"the job {what}", current=row)


def manifest_of(job: Job, spec: Spec) -> Manifest:
    """Return what a user would write to have the job with another spec."""
    metadata = Metadata(name=job.name, namespace=job.namespace, tags=job.tags)
    return Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=spec)

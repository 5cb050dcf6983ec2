"""Starting batches: what one is made of is kept as a generation of no declared workflow, and a run of that is started.

It is kept for as long as the run is: what a batch came to is told by it, also when it is over.
"""

import asyncio
import hashlib
from dataclasses import replace
from typing import Final

import orjson

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.orders import Begun, Start
from harpoon.control.starting import RESERVED, TRIES
from harpoon.control.workflow_told import check
from harpoon.control.workflows import Workflows
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Problem
from harpoon.model.batch_manifest import BATCH, BatchManifest, pointer_of, workflow_of
from harpoon.model.workflow import WorkflowSpec

#: Items, or steps, of a batch that is looked at beside the loop: it would hold it for too long.
_LARGE: Final = 50


def key_of(manifest: BatchManifest) -> str:
    """Return what the run of a batch is called in all keys."""
    return run_key(manifest.metadata.namespace, manifest.metadata.name)


async def start_batch(workflows: Workflows, conductor: Conductor, manifest: BatchManifest) -> Begun:
    """Start a batch; the same one again is the same run.

    Args:
        workflows: Where it is kept what it is made of.
        conductor: Of its run.
        manifest: What the user declares.

    Raises:
        Invalid: It has flaws, or no bound; all are told.
        Reused: Something else was started under its name.
        StoreUnavailable: The store could not answer.
    """
    metadata = manifest.metadata
    if metadata.name in RESERVED:
        detail = f"no batch is called {metadata.name}; make another name"
        raise Invalid(detail, [Problem(pointer="/metadata/name", detail=detail)])
    is_large = manifest.spec.count > _LARGE
    spec, body_hash = await asyncio.to_thread(_made_of, manifest) if is_large else _made_of(manifest)
    start = Start(
        namespace=metadata.namespace,
        id=metadata.name,
        workflow=BATCH,
        body_hash=body_hash,
        inputs={},
        tags=metadata.tags,
    )
    told: Begun | HarpoonError = Conflict("others keep changing this batch; try again")
    for _ in range(TRIES):
        try:
            await check(spec)
            form = await workflows.generations.kept(metadata.namespace, BATCH, spec)
        except Invalid as error:
            problems = [replace(one, pointer=pointer_of(one.pointer)) for one in error.problems]
            said = f"{problems[0].pointer}: {problems[0].detail}" if problems else str(error)
            raise Invalid(said, problems) from error
        (told,) = await conductor.start([(start, form)])
        # What it is made of was about to be deleted, since nothing was on it.
        if type(told) is not Conflict:
            break
    if isinstance(told, HarpoonError):
        raise told
    return told


def _spec_of(manifest: BatchManifest) -> WorkflowSpec:
    """Return the workflow that a batch is a run of.

    Raises:
        Invalid: A number of it is out of its bounds.
    """
    try:
        return workflow_of(manifest.spec)
    except ValueError as error:
        raise Invalid(f"/spec: {error}", [Problem(pointer="/spec", detail=str(error))]) from error


def _made_of(manifest: BatchManifest) -> tuple[WorkflowSpec, str]:
    """Return what a batch does, and a hash of that: the same, however it was spelled."""
    told = orjson.dumps(dict(manifest.metadata.tags), option=orjson.OPT_SORT_KEYS)
    return _spec_of(manifest), hashlib.sha256(codec.canonical(manifest.spec) + told).hexdigest()[:32]

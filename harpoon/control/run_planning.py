"""Plans of workflows and batches: what would come of declaring them together. Nothing is written.

It is what ``harpoon apply`` would come to, which declares workflows one by one, each after those that it calls, and
starts batches last: so whoever calls is judged by what it would then call, also where both change.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from harpoon.control.batch_starts import check_named, key_of, made_of, of_batch
from harpoon.control.beside import compiled
from harpoon.control.callees import Drafts, bounds_with, callees_of, check_callers
from harpoon.control.run_reader import RunReader
from harpoon.control.view import View, job_key
from harpoon.control.workflow_told import changes_of, check, standing
from harpoon.control.workflows import drafted
from harpoon.core.calls import calls_of
from harpoon.core.graph import Graph
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.batch_manifest import BatchManifest, Mode
from harpoon.model.name import BATCH
from harpoon.model.run import Status
from harpoon.model.run_plan import BatchAction, BatchPlan, WorkflowPlan
from harpoon.model.shown import Outcome
from harpoon.model.workflow import WorkflowManifest, WorkflowRecord, WorkflowSpec
from harpoon.model.workflow_shown import ElderRuns

#: Workflows and batches in one plan: for each of them all that stand are looked through.
PLANNED_MAX: Final = 200
_MILLISECONDS: Final = 1000

#: Returns the open runs that would be on other generations of a workflow that is changed.
Elders = Callable[[WorkflowRecord, Graph], Awaitable[tuple[ElderRuns, ...]]]


def drafts_of(flows: Mapping[int, WorkflowManifest]) -> Drafts:
    """Return the workflows of documents, which are given by their numbers in the request.

    Raises:
        Invalid: One is declared twice, or they are too many.
    """
    _check_count(len(flows), "workflows")
    drafts = {}
    for number, manifest in flows.items():
        key = _key(manifest)
        if key in drafts:
            raise _twice(number, f"workflow {key}")
        drafts[key] = manifest.spec
    return drafts


async def plan_workflows(
    view: View, flows: Mapping[int, WorkflowManifest], drafts: Drafts, elders: Elders, now_ms: int
) -> tuple[WorkflowPlan, ...]:
    """Return what would come of declaring workflows, each after those that it calls.

    Args:
        view: Shows what stands.
        flows: By the numbers of their documents.
        drafts: All of them; see `drafts_of`.
        elders: Finds the open runs of one that is changed.
        now_ms: UTC milliseconds.

    Raises:
        Invalid: One would be refused; the problems' pointers are those of the request.
    """
    told = []
    #: Those that call one and come after it stand as they do now when it is declared.
    declared: dict[str, WorkflowSpec] = {}
    for number in _callees_first(flows):
        manifest = flows[number]
        metadata, spec = manifest.metadata, manifest.spec
        with _in_document(number):
            await check(spec)
            graph = await compiled(spec)
            callees = callees_of(view, metadata.namespace, metadata.name, spec, drafts)
            await bounds_with(graph, callees.specs)
        with _in_document(number, is_elsewhere=True):
            await check_callers(view, metadata.namespace, metadata.name, spec, declared)
        declared[_key(manifest)] = spec
        row = standing(view, manifest)
        record = await drafted(row, manifest, now_ms)
        outcome = Outcome.CREATED if row is None else Outcome.CHANGED if record is not row.value else Outcome.UNCHANGED
        elder = await elders(record, graph) if outcome is Outcome.CHANGED else ()
        plan = WorkflowPlan(
            namespace=metadata.namespace,
            workflow=metadata.name,
            outcome=outcome,
            changes=await changes_of(row, manifest),
            elder_runs=elder,
        )
        told.append(plan)
    return tuple(told)


async def plan_batches(
    view: View, reader: RunReader, batches: Mapping[int, BatchManifest], drafts: Drafts
) -> tuple[BatchPlan, ...]:
    """Return what would come of starting batches, once workflows are declared.

    Args:
        view: Shows what stands.
        reader: Finds the runs that have their names.
        batches: By the numbers of their documents.
        drafts: The workflows; see `drafts_of`.

    Raises:
        Invalid: One has flaws, or no bound; the problems' pointers are those of the request.
        StoreUnavailable: The store could not answer.
    """
    _check_count(len(batches), "batches")
    seen: set[str] = set()
    told = []
    for number, manifest in batches.items():
        if key_of(manifest) in seen:
            raise _twice(number, f"batch {key_of(manifest)}")
        seen.add(key_of(manifest))
        with _in_document(number):
            told.append(await _batch(view, reader, manifest, drafts))
    return tuple(told)


async def _batch(view: View, reader: RunReader, manifest: BatchManifest, drafts: Drafts) -> BatchPlan:
    metadata, spec = manifest.metadata, manifest.spec
    check_named(manifest)
    with of_batch():
        flow, body_hash = await made_of(manifest)
        await check(flow)
        graph = await compiled(flow)
        bounds = await bounds_with(graph, callees_of(view, metadata.namespace, BATCH, flow, drafts).specs)
    status, before = await _started(reader, key_of(manifest))
    action = BatchAction.START
    if status is not None:
        action = BatchAction.UNCHANGED if before == body_hash else BatchAction.REFUSE
    taken = f"something else was started under the name {metadata.name} before; give this batch another metadata.name"
    return BatchPlan(
        namespace=metadata.namespace,
        batch=metadata.name,
        action=action,
        refusal=taken if action is BatchAction.REFUSE else None,
        status=status,
        items=len(spec.items),
        steps=len(spec.steps),
        mode=spec.mode,
        parallel=1 if spec.mode is Mode.IN_ORDER else min(spec.parallel, spec.count),
        tolerate=spec.tolerate,
        deadline_ms=int(spec.deadline.total_seconds() * _MILLISECONDS),
        attempts=bounds.attempts,
        ends_after_ms=bounds.ends_after_ms,
        bytes=bounds.bytes,
    )


async def _started(reader: RunReader, key: str) -> tuple[Status | None, str]:
    """Return how the run stands that has a name, also if it is not kept any more, and the hash of what started it."""
    header = await reader.header(key)
    if header is not None:
        return header.status, header.body_hash
    gone = await reader.tombstone(key)
    return (None, "") if gone is None else (gone.status, gone.body_hash)


@contextmanager
def _in_document(number: int, *, is_elsewhere: bool = False) -> Iterator[None]:
    """Have what is wrong with a document told with its place in the request.

    Args:
        number: Of the document.
        is_elsewhere: The places that are told are those of another one.

    Raises:
        Invalid: Something is.
    """
    try:
        yield
    except Invalid as error:
        within = f"/documents/{number}"
        problems = [replace(one, pointer=within + one.pointer) for one in error.problems]
        if is_elsewhere or not problems:
            problems = [Problem(pointer=within, detail=str(error))]
        raise Invalid(f"{problems[0].pointer}: {problems[0].detail}", problems) from error


def renumbered(error: Invalid, numbers: Sequence[int]) -> Invalid:
    """Return an error about some of the documents of a request, given the numbers that these have in all of it."""
    problems = []
    for one in error.problems:
        head, _, rest = one.pointer.removeprefix("/documents/").partition("/")
        place = f"/documents/{numbers[int(head)]}{'/' if rest else ''}{rest}" if head.isdecimal() else one.pointer
        problems.append(replace(one, pointer=place))
    return Invalid(str(error), problems)


def _callees_first(flows: Mapping[int, WorkflowManifest]) -> Sequence[int]:
    """Sort documents so that each workflow stands after those that it calls; else as they stand."""
    numbers = {_key(manifest): number for number, manifest in flows.items()}
    told: dict[int, None] = {}
    begun: set[int] = set()
    ahead = [*flows][::-1]
    while ahead:
        number = ahead[-1]
        if number in begun:
            told.setdefault(ahead.pop())
            continue
        # Those that call each other in a circle are refused, whichever comes first.
        begun.add(number)
        namespace = flows[number].metadata.namespace
        called = [job_key(namespace, call.workflow) for call in calls_of(flows[number].spec).values()]
        ahead += [numbers[key] for key in reversed(called) if key in numbers and numbers[key] not in begun]
    return [*told]


def _check_count(count: int, what: str) -> None:
    if count > PLANNED_MAX:
        raise Invalid(f"at most {PLANNED_MAX} {what} are planned at once; got {count}")


def _twice(number: int, what: str) -> Invalid:
    detail = f"{what} is declared twice; keep one"
    return Invalid(detail, [Problem(pointer=f"/documents/{number}/metadata/name", detail=detail)])


def _key(manifest: WorkflowManifest) -> str:
    return job_key(manifest.metadata.namespace, manifest.metadata.name)

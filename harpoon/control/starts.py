"""Starting runs: what is written for one, and what is told when the id was used before.

A run that was started and is open is known to its conductor. Whether there was one that has ended, or is not even kept
any more, the store knows: so a start compares that there is neither, in its own commit, and nothing is read before.
1. A start is decided, and written. 2. Its commit finds a header under that id: nothing of the run is written, and the
conductor drops it. 3. What was found tells whether that was the same start. An id that was just made here is not
looked for.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from harpoon.control.callback_urls import address_of, new_secret
from harpoon.control.conducted import Conducted
from harpoon.control.draft import Draft, Overtaken
from harpoon.control.ledger_records import Place, fixed_part, load_tombstone, run_key
from harpoon.control.orders import Begun, Form, Start
from harpoon.core import step
from harpoon.core.event import Event, dump
from harpoon.core.run import begin
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Problem, Reused
from harpoon.model.header import Header
from harpoon.model.name import BATCH, workflow_said
from harpoon.model.tombstone import check_run_id
from harpoon.store.port import Compare, Entry

#: Told of each start.
Answer = Begun | HarpoonError
#: Returns a header, given its record.
ReadHeader = Callable[[Entry], Awaitable[Header]]

_MILLISECONDS: Final = 1000


def started(order: Start, form: Form, now_ms: int, base: str = "") -> tuple[Conducted, list[Event]]:
    """Return a run in its first steps, and the events of these.

    Args:
        order: Which run.
        form: What it is started on.
        now_ms: UTC milliseconds.
        base: URL that those of its callbacks begin with; see `callback_urls`.

    Raises:
        Invalid: The run cannot be called so.
    """
    try:
        if order.caller is None:
            check_run_id(order.id)
    except ValueError as error:
        raise Invalid(str(error), [Problem(pointer="/id", detail=str(error))]) from error
    span = form.graph.spec.deadline if order.deadline is None else min(order.deadline, form.graph.spec.deadline)
    deadline_ms = now_ms + int(span.total_seconds() * _MILLISECONDS)
    if order.due_ms is not None:
        deadline_ms = max(now_ms, min(deadline_ms, order.due_ms))
    secret = new_secret() if form.graph.callbacks else ""
    run = begin(
        namespace=order.namespace,
        id=order.id,
        workflow=order.workflow,
        generation=form.generation,
        graph=form.graph,
        inputs=order.inputs,
        created_ms=now_ms,
        deadline_ms=deadline_ms,
        tags=order.tags,
        address=address_of(base, run_key(order.namespace, order.id), secret),
    )
    events = step.start(run, now_ms)
    header = Header(
        namespace=order.namespace,
        run=order.id,
        workflow=order.workflow,
        generation=form.generation,
        body_hash=order.body_hash,
        created_ms=now_ms,
        deadline_ms=deadline_ms,
        inputs=order.inputs,
        tags=order.tags,
        started=tuple([dump(event) for event in events]),
        caller=order.caller,
        forms=form.forms,
        secret=secret,
    )
    return Conducted(run, header, fixed_part(header)), events


def conditions(place: Place, order: Start, form: Form) -> tuple[Compare, ...]:
    """Return what must hold for a run to be started."""
    if order.is_fresh:
        return form.kept
    key = run_key(order.namespace, order.id)
    return (*form.kept, Compare(place.runs + key, mod=0), Compare(place.gone + key, mod=0))


def begun(conducted: Conducted, order: Start, *, is_new: bool) -> Answer:
    """Return what is told of a start, given the run that has its id."""
    if conducted.body_hash != order.body_hash:
        return _reused(order)
    run = conducted.run
    return Begun(order.namespace, order.id, is_new, run.workflow, run.generation, run.status)


async def overtaken(place: Place, order: Start, error: Overtaken, read: ReadHeader) -> Answer:
    """Return what is told of a start whose conditions did not hold.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    entry = error.entry
    if entry is None or not entry.key.startswith((place.runs, place.gone)):
        return Conflict(f"{workflow_said(order.workflow)} was changed by someone else meanwhile; try again")
    if entry.key.startswith(place.gone):
        gone = load_tombstone(entry.value)
        if gone.body_hash != order.body_hash:
            return _reused(order)
        return Begun(
            order.namespace, order.id, is_new=False, workflow=order.workflow, generation="", status=gone.status
        )
    return begun_before(await read(entry), order)


def begun_before(header: Header, order: Start) -> Answer:
    """Return what is told of a start, given the header of the run that has its id."""
    if header.body_hash != order.body_hash:
        return _reused(order)
    return Begun(order.namespace, order.id, False, header.workflow, header.generation, header.status)


def told(
    place: Place, found: Sequence[tuple[Start, Draft | None, Answer]], read: ReadHeader
) -> tuple[Callable[[], list[Answer]], Callable[[list[Answer]], Awaitable[list[Answer]]] | None]:
    """Return what tells of starts once they have landed, and what mends that where others were there before."""

    def tell() -> list[Answer]:
        return [answer for _, _, answer in found]

    return tell, partial(_mended, place, found, read)


async def _mended(
    place: Place, found: Sequence[tuple[Start, Draft | None, Answer]], read: ReadHeader, answers: list[Answer]
) -> list[Answer]:
    for number, (order, draft, _) in enumerate(found):
        if draft is None or draft.error is None:
            continue
        if isinstance(draft.error, Overtaken):
            answers[number] = await overtaken(place, order, draft.error, read)
        else:
            assert isinstance(draft.error, HarpoonError)
            answers[number] = draft.error
    return answers


def _reused(order: Start) -> Reused:
    if order.workflow == BATCH:
        said = f"something else was started under the name {order.id} before; give this batch another metadata.name"
        return Reused(said, reused=order.id)
    return Reused(f"run {order.id} was started by another request; make a new id", reused=order.id)

"""What conductors are asked to do, and what they answer."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from harpoon.core.graph import Graph
from harpoon.core.visit import Ref
from harpoon.model.run import Status
from harpoon.model.sub_run import Caller
from harpoon.store.port import Compare

#: Code of a refusal: the run is not open, so nothing of it is anybody's.
OVER: Final = "over"
#: Code of a refusal: what became of it is not known; it is to be asked again, of whoever conducts the run then.
MOVED: Final = "moved"
_NO_FORMS: Final[Mapping[str, str]] = {}


class Start(NamedTuple):
    """A run to be started."""

    namespace: str
    id: str
    workflow: str
    #: Of the start as its client sent it.
    body_hash: str
    #: Checked, and with the defaults filled in.
    inputs: Mapping[str, object]
    tags: Mapping[str, str]
    #: Complete-by, no later than the workflow's; None: just that.
    deadline: timedelta | None = None
    #: The id was made here just now, so nobody else can have used it.
    is_fresh: bool = False
    #: What starts it; None: a user does.
    caller: Caller | None = None
    #: Complete-by, UTC milliseconds, if that is earlier.
    due_ms: int | None = None


class Form(NamedTuple):
    """What a run is started on: a workflow as it stands."""

    generation: str
    graph: Graph
    #: That this form, and those of what it calls, are kept for as long as runs are on them.
    kept: tuple[Compare, ...]
    #: Workflow that it calls, directly or not → the generation that calls of it go by.
    forms: Mapping[str, str] = _NO_FORMS


class Begun(NamedTuple):
    """A run that was started, now or by the same start before."""

    namespace: str
    id: str
    is_new: bool
    workflow: str
    generation: str
    status: Status


class ClaimOrder(NamedTuple):
    """A worker is to have an attempt."""

    #: ``<namespace>/<run>``, as `ledger_records.run_key` makes it.
    run: str
    ref: Ref
    worker: str
    session: str


class Granted(NamedTuple):
    """The attempt is the worker's, by a token that no other claim ever has."""

    token: str


class CloseOrder(NamedTuple):
    """A worker closes an attempt."""

    run: str
    ref: Ref
    token: str
    label: str
    output: object = None
    error: str = ""
    #: Of a failure: whether trying again may help, and not before so long.
    is_retryable: bool = True
    after_ms: int = 0


class BeatOrder(NamedTuple):
    """A worker still works on an attempt."""

    run: str
    ref: Ref
    token: str


class Refusal(NamedTuple):
    """Why not. Nothing was changed."""

    #: Of `core.step.Refused`, or `OVER`, or `MOVED`.
    code: str
    message: str

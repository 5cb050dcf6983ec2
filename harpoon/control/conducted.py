"""An open run as its conductor keeps it: the run itself, and what of it is on its way into the store."""

from collections.abc import Sequence

from harpoon.control.draft import Draft
from harpoon.control.ledger_records import header_record, run_key
from harpoon.control.timers import NEVER
from harpoon.core.run import Run
from harpoon.model.header import Header
from harpoon.store.port import Compare


class Conducted:
    """An open run; equals itself alone."""

    __slots__ = (
        "body_hash",
        "bytes",
        "caller",
        "compares",
        "draft",
        "due_ms",
        "fixed",
        "forms",
        "incidents",
        "key",
        "moved",
        "run",
        "secret",
    )

    def __init__(self, run: Run, begun: Header, fixed: bytes, size: int = 0, moved: Sequence[str] = ()) -> None:
        self.run = run
        #: ``<namespace>/<run>``.
        self.key = run_key(run.namespace, run.id)
        self.body_hash = begun.body_hash
        #: Of its callbacks; empty: it has none.
        self.secret = begun.secret
        #: What has started it; None: a user.
        self.caller = begun.caller
        #: Workflow that it calls, directly or not → the generation that calls go by.
        self.forms = begun.forms
        #: The part of its header that never changes, as it is stored.
        self.fixed = fixed
        #: What must hold for it to be started.
        self.compares: Sequence[Compare] = ()
        #: The last that was written of it, or is to be; None: nothing since it is conducted here.
        self.draft: Draft | None = None
        #: Of its entry among the timers.
        self.due_ms = NEVER
        #: Of its records, about.
        self.bytes = size
        #: Generations that it was moved to.
        self.moved = tuple(moved)
        #: Failures that were parked when its header was written last.
        self.incidents = len(run.incidents)

    @property
    def is_durable(self) -> bool:
        """Whether all that the run shows has been committed."""
        return self.draft is None or self.draft.is_landed

    def header(self) -> bytes:
        """Return its header as it is to be stored now."""
        run = self.run
        standing: dict[str, object] = {"status": run.status}
        if run.is_paused:
            standing["is_paused"] = True
        if run.cancel_reason is not None:
            standing["cancel_reason"] = run.cancel_reason
        if run.repairs:
            standing |= {"repairs": run.repairs, "until_ms": run.deadline_ms}
        if self.moved:
            standing["moved"] = self.moved
        self.incidents = len(run.incidents)
        if self.incidents:
            standing["incidents"] = self.incidents
        if run.status.is_over:
            standing |= {"ended_ms": run.ended_ms, "bytes": self.bytes + len(self.fixed)}
            if run.outputs is not None:
                standing["outputs"] = run.outputs
            if run.reason:
                standing["reason"] = run.reason
        return header_record(self.fixed, standing)

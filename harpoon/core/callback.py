"""Callbacks: what somebody outside brings to a visit that waits for it, once.

Whoever has the address of a visit may bring one thing. It may come before the visit is opened, and is kept until then;
the very same thing again changes nothing, and anything else is refused from then on.
"""

from typing import NamedTuple

from harpoon.core.event import Event, Signalled
from harpoon.core.run import Run, callback_key
from harpoon.core.signalling import consume, objection_to_call
from harpoon.core.step import Refused, check_open
from harpoon.core.stepping import Step
from harpoon.model.label import DONE
from harpoon.model.operation import CALLBACK


class Reply(NamedTuple):
    """What a callback brings."""

    op: str
    visit: int
    #: Of the label and the payload: two that are equal have the same.
    digest: str
    label: str = DONE
    payload: object = None

    @property
    def key(self) -> str:
        """The key of its signal."""
        return callback_key(self.op, self.visit)

    @property
    def id(self) -> str:
        """The id of its signal."""
        return f"{self.key}:{self.digest}"


def call_back(run: Run, call: Reply, now_ms: int) -> list[Event]:
    """Have the visit of a wait closed by what its callback brings, now or once it is opened.

    Raises:
        Refused: The visit has no callback, or waits no more; something else was brought; it cannot be closed so.
    """
    if run.called.get(call.key) == call.id:
        return []
    check_open(run)
    step = Step(run, now_ms)
    event = Signalled(step.seq, step.now_ms, call.id, CALLBACK, call.key, call.label, call.payload)
    against = objection_to_call(run, event, call.op, call.visit)
    if against is not None:
        raise Refused(*against)
    step.happen(event)
    consume(step, run.kept[call.id])
    step.settle()
    return step.events


def was_called(events: list[Event], call: Reply) -> bool | None:
    """Whether a run of which these are the events was brought this very thing; None: nothing, by that callback."""
    brought = [event.id for event in events if type(event) is Signalled and event.name == CALLBACK]
    own = [id_ for id_ in brought if id_.startswith(f"{call.key}:")]
    return own == [call.id] if own else None

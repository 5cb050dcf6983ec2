"""Logs of runs, written by hand."""

from typing import Any

import orjson

from harpoon.core.event import (
    CancelAsked,
    Claimed,
    Closed,
    Ended,
    Event,
    Fired,
    Opened,
    Paused,
    Resumed,
    Signalled,
    Started,
    Warned,
)
from harpoon.core.run_groups import Most, Plot
from harpoon.kit import codec
from harpoon.model.run import Status
from harpoon.model.workflow import WorkflowManifest, WorkflowSpec
from tests.workflows import REFUND

BEGAN_MS = 1_790_000_000_000
TOKEN = "1.5.1"


def a_spec(manifest: dict[str, Any] = REFUND) -> WorkflowSpec:
    """The spec of a workflow, as it is read."""
    return codec.decode(WorkflowManifest, orjson.dumps(manifest)).spec


def a_plot(**most: Most) -> Plot:
    """What a picture needs of the refund."""
    return Plot(operations=a_spec().operations, most=most)


#: It is claimed, fails and is tried again; then a person is asked, and decides.
REFUNDED: tuple[Event, ...] = (
    Started(1, BEGAN_MS, (Opened("pay_back", 1, None, {"order": "o-1"}),)),
    Claimed(2, BEGAN_MS + 10, "pay_back", 1, 1, TOKEN, "w1", "s1"),
    Closed(3, BEGAN_MS + 20, "pay_back", 1, 1, TOKEN, "fail", None, "no funds", (), BEGAN_MS + 1020),
    Warned(4, BEGAN_MS + 500, "pay_back", 1, 2, "queue"),
    Claimed(5, BEGAN_MS + 1100, "pay_back", 1, 2, TOKEN, "w2", "s2"),
    Closed(6, BEGAN_MS + 1200, "pay_back", 1, 2, TOKEN, "fail", None, "no funds", (Opened("ask_human", 1, 0),)),
    Claimed(7, BEGAN_MS + 1300, "ask_human", 1, 1, TOKEN, "w1", "s1"),
    Closed(8, BEGAN_MS + 1400, "ask_human", 1, 1, TOKEN, "done", 1, "", (Opened("wait_human", 1, 3, key="o-1"),)),
    Signalled(9, BEGAN_MS + 1500, "d-0", "other", None, "done"),
    Signalled(10, BEGAN_MS + 1600, "d-1", "decision", "o-1", "rejected", {"by": "ann"}),
    Closed(11, BEGAN_MS + 1600, "wait_human", 1, 1, "", "rejected", None, "", (Opened("tell", 1, 6),), None, "d-1"),
)
PAUSED: tuple[Event, ...] = (
    *REFUNDED,
    Paused(12, BEGAN_MS + 1700, "ann"),
    Resumed(13, BEGAN_MS + 1800, "ann", ()),
    Fired(14, BEGAN_MS + 1900, ()),
)
CANCELLED: tuple[Event, ...] = (
    *PAUSED,
    CancelAsked(15, BEGAN_MS + 2000, "ordered twice"),
    Ended(16, BEGAN_MS + 2000, Status.CANCELLED, None, "ordered twice"),
)

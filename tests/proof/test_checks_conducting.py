"""S7, S8 with S10, and S9: each takes what runs do, and refutes what is wrong by its own name."""

from copy import deepcopy
from random import Random

import orjson
import pytest

from harpoon.core.event import dump
from harpoon.kit import codec
from harpoon.model.workflow import GraphRecord
from tests.core.adversary import Play, any_workflow
from tests.core.flow import Flow, retry, spec, work
from tests.proof.checks.conducting import FiresOnce, OneCompletion, WithinBounds
from tests.proof.history import Committed
from tests.proof.told import Told, refuted

RUN = "07/shop/r1"
CHECKS = (OneCompletion, FiresOnce, WithinBounds)


class Runs:
    """A history of one run, told record by record."""

    def __init__(self, told_spec, *checks):
        self.told = Told(None, *(checks or CHECKS))
        record = GraphRecord(namespace="shop", name="refund", generation="g1", spec=told_spec, at_ms=0)
        self.told.commit({"graphs/shop/refund/g1": orjson.loads(codec.dump(record))})

    def commit(self, changes):
        self.told.revision += 1
        told = {f"/h/1/run/{key}": value for key, value in changes.items()}
        self.told.say(Committed(t=0, node="store", revision=self.told.revision, changes=told))

    def start(self, *events, run=RUN, status="running"):
        header = {"namespace": "shop", "workflow": "refund", "generation": "g1", "status": status}
        self.commit({f"runs/{run}": header | {"started": list(events)}})

    def log(self, *events, run=RUN):
        self.commit({f"log/{run}/{events[0][1]:08d}": list(events)})

    def all(self, written):
        """Tell all of a log: what a run begins with first."""
        self.start(*written[0])
        for events in written[1:]:
            self.log(*events)
        self.told.end()


def written_of(log):
    return [[orjson.loads(orjson.dumps(dump(event))) for event in events] for events in log]


SHIP = spec(a=work(next={"fail": "c"}, retry=retry(fail=2)), b=work(), j=work(needs=["a", "b"]), c=work())


def shipped():
    """The log of a run, a record a step: a is tried twice, and joined with b."""
    flow = Flow(SHIP)
    steps = []

    def take(events):
        steps.append(list(events))
        return events

    flow.take = take
    flow.start()
    flow.do("a", "fail")
    flow.pass_(2000)
    flow.do("b")
    flow.do("a")
    flow.do("j")
    assert flow.run.status == "succeeded"
    return written_of([events for events in steps if events])


def test_a_run_that_goes_as_its_workflow_says_is_taken():
    Runs(SHIP).all(shipped())


@pytest.mark.parametrize("seed", range(150))
def test_whatever_runs_do_is_taken(seed):
    random = Random(seed)
    graph = any_workflow(random, size=random.randint(1, 7))
    play = Play(graph, random, is_thorough=seed % 2 == 0)
    play.play()
    Runs(graph.spec).all(written_of(play.log))


def spoilt(change, check=None):
    """Tell the log with something changed in it: ``change`` is given the events as one list."""
    events = [event for step in shipped() for event in step]
    events = change(events) or events
    for number, event in enumerate(events, 1):
        event[1] = number
    runs = Runs(SHIP, *([check] if check else []))
    runs.all([[event] for event in events])


def at(events, kind, op):
    return next(number for number, event in enumerate(events) if event[0] == kind and event[3] == op)


def twice(kind, op):
    def change(events):
        where = at(events, kind, op)
        return [*events[: where + 1], deepcopy(events[where]), *events[where + 1 :]]

    return change


def set_at(kind, op, place, value):
    def change(events):
        events[at(events, kind, op)][place] = value
        return events

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (twice("c", "b"), "is claimed twice"),
        (twice("x", "b"), "is not open"),
        (set_at("x", "b", 6, "t99"), "by another token than it was claimed by"),
        (set_at("c", "b", 6, "t1"), "by a token that there was before"),
        (set_at("c", "b", 5, 2), "is not open"),
        (lambda events: [*events, deepcopy(events[-1])], "is over, and event"),
    ],
)
def test_attempts_are_claimed_and_closed_once(change, what):
    with refuted("S7") as told:
        spoilt(change, OneCompletion)
    assert what in str(told.value)


def test_logs_are_written_once_and_kept():
    def begun():
        runs = Runs(SHIP, OneCompletion)
        written = shipped()
        runs.start(*written[0])
        runs.log(*written[1])
        return runs, written

    runs, written = begun()
    with refuted("S7"):
        runs.log(*written[1])
    runs, written = begun()
    with refuted("S7"):
        runs.commit({f"log/{RUN}/{written[1][0][1]:08d}": None})
    runs, written = begun()
    with refuted("S7"):
        runs.log(*written[3])
    runs, written = begun()
    runs.commit({f"runs/{RUN}": None, f"log/{RUN}/{written[1][0][1]:08d}": None})
    runs, _ = begun()
    with refuted("S7"):
        runs.start(["s", 1, 1, [["a", 1]]], run="08/shop/r2")
        runs.log(["c", 2, 1, "a", 1, 1, "t1", "w1", "s1"], run="08/shop/r2")


def join_opened(events):
    """Return the event that opens the join, which is the second closing of its members."""
    return next(event for event in events if event[0] == "x" and len(event) > 10 and event[10])


def test_what_is_complete_fires_once():
    def again(events):
        event = join_opened(events)
        event[10] = [event[10][0], [event[10][0][0], 2, *event[10][0][2:]]]

    with refuted("S8"):
        spoilt(again, FiresOnce)

    def never(events):
        events[events.index(join_opened(events))][10] = []
        return [event for event in events if event[0] not in "cx" or event[3] != "j"]

    with refuted("S8"):
        spoilt(never, FiresOnce)

    def early(events):
        events[at(events, "x", "b")][8:] = [None, "", join_opened(events)[10]]

    with refuted("S8"):
        spoilt(early, FiresOnce)

    def second(events):
        events[0][3][0][1] = 2

    with refuted("S8"):
        spoilt(second, FiresOnce)


def test_nothing_begins_twice():
    def again(events):
        events[at(events, "x", "b")][8:11] = [None, "", [["b", 2]]]

    with refuted("S8"):
        spoilt(again, FiresOnce)


def test_visits_and_attempts_are_bounded():
    with refuted("S9"):
        spoilt(set_at("c", "b", 4, 2), WithinBounds)
    with refuted("S9"):
        spoilt(set_at("x", "b", 4, 2), WithinBounds)
    with refuted("S9"):
        spoilt(set_at("c", "a", 5, 9), WithinBounds)
    late = set_at("x", "b", 4, 2)

    def exhausted(events):
        late(events)
        events[at(events, "x", "b")][7] = "exhausted"
        events[at(events, "c", "b")][4] = 1

    spoilt(exhausted, WithinBounds)


def test_a_registry_that_was_set_back_begins_anew():
    runs = Runs(SHIP, OneCompletion)
    written = shipped()
    runs.start(*written[0])
    runs.log(*written[1])
    runs.told.commit({}, is_anew=True)
    runs.start(*written[0])

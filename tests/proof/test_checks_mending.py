"""Repairs, moves, forks and items of runs: the checks of runs take what they do, and refute what is wrong by its own name."""

from copy import deepcopy
from dataclasses import replace
from random import Random

import orjson
import pytest

from harpoon.control.conducted import Conducted
from harpoon.control.ledger_records import fixed_part
from harpoon.core import repairing
from harpoon.core.event import dump
from harpoon.core.graph import compile_graph
from harpoon.core.repairing import Audit, Value
from harpoon.kit import codec
from harpoon.model.header import Header
from harpoon.model.inputs import InputSchema
from harpoon.model.workflow import GraphRecord, OnFailed
from tests.core.adversary import any_workflow
from tests.core.flow import T0, begun, each, ms, retry, spec, work
from tests.core.test_repairs_bounded import Mended
from tests.proof.checks.asking import RunsKept, RunsOnce
from tests.proof.checks.clocks import RunTimers, StandsStill
from tests.proof.checks.conducting import FiresOnce, OneCompletion, WithinBounds
from tests.proof.checks.folding import ForksBegin, RunsFold
from tests.proof.checks.items import ItemsOnce
from tests.proof.history import Committed, RunAsked, RunTold
from tests.proof.told import Told, refuted

RUN, FORK = "07/shop/r1", "08/shop/r2"
ALL = (OneCompletion, FiresOnce, WithinBounds, ItemsOnce, RunsFold, ForksBegin, StandsStill, RunsKept, RunsOnce)
SHIP = spec(
    a=work(next={"fail": "c"}),
    b=work(retry=retry(fail=1)),
    j=work(needs=["a", "b"]),
    c=work(),
    on_failure=OnFailed.PARK,
)
PACK = spec(a=work(foreach=each([0, 1, 2, 3], parallel=2, tolerate=1)))


class Tale:
    """A history of runs of one workflow, told record by record; ``forms`` are other generations of it."""

    def __init__(self, told, *checks, **forms):
        self.told = Told(None, *(checks or ALL))
        self.ops = 0
        for generation, form in {"g1": told, **forms}.items():
            record = GraphRecord(namespace="shop", name="refund", generation=generation, spec=form, at_ms=0)
            self.told.commit({f"graphs/shop/refund/{generation}": orjson.loads(codec.dump(record))})

    def commit(self, changes):
        self.told.revision += 1
        told = {f"/h/1/run/{key}": value for key, value in changes.items()}
        self.told.say(Committed(t=0, node="store", revision=self.told.revision, changes=told))

    def write(self, run, written, key=RUN, **standing):
        """Write events, and how the run stands by the last of them; the first one begins it."""
        first = Header(
            namespace="shop",
            run=key.rpartition("/")[2],
            workflow="refund",
            generation="g1",
            body_hash="",
            created_ms=T0,
            deadline_ms=T0 + run.graph.spec.deadline // ms(1),
            inputs=run.inputs,
            started=tuple(written[:1]),
            **{name: standing.pop(name) for name in ("origin", "forked_ms") if name in standing},
        )
        moved = [event[3] for event in written if event[0] == "m"]
        header = orjson.loads(Conducted(run, first, fixed_part(first), moved=moved).header()) | standing
        log = written[1:]
        changes = {f"log/{key}/{log[0][1]:08d}": log} if log else {}
        self.commit({f"runs/{key}": {name: value for name, value in header.items() if value is not None}, **changes})

    def ask(self, verb, run="shop/r1", status=200, found=None, **args):
        """Have a user ask, and be answered at once."""
        self.begin(verb, run, **args)
        self.answer(status, found)

    def begin(self, verb, run="shop/r1", **args):
        self.ops += 1
        self.told.say(RunAsked(t=0, node="u1", op=f"o{self.ops}", verb=verb, run=run, args=args, session="u1"))

    def answer(self, status=200, found=None):
        outcome = "done" if status < 300 else "refused"
        self.told.say(RunTold(t=0, node="u1", op=f"o{self.ops}", outcome=outcome, status=status, found=found))


def written_of(log):
    return [orjson.loads(orjson.dumps(dump(event))) for event in log]


def told(flow, *checks, change=None, **forms):
    """Tell all of a run, perhaps with something changed in its log."""
    tale, written = Tale(flow.spec, *checks, **forms), written_of(flow.log)
    if change is not None:
        change(written)
    tale.write(flow.run, written)
    tale.told.end()
    return tale


def mended():
    """A run that has failed, is retried, fails again, and is set."""
    flow = begun(SHIP)
    flow.do("a")
    flow.do("b", "fail")
    flow.retry_from("b", reason="first", order="k1")
    flow.do("b", "fail")
    flow.set_to("b", order="k2")
    flow.do("j")
    return flow


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_repaired_is_taken(seed):
    random = Random(seed)
    graph = any_workflow(random, size=random.randint(1, 6), items=random.choice([0, 0.5]))
    play = Mended(graph, random, is_thorough=False)
    play.play()
    play.play_on()
    inputs = {"pick": InputSchema(type=("integer",)), "items": InputSchema(type=("array",))}
    tale, written = Tale(replace(graph.spec, inputs=inputs)), written_of(event for step in play.log for event in step)
    tale.write(play.run, written)
    tale.told.end()


def test_a_run_that_is_moved_is_taken():
    other = spec(a=work(next={"fail": "c"}), b=work(), j=work(needs=["a", "b"]), c=work(), k=work(needs=["j"]))
    flow = begun(spec(a=work(next={"fail": "c"}), b=work(), j=work(needs=["a", "b"]), c=work()))
    flow.do("a")
    flow.move("g2", compile_graph(other))
    flow.do("b")
    flow.do("j")
    flow.do("k")
    assert flow.run.status == "succeeded"
    told(flow, g2=other)
    with refuted("S8"):
        # By the form that it was on, nothing follows the join.
        told(flow, FiresOnce, g2=flow.spec)
    with refuted("S29"):
        Tale(flow.spec, g2=other).write(flow.run, written_of(flow.log), moved=None)


def at(written, kind, op):
    return next(number for number, event in enumerate(written) if event[0] == kind and event[3] == op)


def changing(kind, op, place, value):
    def change(written):
        written[at(written, kind, op)][place] = value

    return change


@pytest.mark.parametrize(
    ("name", "check", "change"),
    [
        ("S7", OneCompletion, changing("t", "b", 8, [["b", 1, 1]])),
        ("S7", OneCompletion, changing("u", "b", 5, 1)),
        ("S8", FiresOnce, changing("t", "b", 9, [["a", 2]])),
        ("S8", FiresOnce, changing("u", "b", 6, "other")),
        ("S29", RunsFold, changing("t", "b", 8, [["j", 1, 1]])),
        ("S6", RunsOnce, changing("u", "b", 11, "k1")),
    ],
)
def test_what_a_repair_does_follows_from_the_log(name, check, change):
    told(mended())
    with refuted(name):
        told(mended(), check, change=change)


def test_how_a_run_stands_is_what_its_log_says():
    for standing in ({"status": "running"}, {"repairs": 1}, {"until_ms": 5}, {"is_paused": True}, {"reason": "so"}):
        with refuted("S29"):
            Tale(SHIP, RunsFold).write(mended().run, written_of(mended().log), **standing)


def test_visits_are_given_back_by_repairs_and_no_more():
    flow = begun(spec("a", a=work(visits=2, next={"done": "a", "exhausted": "b"}), b=work()))
    for number in range(2):
        flow.do("a")
        flow.do("a")
        flow.do("b")
        if not number:
            flow.retry_from("a")

    def label(visit, told):
        def change(written):
            next(event for event in written if event[0] == "x" and event[3:5] == ["a", visit])[7] = told

        return change

    told(flow)
    for change in (label(4, "exhausted"), label(3, "done"), label(6, "done")):
        with refuted("S9"):
            told(flow, WithinBounds, change=change)


def test_a_retry_gives_a_deadline_and_copied_clocks_are_not_judged():
    def late(kind):
        flow = begun(spec(a=work(), deadline=5000))
        flow.pass_(5000)
        flow.retry_from("a")
        flow.pass_(5000)
        written = written_of(flow.log)
        if kind is not None:
            written[at(written, kind, "a")][4] += 60_000
        tale = Tale(flow.spec, RunTimers)
        tale.told.wait(3600)
        tale.write(flow.run, written)

    late(None)
    with refuted("L4"):
        late("t")


def test_a_fork_begins_as_the_other_run_does():
    flow = begun(SHIP)
    flow.do("a")
    flow.claim("b")
    source = written_of(flow.log)
    flow.cancel("forked")
    flow.retry_from("a")
    fork = written_of(flow.log)

    def forked(written, copied=source):
        tale = Tale(SHIP, ForksBegin)
        tale.write(flow.run, copied)
        tale.write(flow.run, written, FORK, origin="r1", forked_ms=T0)

    forked(fork)
    short, broken = fork[: len(source) - 1] + fork[len(source) :], [*fork[: len(source)], *fork[len(source) + 2 :]]
    for wrong in (short, broken, deepcopy(fork)):
        for number, event in enumerate(wrong, 1):
            event[1] = number
    other = deepcopy(source)
    other[-1][6] = "t9"
    for wrong, copied in ((short, source), (broken, source), (fork, other)):
        with refuted("S29"):
            forked(wrong, copied)


def packed(label="fail"):
    """A run with items of which one fails, which is done anew."""
    flow = begun(PACK)
    for visit, how in ((1, "done"), (2, label), (3, "done"), (4, "done")):
        flow.do("a[]", how, visit=visit)
    flow.retry_from("a", reason="anew", items=() if label == "fail" else (1,))
    flow.do("a[]")
    return flow


def test_items_are_done_once():
    told(packed())
    told(packed("done"))

    def too_many(written):
        written[0][3].append(["a[]", 3])

    def not_the_next(written):
        written[0][3][1][1] = 3

    def too_soon(written):
        del written[at(written, "x", "a[]") : at(written, "x", "a")]

    def not_those(written):
        written[at(written, "t", "a")][10] = [2]

    def never_there(written):
        written[at(written, "t", "a")][10] = [9]

    def as_failed(written):
        written[at(written, "x", "a")][7] = "fail"

    for change in (too_many, not_the_next, too_soon, not_those, never_there, as_failed):
        with refuted("S28"):
            told(packed(), ItemsOnce, change=change)


def test_items_that_are_asked_for_are_done_anew():
    tale = Tale(PACK, ItemsOnce)
    tale.begin("retry", **{"from": "a", "items": [], "reason": "anew"})
    tale.write(packed().run, written_of(packed().log))
    tale.answer()
    tale.ask("retry", **{"from": "a", "items": [1], "reason": "anew"})
    with refuted("S28"):
        tale.ask("retry", **{"from": "a", "items": [0, 1], "reason": "anew"})
    with refuted("S28"):
        other = Tale(PACK, ItemsOnce)
        other.write(packed("done").run, written_of(packed("done").log))
        other.ask("retry", **{"from": "a", "items": [], "reason": "anew"})


def test_repairs_moves_and_forks_that_were_acknowledged_are_there():
    parked = spec(a=work(), on_failure=OnFailed.PARK)
    flow = begun(parked)
    flow.do("a", "fail")
    flow.retry_from("a", reason="so")
    tale = Tale(parked, RunsKept, RunsOnce)
    tale.write(flow.run, written_of(flow.log))
    tale.ask("retry", reason="so", **{"from": "a"})
    tale.ask("move", found={"generation": "g1"})
    for verb, args in (
        ("retry", {"reason": "else", "from": "a"}),
        ("retry", {"reason": "so", "from": "b"}),
        ("skip", {"reason": "so", "op": "a"}),
        ("fork", {"id": "r2", "tags": {}}),
        ("move", {}),
    ):
        with refuted("S5"):
            tale.ask(verb, **args, found={"generation": "g2"} if verb == "move" else None)
    tale.write(flow.run, written_of(flow.log), FORK, origin="r1", forked_ms=T0)
    for status in (201, 200):
        tale.ask("fork", id="r2", tags={}, status=status)
    with refuted("S6"):
        tale.ask("fork", id="r2", tags={}, status=201)
    with refuted("S6"):
        tale.ask("fork", id="r2", tags={"other": "body"})


def test_what_was_set_by_hand_is_as_it_was_asked_for():
    flow = begun(spec(a=work(), on_failure=OnFailed.PARK))
    audit = Audit("ann", "so", "")
    flow.take(repairing.set_to(flow.run, "a", None, Value("fail", [1]), audit, flow.now))
    tale = told(flow, RunsKept)
    tale.ask("set", op="a", label="fail", output=[1], reason="so")
    for args in ({"label": "done", "output": [1]}, {"label": "fail"}, {"label": "fail", "output": [1], "op": "b"}):
        with refuted("S5"):
            tale.ask("set", **{"op": "a", "reason": "so", **args})

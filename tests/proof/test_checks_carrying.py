"""S5 and S7 of runs outside of their logs: each takes what real workers and clients do, and refutes what is wrong."""

import pytest

from tests.proof.checks.carrying import CarriedOut, OrdersKept
from tests.proof.history import Answered, Committed, Executed, Invoked
from tests.proof.judge import Check
from tests.proof.told import REAL, Told, refuted

RUN = "default/r1"
BEGUN = [["s", 1, 10, [["a", 1]]]]
START = {"id": "r1", "workflow": "line", "inputs": {"n": 1}}
SIGNAL = {"id": "i1", "name": "decision", "label": "approved", "payload": {"by": "c1"}}
TAKEN = ["g", 2, 11, "i1", "decision", None, "approved", {"by": "c1"}]
CLAIM = ["c", 2, 11, "a", 1, 1, "t1", "w1", "s1"]


class Runs(Told):
    """A history with one run."""

    def __init__(self, check: type[Check]) -> None:
        super().__init__(REAL, check)
        self._count = 0

    def write(self, changes):
        self.revision += 1
        told = {f"/h/1/run/{key}": value for key, value in changes.items()}
        self.say(Committed(t=0, node="store", revision=self.revision, changes=told))

    def begin(self, **fields):
        header = {"workflow": "line", "inputs": {"n": 1}, "status": "running", "started": BEGUN, **fields}
        self.write({f"runs/07/{RUN}": header})

    def log(self, *events):
        self.write({f"log/07/{RUN}/{events[0][1]:08d}": list(events)})

    def ask(self, verb, args=None, outcome="done", code="", found=None):
        self._count += 1
        op = f"c1.{self._count}"
        self.say(Invoked(t=0, node="c1", op=op, verb=verb, job=RUN, args=args or {}))
        self.say(Answered(t=0, node="c1", op=op, outcome=outcome, code=code, found=found))

    def work(self, label="", output=None, *, token="t1", attempt=1):
        told = {"run": RUN, "op": "a", "visit": 1, "attempt": attempt, "token": token}
        self.say(Executed(t=0, node="w1", label=label, output=output, **told))


def asked_of_a_run():
    """What is asked of a run and done, before the store tells of it and after."""
    told = Runs(OrdersKept)
    told.ask("start", START)
    told.begin()
    told.ask("start", START)
    told.ask("look", found={"status": "running"})
    told.ask("start", START | {"inputs": {"n": 2}}, outcome="refused", code="invalid")
    return told


def test_what_was_asked_for_and_is_there_is_taken():
    told = asked_of_a_run()
    told.ask("signal", SIGNAL)
    told.ask("signal", SIGNAL)
    told.log(TAKEN)
    told.log(["p", 3, 12], ["x", 4, 13, "a", 1, 1, "t1", "done"], ["r", 5, 14, "", [["b", 1]]])
    told.log(["x", 6, 15, "b", 1, 1, "", "approved", None, "", [], None, "i1"], ["a", 7, 16], ["e", 8, 16, "cancelled"])
    for verb in ("pause", "resume", "cancel"):
        told.ask(verb)
    told.ask("pause", outcome="unknown", code="unavailable")
    over = {"status": "cancelled", "outputs": None, "ended_ms": 16}
    told.begin(**over)
    told.ask("look", found=over)
    told.ask("look", outcome="refused", code="unavailable")
    told.end()


@pytest.mark.parametrize("verb", ["start", "signal", "pause", "resume", "cancel", "look"])
def test_what_is_acknowledged_of_a_run_that_is_not_there_is_missed(verb):
    told = Runs(OrdersKept)
    told.ask(verb, SIGNAL)
    with refuted("S5"):
        told.end()


@pytest.mark.parametrize("verb", ["signal", "pause", "resume", "cancel"])
def test_what_is_acknowledged_and_is_not_in_the_log_is_missed(verb):
    told = asked_of_a_run()
    told.log([*TAKEN[:3], "i2", *TAKEN[4:]])
    told.ask(verb, SIGNAL)
    with refuted("S5"):
        told.end()


@pytest.mark.parametrize(
    ("verb", "args", "how"),
    [
        ("start", START | {"inputs": {"n": 2}}, {}),
        ("start", START | {"workflow": "fan"}, {}),
        ("start", START, {"outcome": "refused", "code": "invalid"}),
        ("look", None, {"found": {"status": "succeeded", "outputs": None, "ended_ms": None}}),
        ("look", None, {"found": {"status": "failed", "outputs": None, "ended_ms": 7}}),
    ],
)
def test_what_is_told_of_a_run_and_is_otherwise_is_refuted(verb, args, how):
    told = asked_of_a_run()
    told.begin(status="failed", ended_ms=8)
    told.ask(verb, args, **how)
    with refuted("S5"):
        told.end()


def test_what_was_told_of_a_run_is_not_told_otherwise_later():
    told = asked_of_a_run()
    with refuted("S5"):
        told.ask("look", outcome="refused", code="not_found")
    for verb, found in (("cancel", None), ("look", {"status": "failed"})):
        told = asked_of_a_run()
        told.ask("look", found={"status": "running"})
        told.ask(verb, found=found)
        with refuted("S5"):
            told.ask("look", found={"status": "running"})


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([TAKEN, [*TAKEN[:1], 3, *TAKEN[2:]]], "taken in 2 times"),
        ([["x", 2, 11, "a", 1, 1, "", "ok", None, "", [], None, "i1"]], "never came"),
        ([TAKEN, *(["x", seq, 12, "a", seq, 1, "", "ok", None, "", [], None, "i1"] for seq in (3, 4))], "consumed 2"),
    ],
)
def test_signals_come_and_go_once(events, what):
    told = asked_of_a_run()
    told.log(*events)
    with refuted("S5") as refutal:
        told.end()
    assert what in str(refutal.value)


def carried_out(*closing):
    """An attempt that is claimed, carried out and closed; the store's word comes last."""
    told = Runs(CarriedOut)
    told.work()
    told.work("done", {"n": 2})
    told.begin()
    told.log(CLAIM)
    told.log(["x", 3, 12, "a", 1, 1, *(closing or ("t1", "done", {"n": 2}))])
    return told


def test_what_is_carried_out_by_virtue_of_a_claim_is_taken():
    carried_out().end()
    # Its word came too late.
    carried_out("t1", "lost").end()
    # Nobody has had it.
    carried_out("", "timeout").end()
    told = carried_out()
    # What was begun need not end.
    told.log(["c", 4, 13, "a", 2, 1, "t2", "w1", "s1"])
    told.end()


def test_each_claim_is_carried_out_once():
    told = Runs(CarriedOut)
    told.work()
    with refuted("S7"):
        told.work()
    told = Runs(CarriedOut)
    told.work("done")
    with refuted("S7"):
        told.work("fail")


@pytest.mark.parametrize("how", [{"token": "t2"}, {"token": "t2", "attempt": 2}])
def test_nobody_works_on_what_nobody_has_claimed(how):
    told = carried_out()
    told.work(**how)
    with refuted("S7") as refutal:
        told.end()
    assert "nobody has claimed it" in str(refutal.value)


@pytest.mark.parametrize("closing", [("t1", "fail"), ("t1", "done", {"n": 3}), ("t1", "done"), ("t3", "done")])
def test_what_an_attempt_is_closed_with_is_what_its_handler_said(closing):
    told = carried_out(*closing)
    with refuted("S7"):
        told.end()

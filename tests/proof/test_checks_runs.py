"""S5, S6, S9, S27, L3, L4 and L6 of runs: each takes what goes well, and refutes what is wrong by its own name."""

import orjson
import pytest

from harpoon.kit import codec
from harpoon.model.workflow import GraphRecord
from tests.core.flow import await_signal, retry, sleep, spec, work
from tests.proof.checks.asking import RunsKept, RunsOnce
from tests.proof.checks.clocks import IsClaimed, RunsEnd, RunTimers, StandsStill
from tests.proof.checks.conducting import FiresOnce, OneCompletion, WithinBounds
from tests.proof.history import Brought, Committed, Down, Handed, RunAsked, RunTold, Up, Worked
from tests.proof.told import Told, refuted

RUN = "07/shop/r1"
NAME = "shop/r1"
PAY = spec(
    pay=work(heartbeat=2000, takes=8000, queue_timeout=20_000, retry=retry(lost=2)),
    ask=await_signal("decision", takes=6000),
    nap=sleep(3000),
    deadline=40_000,
)


class Runs:
    """A history of one run, told event by event; moments of its log are those of the history unless said otherwise."""

    def __init__(self, *checks):
        self.told = Told(None, *checks)
        record = GraphRecord(namespace="shop", name="pay", generation="g1", spec=PAY, at_ms=0)
        self.told.commit({"graphs/shop/pay/g1": orjson.loads(codec.dump(record))})
        self.told.commit({"holds/shards/07": {"instance": "s1"}})
        self.seq = 0
        self.ops = 0
        self.begun_ms = self.now_ms
        self.header = {
            "namespace": "shop",
            "run": "r1",
            "workflow": "pay",
            "generation": "g1",
            "created_ms": self.now_ms,
            "deadline_ms": self.now_ms + 40_000,
            "status": "running",
        }

    @property
    def now_ms(self):
        return self.told.now_ms

    def wait(self, seconds):
        self.told.wait(seconds)

    def commit(self, changes):
        self.told.revision += 1
        told = {f"/h/1/run/{key}": value for key, value in changes.items()}
        self.told.say(Committed(t=0, node="store", revision=self.told.revision, changes=told))

    def start(self, *ops, **more):
        self.seq = 1
        opened = [[op, 1] for op in ops or ("pay", "ask", "nap")]
        self.header |= more
        self.commit({f"runs/{RUN}": {**self.header, "started": [["s", 1, self.now_ms, opened]]}})

    def log(self, *events, **standing):
        """Have events written, without their numbers and moments, and how the run stands if that changes."""
        told = []
        for kind, *rest in events:
            self.seq += 1
            told.append([kind, self.seq, self.now_ms, *rest])
        self.header |= standing
        header = {f"runs/{RUN}": dict(self.header)} if standing else {}
        self.commit({f"log/{RUN}/{told[0][1]:08d}": told, **header})

    def claim(self, token="t1", attempt=1, worker="w1"):
        self.log(["c", "pay", 1, attempt, token, worker, "s1"])

    def close(self, label="done", token="t1", attempt=1, **more):
        retry_ms = more.get("retry_ms")
        tail = [None, "", [], retry_ms] if retry_ms is not None else []
        self.log(["x", "pay", 1, attempt, token, label, *tail])

    def ask(self, verb, session="u1", **args):
        self.ops += 1
        op = f"o{self.ops}"
        self.told.say(RunAsked(t=0, node="u1", op=op, verb=verb, run=NAME, args=args, session=session))
        return op

    def answer(self, op, status=200, found=None):
        outcome = "done" if status < 300 else "refused" if status < 500 else "unknown"
        self.told.say(RunTold(t=0, node="u1", op=op, outcome=outcome, status=status, found=found))

    def hand(self, token="t1", attempt=1):
        self.told.say(Handed(t=0, node="w1", worker="w1", run=NAME, op="pay", visit=1, attempt=attempt, token=token))

    def bring(self, status=200, label="done", token="t1"):
        which = {"run": NAME, "op": "pay", "visit": 1, "attempt": 1, "token": token}
        self.told.say(Brought(t=0, node="w1", worker="w1", **which, label=label, status=status))

    def work(self, seq=1, answer="a", since=0.0, beats=(), by="s1.1"):
        self.told.say(
            Worked(t=0, node="w1", worker="w1", session="s1", seq=seq, by=by, answer=answer, since=since, beats=beats)
        )

    def settle(self):
        self.told.settle()


ALL = (
    RunsKept, RunsOnce, RunsEnd, RunTimers, StandsStill, IsClaimed, OneCompletion, FiresOnce, WithinBounds,
)  # fmt: skip


def test_a_run_that_goes_well_is_taken_by_all():
    runs = Runs(*ALL)
    op = runs.ask("start", workflow="pay")
    runs.start()
    runs.answer(op, 201)
    again = runs.ask("start", workflow="pay")
    runs.answer(again, 200)
    runs.answer(runs.ask("start", workflow="pay", tags={"a": "b"}), 422)
    runs.claim()
    runs.hand()
    runs.work(beats=("t1",))
    runs.wait(2)
    runs.close("lost", retry_ms=runs.now_ms)
    runs.bring(409)
    runs.claim("t2", 2)
    op = runs.ask("pause")
    runs.log(["p", ""], is_paused=True)
    runs.answer(op, found={"status": "running", "is_paused": True})
    op = runs.ask("signal", id="k1", label="done")
    runs.log(["g", "k1", "decision", None, "done"])
    runs.answer(op)
    runs.wait(1)
    runs.log(["r", ""], is_paused=False)
    runs.log(["x", "ask", 1, 1, "", "done", None, "", [], None, "k1"], ["x", "nap", 1, 1, "", "done"])
    runs.close(token="t2", attempt=2)
    runs.log(["e", "succeeded"], status="succeeded")
    runs.answer(runs.ask("look"), found={"status": "succeeded", "is_paused": False})
    runs.told.calm(whole=True)
    runs.wait(60)
    runs.settle()
    runs.told.finish()


def started(*checks):
    runs = Runs(*checks)
    runs.start()
    return runs


@pytest.mark.parametrize(
    "spoil",
    [
        lambda runs: runs.hand(),
        lambda runs: runs.bring(200),
        lambda runs: (runs.claim(), runs.bring(200)),
        lambda runs: (runs.claim(), runs.close("fail"), runs.bring(200)),
        lambda runs: (runs.claim(), runs.bring(409)),
        lambda runs: (runs.claim(), runs.close(), runs.bring(409)),
        lambda runs: runs.answer(runs.ask("signal", id="k1", label="done")),
        lambda runs: runs.answer(runs.ask("pause")),
        lambda runs: (runs.log(["p", ""], is_paused=True), runs.answer(runs.ask("resume"))),
        lambda runs: runs.answer(runs.ask("cancel")),
        lambda runs: runs.answer(runs.ask("look"), found={"status": "succeeded", "is_paused": False}),
    ],
)
def test_what_is_told_of_a_run_is_in_the_store(spoil):
    runs = started(RunsKept)
    with refuted("S5"):
        spoil(runs)


def test_a_run_that_was_begun_is_there():
    runs = Runs(RunsKept)
    with refuted("S5"):
        runs.answer(runs.ask("start", workflow="pay"), 201)


def test_a_pause_that_ended_in_its_own_commit_was_one():
    runs = started(RunsKept)
    op = runs.ask("pause")
    runs.log(["p", ""], ["r", ""], is_paused=False)
    runs.answer(op, found={"status": "running", "is_paused": False})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda runs: runs.answer(runs.ask("start", workflow="pay", tags={"a": "b"}), 200),
        lambda runs: runs.answer(runs.ask("start", workflow="pay"), 422),
        lambda runs: [runs.answer(runs.ask("start", workflow="pay"), 201) for _ in range(2)],
        lambda runs: [runs.log(["g", "k1", "decision", None, "done"]) for _ in range(2)],
        lambda runs: runs.log(["x", "ask", 1, 1, "", "done", None, "", [], None, "k1"]),
        lambda runs: [runs.work(answer=answer) for answer in "ab"],
    ],
)
def test_what_comes_again_is_the_same(spoil):
    runs = started(RunsOnce)
    with refuted("S6"):
        spoil(runs)


def test_another_instance_may_answer_a_worker_otherwise():
    runs = started(RunsOnce)
    runs.work(answer="a")
    runs.work(answer="a")
    runs.work(answer="b", by="s2.2")
    runs.work(answer="c", seq=2)


def test_a_signal_is_consumed_once():
    runs = started(RunsOnce)
    runs.log(["g", "k1", "decision", None, "done"])
    runs.log(["x", "ask", 1, 1, "", "done", None, "", [], None, "k1"])
    with refuted("S6"):
        runs.log(["x", "ask", 2, 1, "", "done", None, "", [], None, "k1"])


@pytest.mark.parametrize(
    "event",
    [
        ["c", "pay", 1, 1, "t1", "w1", "s1"],
        ["x", "ask", 1, 1, "", "done", None, "", [], None, "k1"],
        ["x", "nap", 1, 1, "", "done", None, "", [["pay", 2]]],
        ["f", [["pay", 2]]],
    ],
)
def test_nothing_of_a_run_goes_on_while_it_is_paused(event):
    runs = started(StandsStill)
    runs.log(["p", ""], is_paused=True)
    runs.log(["x", "nap", 1, 1, "", "done"], ["g", "k1", "decision", None, "done"])
    with refuted("S27"):
        runs.log(event)
    runs = started(StandsStill)
    runs.log(["p", ""], is_paused=True)
    runs.log(["r", ""], is_paused=False)
    runs.log(event)


def test_what_is_lost_is_tried_as_often_as_it_may_be():
    runs = started(WithinBounds)
    runs.claim()
    with refuted("S9"):
        runs.close("lost")
    runs = started(WithinBounds)
    runs.claim()
    runs.close("lost", retry_ms=runs.now_ms)
    runs.claim("t2", 2)
    with refuted("S9"):
        runs.close("lost", "t2", 2, retry_ms=runs.now_ms)


@pytest.mark.parametrize(
    ("seconds", "event"),
    [
        (7.9, ["x", "pay", 1, 1, "t1", "timeout"]),
        (1.9, ["x", "pay", 1, 1, "t1", "lost"]),
        (2.9, ["x", "nap", 1, 1, "", "done"]),
        (5.9, ["x", "ask", 1, 1, "", "timeout"]),
        (39, ["e", "timed_out"]),
    ],
)
def test_no_clock_runs_out_before_its_time(seconds, event):
    def after(more):
        runs = started(RunTimers)
        runs.claim()
        runs.wait(seconds + more)
        runs.log(event)

    with refuted("L4"):
        after(0)
    after(1)


def test_a_retry_waits_and_a_queue_has_its_time():
    runs = started(RunTimers)
    runs.claim()
    runs.close("fail", retry_ms=runs.now_ms + 1000)
    with refuted("L4"):
        runs.claim("t2", 2)
    runs = started(RunTimers)
    runs.wait(19)
    with refuted("L4"):
        runs.close("timeout", "")


def test_moments_of_a_log_have_come():
    runs = started(RunTimers)
    with refuted("L4"):
        runs.commit({f"log/{RUN}/00000002": [["p", 2, runs.now_ms + 500, ""]]})
    runs = started(RunTimers)
    runs.told.fault("clock_jump", "s1")
    runs.commit({f"log/{RUN}/00000002": [["p", 2, runs.now_ms + 500, ""]]})


def test_a_new_conductor_and_a_heartbeat_give_time():
    def lost_after(prepare, seconds):
        runs = started(RunTimers)
        runs.claim()
        runs.wait(1.5)
        prepare(runs)
        runs.wait(seconds)
        runs.close("lost")

    def taken_over(runs):
        runs.told.commit({"holds/shards/07": None})
        runs.told.commit({"holds/shards/07": {"instance": "s2"}})

    def beaten(runs):
        runs.work(since=runs.told.t, beats=("t1",))

    for prepare in (taken_over, beaten):
        with refuted("L4"):
            lost_after(prepare, 1)
        lost_after(prepare, 2)
    # Who conducts it no longer takes heartbeats in vain.
    lost_after(lambda runs: runs.work(since=runs.told.t, beats=("t1",), by="s2.1"), 1)


def test_what_is_due_is_done_soon_once_all_is_calm():
    def at(check, seconds, then):
        runs = started(check)
        runs.claim()
        runs.told.calm(whole=True)
        runs.wait(seconds)
        then(runs)

    closes = lambda runs: runs.close("timeout")  # noqa: E731
    with refuted("L4"):
        at(RunTimers, 20, closes)
    at(RunTimers, 17, closes)
    with refuted("L4"):
        at(RunTimers, 20, Runs.settle)
    with refuted("L3"):
        at(RunsEnd, 43, Runs.settle)
    with refuted("L3"):
        at(RunsEnd, 43, lambda runs: runs.log(["e", "timed_out"], status="timed_out"))
    at(RunsEnd, 41, lambda runs: runs.log(["e", "timed_out"], status="timed_out"))


def test_what_the_dead_had_is_given_to_others():
    def at(seconds, *lives):
        runs = started(RunsEnd)
        runs.told.say(Up(t=0, node="w1", instance="w1-1"))
        runs.claim()
        runs.told.calm(whole=True)
        runs.told.say(Down(t=0, node="w1"))
        for life in lives:
            runs.told.say(Up(t=0, node="w1", instance=life))
        runs.wait(seconds)
        runs.close("timeout")

    with refuted("L3"):
        at(21)
    with refuted("L3"):
        at(21, "w1-2")
    at(19)
    # The same one goes on.
    at(21, "w1-1")


def test_nothing_waits_in_vain_for_those_who_ask():
    def at(asked):
        runs = started(IsClaimed)
        runs.told.calm(whole=True)
        runs.wait(33)
        if asked:
            runs.work()
        runs.close("timeout", "")

    with refuted("L6"):
        at(asked=True)
    at(asked=False)

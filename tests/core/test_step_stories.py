"""Whole runs: the graph and the cases of Adagio, and the story of Relentless, told on a clock of our own."""

import pytest

from harpoon.core import step
from harpoon.core.dues import next_due_ms
from harpoon.core.event import Closed
from harpoon.core.outlook import skipped
from harpoon.core.step import Refused
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import HOUR, SECOND, T0, await_signal, begun, refs, retry, spec, story, work

# Adagio: a → c, d; b → d, f; c, d → e; e, f → g. A failure lets siblings go on.


def seven(**more):
    told = {
        "a": {},
        "b": {},
        "c": {"needs": ["a"]},
        "d": {"needs": ["a", "b"]},
        "e": {"needs": ["c", "d"]},
        "f": {"needs": ["b"]},
        "g": {"needs": ["e", "f"]},
    }
    return spec(
        on_failure=OnFailed.CONTINUE,
        **{name: work(**{"input": f"of {name}", **fields, **more.get(name, {})}) for name, fields in told.items()},
    )


def test_seven_operations_run_in_four_layers():
    flow = begun(seven(e={"input": ["${ops.c.output}", "${ops.d.output}"]}))
    layers = []
    while not flow.run.status.is_over:
        layers.append("".join(sorted(op for op, _ in flow.run.ready)))
        for op in layers[-1]:
            flow.do(op, output=op)
    assert layers == ["ab", "cdf", "e", "g"]
    assert flow.run.status is Status.SUCCEEDED
    assert next(
        one.opened[0].input for one in flow.log if type(one) is Closed and one.opened and one.opened[0].op == "e"
    ) == ["c", "d"]
    assert [progress.attempts for progress in flow.run.ops.values()] == [1] * 7


def test_what_follows_a_failure_never_runs_and_the_rest_does():
    flow = begun(seven())
    flow.do("a", "fail")
    assert skipped(flow.run) == ("c", "d", "e", "g")
    flow.do("b")
    assert flow.opened() == ["f"]
    flow.do("f")
    assert flow.run.status is Status.FAILED
    assert sorted(flow.run.ops) == ["a", "b", "f"]


def test_a_failure_is_tried_again_as_often_as_is_said():
    flow = begun(seven(a={"retry": retry(fail=2)}))
    flow.do("a", "fail")
    flow.now += SECOND
    flow.do("a")
    assert flow.opened() == ["b", "c"]
    assert flow.run.ops["a"].attempts == 2


def test_a_failure_is_final_once_that_is_used_up():
    flow = begun(seven(a={"retry": retry(fail=2)}))
    for _ in range(2):
        flow.do("a", "fail")
        flow.now += SECOND
    assert flow.opened() == ["b"]
    assert skipped(flow.run) == ("c", "d", "e", "g")


def test_an_orphan_is_another_workers():
    flow = begun(seven(a={"retry": retry(lost=2), "heartbeat": 10 * SECOND}))
    orphan, token = flow.claim("a", worker="dead")
    flow.pass_(10 * SECOND)
    assert flow.closings() == ["a.lost"]
    flow.do("a")
    with pytest.raises(Refused, match="attempt 1 of visit 1 of a is closed"):
        flow.close(orphan, token)
    assert flow.opened() == ["b", "c"]
    assert flow.run.ops["a"].latest.attempt == 2


def test_of_five_claimers_one_wins_each_time():
    flow = begun(seven())
    for op in "abcdfeg":
        ref = flow.ref(op)
        won = []
        for worker in range(5):
            try:
                flow.take(step.claim(flow.run, ref, f"{op}{worker}", f"w{worker}", "s", flow.now))
                won.append(worker)
            except Refused as error:
                assert error.code == "taken"
        assert won == [0]
        for worker in range(1, 5):
            with pytest.raises(Refused):
                flow.close(ref, f"{op}{worker}")
        flow.close(ref, f"{op}0")
    assert flow.run.status is Status.SUCCEEDED
    assert story(flow.again()) == story(flow.run)


# Relentless: what fails again and again is put before a human; who does not answer is asked again; then an incident.


def refund():
    return spec(
        inputs={"order": "string", "amount": "number"},
        deadline=24 * HOUR,
        start="pay_back",
        pay_back=work(
            "payments.refund",
            input={"order": "${inputs.order}", "amount": "${inputs.amount}"},
            takes=30 * SECOND,
            retry=retry(fail=3, timeout=2),
            visits=4,
            next={"done": "tell", "fail": "ask_human", "timeout": "ask_human"},
        ),
        ask_human=work("desk.ask", visits=4, next={"done": "wait_human", "exhausted": "incident"}),
        wait_human=await_signal(
            "decision",
            takes=4 * HOUR,
            visits=4,
            labels=["approved", "rejected"],
            next={"approved": "pay_back", "rejected": "tell", "timeout": "ask_human"},
        ),
        incident=work("pager.raise", takes=10 * SECOND, end="failed"),
        tell=work("mail.send", input={"text": "${ops.pay_back.label}"}, visits=2),
        outputs={"refund": "${has(ops.pay_back.output) ? ops.pay_back.output.id : null}"},
    )


def fail_three_times(flow):
    for wait in (SECOND, 2 * SECOND, 0):
        flow.do("pay_back", "fail", error="the bank is closed")
        flow.now += wait


def test_a_refund_that_fails_is_put_before_a_human_who_lets_it_go_on():
    flow = begun(refund(), {"order": "o1", "amount": 12.5})
    fail_three_times(flow)
    assert flow.opened() == ["ask_human"]
    flow.do("ask_human")
    assert flow.opened() == ["wait_human"]
    flow.pass_(4 * HOUR)
    assert flow.opened() == ["ask_human#2"]
    flow.do("ask_human")
    flow.send("decision", "approved", {"by": "ann"})
    assert flow.opened() == ["pay_back#2"]
    assert flow.run.open["pay_back", 2].input == {"order": "o1", "amount": 12.5}
    flow.do("pay_back", output={"id": "p7"})
    assert flow.run.open["tell", 1].input == {"text": "done"}
    flow.do("tell")
    assert (flow.run.status, flow.run.outputs) == (Status.SUCCEEDED, {"refund": "p7"})
    assert flow.closings() == [
        *["pay_back.fail"] * 3,
        "ask_human.done",
        "wait_human.timeout",
        "ask_human.done",
        "wait_human.approved",
        "pay_back.done",
        "tell.done",
    ]
    assert story(flow.again()) == story(flow.run)


def test_a_human_may_reject_a_refund():
    flow = begun(refund(), {"order": "o1", "amount": 12.5})
    fail_three_times(flow)
    flow.do("ask_human")
    flow.send("decision", "rejected")
    assert flow.run.open["tell", 1].input == {"text": "fail"}
    flow.do("tell")
    assert (flow.run.status, flow.run.outputs) == (Status.SUCCEEDED, {"refund": None})


def test_after_several_requests_that_nobody_answers_there_is_an_incident():
    """The clock goes from due to due; whoever asks takes 15 seconds to do so."""
    flow = begun(refund(), {"order": "o1", "amount": 12.5})
    fail_three_times(flow)
    asked = []
    while not flow.run.status.is_over and "incident" not in flow.run.ops:
        if ("ask_human", len(asked) + 1) in flow.run.ready:
            asked.append((flow.now - T0) // HOUR)
            claimed = flow.claim("ask_human")
            flow.pass_(15 * SECOND)
            flow.close(*claimed)
        else:
            flow.pass_(next_due_ms(flow.run) - flow.now)
    assert asked == [0, 4, 8, 12]
    assert flow.opened() == ["incident"]
    assert (flow.now - T0) // HOUR == 16
    flow.do("incident", output={"ticket": 1})
    assert flow.run.status is Status.FAILED
    assert flow.run.reason == "incident was reached, which ends the run as failed"
    assert flow.run.ops["ask_human"].latest.label == "exhausted"
    assert refs("ask_human#5") in [event[2:5] for event in flow.log if type(event) is Closed]


def test_a_refund_of_which_nobody_ever_hears_ends_at_its_deadline():
    flow = begun(refund(), {"order": "o1", "amount": 12.5})
    while (due_ms := next_due_ms(flow.run)) is not None:
        flow.now = due_ms
        flow.pass_(0)
    assert flow.now <= T0 + 24 * HOUR
    assert flow.run.status.is_over
    assert flow.run.attempts_total <= 3

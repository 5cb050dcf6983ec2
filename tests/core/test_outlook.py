"""What a run waits for, and what can never happen in it any more."""

from harpoon.core.dues import Clock
from harpoon.core.outlook import Join, Outlook, State, outlook, skipped
from harpoon.model.label import Member
from harpoon.model.workflow import OnFailed
from tests.core.flow import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    await_signal,
    begun,
    limit,
    refs,
    retry,
    sleep,
    spec,
    work,
)


def stands(flow):
    return {stand.ref.op: stand for stand in outlook(flow.run, flow.now).stands}


def test_each_open_visit_says_what_it_waits_for():
    flow = begun(
        spec(
            inputs={"order": "string"},
            a=work("pay", concurrency=limit("${inputs.order}"), queue_timeout=HOUR),
            b=await_signal("decision", key="${inputs.order}", takes=2 * HOUR),
            c=sleep(MINUTE),
            d=work("mail", takes=10 * MINUTE, heartbeat=20 * SECOND),
        ),
        {"order": "o1"},
    )
    flow.now += SECOND
    flow.claim("d")
    found = stands(flow)
    a = found["a"]
    assert (a.state, a.handler, a.key, a.since_ms) == (State.READY, "pay", "o1", T0)
    assert (a.clock, a.due_ms) == (Clock.QUEUE, T0 + HOUR)
    b = found["b"]
    assert (b.state, b.signal, b.key, b.handler) == (State.SIGNAL, "decision", "o1", "")
    assert (b.clock, b.due_ms) == (Clock.TIMEOUT, T0 + 2 * HOUR)
    c = found["c"]
    assert (c.state, c.signal, c.clock, c.due_ms) == (State.TIME, "", Clock.TIME, T0 + MINUTE)
    d = found["d"]
    assert (d.state, d.worker, d.since_ms) == (State.RUNNING, "w1", T0 + SECOND)
    assert (d.clock, d.due_ms) == (Clock.HEARTBEAT, T0 + 21 * SECOND)
    assert outlook(flow.run, flow.now).deadline_ms == T0 + 7 * DAY


def test_a_retry_says_since_when_and_until_when_it_waits_and_why():
    flow = begun(spec(a=work(retry=retry(fail=2))))
    flow.now += MINUTE
    flow.do("a", "fail", error="full")
    stand = stands(flow)["a"]
    assert (stand.ref, stand.state, stand.since_ms) == (refs("a#1/2"), State.RETRYING, T0 + MINUTE)
    assert stand.last_error == "full"
    flow.now += SECOND
    stand = stands(flow)["a"]
    assert (stand.state, stand.since_ms) == (State.READY, T0 + MINUTE + SECOND)


def test_a_paused_run_says_what_waits_for_its_being_resumed():
    flow = begun(
        spec(a=work(next={"done": "e"}), b=work(), c=await_signal("go"), d=sleep(HOUR), e=work(needs=[]), f=work())
    )
    ref, token = flow.claim("a")
    flow.claim("f")
    flow.pause()
    flow.close(ref, token)
    told = outlook(flow.run, flow.now)
    assert {stand.ref.op: stand.is_paused for stand in told.stands} == {"b": True, "c": True, "d": False, "f": False}
    assert told.held == ("e",)


def test_a_join_says_which_members_are_missing():
    flow = begun(
        spec(
            a=work(), b=work(labels=["good"]), c=work(next={"done": "g"}), g=work(), d=work(needs=["a", "b.good", "g"])
        )
    )
    flow.do("a")
    (join,) = outlook(flow.run, flow.now).joins
    assert join == Join("d", (Member("a", "done"),), (Member("b", "good"), Member("g", "done")), ())
    assert skipped(flow.run) == ()
    flow.do("b")
    (join,) = outlook(flow.run, flow.now).joins
    assert join.missing == (Member("g", "done"),)
    assert join.impossible == (Member("b", "good"),)
    assert skipped(flow.run) == ("d",)


def test_what_follows_a_failure_is_skipped_while_siblings_go_on():
    flow = begun(
        spec(
            on_failure=OnFailed.CONTINUE,
            a=work(),
            b=work(needs=["a"]),
            c=work(needs=["b", "x"]),
            x=work(next={"done": "y"}),
            y=work(),
        )
    )
    assert skipped(flow.run) == ()
    flow.do("a", "fail")
    assert skipped(flow.run) == ("b", "c")
    flow.do("x")
    flow.do("y")
    assert skipped(flow.run) == ("b", "c")
    assert outlook(flow.run, flow.now) == Outlook((), (), (), T0 + 7 * DAY)


def test_what_was_not_chosen_is_skipped_once_it_cannot_be():
    flow = begun(
        spec(
            start="a",
            a=work(visits=2, labels=["more"], next={"more": ["a"], "done": "b"}),
            b=work(next={"fail": "c"}),
            c=work(),
        )
    )
    flow.do("a", "more")
    assert skipped(flow.run) == ()
    flow.do("a")
    flow.do("b")
    assert skipped(flow.run) == ("c",)


def test_what_is_held_may_still_be_opened():
    flow = begun(spec(a=work(next={"done": "b"}), b=work(next={"done": "c"}), c=work()))
    ref, token = flow.claim("a")
    flow.pause()
    flow.close(ref, token)
    assert skipped(flow.run) == ()

"""Workflows in the test environment: what time does, and what needs none."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from harpoon.kit.errors import Conflict, Invalid, NotFound, Reused
from harpoon.testing import Environment, NotOver
from harpoon.worker import Worker
from tests.testing.shop import Notes, an_app, flow, one


async def test_what_needs_no_time_has_happened_when_a_start_returns(env: Environment) -> None:
    await env.apply(one("echo", {"value": [1, {"b": None}]}))
    run = await env.start("flow")
    assert run.is_over
    ended = await run.result()
    assert (ended.status, ended.outputs, ended.story, ended.took) == (
        "succeeded",
        {"came_to": [1, {"b": None}]},
        ["a.done"],
        timedelta(0),
    )
    assert [(one.worker, one.state, one.output) for one in ended.attempts] == [("shop-1", "closed", [1, {"b": None}])]


async def test_no_time_passes_by_itself(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 0.001}))
    run = await env.start("flow")
    await asyncio.sleep(0.02)
    assert not run.is_over
    assert env.now == datetime(2026, 1, 1, tzinfo=UTC)
    await env.advance("1ms")
    assert run.is_over
    assert env.now == datetime(2026, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)


async def test_what_is_due_at_the_very_moment_has_happened_and_nothing_later(env: Environment) -> None:
    made = flow()
    first = made.wait("first", span="1h")
    made.wait("second", span="1s", needs=[first])
    await env.apply(made)
    run = await env.start("flow")
    await env.advance("3599999ms")
    assert (await run.describe()).visits[0].label is None
    await env.advance("1ms")
    visits = (await run.describe()).visits
    assert [(one.op, one.label) for one in visits] == [("first", "done"), ("second", None)]
    await env.advance(timedelta(seconds=1))
    assert (await run.result()).took == timedelta(seconds=3601)


async def test_what_is_due_on_the_way_happens_in_order_and_each_at_its_time(env: Environment) -> None:
    made = flow()
    for place, seconds in enumerate([7.0, 0.3, 3600.0, 0.1, 5.0]):
        made.worker(f"op{place}", "nap", input={"seconds": seconds}, timeout="2h")
    await env.apply(made)
    run = await env.start("flow")
    await env.advance("2h")
    ended = await run.result()
    assert ended.story == ["op3.done", "op1.done", "op4.done", "op0.done", "op2.done"]
    began = ended.attempts[0].ready_ms
    assert [one.ended_ms - began for one in ended.attempts] == [7000, 300, 3_600_000, 100, 5000]
    assert ended.took == timedelta(hours=1)


async def test_retries_wait_for_their_backoff(env: Environment) -> None:
    await env.apply(
        one("fail", {"times": 2}, retry={"fail": {"attempts": 3}, "backoff": {"initial": "10s", "jitter": 0}})
    )
    run = await env.start("flow")
    assert (await run.why()).reasons == (
        "a (visit 1) waits for its attempt 2, at 2026-01-01T00:00:10Z, after fail: 1 of 2",
    )
    await env.advance("10s")
    assert [one.label for one in await run.attempts()] == ["fail", "fail", None]
    ended = await run.result(within="1m")
    assert (ended.story, ended.took) == (["a.fail", "a.fail", "a.done"], timedelta(seconds=30))
    assert [one.error for one in ended.attempts] == ["1 of 2", "2 of 2", ""]


async def test_an_attempt_times_out_and_its_handler_is_cancelled() -> None:
    notes = Notes()
    async with Environment(an_app(notes)) as env:
        await env.apply(one("nap", {"seconds": 100}, timeout="30s", retry={"timeout": {"attempts": 2}}))
        run = await env.start("flow")
        await env.advance("29s")
        assert notes == ["a.1 begins"]
        ended = await run.result(within="1h")
        assert (ended.status, ended.story) == ("failed", ["a.timeout", "a.timeout"])
        assert notes == ["a.1 begins", "a.1 is cancelled", "a.2 begins", "a.2 is cancelled"]


async def test_a_handler_that_lives_is_not_lost_however_far_time_goes_at_once(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 86_000}, timeout="1d", heartbeat="5m", retry={"lost": {"attempts": 1}}))
    run = await env.start("flow")
    await env.advance("1d")
    assert (await run.result()).story == ["a.done"]


async def test_what_nobody_claims_is_over_after_its_time_in_the_queue(env: Environment) -> None:
    await env.apply(one("nobody.does_this", queue_timeout="10m"))
    run = await env.start("flow")
    with pytest.raises(NotOver, match=r"run flow-1 goes on: 1 waiting\n  a \(visit 1\) .*nobody.does_this") as told:
        await run.result(within="9m")
    assert [cause.code for cause in told.value.why.causes] == ["no_worker"]
    ended = await run.result(within="1m")
    assert (ended.story, ended.took) == (["a.timeout"], timedelta(minutes=10))


async def test_a_run_is_over_by_its_deadline(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 10_000}, timeout="10h"))
    run = await env.start("flow", deadline="1h")
    ended = await run.result(within="1d")
    assert (ended.status, ended.took) == ("timed_out", timedelta(hours=1))
    assert env.now == datetime(2026, 1, 1, 1, tzinfo=UTC)


async def test_time_passes_no_further_than_to_the_end_of_a_run(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 60}))
    run = await env.start("flow")
    await run.result(within="1d")
    assert env.now == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


async def test_a_signal_closes_a_wait_once_also_when_it_came_before(env: Environment) -> None:
    made = flow()
    first = made.wait("first", span="1m")
    made.wait("second", signal="go", labels=["approved"], needs=[first])
    made.output("by", "${ops.second.output}")
    await env.apply(made)
    run = await env.start("flow", id="o-1", tags={"team": "shop"})
    await run.signal("go", label="approved", payload={"by": "ann"}, id="s1")
    await run.signal("go", label="approved", payload={"by": "bob"}, id="s1")
    shown = await run.describe()
    assert ([(one.id, one.label) for one in shown.signals], shown.tags) == ([("s1", "approved")], {"team": "shop"})
    ended = await env.run("o-1").result(within="1m")
    assert ended.outputs == {"by": {"by": "ann"}}


async def test_a_callback_answers_an_operation_once(env: Environment) -> None:
    made = flow()
    first = made.wait("first", span="1m")
    made.wait("second", callback=True, labels=["approved"], needs=[first])
    made.output("by", "${ops.second.output}")
    await env.apply(made)
    run = await env.start("flow", id="o-1")
    await run.call_back("second", label="approved", payload={"by": "ann"})
    await run.call_back("second", label="approved", payload={"by": "ann"})
    with pytest.raises(Conflict, match="was used already, and brought something else"):
        await run.call_back("second", label="approved", payload={"by": "bob"})
    with pytest.raises(Invalid, match="not JSON"):
        await run.call_back("second", payload={1})
    assert (await run.result(within="1m")).outputs == {"by": {"by": "ann"}}


async def test_a_signal_finds_a_run_by_its_key_now_or_later(env: Environment) -> None:
    made = flow(inputs={"order": {"type": "string"}})
    made.wait("paid", signal="paid", key="${inputs.order}")
    await env.apply(made)
    runs = [await env.start("flow", {"order": order}) for order in ("o-1", "o-2", "o-1")]
    assert await env.signal("paid", key="o-1", id="s1") == "flow-1"
    assert await env.signal("paid", key="o-1", id="s1") == "flow-1"
    assert [run.is_over for run in runs] == [True, False, False]
    assert await env.signal("paid", key="o-1", id="s2") == "flow-3"
    assert await env.signal("paid", key="o-1", id="s3", payload=3) is None
    await env.restart()
    later = await env.start("flow", {"order": "o-1"})
    assert later.is_over
    assert await env.signal("paid", key="o-1", id="s3") == "flow-4"
    # What nobody waits for is kept for seven days, and no longer.
    assert await env.signal("paid", key="o-9", id="s4") is None
    await env.advance("8d")
    assert not (await env.start("flow", {"order": "o-9"})).is_over


async def test_a_run_is_paused_and_goes_on_and_is_cancelled() -> None:
    notes = Notes()
    async with Environment(an_app(notes)) as env:
        made = flow()
        nap = made.worker("a", "nap", input={"seconds": 10})
        made.worker("b", "nap", input={"seconds": 10}, needs=[nap])
        await env.apply(made)
        run = await env.start("flow")
        await run.pause()
        await env.advance("1h")
        assert notes == ["a.1 begins", "a.1 ends"]
        await run.resume()
        assert notes[2:] == ["b.1 begins"]
        await run.cancel("no longer needed")
        assert notes[3:] == ["b.1 is cancelled"]
        ended = await run.result()
        assert (ended.status, ended.reason) == ("cancelled", "no longer needed")
        with pytest.raises(Conflict, match="run flow-1 is over: cancelled"):
            await run.signal("go")


async def test_the_rules_are_those_of_a_server(env: Environment) -> None:
    with pytest.raises(Invalid, match="nowhere") as told:
        await env.apply(one("echo", {"value": "${inputs.nowhere}"}))
    assert told.value.problems
    endless = flow()
    ping, pong = endless.worker("ping", "echo"), endless.worker("pong", "echo")
    ping.on("done", pong)
    pong.on("done", ping)
    endless.start(ping)
    with pytest.raises(Invalid, match="visits"):
        await env.apply(endless)
    with pytest.raises(Invalid, match="JSON"):
        await env.apply({"metadata": {"name": "flow"}, "spec": {1, 2}})
    with pytest.raises(Invalid, match="expected 'Workflow'"):
        await env.apply({"apiVersion": "harpoon/v1", "kind": "Batch", "metadata": {"name": "flow"}, "spec": {}})
    with pytest.raises(Invalid, match=r"Environment\(namespace"):
        await env.apply({**one("echo").manifest(), "metadata": {"name": "flow", "namespace": "shop"}})
    with pytest.raises(NotFound, match="there is no workflow flow"):
        await env.start("flow")
    waiting = flow(inputs={"order": {"type": "string"}})
    waiting.wait("w", signal="go")
    assert await env.apply(waiting) == ("flow",)
    with pytest.raises(Invalid, match="order"):
        await env.start("flow", {"order": 7})
    with pytest.raises(Invalid, match="JSON"):
        await env.start("flow", {"order": object()})
    run = await env.start("flow", {"order": "o-1"}, id="r1")
    assert (await env.start("flow", {"order": "o-1"}, id="r1")).id == run.id
    with pytest.raises(Reused):
        await env.start("flow", {"order": "o-2"}, id="r1")
    with pytest.raises(Invalid, match="stop"):
        await run.signal("stop")
    with pytest.raises(Invalid, match="closed as 'perhaps'"):
        await run.signal("go", label="perhaps")
    with pytest.raises(Invalid, match="signal is 1 to 127"):
        await run.signal("Go!")
    with pytest.raises(Invalid, match="JSON"):
        await run.signal("go", payload=object())
    with pytest.raises(Invalid, match="id: 1 to 128"):
        await run.signal("go", id="")
    with pytest.raises(NotFound):
        await env.run("r2").result()
    with pytest.raises(Invalid, match="time does not go back"):
        await env.advance(timedelta(seconds=-1))
    with pytest.raises(Invalid, match="write a duration"):
        await env.advance("1 hour")


async def test_a_workflow_may_be_a_file_of_several(env: Environment, tmp_path) -> None:
    file = tmp_path / "flows.yaml"
    told = "{apiVersion: harpoon/v1, kind: Workflow, metadata: {name: %s}, spec: {operations: {a: {worker: echo}}}}\n"
    file.write_text("---\n".join(told % name for name in ("one", "two")))
    assert await env.apply(file) == ("one", "two")
    assert (await (await env.start("two")).result()).story == ["a.done"]
    file.write_text("")
    with pytest.raises(Invalid, match="there is no document"):
        await env.apply(str(file))
    with pytest.raises(Invalid, match="No such file"):
        await env.apply(tmp_path / "none.yaml")
    file.write_text("kind: [")
    with pytest.raises(Invalid, match=r"flows.yaml:2:\d+"):
        await env.apply(file)
    file.write_text("just a text")
    with pytest.raises(Invalid, match="expected a mapping"):
        await env.apply(file)


async def test_what_a_run_is_on_stays_when_its_workflow_is_changed(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 1}))
    run = await env.start("flow")
    await env.apply(one("echo", {"value": 2}))
    assert (await (await env.start("flow")).result()).outputs == {"came_to": 2}
    assert (await run.result(within="1s")).outputs == {"came_to": 1}


async def test_another_namespace(app: Worker) -> None:
    async with Environment(app, namespace="shop", now=datetime(2030, 2, 3, tzinfo=UTC)) as env:
        await env.apply(one("echo"))
        run = await env.start("flow")
        assert (await run.describe()).namespace == "shop"
        assert (await run.describe()).created_ms == 1_896_307_200_000
        assert (await run.result()).status == "succeeded"


async def test_an_environment_that_cannot_begin_says_so_and_leaves_nothing() -> None:
    with pytest.raises(Invalid, match="worker idle has no handlers"):
        async with Environment(Worker("idle")):
            pass
    with pytest.raises(ValueError, match="now needs a zone"):
        Environment(now=datetime(2026, 1, 1))  # noqa: DTZ001 that is what is wrong
    with pytest.raises(ValueError, match="a namespace"):
        Environment(namespace="Shop")
    assert len(asyncio.all_tasks()) == 1


async def test_the_same_test_goes_the_same_way_each_time() -> None:
    """Also where many things are due at once, and handlers are in threads."""

    async def once() -> list[object]:
        async with Environment(an_app(), an_app()) as env:
            made = flow()
            for place in range(12):
                name = ("nap", "thread", "fail")[place % 3]
                given = {"nap": {"seconds": place // 3}, "thread": None, "fail": {"times": 2}}[name]
                retry = {"fail": {"attempts": 3}}
                made.worker(f"op{place}", name, **({} if given is None else {"input": given}), retry=retry)
            await env.apply(made)
            runs = [await env.start("flow") for _ in range(3)]
            await env.advance("1m")
            return [await run.result() for run in runs]

    first = await once()
    assert await once() == first
    assert all(one.status == "succeeded" for one in first)

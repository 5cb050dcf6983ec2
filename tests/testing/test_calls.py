"""Workflows that call others, from the outside: a sub-run for each attempt, which ends with what called it."""

from typing import Any

import pytest

from harpoon.kit.errors import Invalid, NotFound
from harpoon.testing import Environment
from harpoon.worker import Fail, Worker


def a_function(name: str, body: dict[str, Any], inputs: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A workflow of one operation, whose output is what it comes to."""
    return {
        "apiVersion": "harpoon/v1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"inputs": inputs or {}, "operations": {"do": body}, "outputs": {"told": "${ops.do.output}"}, **spec},
    }


ECHO = a_function("echo", {"worker": "shop.echo", "input": {"n": "${inputs.n}"}}, {"n": {"type": "integer"}})


def calls(name: str, workflow: str, **fields: Any) -> dict[str, Any]:
    body = {"call": {"workflow": workflow, "inputs": {"n": "${inputs.n}"}}, **fields}
    return a_function(name, body, {"n": {"type": "integer"}})


app = Worker("shop-1")


@app.handler("shop.echo")
async def echo(n: int) -> int:
    if n < 0:
        raise Fail("it is negative")
    return n + 1


async def test_a_function_of_a_function_comes_to_its_value() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        await env.apply(calls("twice", "echo"))
        await env.apply(calls("outer", "twice"))
        run = await env.start("outer", {"n": 4}, id="o-1", tags={"team": "a"})
        ended = await run.result(within="1m")
        assert ended.outputs == {"told": {"told": {"told": 5}}}
        assert [one.run for one in ended.attempts] == ["o-1~do.1"]
        inner = await env.run("o-1~do.1~do.1").describe()
        assert (inner.status, inner.outputs, inner.parent, inner.tags) == (
            "succeeded",
            {"told": 5},
            "o-1~do.1",
            {"team": "a"},
        )


async def test_what_is_called_fails_the_call_with_its_reason() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        await env.apply(calls("outer", "echo"))
        run = await env.start("outer", {"n": -1}, id="o-1")
        ended = await run.result(within="1m")
        assert ended.status == "failed"
        assert "sub-run o-1~do.1 failed: do closed as fail, which no edge takes: it is negative" in ended.reason


async def test_each_try_is_a_run_of_its_own() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        await env.apply(calls("outer", "echo", retry={"fail": {"attempts": 3}}))
        ended = await (await env.start("outer", {"n": -1}, id="o-1")).result(within="1h")
        assert [one.run for one in ended.attempts] == ["o-1~do.1", "o-1~do.1.2", "o-1~do.1.3"]
        assert [(await env.run(one.run or "").describe()).status for one in ended.attempts] == ["failed"] * 3


async def test_inputs_that_do_not_fit_fail_it_for_good() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        loose = calls("outer", "echo", retry={"fail": {"attempts": 3}})
        loose["spec"]["inputs"] = {"n": {}}
        await env.apply(loose)
        ended = await (await env.start("outer", {"n": "x"}, id="o-1")).result(within="1h")
        assert "the inputs are not those of workflow echo: n: it is of type integer; got string" in ended.reason
        assert len(ended.attempts) == 1
        with pytest.raises(NotFound):
            await env.run("o-1~do.1").describe()


#: It waits for somebody, and so does what calls it.
PATIENT = a_function("patient", {"wait": {"signal": "go"}}, {"n": {"type": "integer"}})


async def test_what_is_cancelled_or_timed_out_ends_what_it_called() -> None:
    async with Environment(app) as env:
        await env.apply(PATIENT)
        await env.apply(calls("middle", "patient"))
        await env.apply(calls("outer", "middle"))
        await env.apply(calls("brief", "middle", timeout="10s"))
        run = await env.start("outer", {"n": 1}, id="o-1")
        await run.cancel("no more")
        await env.settle()
        inner = [await env.run(id_).describe() for id_ in ("o-1~do.1", "o-1~do.1~do.1")]
        assert [one.status for one in inner] == ["cancelled", "cancelled"]
        assert inner[0].reason.startswith("what called it is over")
        brief = await env.start("brief", {"n": 1}, id="o-2")
        ended = await brief.result(within="1m")
        assert ended.reason == "do closed as timeout, which no edge takes: it took longer than 10s"
        await env.settle()
        inner = [await env.run(id_).describe() for id_ in ("o-2~do.1", "o-2~do.1~do.1")]
        assert {one.status for one in inner} <= {"cancelled", "timed_out"}
        assert all(one.deadline_ms - one.created_ms <= 10_000 for one in inner)


async def test_a_sub_run_is_told_things_and_ended_by_itself() -> None:
    async with Environment(app) as env:
        await env.apply(PATIENT)
        await env.apply(calls("outer", "patient"))
        first = await env.start("outer", {"n": 1}, id="o-1")
        second = await env.start("outer", {"n": 1}, id="o-2")
        await env.settle()
        assert "o-1~do.1" in (await first.why()).reasons[0]
        await env.run("o-1~do.1").signal("go", payload=7)
        assert (await first.result(within="1m")).outputs == {"told": {"told": 7}}
        await env.run("o-2~do.1").cancel("enough")
        assert "sub-run o-2~do.1 was cancelled: enough" in (await second.result(within="1m")).reason


async def test_a_call_is_carried_on_by_the_next_server() -> None:
    async with Environment(app) as env:
        await env.apply(PATIENT)
        await env.apply(calls("outer", "patient"))
        run = await env.start("outer", {"n": 1}, id="o-1")
        await env.settle()
        await env.restart()
        assert (await env.run("o-1~do.1").describe()).status == "running"
        await env.run("o-1~do.1").signal("go", payload=7)
        ended = await run.result(within="1m")
        assert (ended.outputs, len(ended.attempts)) == ({"told": {"told": 7}}, 1)


async def test_a_run_goes_by_what_it_called_when_it_was_started() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        first = a_function("first", {"wait": {"signal": "go"}, "next": {"done": "call"}}, {"n": {"type": "integer"}})
        first["spec"]["operations"]["call"] = calls("x", "echo")["spec"]["operations"]["do"]
        first["spec"]["outputs"] = {"told": "${ops.call.output}"}
        await env.apply(first)
        old = await env.start("first", {"n": 1}, id="o-1")
        changed = a_function(
            "echo", {"worker": "shop.echo", "input": {"n": "${inputs.n + 100}"}}, ECHO["spec"]["inputs"]
        )
        await env.apply(changed)
        new = await env.start("first", {"n": 1}, id="o-2")
        for run in (old, new):
            await run.signal("go")
        assert (await old.result(within="1m")).outputs == {"told": {"told": 2}}
        assert (await new.result(within="1m")).outputs == {"told": {"told": 102}}


@pytest.mark.parametrize(
    ("manifest", "pointer", "detail"),
    [
        (calls("a", "nobody"), "workflow", "there is no workflow nobody; declare it first"),
        (calls("echo", "echo"), "workflow", "a workflow does not call itself: echo → echo; the chain of calls has to end"),
        (calls("echo", "outer"), "workflow", "a workflow does not call itself: echo → outer → echo; the chain of calls has to end"),
        (calls("a", "other"), "inputs/n", "workflow other has no input 'n'; it has none"),
        (a_function("a", {"call": {"workflow": "echo"}}), "inputs", "workflow echo needs input 'n'; give it"),
        (a_function("a", {"call": {"workflow": "echo", "inputs": {"n": "x"}}}), "inputs/n", "it is of type integer; got string"),
        (a_function("a", {"call": {"workflow": "echo", "inputs": {"n": "${run.id}"}}}), "inputs/n", "the input takes whole; it gives text"),
    ],
)  # fmt: skip
async def test_what_cannot_be_called_is_refused(manifest: dict[str, Any], pointer: str, detail: str) -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        await env.apply(calls("outer", "echo"))
        await env.apply(a_function("other", {"worker": "shop.echo"}))
        with pytest.raises(Invalid) as told:
            await env.apply(manifest)
        assert [(one.pointer, one.detail) for one in told.value.problems] == [
            (f"/spec/operations/do/call/{pointer}", detail)
        ]


async def test_each_item_is_a_run_of_its_own() -> None:
    async with Environment(app) as env:
        await env.apply(ECHO)
        every = {
            "call": {"workflow": "echo", "inputs": {"n": "${item}"}},
            "foreach": {"items": [1, -1, 3], "tolerate": 1},
        }
        await env.apply(a_function("many", every))
        ended = await (await env.start("many", id="o-1")).result(within="1m")
        assert ended.outputs == {"told": [{"told": 2}, None, {"told": 4}]}
        assert [(await env.run(f"o-1~do.{n}").describe()).status for n in (1, 2, 3)] == [
            "succeeded",
            "failed",
            "succeeded",
        ]

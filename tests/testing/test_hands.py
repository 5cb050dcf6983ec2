"""Workers and the server of the environment: killed, stopped, started again, and many of them."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harpoon.kit.errors import Conflict
from harpoon.store.port import StoreUnavailable
from harpoon.testing import Environment
from harpoon.worker import Context, Worker
from tests.testing.shop import Notes, an_app, flow, one


async def test_what_a_killed_worker_had_is_lost_and_anothers() -> None:
    notes = Notes()
    async with Environment(an_app(notes)) as env:
        await env.apply(one("nap", {"seconds": 60}, heartbeat="10s"))
        run = await env.start("flow")
        await env.advance("5s")
        await env.hands[0].kill()
        assert env.hands[0].is_over
        other = await env.work(an_app(notes), name="other")
        await env.advance("8s")
        assert [one.worker for one in await run.attempts()] == ["shop-1"]
        ended = await run.result(within="2m")
        assert [(one.worker, one.label) for one in ended.attempts] == [("shop-1", "lost"), (other.name, "done")]
        assert notes == ["a.1 begins", "a.1 is cancelled", "a.2 begins", "a.2 ends"]


async def test_a_stopped_worker_ends_what_it_has_and_takes_nothing_more(env: Environment) -> None:
    await env.apply(one("nap", {"seconds": 10}, queue_timeout="1h"))
    first = await env.start("flow")
    await env.hands[0].stop()
    second = await env.start("flow")
    await env.advance("10s")
    assert (first.is_over, second.is_over, env.hands[0].is_over) == (True, False, True)
    assert [one.label for one in await second.attempts()] == [None]


async def test_handlers_in_threads_are_waited_for_and_see_the_clock_of_the_test(env: Environment) -> None:
    await env.apply(one("thread", timeout="10m"))
    run = await env.start("flow")
    assert (await run.result()).outputs == {"came_to": 600.0}


async def test_a_handler_in_a_thread_that_does_not_end_does_not_stop_the_time() -> None:
    notes = Notes()
    async with Environment(an_app(notes), patience=timedelta(seconds=0.05)) as env:
        await env.apply(one("patient", timeout="1h", heartbeat="10s"))
        run = await env.start("flow")
        assert [cause.code for cause in (await run.why()).causes] == ["claimed"]
        ended = await run.result(within="1h")
        assert ended.story == ["a.timeout"]
        async with asyncio.timeout(5):
            while not notes:
                await asyncio.sleep(0.001)
        assert notes == ["a.1 sees that it is over"]


async def test_patience_runs_out_once_for_each_handler() -> None:
    made = flow()
    made.worker("stuck", "patient", timeout="1h")
    for place in range(20):
        # One after the other, each at a moment of its own; all are waited for, and the other one is not any more.
        nap = made.wait(f"wait{place}", span=f"{place + 1}s")
        made.worker(f"op{place}", "thread", needs=[nap])
    began = asyncio.get_running_loop().time()
    async with Environment(an_app(), patience=timedelta(seconds=1.5)) as env:
        await env.apply(made)
        run = await env.start("flow")
        await env.advance("1m")
        assert [one.label for one in await run.attempts() if one.op != "stuck"] == ["done"] * 40
        await run.cancel()
    assert asyncio.get_running_loop().time() - began < 25


async def test_a_test_and_its_handlers_may_tell_each_other(env: Environment) -> None:
    app, begun, go = Worker("talk"), asyncio.Event(), asyncio.Event()

    @app.handler("talk")
    async def talk(ctx: Context) -> str:
        begun.set()
        ctx.progress({"is": "there"})
        await go.wait()
        return await asyncio.to_thread(str, "told")

    await env.work(app)
    await env.apply(one("talk"))
    run = await env.start("flow")
    async with asyncio.timeout(5):
        await begun.wait()
    go.set()
    await env.settle()
    assert (await run.result()).outputs == {"came_to": "told"}


async def test_handlers_may_use_sockets(env: Environment, tmp_path: Path) -> None:
    """A server on the test's loop, in real time; a client in the handler, whose own time stands still."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        await asyncio.sleep(0.02)
        writer.write(line.upper())
        writer.close()

    app = Worker("client")

    @app.handler("call")
    async def call(line: str) -> str:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        async with asyncio.timeout(1):
            writer.write(f"{line}\n".encode())
            told = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return told.decode().strip()

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        await env.work(app)
        await env.apply(one("call", {"line": "ahoi"}))
        run = await env.start("flow")
        await env.advance("1h")
        ended = await run.result()
        assert (ended.outputs, ended.took) == ({"came_to": "AHOI"}, timedelta(0))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_server_that_is_killed_is_gone_on_from(kind: str, tmp_path: Path) -> None:
    notes = Notes()
    async with Environment(an_app(notes), store=tmp_path / "db" if kind == "sqlite" else None) as env:
        made = flow()
        nap = made.worker("a", "nap", input={"seconds": 60}, heartbeat="10s")
        made.wait("b", signal="go", timeout="1h", needs=[nap])
        await env.apply(made)
        run = await env.start("flow")
        await env.advance("30s")
        await env.restart()
        await env.advance("30s")
        # The handler never heard of it.
        assert notes == ["a.1 begins", "a.1 ends"]
        await env.restart()
        await env.advance("30m")
        assert not run.is_over
        await run.signal("go")
        ended = await run.result()
        assert (ended.story, ended.took) == (["a.done", "b.done"], timedelta(minutes=31))


async def test_a_file_is_gone_on_from_by_another_environment(app: Worker, tmp_path: Path) -> None:
    file = tmp_path / "db"
    async with Environment(app, store=file) as env:
        await env.apply(one("nap", {"seconds": 60}, heartbeat="10s"))
        first = await env.start("flow")
        await env.advance("30s")
        left = env.now
        with pytest.raises(StoreUnavailable, match="in use"):
            async with Environment(store=file):
                pass
    async with Environment(app, store=file, now=left) as env:
        run = env.run(first.id)
        # The worker is gone, with what it had.
        ended = await run.result(within="5m")
        assert ended.story == ["a.lost", "a.done"]
        assert (await env.start("flow")).id == "flow-2"
    assert left == datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)


async def test_there_may_be_several_environments_at_once() -> None:
    async with Environment(an_app()) as one_env, Environment(an_app()) as other:
        for env in (one_env, other):
            await env.apply(one("nap", {"seconds": 60}))
        run, another = await one_env.start("flow"), await other.start("flow")
        await one_env.advance("1m")
        assert (run.is_over, another.is_over) == (True, False)
        with pytest.raises(Conflict):
            await run.cancel()


async def test_an_environment_is_entered_once(env: Environment) -> None:
    with pytest.raises(RuntimeError, match="entered once"):
        async with env:
            pass


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_it_needs_nothing_but_a_loop(run: Callable[[Coroutine[Any, Any, str]], str]) -> None:
    async def main() -> str:
        async with Environment(an_app()) as env:
            await env.apply(one("thread"))
            assert (await (await env.start("flow")).result()).status == "succeeded"
            await env.apply(one("nap", {"seconds": 60}))
            return (await (await env.start("flow")).result(within="1h")).status

    assert run(main()) == "succeeded"

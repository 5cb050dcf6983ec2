"""The worker with the very exchange of a server, over its door: what one says, the other understands."""

import asyncio

from harpoon.worker import Context, Label, Settings, Worker
from harpoon.worker.serving import serve
from tests.api import rig as rigs
from tests.control import working as tables


async def test_a_worker_does_what_a_server_has_for_it() -> None:
    table, stop, all_closed = tables.Table(), asyncio.Event(), asyncio.Event()
    app, cancelled = Worker("shop", concurrency=3), asyncio.Event()
    table.plain.then = lambda _run, _ref: all_closed.set() if len(table.plain.closed) == 42 else None

    @app.handler
    async def pack(ctx: Context, op: str) -> str:
        assert (ctx.workflow, ctx.idempotency_key) == ("ship", f"{tables.NAMESPACE}/{ctx.run}/{op}/1")
        return op

    @app.handler
    def sign(op: str) -> Label:
        return Label("strange" if op == "odd" else "done")

    @app.handler(limit=1)
    async def hold(op: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with rigs.a_rig(work=table.exchange, token=rigs.TOKEN) as rig, asyncio.TaskGroup() as group:
        settings = Settings(servers=(f"http://127.0.0.1:{rig.port}",), token=rigs.TOKEN)
        task = group.create_task(serve(app, settings, stop=stop))
        for number in range(40):
            table.plain.start(f"r{number}", "a")
        table.plain.start("s", "odd", handler="sign")
        table.plain.start("t", "even", handler="sign")
        table.plain.start("h", "a", handler="hold")
        await all_closed.wait()
        while not any(run.endswith("/h") for run, _ in table.plain.tokens):
            await asyncio.sleep(0.001)
        table.plain.withdraw("h", "a", "cancelled")
        await cancelled.wait()
        stop.set()
        await task
    labels = {run: label for (run, _), (_, label) in table.plain.closed.items()}
    assert labels.pop(f"{tables.NAMESPACE}/s") == "fail"
    assert set(labels.values()) == {"done"}

"""A worker whose handlers do what is asked for, and workflows of one operation or two."""

import asyncio
import time
from typing import Any

from harpoon.worker import Context, Fail, Label, Retry, Worker, Workflow


class Notes(list[str]):
    """What handlers did."""


def an_app(notes: Notes | None = None) -> Worker:
    app = Worker("shop")
    noted = Notes() if notes is None else notes

    @app.handler("echo")
    async def echo(value: Any = None) -> Any:
        return value

    @app.handler("nap")
    async def nap(ctx: Context, seconds: float) -> float:
        noted.append(f"{ctx.op}.{ctx.attempt} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            noted.append(f"{ctx.op}.{ctx.attempt} is cancelled")
            raise
        noted.append(f"{ctx.op}.{ctx.attempt} ends")
        return seconds

    @app.handler("fail")
    async def fail(ctx: Context, times: int) -> int:
        if ctx.attempt <= times:
            raise Retry(f"{ctx.attempt} of {times}")
        return ctx.attempt

    @app.handler("refuse")
    async def refuse() -> None:
        raise Fail("never")

    @app.handler("label")
    async def label(name: str) -> Label:
        return Label(name)

    @app.handler("thread")
    def thread(ctx: Context) -> float:
        time.sleep(0.01)
        return ctx.remaining.total_seconds()

    @app.handler("patient")
    def patient(ctx: Context) -> None:
        while not ctx.is_cancelled:
            time.sleep(0.001)
        noted.append(f"{ctx.op}.{ctx.attempt} sees that it is over")

    return app


def flow(name: str = "flow", **told: Any) -> Workflow:
    return Workflow(name, **told)


def one(handler: str, given: dict[str, Any] | None = None, **said: Any) -> Workflow:
    """A workflow of one operation, ``a``."""
    made = flow()
    made.worker("a", handler, **({} if given is None else {"input": given}), **said)
    made.output("came_to", "${ops.a.output}")
    return made

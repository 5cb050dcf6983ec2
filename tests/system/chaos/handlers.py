"""What workers do while all is broken: ``harpoon worker tests.system.chaos.handlers``.

Each attempt is noted as it begins and as it ends, in the history, by the process that carries it out. A line is whole
or not there, and stays when the process is killed: what a line tells has happened.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from harpoon.worker import Context, Label, Retry, Worker
from tests.proof.history import Executed, to_line
from tests.system.chaos.part import BEGAN, HISTORY

app = Worker("chaos", concurrency=40)


class _Notes:
    def __init__(self) -> None:
        name = Path(os.environ[HISTORY], f"executed-{os.getpid()}-{time.monotonic_ns()}.jsonl")
        self._file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._began = float(os.environ[BEGAN])

    def note(self, ctx: Context, label: str = "", output: Any = None) -> None:
        claim = ctx._attempt.claim
        event = Executed(
            t=time.monotonic() - self._began,
            node=f"worker-{os.getpid()}",
            run=f"default/{ctx.run}",
            op=ctx.op,
            visit=ctx.visit,
            attempt=ctx.attempt,
            token=claim.token,
            label=label,
            output=output,
        )
        os.write(self._file, to_line(event).encode() + b"\n")


_notes = _Notes()


def _failed(ctx: Context, why: str) -> Retry:
    _notes.note(ctx, "fail")
    return Retry(why)


@app.handler("chaos.add")
async def add(ctx: Context, n: int) -> dict[str, Any]:
    _notes.note(ctx)
    output = {"n": n + 1, "token": ctx._attempt.claim.token}
    _notes.note(ctx, "done", output)
    return output


@app.handler("chaos.nap")
async def nap(ctx: Context, n: int, seconds: float) -> dict[str, int]:
    _notes.note(ctx)
    await asyncio.sleep(seconds)
    _notes.note(ctx, "done", {"n": n})
    return {"n": n}


@app.handler("chaos.toil", limit=4)
def toil(ctx: Context, n: int, seconds: float) -> dict[str, int]:
    """As `nap`, in a thread."""
    _notes.note(ctx)
    time.sleep(seconds)
    _notes.note(ctx, "done", {"n": n})
    return {"n": n}


@app.handler("chaos.bulk")
async def bulk(ctx: Context, n: int) -> dict[str, str]:
    """Return more than one commit takes."""
    _notes.note(ctx)
    output = {"text": f"{n:08d}" * 125_000}
    _notes.note(ctx, "done", output)
    return output


@app.handler("chaos.turn")
async def turn(ctx: Context, n: int) -> Label:
    """Have it go round until the n-th visit."""
    _notes.note(ctx)
    label = "again" if ctx.visit < n else "done"
    _notes.note(ctx, label, ctx.visit)
    return Label(label, ctx.visit)


@app.handler("chaos.rough")
async def rough(ctx: Context, fails: int, slow: int) -> int:
    """Fail so many times, and take too long once."""
    _notes.note(ctx)
    if ctx.attempt == slow:
        await asyncio.sleep(30)
    if ctx.attempt <= fails:
        raise _failed(ctx, "not yet")
    _notes.note(ctx, "done", ctx.attempt)
    return ctx.attempt

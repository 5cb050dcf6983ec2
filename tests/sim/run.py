"""Running plans: each in a child process of its own, which ends without cleaning up anything; several at a time.

So a run starts from the very same state each time, whatever ran before it, and may patch whatever it likes.
"""

import gc
import os
import pickle
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from harpoon.agent.fence import Mark
from harpoon.agent.record import Record
from harpoon.control.view import View
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model import wire
from harpoon.model.header import Header
from harpoon.model.instance import Holder
from harpoon.model.manifest import Manifest
from harpoon.model.receipt import Receipt
from harpoon.model.run_orders import RunCancel, RunStart, SignalOrder
from harpoon.model.work import WorkLook, WorkRequest
from harpoon.model.workflow import WorkflowManifest
from harpoon.store.memory import MemoryStore
from harpoon.worker.wire import WorkAnswer
from tests.proof.history import digest
from tests.sim.plan import Fault, Op, Plan

T = TypeVar("T", Fault, Op)
#: Where a disk costs nothing, if there is such a place.
SHM: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: A run that takes longer hangs.
WITHIN_S: Final = 120.0
#: Fault that kills a run for another reason than a violation.
BROKEN: Final = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    plan: Plan
    #: Of its history: the same plan has the same.
    digest: str = ""
    #: Name of the property that was violated; empty: none was.
    violated: str = ""
    text: str = ""
    events: int = 0
    turns: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    #: What happened, how often.
    happened: Counter[str] = field(default_factory=Counter)
    lines: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


#: Changes the code under test in the child, before anything is run: a wrong variant.
Patch = Callable[[], object]


def run(plan: Plan, *, patch: Patch | None = None, keeps: bool = False, log: bool = False) -> Result:
    """Run a plan in a child; ``keeps`` its history's lines, and its ``log``."""
    (result,) = run_all([plan], jobs=1, patch=patch, keeps=keeps, log=log)
    return result


def run_all(
    plans: Iterable[Plan], *, jobs: int = 2, patch: Patch | None = None, keeps: bool = False, log: bool = False
) -> Iterator[Result]:
    """Run plans, some at a time; yield the results as they come, which is not in order."""
    waiting = iter(plans)
    # What a child that is killed has left goes with it.
    with (
        selectors.DefaultSelector() as selector,
        tempfile.TemporaryDirectory(prefix="harpoon-sim-", dir=SHM) as scratch,
    ):
        children: dict[int, tuple[int, Plan, bytearray, float]] = {}

        def begin() -> None:
            for plan in waiting:
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.close(reading)
                    _child(plan, Path(scratch), writing, patch, keeps=keeps, log=log)
                os.close(writing)
                children[reading] = (pid, plan, bytearray(), time.monotonic())
                selector.register(reading, selectors.EVENT_READ)
                return

        _warm_up()
        for _ in range(jobs):
            begin()
        while children:
            for key, _ in selector.select(1.0):
                data = os.read(key.fd, 1 << 20)
                if data:
                    children[key.fd][2].extend(data)
                    continue
                selector.unregister(key.fd)
                os.close(key.fd)
                pid, plan, told, _ = children.pop(key.fd)
                os.waitpid(pid, 0)
                begin()
                yield _result(plan, bytes(told))
            for pid, _, _, since in children.values():
                if time.monotonic() - since > WITHIN_S:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Import what children run and make what reads records, so that they need not; have the collector leave it alone."""
    import tests.sim.world  # noqa: F401

    view = View(MemoryStore(), incarnation=1, cluster="")
    for kind in (
        *(table.kind for table in view.mirror._tables.values()),
        Holder,
        Mark,
        Record,
        wire.Snapshot,
        wire.Changed,
        Receipt,
        Header,
        WorkAnswer,
    ):
        with suppress(Invalid):
            codec.load(kind, b"{}")
    for asked in (Manifest, WorkflowManifest, WorkRequest, WorkLook, RunStart, SignalOrder, RunCancel):
        with suppress(Invalid):
            codec.decode(asked, b"{}")
    gc.collect()
    gc.freeze()


def _child(plan: Plan, scratch: Path, writing: int, patch: Patch | None, *, keeps: bool, log: bool) -> None:
    """Run a plan, tell what came of it, and end this process."""
    directory = scratch / str(os.getpid())
    code = 0
    try:
        result = _run(plan, directory, patch, keeps=keeps, log=log)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
    except BaseException:  # noqa: BLE001 this process ends here, whatever it was
        traceback.print_exc()
        sys.stderr.flush()
        code = 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(code)


def _run(plan: Plan, directory: Path, patch: Patch | None, *, keeps: bool, log: bool) -> Result:
    from tests.sim.world import World

    gc.disable()
    if patch is not None:
        patch()
    world = World(plan, directory, keep_log=log)
    start = time.process_time()
    world.run()
    found = world.record.violation
    return Result(
        plan=plan,
        digest=digest(world.record.lines),
        violated="" if found is None else found.name,
        text="" if found is None else str(found),
        events=len(world.record.lines),
        turns=world.loop.turns,
        virtual_s=world.loop.now,
        cpu_s=time.process_time() - start,
        happened=world.net.happened + world.store.happened,
        lines=tuple(world.record.lines) if keeps else (),
        log=tuple(world.record.log or ()),
    )


def _result(plan: Plan, told: bytes) -> Result:
    if not told:
        return Result(plan=plan, violated=BROKEN, text="the run broke off, or hung")
    result = pickle.loads(told)
    assert isinstance(result, Result)
    return result


def shrink(plan: Plan, is_bad: Callable[[Plan], bool]) -> Plan:
    """Return the plan with as few faults and requests as still violate something."""
    plan = replace(plan, faults=_fewer(plan.faults, lambda faults: is_bad(replace(plan, faults=faults))))
    plan = replace(plan, ops=_fewer(plan.ops, lambda ops: is_bad(replace(plan, ops=ops))))
    return replace(plan, faults=_fewer(plan.faults, lambda faults: is_bad(replace(plan, faults=faults))))


def _fewer(items: Sequence[T], is_bad: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Leave out as many as can be (delta debugging)."""
    kept, size = tuple(items), max(1, len(items) // 2)
    while kept:
        for start in range(0, len(kept), size):
            tried = kept[:start] + kept[start + size :]
            if is_bad(tried):
                kept = tried
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
            continue
        size = min(size, max(1, len(kept) // 2))
    return kept

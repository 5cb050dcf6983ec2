"""Who starts runs and tells them things, of any server, and notes what was answered; and what is to come of them."""

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from harpoon.client import Client
from harpoon.client.request import make_request
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound, Unavailable
from tests.proof.history import Answered, Invoked
from tests.system.chaos.clients import ANSWER, TRIES, Doors
from tests.system.chaos.flows import Flow
from tests.system.chaos.recorder import Recorder

#: Runs that one request starts, at most.
_MANY = 12
#: A session leaves a run to itself when it has so many younger ones.
_OPEN_MAX = 12
_CODES = ((NotFound, "not_found"), (Invalid, "invalid"), (Conflict, "conflict"))
_RUNS = ("namespaces", "default", "runs")


@dataclass(slots=True)
class Asked:
    """A run that was asked for, and what it was told."""

    id: str
    workflow: str
    inputs: Mapping[str, Any]
    #: Its start was acknowledged.
    is_there: bool = False
    is_paused: bool = False
    #: Each is asked for once in a run, or until it is known what came of it.
    was_paused: bool = False
    is_cancelled: bool = False
    signals: int = 0

    @property
    def body(self) -> dict[str, Any]:
        """What it is started by."""
        return {"id": self.id, "workflow": self.workflow, "inputs": self.inputs}


class Runner:
    """Starts runs by ids of its own, and tells them things, one after the other."""

    def __init__(self, name: str, doors: Doors, recorder: Recorder, seed: str, flows: Mapping[str, Flow]) -> None:
        self.name = name
        #: All that it has asked for, by their ids.
        self.runs: dict[str, Asked] = {}
        self._doors = doors
        self._recorder = recorder
        self._rng = random.Random(seed)
        self._flows = flows
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await (self._start() if self._rng.random() < 0.85 else self._start_many())
            for _ in range(self._rng.choice((1, 1, 2, 3))):
                await self._tell(self._one())
            await asyncio.sleep(self._rng.uniform(0.05, 0.7))

    def _another(self) -> Asked:
        names = sorted(self._flows)
        [workflow] = self._rng.choices(names, [self._flows[name].share for name in names])
        id_ = f"{self.name}-{len(self.runs) + 1}"
        asked = self.runs[id_] = Asked(id_, workflow, self._flows[workflow].inputs(self._rng))
        return asked

    async def _start(self) -> None:
        await self._start_again(self._another())

    async def _start_again(self, asked: Asked) -> None:
        await self._insist("start", asked, (), asked.body)

    async def _start_many(self) -> None:
        """Start several in one request; those of which it is not known are asked for again, one by one."""
        some = [self._another() for _ in range(self._rng.randint(2, _MANY))]
        ops = [self._invoke("start", asked, asked.body) for asked in some]
        told: list[int] = [503] * len(some)
        with suppress(Unavailable):
            request = make_request("POST", _RUNS, body={"runs": [asked.body for asked in some]})
            answer = await self._doors.pick(self._rng)._call(request, ANSWER)
            told = [one["status"] for one in answer.body["results"]]
        for op, asked, status in zip(ops, some, told, strict=True):
            if status in (200, 201):
                asked.is_there = True
                self._answer(op, "done")
            elif status == 503:
                self._answer(op, "unknown", "unavailable")
            else:
                self._answer(op, "refused", "error")
                self._recorder.complain(f"{op}: start {asked.id}, one of several: {status}")
        for asked in some:
            if not asked.is_there:
                await self._start_again(asked)

    def _one(self) -> Asked:
        """Return one of the youngest runs, rather one that waits for a signal, or to be resumed."""
        young = list(self.runs.values())[-_OPEN_MAX:]
        waiting = [one for one in young if one.is_paused or (self._flows[one.workflow].signal and not one.signals)]
        return self._rng.choice(waiting if waiting and self._rng.random() < 0.5 else young)

    async def _tell(self, asked: Asked) -> None:
        signal = self._flows[asked.workflow].signal
        if asked.is_paused and self._rng.random() < 0.6:
            await self._resume(asked)
        elif signal and asked.signals < 2:
            asked.signals += 1
            await self._signal(asked, signal)
        else:
            tell = (
                self._look,
                self._look,
                self._start_again,
                self._start_other,
                self._pause,
                self._pause,
                self._cancel,
            )
            await self._rng.choice(tell)(asked)

    async def _signal(self, asked: Asked, name: str) -> None:
        label = self._rng.choice(("approved", "rejected"))
        body = {"id": f"{asked.id}-{asked.signals}", "label": label, "payload": {"by": self.name}}
        args = {**body, "name": name}
        await self._insist("signal", asked, (asked.id, "signals", name), body, args)
        if self._rng.random() < 0.3:
            # The very same changes nothing.
            await self._insist("signal", asked, (asked.id, "signals", name), body, args)

    async def _look(self, asked: Asked) -> None:
        await self._insist("look", asked, (asked.id,), None)

    async def _start_other(self, asked: Asked) -> None:
        """Ask for another run by an id that there is: it is refused."""
        if asked.is_there and asked.inputs:
            inputs = {name: value + 1000 for name, value in asked.inputs.items()}
            await self._insist("start", asked, (), asked.body | {"inputs": inputs})

    async def _pause(self, asked: Asked) -> None:
        if not asked.was_paused:
            asked.was_paused = asked.is_paused = True
            await self._insist("pause", asked, (asked.id, "pause"), {})

    async def _resume(self, asked: Asked) -> None:
        asked.is_paused = False
        await self._insist("resume", asked, (asked.id, "resume"), {})

    async def _cancel(self, asked: Asked) -> None:
        if not asked.is_cancelled:
            asked.is_cancelled = True
            await self._insist("cancel", asked, (asked.id, "cancel"), {"reason": "enough"})

    async def _insist(
        self, verb: str, asked: Asked, path: Sequence[str], body: object, args: Mapping[str, Any] | None = None
    ) -> None:
        """Ask until it is known what came of it, or often enough, of any server; it may be done more than once."""
        told = args if args is not None else body if isinstance(body, Mapping) else {}
        for _ in range(TRIES):
            answered = await self._ask(verb, asked, path, body, told)
            if answered.code != "unavailable":
                asked.is_there |= verb == "start" and answered.outcome == "done"
                return
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _ask(
        self, verb: str, asked: Asked, path: Sequence[str], body: object, args: Mapping[str, Any]
    ) -> Answered:
        op, outcome, code, found = self._invoke(verb, asked, args), "done", "", None
        try:
            request = make_request("GET" if body is None else "POST", (*_RUNS, *path), body=body)
            answer = await self._doors.pick(self._rng)._call(request, ANSWER)
            found = shown(answer.body) if verb == "look" else None
        except Unavailable:
            outcome, code = ("refused" if verb == "look" else "unknown"), "unavailable"
        except HarpoonError as error:
            outcome, code = "refused", next((code for kind, code in _CODES if isinstance(error, kind)), "error")
            if code == "error":
                self._recorder.complain(f"{op}: {verb} {asked.id}: {type(error).__name__}: {error}")
        return self._answer(op, outcome, code, found)

    def _invoke(self, verb: str, asked: Asked, args: Mapping[str, Any]) -> str:
        """Note that something is asked for; return what its answer is known by."""
        op, now, job = f"{self.name}.{next(self._numbers)}", self._recorder.now(), f"default/{asked.id}"
        self._recorder.note(Invoked(t=now, node=self.name, op=op, verb=verb, job=job, args=args))
        return op

    def _answer(self, op: str, outcome: str, code: str = "", found: Mapping[str, Any] | None = None) -> Answered:
        now = self._recorder.now()
        answered = Answered(t=now, node=self.name, op=op, outcome=outcome, code=code, found=found)
        self._recorder.note(answered)
        return answered


def shown(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a run as it is told what stays so once it is over."""
    return {name: run[name] for name in ("status", "outputs", "ended_ms")}


async def declare(doors: Doors, flows: Mapping[str, Flow]) -> None:
    """Declare all workflows."""
    for name, flow in flows.items():
        await doors.clients[0].put("namespaces", "default", "workflows", name, body=flow.manifest)


async def going_on(client: Client) -> list[str]:
    """Have all runs go on that are paused; return those that have not ended, as a server tells."""
    told = await client.get(*_RUNS, query={"status": "running"}, within=timedelta(seconds=5))
    for run in told.body["items"]:
        if run["is_paused"]:
            with suppress(HarpoonError):
                await client.post(*_RUNS, run["id"], "resume", body={})
    return [run["id"] for run in told.body["items"]]


async def exported(client: Client, recorder: Recorder) -> dict[str, Any]:
    """Return all runs that have ended, by their ids, as a server exports them; and note it, as what was looked at."""
    told, parts = {}, []
    async with client._stream(make_request("GET", (*_RUNS, "export")), "application/x-ndjson") as connection:
        parts += [part async for part in connection.read()]
    for number, line in enumerate(b"".join(parts).splitlines()):
        run = json.loads(line)
        told[run["run"]] = run
        op, node, now = f"export.{client.url}.{number}", "export", recorder.now()
        recorder.note(Invoked(t=now, node=node, op=op, verb="look", job=f"default/{run['run']}"))
        recorder.note(Answered(t=now, node=node, op=op, outcome="done", found=shown(run)))
    return told


def amiss(runs: Mapping[str, Asked], told: Mapping[str, Any], flows: Mapping[str, Flow]) -> Iterator[str]:
    """Yield what has not come of runs that are to have ended, given all that have."""
    for id_, asked in runs.items():
        run = told.get(id_)
        if run is None:
            if asked.is_there:
                yield f"run {id_} was acknowledged, and is not exported"
            continue
        if asked.is_cancelled and run["status"] == "cancelled":
            continue
        status, outputs = flows[asked.workflow].comes_to(asked.inputs)
        if run["status"] != status or (outputs is not None and run["outputs"] != outputs):
            given = f"{asked.workflow} of {dict(asked.inputs)}"
            came = f"{run['status']} {run['outputs']} {run['reason']}"
            yield f"run {id_}, {given}, is to come to {status} {outputs}, and came to {came}"

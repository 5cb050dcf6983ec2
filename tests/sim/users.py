"""Users of workflows under simulation: each asks for one thing after the other, by the doors of whichever instance."""

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.proof.history import RunAsked, RunTold
from tests.sim.lost import Lost
from tests.sim.plan import Op
from tests.sim.site import ask

if TYPE_CHECKING:
    from tests.sim.world import World

TRIES: Final = 4
ANSWER_S: Final = 10.0
#: Sessions of users are called so.
SESSIONS: Final = "u"
_RUNS: Final = "/v1/namespaces/default/runs"
#: What a run is told of as.
_SHOWN: Final = ("id", "workflow", "status", "is_paused", "inputs")


class User:
    """One session."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self._world = world
        self._numbers = itertools.count(1)

    async def run(self, ops: tuple[Op, ...]) -> None:
        """Ask for all, in order, each when its time has come."""
        names = self._world.plan.instances
        for op in ops:
            await asyncio.sleep(max(0.0, op.at - self._world.loop.now))
            first = names.index(op.to) if op.to in names else 0
            for turn in range(TRIES):
                if await self._ask(op, names[(first + turn) % len(names)]):
                    break
                await asyncio.sleep(0.5)

    async def _ask(self, op: Op, to: str) -> bool:
        """Ask an instance once; return whether it is known what came of it."""
        number = f"{self.name}.{next(self._numbers)}"
        world, told = self._world, None
        named = {"verb": op.verb, "run": f"default/{op.job}", "args": op.spec, "session": self.name}
        world.tell(RunAsked(t=world.loop.now, node=self.name, op=number, **named))
        try:
            told = await ask(world, to, _request(op), ANSWER_S)
        except Lost as lost:
            outcome, status, found = "unknown" if lost.is_sent else "refused", 0, None
        else:
            status = told.status
            outcome = "done" if status < 300 else "refused" if status < 500 and status != 429 else "unknown"
            found = _found(op.verb, orjson.loads(told.body)) if status < 300 and op.verb != "declare" else None
        world.net.happened[f"{op.verb} answered {status}"] += 1
        world.tell(RunTold(t=world.loop.now, node=self.name, op=number, outcome=outcome, status=status, found=found))
        return 200 <= status < 500 and status != 429


def _request(op: Op) -> tuple[str, str, dict[str, str], bytes]:
    body: dict[str, Any] = dict(op.spec)
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": op.key} if op.key else {})
    match op.verb:
        case "declare":
            told = {"apiVersion": "harpoon/v1", "kind": "Workflow", "metadata": {"name": op.job}, "spec": body}
            return "PUT", f"/v1/namespaces/default/workflows/{op.job}", headers, orjson.dumps(told)
        case "batch":
            told = {"apiVersion": "harpoon/v1", "kind": "Batch", "metadata": {"name": op.job, "tags": body["tags"]}}
            return "POST", "/v1/namespaces/default/batches", headers, orjson.dumps(told | {"spec": body["spec"]})
        case "start":
            return "POST", _RUNS, headers, orjson.dumps({"id": op.job, **body})
        case "signal":
            name = body.pop("signal")
            return "POST", f"{_RUNS}/{op.job}/signals/{name}", headers, orjson.dumps(body)
        case "look":
            return "GET", f"{_RUNS}/{op.job}", {}, b""
        case _:
            return "POST", f"{_RUNS}/{op.job}/{op.verb}", headers, orjson.dumps(body)


def _found(verb: str, told: dict[str, Any]) -> dict[str, Any]:
    if verb == "move":
        return {"generation": told["generation"]}
    shown = told.get("run", told)
    return {name: shown[name] for name in _SHOWN}

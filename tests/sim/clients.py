"""Clients under simulation: each asks for one thing after the other, and asks another instance when it gets no answer."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from harpoon.api.doors import DOORS
from harpoon.api.idempotency import REPLAYED, UNDERWAY, once
from harpoon.api.items import Scene
from harpoon.api.operation import IDEMPOTENCY_KEY
from harpoon.api.problem import Refused
from harpoon.control.controller import Controller
from harpoon.control.registry import Accepted, Extra
from harpoon.control.view import View
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound, PreconditionFailed, Unavailable
from harpoon.model.manifest import Manifest
from harpoon.store.port import StoreUnavailable
from tests.proof.history import Answered, Invoked, Watched
from tests.sim.loop import SimClock
from tests.sim.lost import Lost
from tests.sim.plan import Op

if TYPE_CHECKING:
    from tests.sim.instances import Instance
    from tests.sim.world import World

TRIES = 4
ANSWER_S = 10.0
_APPLY = URL("/v1/apply")
_CODES = {PreconditionFailed: "conflict", NotFound: "not_found", Invalid: "invalid", Conflict: "conflict"}


class Client:
    """One session."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self._world = world
        self._numbers = itertools.count(1)
        #: Job → the revision at which it was read last.
        self._tags: dict[str, int] = {}
        #: What it has seen or done; what it reads is to be no older.
        self._seen = 0

    async def run(self, ops: tuple[Op, ...]) -> None:
        """Ask for all, in order, each when its time has come."""
        for op in ops:
            await asyncio.sleep(max(0.0, op.at - self._world.loop.now))
            if op.is_conditional:
                await self._insist(Op(at=op.at, session=op.session, verb="get", job=op.job, to=op.to))
            await self._insist(op)

    async def _insist(self, op: Op) -> None:
        names = self._world.plan.instances
        first = names.index(op.to) if op.to in names else 0
        for turn in range(TRIES):
            if await self._ask(op, names[(first + turn) % len(names)]):
                return
            await asyncio.sleep(0.5)

    async def _ask(self, op: Op, to: str) -> bool:
        """Ask an instance once; return whether it is known what came of it."""
        number = f"{self.name}.{next(self._numbers)}"
        job = f"default/{op.job}"
        if_match = self._tags.get(op.job) if op.is_conditional else None
        args: dict[str, Any] = {"spec": op.spec} if op.spec else {}
        args |= {"if_match": if_match} if if_match else {}
        args |= {"idempotency_key": op.key} if op.key else {}
        verb = op.verb
        if verb == "scale":
            verb, args = "put", args | {"scale": op.scale}
        tell, loop = self._world.tell, self._world.loop
        tell(Invoked(t=loop.now, node=self.name, op=number, verb=verb, job=job, args=args, session=self.name))
        outcome, revision, code, found = "done", 0, "", None
        try:
            revision, found = await self._world.net.call(
                to, lambda: self._serve(self._world.instances[to], op, if_match), within_s=ANSWER_S
            )
        except Lost as lost:
            outcome = "unknown" if lost.is_sent else "refused"
            code = "unreachable"
        except (Unavailable, StoreUnavailable) as error:
            outcome = "unknown" if getattr(error, "maybe_applied", True) else "refused"
            code = "unavailable"
        except Refused as error:
            outcome, code = "refused", error.code or ""
        except HarpoonError as error:
            outcome, code = "refused", _CODES.get(type(error), type(error).__name__)
        self._seen = max(self._seen, revision)
        if op.verb == "get" and outcome == "done":
            self._tags[op.job] = 0 if found is None else found["at"]
        tell(
            Answered(t=loop.now, node=self.name, op=number, outcome=outcome, revision=revision, code=code, found=found)
        )
        return code not in ("unreachable", "unavailable", "idempotency_in_progress")

    async def _serve(self, instance: "Instance", op: Op, if_match: int | None) -> tuple[int, Mapping[str, Any] | None]:
        """Answer at an instance, as its doors would."""
        controller = instance.controller
        if controller is None:
            raise Unavailable("it has only begun")
        registry, view = controller.registry, controller.view
        accepted: Accepted
        match op.verb:
            case "put" if op.key:
                return await _asked_once(instance, controller, op), None
            case "put":
                accepted = await registry.put(_manifest(op.job, op.spec), if_match=if_match)
            case "scale":
                accepted = await registry.scale("default", op.job, op.scale)
            case "delete":
                accepted = await registry.delete("default", op.job)
            case _:
                await view.mirror.shows(self._seen)
                row = view.jobs.rows.get(f"default/{op.job}")
                found = None if row is None else orjson.loads(codec.dump(row.value)) | {"at": row.mod_revision}
                return view.revision, found
        return accepted.revision, None


@dataclass(frozen=True, kw_only=True)
class _Request:
    """As much of a request as the doors look at for an idempotency key."""

    app: Mapping[Any, Any]
    headers: Mapping[str, str]
    method: str = "POST"
    rel_url: URL = _APPLY


async def _asked_once(instance: "Instance", controller: Controller, op: Op) -> int:
    """Answer a request that carries a key as `harpoon.api.apply` does; return the revision that it tells."""
    registry, manifest = controller.registry, _manifest(op.job, op.spec)
    doors = SimpleNamespace(registry=registry, clock=SimClock())
    request = _Request(
        app={DOORS: doors, UNDERWAY: instance.underway}, headers=CIMultiDict({IDEMPOTENCY_KEY.name: op.key})
    )

    async def mutate(extra: Extra | None) -> tuple[Accepted, ...]:
        return await registry.apply((manifest,), extra=extra)

    def tell(results: tuple[Accepted, ...]) -> web.Response:
        return web.Response(body=str(results[0].revision).encode())

    response = await once(request, orjson.dumps(op.spec), mutate, tell)  # type: ignore[arg-type]
    if REPLAYED in response.headers:
        instance.way.happened["answered from a receipt"] += 1
    assert isinstance(response.body, bytes)
    return int(response.body)


class Watcher:
    """One who follows all revisions, at one instance after the other, and goes on where it stopped."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self._world = world
        self._after = 0
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        names = itertools.cycle(self._world.plan.instances)
        while True:
            await self._follow(next(names), f"{self.name}.{next(self._numbers)}")
            await asyncio.sleep(0.5)

    async def _follow(self, to: str, stream: str) -> None:
        world, after = self._world, self._after

        async def tell() -> Any:
            controller = world.instances[to].controller
            if controller is None:
                return
            queue: asyncio.Queue[tuple[str, int, tuple[str, ...]]] = asyncio.Queue()
            mirror = controller.view.mirror
            if mirror.revision < after:
                # As a door refuses a revision that is yet to come.
                return

            is_broken = asyncio.Event()
            mirror.listen_breaks(lambda _: is_broken.set() or queue.put_nowait(("cut", 0, ())))

            def hear(revision: int, changes: Any) -> None:
                if is_broken.is_set():
                    return
                if keys := _keys(Scene(controller.view), changes):
                    queue.put_nowait(("changes", revision, keys))

            with mirror.listening(hear):
                missed = mirror.since(after) if after else None
                if missed is None:
                    there, revision = _present(controller.view), mirror.revision
                    yield "opened", 0, ()
                    yield "snapshot", revision, there
                    yield "synced", revision, ()
                else:
                    yield "opened", after, ()
                    scene = Scene(controller.view, missed)
                    for revision, changes in missed:
                        scene.play(changes)
                        if keys := _keys(scene, changes):
                            yield "changes", revision, keys
                while not is_broken.is_set() or not queue.empty():
                    told = await queue.get()
                    if told[0] == "cut":
                        return
                    yield told

        try:
            async for what, revision, keys in world.net.stream(to, tell, connect_s=3, silence_s=20):
                world.tell(
                    Watched(t=world.loop.now, node=self.name, stream=stream, what=what, revision=revision, keys=keys)
                )
                if what in ("synced", "changes"):
                    self._after = revision
        except Lost:
            world.tell(Watched(t=world.loop.now, node=self.name, stream=stream, what="cut", revision=self._after))


def _keys(scene: Scene, changes: Any) -> tuple[str, ...]:
    """Return the objects that a revision touches; a link and a cordon are parts of their agent."""
    view = scene.view
    kinds = {view.jobs: "job", view.placements: "placement", view.actual: "task", view.agents: "agent"}
    parts = (view.links, view.cordons)
    found = [f"{kinds[change.table]}/{change.key}" for change in changes if change.table in kinds]
    found += [
        f"agent/{one.key}" for one in changes if one.table in parts and scene.row(view.agents, one.key) is not None
    ]
    return tuple(sorted(set(found)))


def _present(view: View) -> tuple[str, ...]:
    tables = {"job": view.jobs, "placement": view.placements, "task": view.actual, "agent": view.agents}
    return tuple(sorted(f"{kind}/{key}" for kind, table in tables.items() for key in table.rows))


def _manifest(name: str, spec: Mapping[str, Any]) -> Manifest:
    told = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
    return codec.decode(Manifest, orjson.dumps(told))

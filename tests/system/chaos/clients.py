"""Who asks for things all the while, of any server, and notes what was answered; and who watches, and reads."""

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from harpoon.client import Client
from harpoon.client.answer import Answer
from harpoon.client.request import Request, make_request
from harpoon.client.watch import Lines, Selection, told_of
from harpoon.kit.errors import Conflict, Gone, HarpoonError, Invalid, NotFound, Unavailable
from tests.proof.history import Answered, Invoked, Watched
from tests.system.chaos.jobs import Make
from tests.system.chaos.recorder import Recorder

#: An answer is waited for so long, then another server is asked.
ANSWER = timedelta(seconds=5)
TRIES = 5
#: A watch that is told nothing for so long is taken up elsewhere; a bookmark comes every 15 s.
SILENCE = timedelta(seconds=17)
_CODES = ((NotFound, "not_found"), (Invalid, "invalid"), (Conflict, "conflict"), (Gone, "gone"))
_JOB = ("namespaces", "default", "jobs")
Ask = tuple[str, str, Request, Mapping[str, Any]]


class Doors:
    """The servers' doors, as a session has them: each with a client of its own."""

    def __init__(self, urls: Mapping[str, str], token: str) -> None:
        self.clients = [Client(url, token=token) for url in urls.values()]

    def pick(self, rng: random.Random) -> Client:
        return rng.choice(self.clients)

    async def close(self) -> None:
        for client in self.clients:
            await client.__aexit__(None, None, None)


class Session:
    """One who asks for one thing after the other; what it reads is never older than what it has seen."""

    def __init__(
        self,
        name: str,
        doors: Doors,
        recorder: Recorder,
        seed: str,
        jobs: Mapping[str, Make],
        forms: set[tuple[str, str, int]],
    ) -> None:
        self.name = name
        self._doors = doors
        self._recorder = recorder
        self._rng = random.Random(seed)
        self._jobs = jobs
        self._numbers = itertools.count(1)
        #: What was asked for: job, what tells its task from others, scale. All sessions share it.
        self._forms = forms
        #: Job → as it was read last: its spec and the revision at which it was declared; None: there was none.
        self._known: dict[str, tuple[dict[str, Any], int] | None] = {}
        self._seen = ""

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            job = self._rng.choice(sorted(self._jobs))
            await self._insist(job, self._reading)
            for _ in range(self._rng.choice((1, 1, 2))):
                await self._insist(job, self._rng.choice(self._changes(job)))
            await asyncio.sleep(self._rng.uniform(0.2, 1.2))

    # What may be asked for: each makes a request of what is known now.

    def _changes(self, job: str) -> list[Callable[[str], Ask]]:
        if self._known.get(job) is None:
            return [self._schedule]
        return [*[self._migrate] * 3, *[self._scale] * 3, *[self._put] * 2, self._delete, self._reading]

    def _reading(self, job: str) -> Ask:
        query = {"min_revision": self._seen} if self._seen else {}
        return "get", job, make_request("GET", (*_JOB, job), query=query), query

    def _schedule(self, job: str) -> Ask:
        spec = self._spec(job)
        return (
            "put",
            job,
            make_request("PUT", (*_JOB, job), body=_manifest(job, spec), is_new=True),
            {"spec": spec, "is_new": True},
        )

    def _put(self, job: str) -> Ask:
        spec = self._spec(job)
        return "put", job, make_request("PUT", (*_JOB, job), body=_manifest(job, spec)), {"spec": spec}

    def _migrate(self, job: str) -> Ask:
        known = self._known.get(job)
        if known is None:
            return self._schedule(job)
        spec = self._spec(job, known[0]["scale"])
        request = make_request("PUT", (*_JOB, job), body=_manifest(job, spec), if_match=f'"1.{known[1]}"')
        return "put", job, request, {"spec": spec, "if_match": known[1]}

    def _scale(self, job: str) -> Ask:
        known = self._known.get(job)
        if known is None:
            return self._schedule(job)
        scale = self._jobs[job](self._rng)["scale"]
        form = (job, known[0]["task"]["env"]["MODE"], scale)
        if form in self._forms or scale == known[0]["scale"]:
            # Who asked for what is told by the spec, which has been asked for before.
            return self._migrate(job)
        self._forms.add(form)
        request = make_request("POST", (*_JOB, job, "scale"), body={"scale": scale}, if_match=f'"1.{known[1]}"')
        key = dict(request.headers)["Idempotency-Key"]
        return "put", job, request, {"spec": known[0] | {"scale": scale}, "if_match": known[1], "idempotency_key": key}

    def _delete(self, job: str) -> Ask:
        known = self._known.get(job)
        if known is None:
            return self._reading(job)
        request = make_request("DELETE", (*_JOB, job), if_match=f'"1.{known[1]}"')
        return "delete", job, request, {"if_match": known[1]}

    def _spec(self, job: str, scale: int | None = None) -> dict[str, Any]:
        spec = self._jobs[job](self._rng)
        spec["scale"] = spec["scale"] if scale is None else scale
        self._forms.add((job, spec["task"]["env"]["MODE"], spec["scale"]))
        return spec

    # Asking.

    async def _insist(self, job: str, make: Callable[[str], Ask]) -> None:
        """Ask until it is known what came of it, or often enough; the very same request, for it may come twice."""
        verb, job, request, args = make(job)
        for _ in range(TRIES):
            if await self._ask(verb, job, request, args):
                return
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _ask(self, verb: str, job: str, request: Request, args: Mapping[str, Any]) -> bool:
        op = f"{self.name}.{next(self._numbers)}"
        self._recorder.note(
            Invoked(
                t=self._recorder.now(),
                node=self.name,
                op=op,
                verb=verb,
                job=f"default/{job}",
                args=args,
                session=self.name,
            )
        )
        answered = Answered(t=0.0, node=self.name, op=op, outcome="done")
        try:
            answer = await self._doors.pick(self._rng)._call(request, ANSWER)
            answered = self._note(answered, verb, job, answer)
        except Unavailable:
            # Of what was read nothing has happened; of what was to be written nobody knows.
            answered = replace(answered, outcome="refused" if verb == "get" else "unknown", code="unavailable")
        except HarpoonError as error:
            code = next((code for kind, code in _CODES if isinstance(error, kind)), "")
            if not code:
                # No kind of answer that a client is to expect.
                self._recorder.complain(f"{op}: {verb} {job}: {type(error).__name__}: {error}")
            if verb == "get" and code == "not_found":
                self._known[job] = None
            answered = replace(answered, outcome="refused", code=code or "error")
        self._recorder.note(replace(answered, t=self._recorder.now()))
        return answered.code != "unavailable"

    def _note(self, answered: Answered, verb: str, job: str, answer: Answer) -> Answered:
        told = answer.revision if verb == "get" else answer.body["revision"]
        assert told is not None
        if _number(told) > _number(self._seen):
            self._seen = told
        if verb == "delete":
            self._known[job] = None
            return replace(answered, revision=_number(told))
        shown = answer.body if verb == "get" else answer.body["job"]
        found = {"spec": shown["spec"], "at": _number(shown["metadata"]["revision"])} | {
            name: shown["metadata"][name] for name in ("generation", "version") if name in shown["metadata"]
        }
        self._known[job] = None if shown["metadata"].get("is_terminating") else (found["spec"], found["at"])
        return replace(answered, revision=_number(told), found=found if verb == "get" else None)


class Watcher:
    """One who follows jobs, placements, tasks and agents, and goes on at another server where it was cut off."""

    def __init__(self, name: str, doors: Doors, recorder: Recorder, seed: str, *, is_sse: bool) -> None:
        self.name = name
        self._doors = doors
        self._recorder = recorder
        self._rng = random.Random(seed)
        self._is_sse = is_sse
        self._after = ""
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            stream = f"{self.name}.{next(self._numbers)}"
            try:
                await self._follow(stream)
            except Gone:
                self._tell(stream, "gone")
                self._after = ""
            except HarpoonError:
                self._tell(stream, "cut", self._after)
            await asyncio.sleep(self._rng.uniform(0.1, 0.5))

    async def _follow(self, stream: str) -> None:
        """Follow one connection; it ends by an error."""
        selection = Selection(kinds=("jobs", "placements", "tasks", "agents"))
        request = make_request("GET", ("watch",), query=selection.query(None if self._is_sse else self._after or None))
        if self._is_sse and self._after:
            request = replace(request, headers=(*request.headers, ("Last-Event-ID", self._after)))
        client = self._doors.pick(self._rng)
        lines = Lines()
        is_open = False
        async with client._stream(
            request, "text/event-stream" if self._is_sse else "application/x-ndjson"
        ) as connection:
            async for data in connection.read(SILENCE):
                if not is_open:
                    self._tell(stream, "opened", self._after)
                    is_open = True
                for told in told_of(_bare(lines.take(data)), client.url):
                    self._hear(stream, told.message)
        raise Unavailable("it was closed")

    def _hear(self, stream: str, message: Mapping[str, Any]) -> None:
        items = message.get("changes", message.get("items", ()))
        what = {"change": "changes"}.get(message["type"], message["type"])
        self._tell(stream, what, message["revision"], tuple(f"{item['kind']}/{item['key']}" for item in items))
        if what != "snapshot":
            # What a snapshot that breaks off lacks would be missed for ever.
            self._after = message["revision"]

    def _tell(self, stream: str, what: str, revision: str = "", keys: tuple[str, ...] = ()) -> None:
        self._recorder.note(
            Watched(
                t=self._recorder.now(), node=self.name, stream=stream, what=what, revision=_number(revision), keys=keys
            )
        )


def _bare(lines: list[bytes]) -> list[bytes]:
    """Return the data of server-sent events; lines of the other form are data."""
    return [line.removeprefix(b"data: ") for line in lines if not line.startswith((b"id:", b"event:", b":", b"retry:"))]


def _number(revision: str) -> int:
    return int(revision.partition(".")[2] or 0)


def _manifest(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": dict(spec)}

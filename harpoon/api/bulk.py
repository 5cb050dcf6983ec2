"""Many documents, each for itself: read as they arrive, committed in batches, answered in order as lines of JSON.

Documents go through three places: read and decoded in slices, so that others get their turn; under way in batches, some
at once, so that the store can group them; and answered, oldest batch first. When the reader of the answers does not
take them, no more is read. Two documents of one job are never under way at once, so the later one wins, as it was sent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.body import DECODING, SMALL_BYTES, check_type, decode, read_json
from harpoon.api.crowd import BULKS
from harpoon.api.doors import DEADLINE, DOORS
from harpoon.api.errors import to_problem
from harpoon.api.frames import Encoding
from harpoon.api.lines import TOO_LONG, Line, read_lines
from harpoon.api.problem import Refused
from harpoon.api.stay import STAYS
from harpoon.api.stream import Stream
from harpoon.control.bulk import PACK_MAX, Result, apply_each
from harpoon.control.registry import Accepted
from harpoon.control.view import job_key
from harpoon.kit import codec, strict
from harpoon.kit.complaint import complain
from harpoon.kit.errors import HarpoonError, Invalid, Problem
from harpoon.model import shown
from harpoon.model.manifest import Manifest
from harpoon.store.port import StoreUnavailable

NDJSON: Final = "application/x-ndjson"
#: Documents decoded before others get their turn on the event loop: some 2 ms.
_SLICE: Final = 100
_SLICE_BYTES: Final = 64 << 10
#: Documents and bytes of one batch, and batches under way: enough that the disk is never waited for.
_BATCH: Final = 16 * PACK_MAX
_BATCH_BYTES: Final = 2 << 20
_BATCHES: Final = 3
#: Bytes of documents in one commit: stored they are written twice, with some more around them.
_PACK_BYTES: Final = 256 << 10

Failure = HarpoonError | StoreUnavailable | Refused
#: A document as it came, or why it cannot be read; decoded, and how many bytes it took.
Part = Line | Failure
Document = tuple[Manifest | Failure, int]
Documents = AsyncIterator[list[Document]]


@dataclass(slots=True)
class _Batch:
    """Documents that are under way at once: of different jobs, none of which refers to another."""

    start: int
    #: What is known of each document: what it declares, or why it cannot be.
    documents: list[Manifest | Failure] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.documents) >= _BATCH or self.bytes >= _BATCH_BYTES

    def add(self, document: Manifest | Failure, size: int, job: str | None) -> None:
        self.documents.append(document)
        self.sizes.append(size)
        self.bytes += size
        if job is not None:
            self.jobs.add(job)

    def packs(self) -> Iterator[list[Manifest]]:
        """Yield what can be applied, by as much as fits a commit."""
        pack: list[Manifest] = []
        total = 0
        for document, size in zip(self.documents, self.sizes, strict=True):
            if isinstance(document, Manifest):
                if pack and (len(pack) == PACK_MAX or total + size > _PACK_BYTES):
                    yield pack
                    pack, total = [], 0
                pack.append(document)
                total += size
        if pack:
            yield pack


async def apply_bulk(request: web.Request) -> web.StreamResponse:
    """Create or replace jobs, each document for itself, and answer each with a line."""
    with request.app[BULKS].admit(), request.app[STAYS].admit(request) as stay:
        if request.content_type == NDJSON:
            check_type(request, NDJSON)
            DEADLINE.get().reschedule(None)
            documents = _of_lines(request)
        else:
            documents = _of_list(await _parts(request, await read_json(request)), request)
        stream = Stream(request, stay, Encoding.NDJSON)
        return await stream.serve(lambda: _Run(request, stream).run(documents))


class _Run:
    """One request, from its first document to its last answer."""

    def __init__(self, request: web.Request, stream: Stream) -> None:
        self._request = request
        self._stream = stream
        self._registry = request.app[DOORS].registry
        #: Under way, oldest first.
        self._batches: deque[tuple[_Batch, asyncio.Task[list[Result]]]] = deque()

    async def run(self, slices: Documents) -> None:
        """Take all documents, and answer them."""
        async with asyncio.TaskGroup() as group:
            batch = _Batch(0)
            async for documents in slices:
                for document, size in documents:
                    batch = await self._add(group, batch, document, size)
            await self._start(group, batch)
            while self._batches:
                await self._answer()

    async def _add(self, group: asyncio.TaskGroup, batch: _Batch, document: Manifest | Failure, size: int) -> _Batch:
        """Add a document to the batch, or to the next one if it must come after what is in this one."""
        job, is_apart = None, False
        if isinstance(document, Manifest):
            job = job_key(document.metadata.namespace, document.metadata.name)
            # Whether what it refers to exists depends on those before it, so they must be done.
            is_apart = bool(document.spec.others())
        if batch.is_full or is_apart or job in batch.jobs:
            await self._start(group, batch)
            batch = _Batch(batch.start + len(batch.documents))
        if is_apart or any(job in other.jobs for other, _ in self._batches):
            while self._batches:
                await self._answer()
        batch.add(document, size, job)
        if is_apart:
            await self._start(group, batch)
            batch = _Batch(batch.start + 1)
        return batch

    async def _start(self, group: asyncio.TaskGroup, batch: _Batch) -> None:
        while len(self._batches) >= _BATCHES:
            await self._answer()
        if batch.documents:
            self._batches.append((batch, group.create_task(self._apply(batch))))

    async def _apply(self, batch: _Batch) -> list[Result]:
        packs = await asyncio.gather(*(apply_each(self._registry, pack) for pack in batch.packs()))
        return [result for pack in packs for result in pack]

    async def _answer(self) -> None:
        """Wait for the oldest batch, and write what came of it."""
        batch, task = self._batches.popleft()
        results = iter(await task)
        told = []
        for index, document in enumerate(batch.documents, batch.start):
            told.append(self._told(index, next(results) if isinstance(document, Manifest) else document))
        await self._stream.write(b"".join(told))

    def _told(self, index: int, result: Result | Failure) -> bytes:
        if isinstance(result, Accepted):
            job = result.job
            return b'{"index":%d,"namespace":"%s","job":"%s","change":"%s","outcome":"%s"}\n' % (
                index,
                job.namespace.encode(),
                job.name.encode(),
                result.change.encode(),
                result.outcome.value.encode(),
            )
        body = to_problem(self._request, result).body
        assert isinstance(body, bytes), "problems are told in bytes"
        return b'{"index":%d,"problem":%s}\n' % (index, body)


async def _of_lines(request: web.Request) -> Documents:
    """Yield the documents of a body of lines; what cannot be read at all is the last one."""
    try:
        async for lines in read_lines(request, most_bytes=request.app[DOORS].limits.bulk_bytes):
            for part in _slices(lines):
                yield [await _decoded(line, request) for line in part]
                await asyncio.sleep(0)
    except Refused as error:
        yield [(error, 0)]


async def _of_list(parts: Sequence[bytes | Failure], request: web.Request) -> Documents:
    """Yield the documents of a body that is one JSON document."""
    for part in _slices(parts):
        yield [await _decoded(one, request) for one in part]
        await asyncio.sleep(0)


async def _parts(request: web.Request, data: bytes) -> list[bytes | Failure]:
    """Take a JSON document apart into the documents that it lists.

    Raises:
        Invalid: It lists none, or is wrong elsewhere than in one of them.
    """
    async with request.app[DECODING]:
        whole, faults = await asyncio.to_thread(strict.read, data)
    listed = whole.get("documents") if isinstance(whole, dict) and len(whole) == 1 else None
    if not isinstance(listed, list) or not listed or any(len(fault.location) < 2 for fault in faults):
        # What is wrong is told as for a body that is applied as a whole.
        await decode(request, shown.Documents, data)
        detail = "declare at least one document"
        raise Invalid(detail, [Problem(pointer="/documents", detail=detail)])
    own: dict[object, list[strict.Fault]] = {}
    for fault in faults:
        own.setdefault(fault.location[1], []).append(strict.Fault(fault.location[2:], fault.detail))
    return [complain(Manifest, one, own[i], None) if i in own else orjson.dumps(one) for i, one in enumerate(listed)]


def _slices(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    start = size = 0
    for place, part in enumerate(parts, 1):
        size += len(part) if isinstance(part, bytes) else 0
        if place - start >= _SLICE or size > _SLICE_BYTES:
            yield parts[start:place]
            start, size = place, 0
    yield parts[start:]


async def _decoded(part: Part, request: web.Request) -> Document:
    if part is TOO_LONG:
        return Refused(413, f"a line is at most {request.app[DOORS].limits.body_bytes} bytes"), 0
    if not isinstance(part, bytes):
        return part, 0
    try:
        if len(part) <= SMALL_BYTES:
            return codec.decode(Manifest, part), len(part)
        manifest = await decode(request, Manifest, part)
    except Invalid as error:
        return error, len(part)
    return manifest, len(part)

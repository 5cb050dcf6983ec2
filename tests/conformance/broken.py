"""A server with one planted defect: it passes everything on to a good one, and spoils what a watch tells."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from tests.conformance.events import NDJSON, SSE, Event, place_of, written
from tests.conformance.wire import Address, Answer, Refusal, Stream

#: Bytes that wait for a reader before the defect that skips for slow readers does so.
_BEHIND = 1 << 18


@dataclass
class Told:
    """One watch that is told: what was asked, and where it stands."""

    encoding: str
    query: dict[str, str]
    is_resumed: bool
    #: Changes so far.
    count: int = 0
    held: Event | None = None


Spoil = Callable[[Told, Event], list[Event]]
Ask = Callable[[dict[str, str]], dict[str, str]]


@dataclass(frozen=True)
class Defect:
    """What is wrong."""

    #: Events told instead of one.
    spoil: Spoil = lambda told, event: [event]
    #: Parameters asked for instead; ``after`` stands for either way to resume.
    ask: Ask | None = None
    #: Bytes written instead.
    write: Callable[[Told, bytes], bytes] = lambda told, data: data
    #: What a refusal becomes: another status, or 200 for a stream that tells nothing.
    refuse_as: int | None = None
    #: A reader who is behind is told less, rather than cut off.
    skips_the_slow: bool = False
    #: A reader who is behind is cut off without a word.
    is_silent_to_the_slow: bool = False


class Broken:
    """Serves one good server's answers, spoilt."""

    def __init__(self, good: Address, defect: Defect) -> None:
        self._good = good
        self._defect = defect
        self._open: dict[asyncio.Future[None], asyncio.StreamWriter] = {}

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Address]:
        """Serve while the block runs; yields where."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self._good.by(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            tasks = list(self._open)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(lambda task: self._open.pop(task).transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            path, _, query = target.partition("?")
            if path == "/v1/watch" and method == "GET":
                await self._watch(writer, query, headers)
            else:
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                accept = {"Accept": headers["accept"]} if "accept" in headers else {}
                answer = await self._good.ask(method, target, body or None, **accept)
                writer.write(_answer(answer, answer.body))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _watch(self, writer: asyncio.StreamWriter, query: str, headers: dict[str, str]) -> None:
        last_id = headers.get("last-event-id")
        asked = {**dict(parse_qsl(query, keep_blank_values=True)), **({"after": last_id} if last_id else {})}
        told = Told(headers.get("accept", NDJSON), asked, "after" in asked)
        if told.encoding != SSE:
            told.encoding = NDJSON
        # What must be refused is refused as ever, unless that is the defect.
        changed = asked
        if self._defect.ask is not None:
            head = await self._good.ask("HEAD", f"/v1/watch?{query}", Last_Event_ID=last_id or "")
            changed = self._defect.ask(dict(asked)) if head.status == 200 else asked
        # What is not changed is asked as it was, parameters that are given twice among it.
        target = query if changed == asked else urlencode(changed, safe=",=")
        last_id = last_id if changed == asked else None
        try:
            async with self._good.watch(target, told.encoding, last_id=last_id) as stream:
                await self._tell(writer, told, stream)
        except Refusal as refusal:
            answer = refusal.answer
            if self._defect.refuse_as == 200:
                writer.write(_stream_head(told.encoding))
                await writer.drain()
                await asyncio.Event().wait()
            writer.write(_answer(replace(answer, status=self._defect.refuse_as or answer.status), answer.body))

    async def _tell(self, writer: asyncio.StreamWriter, told: Told, stream: Stream) -> None:
        writer.write(_stream_head(told.encoding))
        while (event := await stream.next(60)) is not None:
            told.count += event.type == "change"
            spoilt = self._defect.spoil(told, event)
            data = self._defect.write(told, b"".join(written(one, told.encoding) for one in spoilt))
            is_behind = writer.transport.get_write_buffer_size() > _BEHIND
            if is_behind and self._defect.skips_the_slow:
                continue
            if is_behind and self._defect.is_silent_to_the_slow:
                break
            if data:
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            if not (self._defect.skips_the_slow or self._defect.is_silent_to_the_slow):
                await writer.drain()
        writer.write(b"0\r\n\r\n")


def _stream_head(encoding: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {encoding}\r\nHarpoon-Revision: 1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode()


def _answer(answer: Answer, body: bytes) -> bytes:
    kept = {name: value for name, value in answer.headers.items() if name != "transfer-encoding"}
    kept["content-length"] = str(len(body))
    lines = [f"HTTP/1.1 {answer.status} Told", *(f"{name}: {value}" for name, value in kept.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def shifted(revision: str, by: int) -> str:
    """A revision that much later."""
    incarnation, number = place_of(revision)
    return f"{incarnation}.{max(0, number + by)}"

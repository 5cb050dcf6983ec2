"""Many documents, each for itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from harpoon.api.limits import Limits
from harpoon.api.lines import TOO_LONG, Splitter
from harpoon.control.bulk import PACK_MAX
from harpoon.control.view import JOBS
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compare, StoreUnavailable, Write
from tests.api.rig import PATIENCE_S, Answer, Rig, a_manifest, a_rig
from tests.api.telling import as_problem

BULK = "/v1/apply?atomic=false"
NDJSON = "application/x-ndjson"


def lines(*documents: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in documents)


def answers(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == NDJSON
    told = [json.loads(line) for line in answer.body.splitlines()]
    assert [line["index"] for line in told] == list(range(len(told)))
    return told


async def bulk(rig: Rig, *documents: Any) -> list[dict[str, Any]]:
    """Send lines, and return what each was answered."""
    return answers(await rig.ask("POST", BULK, lines(*documents), Content_Type=NDJSON))


async def test_each_document_is_answered_for_itself_and_in_order() -> None:
    async with a_rig() as rig:
        await rig.put("j1", scale=2)
        told = await bulk(
            rig, *(a_manifest(f"j{number}", scale=2 + number % 2) for number in range(3)), a_manifest("j1")
        )
        assert [(line["job"], line["outcome"]) for line in told] == [
            ("j0", "created"),
            ("j1", "changed"),
            ("j2", "created"),
            ("j1", "changed"),
        ]
        assert told[0]["namespace"] == "default"
        assert (await rig.get(f"/v1/changes/{told[2]['change']}")).status == 200


async def test_more_documents_than_fit_a_commit_or_a_batch_are_all_done() -> None:
    async with a_rig() as rig:
        count = 40 * PACK_MAX + 7
        for scale, outcome in ((1, "created"), (2, "changed"), (2, "unchanged")):
            told = await bulk(rig, *(a_manifest(f"j{number}", scale=scale) for number in range(count)))
            assert {line["outcome"] for line in told} == {outcome}
            assert len(told) == count
        assert len((await rig.get("/v1/jobs")).json["items"]) == count


async def test_many_versions_of_one_job_become_versions_in_their_order() -> None:
    async with a_rig() as rig:
        told = await bulk(rig, *(a_manifest(scale=number + 1) for number in range(30)))
        assert [line["outcome"] for line in told] == ["created"] + ["changed"] * 29
        job = (await rig.get("/v1/namespaces/default/jobs/web")).json
        assert (job["metadata"]["version"], job["spec"]["scale"]) == (30, 30)


BROKEN: list[tuple[Any, int]] = [
    (b"{", 400),
    (b"nonsense", 400),
    (b"null", 400),
    (b"\xff", 400),
    (a_manifest("Bad Name"), 400),
    (a_manifest() | {"x": 1}, 400),
    (b'{"kind":"Job","kind":"Job"}', 400),
    (a_manifest(ports={"http": 99999}), 400),
    (
        a_manifest(
            env={"A": "x" * 120_000, "B": "y" * 120_000, "C": "z" * 120_000, "D": "z" * 120_000, "E": "e" * 120_000}
        ),
        400,
    ),
]


@pytest.mark.parametrize(("broken", "status"), BROKEN)
async def test_a_broken_document_is_told_its_problem_and_the_others_are_done(broken: Any, status: int) -> None:
    async with a_rig() as rig:
        told = await bulk(rig, a_manifest("first"), broken, a_manifest("last"))
        assert [line.get("outcome") for line in told] == ["created", None, "created"]
        problem = told[1]["problem"]
        assert (problem["status"], set(told[1])) == (status, {"index", "problem"})
        assert problem["detail"]


async def test_a_line_that_is_too_long_is_told_so_and_the_others_are_done() -> None:
    async with a_rig(limits=Limits(body_bytes=1000)) as rig:
        told = await bulk(rig, a_manifest("first"), b'"' + b"x" * 1000 + b'"', a_manifest("last"))
        assert [line.get("outcome") for line in told] == ["created", None, "created"]
        assert told[1]["problem"]["status"] == 413


async def test_blank_lines_and_a_missing_last_line_end_are_no_documents() -> None:
    async with a_rig() as rig:
        body = b"\n\r\n" + lines(a_manifest("a")) + b"  \n" + lines(a_manifest("b")).strip()
        told = answers(await rig.ask("POST", BULK, body, Content_Type=NDJSON))
        assert [line["job"] for line in told] == ["a", "b"]
        assert answers(await rig.ask("POST", BULK, b"\n", Content_Type=NDJSON)) == []


async def test_of_documents_that_cannot_be_together_the_later_one_fails() -> None:
    async with a_rig() as rig:
        first, second = a_manifest("first"), a_manifest("second")
        first["spec"]["depends_on"] = [{"job": "second", "is": "ready"}]
        second["spec"]["depends_on"] = [{"job": "first", "is": "ready"}]
        told = await bulk(rig, a_manifest("a"), first, a_manifest("b"), second, a_manifest("c"))
        assert [line.get("outcome") for line in told] == ["created", "created", "created", None, "created"]
        assert told[3]["problem"]["status"] == 400


async def test_a_list_of_documents_is_answered_alike() -> None:
    async with a_rig() as rig:
        documents = [a_manifest("a"), a_manifest("Bad Name"), a_manifest("b")]
        told = answers(await rig.ask("POST", BULK, {"documents": documents}))
        assert [line.get("outcome") for line in told] == ["created", None, "created"]
        assert told[1]["problem"]["errors"][0]["pointer"] == "/metadata"


async def test_what_no_reader_may_take_in_one_of_a_list_of_documents_fails_that_one_alone() -> None:
    async with a_rig() as rig:
        twice = b'{"documents":[%s,{"kind":"Job","kind":"Job"}]}' % json.dumps(a_manifest("a")).encode()
        told = answers(await rig.ask("POST", BULK, twice))
        assert told[0]["outcome"] == "created"
        assert told[1]["problem"]["errors"][0] == {"pointer": "/kind", "detail": "the same field twice; keep one"}


@pytest.mark.parametrize(
    "body",
    [{}, {"documents": []}, {"documents": 1}, {"documents": [], "x": 1}, b"{", b'{"documents":[],"documents":[]}'],
)
async def test_a_list_that_is_none_is_refused_as_a_whole(body: Any) -> None:
    async with a_rig() as rig:
        as_problem(await rig.ask("POST", BULK, body), 400, "invalid")


async def test_lines_are_only_for_documents_that_are_each_for_themselves() -> None:
    async with a_rig() as rig:
        for path in ("/v1/apply", "/v1/apply?atomic=true"):
            answer = await rig.ask("POST", path, lines(a_manifest()), Content_Type=NDJSON)
            as_problem(answer, 415, "unsupported_media_type")
        as_problem(await rig.ask("POST", BULK, b"x", Content_Type="text/plain"), 415, "unsupported_media_type")
        as_problem(
            await rig.ask("POST", BULK, b"x", Content_Type=NDJSON, Content_Encoding="gzip"),
            415,
            "unsupported_media_type",
        )
        as_problem(await rig.ask("POST", "/v1/apply?atomic=no", {}), 400, "invalid")


async def test_a_key_has_no_place_where_nothing_is_kept() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("POST", BULK, lines(a_manifest()), Content_Type=NDJSON, Idempotency_Key="k")
        as_problem(answer, 400, "invalid")


async def test_what_is_together_too_large_is_told_after_what_was_done() -> None:
    async with a_rig(limits=Limits(bulk_bytes=3000)) as rig:
        told = await bulk(rig, *(a_manifest(f"j{number}", env={"A": "x" * 500}) for number in range(20)))
        assert told[-1]["problem"]["status"] == 413
        done = [line["job"] for line in told[:-1]]
        assert sorted(done) == [item["metadata"]["name"] for item in (await rig.get("/v1/jobs")).json["items"]]


async def test_too_many_such_requests_at_once_are_told_to_come_again() -> None:
    async with a_rig(limits=Limits(bulks=1)) as rig:
        sender = Sender(rig)
        await sender.send(a_manifest("a"))
        async with asyncio.timeout(PATIENCE_S):
            while (crowded := await rig.ask("POST", BULK, b"", Content_Type=NDJSON)).status != 429:
                await asyncio.sleep(0.005)
        as_problem(crowded, 429, "too_many")
        assert crowded.headers["Retry-After"] == "1"
        assert [line["job"] for line in await sender.end()] == ["a"]


async def test_a_body_that_stops_coming_is_told_so_after_what_was_done() -> None:
    async with a_rig(limits=Limits(body_s=0.1, linger_s=0.1)) as rig:
        sender = Sender(rig)
        await sender.send(a_manifest("a"))
        told = await sender.answered()
        assert told[0]["outcome"] == "created"
        assert told[1]["problem"]["status"] == 408


async def test_it_goes_on_for_longer_than_an_ordinary_mutation_may_take() -> None:
    async with a_rig(limits=Limits(mutation_s=0.05)) as rig:
        sender = Sender(rig)
        for number in range(4):
            await sender.send(a_manifest(f"j{number}"))
            await asyncio.sleep(0.03)
        assert [line["outcome"] for line in await sender.end()] == ["created"] * 4


async def test_when_the_client_leaves_nothing_more_is_read() -> None:
    async with a_rig() as rig:
        sender = Sender(rig)
        await sender.send(a_manifest("a"))
        await sender.leave()
        async with asyncio.timeout(PATIENCE_S):
            while (await rig.ask("POST", BULK, lines(a_manifest("b")), Content_Type=NDJSON)).status != 200:
                await asyncio.sleep(0.005)
            while len(rig.doors.registry.waiters._waiters):
                await asyncio.sleep(0.005)


class RacingStore(MemoryStore):
    """Lets a commit of many fail its compares, as when another writer was faster."""

    def __init__(self) -> None:
        super().__init__()
        self.packs = 0
        self.alone = 0

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        jobs = sum(compare.key.startswith(JOBS) for compare in compares)
        if jobs > 1:
            self.packs += 1
            return None
        self.alone += jobs
        return await super().commit(compares, writes)


async def test_documents_of_a_commit_that_failed_are_tried_one_by_one() -> None:
    store = RacingStore()
    async with a_rig(store=store) as rig:
        told = await bulk(rig, *(a_manifest(f"j{number}") for number in range(5)))
        assert {line["outcome"] for line in told} == {"created"}
        assert (store.packs, store.alone) == (1, 5)


class DeadStore(MemoryStore):
    """Fails every commit."""

    async def commit(self, compares: Sequence[Compare], writes: Sequence[Write]) -> int | None:
        raise StoreUnavailable("the disk is full", maybe_applied=False)


async def test_each_document_is_told_when_the_store_fails() -> None:
    async with a_rig(store=DeadStore()) as rig:
        told = await bulk(rig, a_manifest("a"), a_manifest("b"))
        assert [line["problem"]["code"] for line in told] == ["store_unavailable"] * 2


async def test_others_are_served_while_many_documents_are_taken_in() -> None:
    async with a_rig() as rig:
        body = lines(*(a_manifest(f"j{number}") for number in range(3000)))
        late = 0.0
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(rig.ask("POST", BULK, body, Content_Type=NDJSON))
            while not asked.done():
                before = loop.time()
                assert (await rig.get("/v1/health")).status == 200
                late = max(late, loop.time() - before)
        assert len(answers(asked.result())) == 3000
        assert late < 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_lines_are_the_same_however_the_body_arrives(size: int) -> None:
    body = b"aa\n\nb\n  \nccc\n" + b"x" * 9 + b"\nddd\n" + b"y" * 9
    splitter = Splitter(8)
    got = [line for start in range(0, len(body), size) for line in splitter.feed(body[start : start + size])]
    assert got + splitter.end() == [b"aa", b"b", b"ccc", TOO_LONG, b"ddd", TOO_LONG]


class Sender:
    """A request whose body is sent piece by piece."""

    def __init__(self, rig: Rig) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._asked = asyncio.ensure_future(self._ask(rig))

    async def send(self, document: Any) -> None:
        self._pieces.put_nowait(lines(document))
        await asyncio.sleep(0)

    async def end(self) -> list[dict[str, Any]]:
        self._pieces.put_nowait(None)
        return await self.answered()

    async def answered(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_S):
            return answers(await self._asked)

    async def leave(self) -> None:
        self._asked.cancel()
        await asyncio.wait([self._asked])

    async def _ask(self, rig: Rig) -> Answer:
        headers = {"Content-Type": NDJSON}
        async with rig.session.post(rig.url(BULK), data=self._body(), headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def _body(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

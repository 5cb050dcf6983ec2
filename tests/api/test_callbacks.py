"""Callbacks through the doors: a URL that needs no token, used once, and nothing told to who guesses."""

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import orjson
import pytest
import structlog

from harpoon.api.callbacks import AT_ONCE, BODY_MAX
from harpoon.api.guesses import BURST, ORIGINS_MAX, PER_SECOND, Guesses
from harpoon.api.problem import Refused, logged_path
from harpoon.control.callback_urls import address_of, is_right, token_of
from harpoon.control.ledger_records import RUNS as HEADERS
from harpoon.control.ledger_records import shard_of
from harpoon.model.instant import Instant
from harpoon.store.memory import MemoryStore
from tests.api.rig import TOKEN, Answer, Rig
from tests.api.runs_rig import RUNS, Worker, a_runs_rig, conducting, declare, start
from tests.api.telling import as_problem
from tests.api.test_run_holders import HIGH, a_name, two
from tests.workflows import a_workflow

#: A person is told a URL, and asked again when she says no.
ASKING = a_workflow(
    tell={"worker": "mail.send", "input": "${run.callbacks.ask}", "visits": 3, "next": {"done": "ask"}},
    ask={
        "wait": {"callback": True},
        "visits": 2,
        "labels": ["approved", "rejected"],
        "output_max": "1Ki",
        "next": {"rejected": "tell", "approved": "pay"},
    },
    pay={"worker": "shop.pay", "input": "${ops.ask.output}"},
) | {"metadata": {"name": "asking"}}
ASKING["spec"]["start"] = "tell"


class StillClock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> Instant:
        return Instant(elapsed=timedelta(seconds=self.seconds), wall=0)


#: Nothing else follows.
ONLY = a_workflow(ask={"wait": {"callback": True}}) | {"metadata": {"name": "only"}}


async def anyone(rig: Rig, url: str, body: Any = None, **headers: str) -> Answer:
    """Send a request as somebody outside does, who has no token."""
    outside = Rig(rig.doors, rig.store, rig.port, rig.session)
    return await outside.ask("POST", url, body, **headers)


async def urls(rig: Rig, run: str) -> list[str]:
    return [one["url"] for one in (await rig.get(f"{RUNS}/{run}/callbacks")).json["items"]]


async def status(rig: Rig, run: str) -> str:
    return str((await rig.get(f"{RUNS}/{run}")).json["status"])


async def test_whoever_was_sent_the_url_answers_once() -> None:
    async with a_runs_rig(token=TOKEN) as rig:
        await declare(rig, ASKING)
        assert (await start(rig, "o-1", workflow="asking")).status == 201
        worker = Worker(rig, "mail.send", "shop.pay")
        first = await worker.claim()
        url = first["input"]
        assert re.fullmatch(r"/v1/callbacks/default/o-1/ask/1/[0-9a-f]{40}", url)
        assert await urls(rig, "o-1") == [url]
        await worker.close(first)
        told = (await rig.get(f"{RUNS}/o-1/why")).json["causes"][0]
        assert (told["code"], told["sentence"][:42]) == ("callback", "ask (visit 1) waits for its callback, unti")
        answer = await anyone(rig, f"{url}?label=rejected", {"by": "ann"})
        assert (answer.status, answer.json) == (200, {"label": "rejected"})
        assert (await anyone(rig, f"{url}?label=rejected", {"by": "ann"})).status == 200
        as_problem(await anyone(rig, f"{url}?label=approved", {"by": "ann"}), 409, "conflict")
        as_problem(await anyone(rig, f"{url}?label=rejected", {"by": "bob"}), 409, "conflict")
        second = await worker.claim()
        assert second["input"] != url
        await worker.close(second)
        assert (await anyone(rig, f"{second['input']}?label=approved", b'[1, "x"]')).status == 200
        pay = await worker.claim()
        assert pay["input"] == [1, "x"]
        await worker.close(pay)
        assert await status(rig, "o-1") == "succeeded"
        assert (await anyone(rig, f"{url}?label=rejected", {"by": "ann"})).status == 200, "also when the run is over"
        as_problem(await anyone(rig, url), 409, "conflict")
        assert await urls(rig, "o-1") == []


async def test_it_may_come_before_it_is_waited_for_and_while_the_run_is_paused() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ASKING)
        await start(rig, "o-1", workflow="asking")
        worker = Worker(rig, "mail.send", "shop.pay")
        first = await worker.claim()
        await rig.ask("POST", f"{RUNS}/o-1/pause", {})
        assert (await anyone(rig, f"{first['input']}?label=approved")).status == 200
        [shown] = (await rig.get(f"{RUNS}/o-1/callbacks")).json["items"]
        assert (shown["op"], shown["visit"], shown["is_open"], shown["is_used"]) == ("ask", 1, False, True)
        await worker.close(first)
        await rig.ask("POST", f"{RUNS}/o-1/resume", {})
        assert (await worker.claim())["op"] == "pay"


async def test_everything_that_is_wrong_is_answered_alike() -> None:
    async with a_runs_rig(token=TOKEN) as rig:
        await declare(rig, ONLY)
        for run in ("o-1", "o-2", "o-3"):
            await start(rig, run, workflow="only")
        (url,), (of_another,) = await urls(rig, "o-1"), await urls(rig, "o-2")
        (cancelled,) = await urls(rig, "o-3")
        await rig.ask("POST", f"{RUNS}/o-3/cancel", {})
        stem, _, token = url.rpartition("/")
        wrong = [
            f"{stem}/{of_another.rpartition('/')[2]}",
            f"{stem}/{token[:-1]}",
            f"{stem}/%C3%A4",
            url.replace("/1/", "/2/"),
            url.replace("/1/", "/01/"),
            url.replace("/1/", "/x/"),
            url.replace("/ask/", "/other/"),
            url.replace("/o-1/", "/nobody/"),
            url.replace("/o-1/", "/..%2F/"),
            url.replace("/default/", "/elsewhere/"),
            url.replace("/default/", "/A/"),
            cancelled,
        ]
        answers = [await anyone(rig, each, {"a": 1}) for each in wrong]
        assert {(one.status, one.json["code"], one.json["detail"]) for one in answers} == {
            (404, "not_found", "there is no such callback, or nothing waits for it any more")
        }
        assert (await anyone(rig, url, {"a": 1})).status == 200
        assert await status(rig, "o-1") == "succeeded"


async def test_what_is_brought_is_looked_at() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ASKING)
        await start(rig, "o-1", workflow="asking")
        (url,) = await urls(rig, "o-1")
        as_problem(await anyone(rig, url, b"{"), 400, "invalid")
        as_problem(await anyone(rig, url, b'{"a": 1, "a": 2}'), 400, "invalid")
        as_problem(await anyone(rig, url, b'"%b"' % (b"x" * BODY_MAX)), 413, "too_large")
        as_problem(await anyone(rig, url, {}, Content_Type="text/plain"), 415, "unsupported_media_type")
        refused = await anyone(rig, f"{url}?label=perhaps")
        as_problem(refused, 400, "invalid")
        assert [one["pointer"] for one in refused.json["errors"]] == ["?label"]
        as_problem(await anyone(rig, f"{url}?label=timeout"), 400, "invalid")
        assert "1024 is the most" in (await anyone(rig, url, "x" * 1500)).json["detail"]
        as_problem(await anyone(rig, f"{url}?what=1"), 400, "invalid")
        as_problem(await rig.get(url), 405, "method_not_allowed")
        assert (await anyone(rig, url)).status == 200, "nothing of that was taken"


async def test_nothing_shows_the_secret_nor_logs_a_url() -> None:
    with structlog.testing.capture_logs() as logged:
        async with a_runs_rig() as rig:
            await declare(rig, ONLY)
            await start(rig, "o-1", workflow="only")
            (url,) = await urls(rig, "o-1")
            entry = await rig.store.get(f"{HEADERS}{shard_of('default/o-1'):02d}/default/o-1")
            assert entry is not None
            secret = orjson.loads(entry.value)["secret"]
            await anyone(rig, f"{url}x")
            await anyone(rig, f"{url}/")
            await anyone(rig, url)
            shown = [
                (await rig.get(path)).body.decode()
                for path in (f"{RUNS}/o-1", f"{RUNS}/o-1/attempts", f"{RUNS}/o-1/why", RUNS, f"{RUNS}/export")
            ]
    told = "".join(map(str, logged))
    assert sum("/v1/callbacks/default/o-1/ask/1/…" in str(one) for one in logged) == 3
    for text in (told, *shown):
        assert secret not in text
        assert url.rpartition("/")[2] not in text


def test_a_path_is_logged_without_what_opens_something() -> None:
    assert logged_path("/v1/callbacks/a/b/c/1/token") == "/v1/callbacks/a/b/c/1/…"
    assert logged_path("/v1/callbacks/a/b/c/1/token/more") == "/v1/callbacks/a/b/c/1/…"
    assert logged_path("//v1/callbacks//a/b/token") == "//v1/callbacks//a/b/…"
    assert logged_path("/v1/%63allbacks/a/b/c/1/token") == "/v1/callbacks/a/b/c/1/…"
    assert logged_path("/v1/callbacks/a/b%2F/c/1/2/token") == "/v1/callbacks/a/b//c/1/…"
    assert logged_path("/v1/runs/a%20b") == "/v1/runs/a%20b"
    assert logged_path("/v1/runs/" + "x" * 300) == "/v1/runs/" + "x" * 191


async def test_it_is_passed_on_to_whoever_conducts_the_run() -> None:
    async with two(token=TOKEN) as (first, second):
        await declare(first, ONLY)
        await second.view.mirror.reached(first.view.revision)
        run = a_name(HIGH)
        await start(first, run, workflow="only")
        (url,) = await urls(first, run)
        assert (await anyone(first, f"{url[:-1]}-")).status == 404
        assert (await anyone(first, url, {"a": 1})).status == 200
        assert (await anyone(first, url, {"a": 1})).status == 200
        assert (await anyone(second, url, {"a": 2})).status == 409


async def test_the_url_stays_when_another_instance_takes_the_run_over() -> None:
    store = MemoryStore()
    async with a_runs_rig(store=store, instance="s1") as first:
        await declare(first, ONLY)
        for run in ("o-1", "o-2"):
            await start(first, run, workflow="only")
        (url,), (kept,) = await urls(first, "o-1"), await urls(first, "o-2")
    async with a_runs_rig(store=store, instance="s2", shards=()) as second:
        await second.view.mirror.reached(await store.revision())
        async with conducting(second, {shard_of("default/o-1"), shard_of("default/o-2")}, loads=True):
            assert await urls(second, "o-1") == [url]
            assert (await anyone(second, url)).status == 200
            assert (await anyone(second, url)).status == 200
            assert (await anyone(second, kept)).status == 200


async def test_who_guesses_is_let_try_no_more() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONLY)
        await start(rig, "o-1", workflow="only")
        (url,) = await urls(rig, "o-1")
        answers = await asyncio.gather(*(anyone(rig, f"{url[:-4]}{number:04x}") for number in range(BURST)))
        assert {one.status for one in answers} <= {404, 200}
        # Whoever says to come from an instance is believed no more than others.
        tried = 0
        while (answer := await anyone(rig, f"{url[:-4]}wxyz", Harpoon_Passed_On="s2")).status == 404:
            tried += 1
        assert tried < 2 * BURST
        as_problem(answer, 429, "too_many")
        assert answer.headers["Retry-After"] == "1"
        as_problem(await anyone(rig, url.replace("/o-1/", "/nobody/")), 429, "too_many")
        assert (await anyone(rig, url)).status == 200, "who has a right one is not kept out by who guesses"


async def test_who_guesses_keeps_no_place_by_a_body_that_does_not_come() -> None:
    async with a_runs_rig() as rig:
        await declare(rig, ONLY)
        await start(rig, "o-1", workflow="only")
        (url,) = await urls(rig, "o-1")
        head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        async with AsyncExitStack() as stack:
            for _ in range(AT_ONCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                stack.callback(writer.close)
                writer.write(f"POST {url[:-1]}- HTTP/1.1\r\n{head}".encode())
                assert (await reader.readline()).split()[1] in (b"404", b"429"), "the body is not waited for"
            assert (await anyone(rig, url)).status == 200


def test_wrong_ones_are_forgotten_with_time_and_counted_by_where_they_come_from() -> None:
    clock = StillClock()
    guesses = Guesses(clock)
    for _ in range(BURST):
        guesses.check("a")
        guesses.missed("a")
    with pytest.raises(Refused):
        guesses.check("a")
    guesses.check("b")
    clock.seconds += 1 / PER_SECOND
    guesses.check("a")
    for number in range(ORIGINS_MAX):
        guesses.missed(f"x{number}")
    guesses.missed("a")
    guesses.check("a")


def test_a_token_is_of_one_visit_of_one_run() -> None:
    token = token_of("default/o-1", "s", "ask", 1)
    assert is_right("default/o-1", "s", "ask", 1, token)
    others = [("default/o-2", "s", "ask", 1), ("default/o-1", "t", "ask", 1), ("default/o-1", "s", "ask", 2)]
    assert not any(is_right(*other, token) for other in others)
    assert not is_right("default/o-1", "", "ask", 1, token_of("default/o-1", "", "ask", 1)), "a run without a secret"
    url = address_of("https://x.example/in", "default/o-1", "s")("ask", 1)
    assert url == f"https://x.example/in/v1/callbacks/default/o-1/ask/1/{token}"

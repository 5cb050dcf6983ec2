"""``http:`` operations: what is sent, which redirects are followed, what comes of each answer, and what nobody sees."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from harpoon.client.outward import Answer, OutwardCaller, Request
from harpoon.control.http_connector import HttpConnector
from harpoon.kit.destination import Guard, parse_opening
from harpoon.kit.errors import NotFound
from harpoon.model.foreach import Foreach
from harpoon.model.http import SecretHeader
from harpoon.model.lifecycle import Backoff
from harpoon.model.sensitive import Sensitive
from tests.client.outside import Got, Outside, closed, outside
from tests.control.crewing import Site, a_site, call
from tests.core.flow import retry, spec

MIB = 1 << 20
CANARY = "c4nary/+ä"


class Shop:
    """Secrets that there are."""

    def __init__(self, **values: bytes) -> None:
        self.values = values

    def __call__(self, namespace: str, reference: str) -> Sensitive:
        assert namespace == "shop"
        if reference.replace("/", "_") not in self.values:
            raise NotFound(f"there is no secret {reference} in namespace {namespace}")
        return Sensitive(self.values[reference.replace("/", "_")])


@asynccontextmanager
async def a_shop(told: Any, *openings: str, **secrets: bytes) -> AsyncIterator[Site]:
    caller = OutwardCaller(Guard([parse_opening(one) for one in openings or ("127.0.0.1",)]))
    try:
        async with a_site(told, HttpConnector(caller, Shop(**secrets), "harpoon/test")) as site:
            yield site
    finally:
        await caller.close()


async def ended(site: Site) -> tuple[str, Any, str]:
    """Start a run, and return how its operation ended: with which label, which output, and why it failed."""
    run = None
    await site.stage.start("r1")
    conducted = site.stage.conductor.runs.get("shop/r1")
    if conducted is not None:
        run = conducted.run
    await site.ended("r1")
    assert run is not None
    latest = run.ops["a"].latest
    assert latest is not None
    return latest.label, latest.output, latest.error


async def outcome(there: Outside, path: str = "/", told: dict[str, Any] | None = None, **more: Any) -> Any:
    secrets = more.pop("secrets", {})
    async with a_shop(spec(a=call(there.at(path), told, **more)), **secrets) as site:
        return await ended(site)


async def test_an_answer_is_its_output() -> None:
    async with outside() as there:
        there.reply("/", 201, {"n": [1, 2.5, None]}, X_Total="3", Set_Cookie="a=b", Link="<a>, <b>")
        label, output, error = await outcome(there)
        assert (label, error) == ("done", "")
        assert output == {
            "status": 201,
            "headers": {"content-type": "application/json", "x-total": "3", "link": "<a>, <b>"},
            "body": {"n": [1, 2.5, None]},
        }


async def test_what_is_sent_is_what_is_declared_and_a_key_that_stays_the_same() -> None:
    async with outside() as there:
        there.reply("/")
        told = {"method": "POST", "body": {"a": "${run.id}"}, "headers": {"X-Run": "${run.id}", "user-agent": "me"}}
        await outcome(there, "/?q=a b", told)
        told = {"method": "PUT", "body": "plain ä", "headers": {"Content-Type": "text/x"}}
        await outcome(there, "/", told)
        await outcome(there)
        first, second, third = there.got
        assert (first.method, first.path, json.loads(first.body)) == ("POST", "/?q=a+b", {"a": "r1"})
        assert first.headers["content-type"] == "application/json"
        assert (first.headers["x-run"], first.headers["user-agent"]) == ("r1", "me")
        assert {one.headers["idempotency-key"] for one in there.got} == {"shop/r1/a/1"}
        assert (second.method, second.body.decode(), second.headers["content-type"]) == ("PUT", "plain ä", "text/x")
        assert (third.method, third.body, third.headers["user-agent"]) == ("GET", b"", "harpoon/test")
        assert "content-type" not in third.headers


@pytest.mark.parametrize(
    ("status", "expect", "label", "is_retried"),
    [
        (200, ("2xx",), "done", False),
        (204, ("2xx",), "done", False),
        (404, ("200", "404"), "done", False),
        (503, ("5xx",), "done", False),
        (201, ("200",), "fail", False),
        (400, ("2xx",), "fail", False),
        (404, ("2xx",), "fail", False),
        (408, ("2xx",), "fail", True),
        (425, ("2xx",), "fail", True),
        (429, ("2xx",), "fail", True),
        (500, ("2xx",), "fail", True),
        (503, ("2xx",), "fail", True),
        (304, ("2xx",), "fail", False),
    ],
)
async def test_what_was_not_expected_fails_and_is_tried_again_if_that_may_help(
    status: int, expect: tuple[str, ...], label: str, is_retried: bool
) -> None:
    async with outside() as there:
        there.reply("/", status, b"" if status in (204, 304) else b"why  not")
        told = spec(a=call(there.at("/"), {"expect": expect}, retry=retry(fail=2)))
        async with a_shop(told) as site:
            await site.stage.start("r1")
            run = site.stage.run("r1")
            attempt = run.open["a", 1]
            await site.until(lambda: run.status.is_over or run.open.get(("a", 1)) is not attempt)
            assert (not run.status.is_over) is is_retried
            if is_retried:
                await site.until(lambda: site.stage.ledger.is_idle)
                await site.stage.pass_(60_000)
                site.exchange._deal()
            await site.ended("r1")
            latest = run.ops["a"].latest
            assert latest is not None
            assert latest.label == label
            if label == "fail":
                quoted = "" if status == 304 else ": why not"
                assert latest.error == f"answered {status}, and {' or '.join(expect)} was expected{quoted}"
                assert latest.output["status"] == status  # type: ignore[index]
        assert len(there.got) == 1 + is_retried
        assert len({one.headers["idempotency-key"] for one in there.got}) == 1


async def test_who_is_not_reached_is_tried_again() -> None:
    async with outside() as there:
        there.raw("/", b"")
        told = spec(a=call(there.at("/"), {"method": "POST"}, retry=retry(fail=2)))
        async with a_shop(told) as site:
            await site.stage.start("r1")
            await site.until(lambda: len(there.got) == 1 and site.stage.run("r1").open["a", 1].ref.attempt == 2)
            assert "without an answer" in site.stage.run("r1").open["a", 1].last_error


async def test_redirects_are_followed_as_often_as_is_said_and_each_is_checked() -> None:
    async with outside() as there:
        there.reply("/a", 302, b"", Location="/b?x=1")
        there.reply("/b", 307, b"", Location=there.at("/c"))
        there.reply("/c", 200, b"there")
        there.reply("/round", 301, b"", Location="/round")
        there.reply("/in", 302, b"", Location="http://169.254.169.254/latest/meta-data/")
        there.reply("/file", 302, b"", Location="file:///etc/passwd")
        there.reply("/nowhere", 302, b"")
        there.reply("/broken", 302, b"", Location="http://[")
        assert (await outcome(there, "/a"))[1]["body"] == "there"
        label, output, error = await outcome(there, "/a", {"follow": 1})
        assert (label, output["status"]) == ("fail", 307)
        assert (await outcome(there, "/a", {"expect": ("302",)}))[:1] == ("done",)
        there.got.clear()
        assert (await outcome(there, "/round"))[0] == "fail"
        assert len(there.got) == 6
        there.got.clear()
        label, _, error = await outcome(there, "/in")
        assert (label, error.partition(";")[0]) == (
            "fail",
            "169.254.169.254 is no public address",
        )
        label, _, error = await outcome(there, "/file")
        assert (label, error) == ("fail", "only http:// and https:// are called; got 'file'")
        assert (await outcome(there, "/nowhere"))[1]["status"] == 302
        label, _, error = await outcome(there, "/broken")
        assert (label, error) == ("fail", "the answer (302) leads to what is no URL")
        assert [one.path for one in there.got] == ["/in", "/file", "/nowhere", "/broken"]


@pytest.mark.parametrize(
    ("method", "status", "then", "is_kept"),
    [
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("POST", 303, "GET", False),
        ("PUT", 302, "PUT", True),
        ("PUT", 303, "GET", False),
        ("POST", 307, "POST", True),
        ("POST", 308, "POST", True),
        ("HEAD", 303, "HEAD", False),
    ],
)
async def test_what_is_sent_on_goes_by_the_status(method: str, status: int, then: str, is_kept: bool) -> None:
    async with outside() as there:
        there.reply("/a", status, b"", Location="/b")
        there.reply("/b")
        body = None if method == "HEAD" else {"n": 1}
        assert (await outcome(there, "/a", {"method": method, "body": body}))[0] == "done"
        sent = there.got[1]
        assert (sent.method, bool(sent.body), "content-type" in sent.headers) == (then, is_kept, is_kept)


class Leading:
    """Makes no calls: it says what answers they have, and notes where they would go."""

    def __init__(self, *locations: str) -> None:
        self.locations = list(locations)
        self.called: list[str] = []

    async def call(self, request: Request, most: int) -> Answer:
        self.called.append(request.url)
        if not self.locations:
            return Answer(200, (), b"", url=request.url)
        return Answer(307, (("location", self.locations.pop(0)),), b"", url=request.url)


@pytest.mark.parametrize(
    ("first", "locations", "is_done"),
    [
        ("https://a.example/", ["HTTPS://a.example/b", "/c", "//b.example/"], True),
        ("http://a.example/", ["https://a.example/", "/c"], True),
        ("https://a.example/", ["http://a.example/"], False),
        ("https://a.example/", ["/b", "ftp://a.example/"], False),
        ("http://a.example/", ["https://a.example/", "HTTP://a.example/"], False),
    ],
)
async def test_no_redirect_leads_away_from_https(first: str, locations: list[str], is_done: bool) -> None:
    caller = Leading(*locations)
    told = {"method": "POST", "body": {"card": 1}}
    async with a_site(spec(a=call(first, told, retry=retry(3))), HttpConnector(caller, Shop(), "x")) as site:
        label, _, error = await ended(site)
    assert label == ("done" if is_done else "fail")
    assert ("leads away from https" in error) is not is_done
    assert len(caller.called) == len(locations) + is_done


class Asking:
    """Makes no calls: every answer has these headers, and this status."""

    def __init__(self, status: int, **headers: str) -> None:
        self.answer = Answer(status, tuple((name.lower().replace("_", "-"), one) for name, one in headers.items()), b"")

    async def call(self, request: Request, most: int) -> Answer:
        return self.answer._replace(url=request.url)


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "waits_ms"),
    [
        (429, {"Retry_After": "5"}, 5_000),
        (503, {"Retry_After": " 5 "}, 5_000),
        (503, {"Retry_After": "Wed, 21 Oct 2026 12:00:07 GMT", "Date": NOON}, 7_000),
        # No less than the pause that `retry` has, and no more than its longest.
        (429, {"Retry_After": "1"}, 2_000),
        (429, {"Retry_After": "0"}, 2_000),
        (429, {"Retry_After": "3600"}, 30_000),
        (429, {"Retry_After": "999999999"}, 30_000),
        (429, {"Retry_After": "Wed, 21 Oct 2099 12:00:07 GMT", "Date": NOON}, 30_000),
        # What is past, cannot be read, or has no clock to be read by, is none.
        (429, {"Retry_After": "Wed, 21 Oct 2026 11:00:00 GMT", "Date": NOON}, 2_000),
        (429, {"Retry_After": "Wed, 21 Oct 2026 12:00:07 GMT"}, 2_000),
        (429, {"Retry_After": "Wed Oct 21 12:00:07 2026", "Date": NOON}, 2_000),
        (429, {"Retry_After": "soon", "Date": NOON}, 2_000),
        (429, {"Retry_After": "-5"}, 2_000),
        (429, {"Retry_After": "9999999999"}, 2_000),
        (429, {}, 2_000),
        # Others do not mean it so.
        (500, {"Retry_After": "5"}, 2_000),
    ],
)
async def test_who_asks_to_be_left_alone_for_a_while_is(status: int, headers: dict[str, str], waits_ms: int) -> None:
    pauses = Backoff(initial=timedelta(seconds=2), factor=1, max=timedelta(seconds=30), jitter=0)
    told = spec(a=call(retry=retry(3, backoff=pauses)))
    async with a_site(told, HttpConnector(Asking(status, **headers), Shop(), "x")) as site:
        await site.stage.start("r1")
        run = site.stage.run("r1")
        await site.until(lambda: run.open["a", 1].ref.attempt == 2)
        attempt = run.open["a", 1]
        assert attempt.ready_ms - attempt.tried_ms == waits_ms
        if waits_ms == 5_000:
            assert attempt.last_error == f"answered {status}, not to be asked again for 5s, and 2xx was expected"
        await site.stage.pass_(waits_ms - 1)
        assert run.open["a", 1].ref.attempt == 2
        await site.stage.pass_(1)
        await site.until(lambda: run.open["a", 1].ref.attempt == 3)


async def test_another_origin_is_not_told_who_calls() -> None:
    headers = {"Authorization": "Basic eA==", "Cookie": "a", "X-Key": SecretHeader(secret="a/b"), "X-Other": "1"}
    async with outside() as there, outside() as elsewhere:
        elsewhere.reply("/")
        there.reply("/", 307, b"", Location=elsewhere.at("/"))
        there.reply("/same", 307, b"", Location="/")
        assert (await outcome(there, "/same", {"headers": headers}, secrets={"a_b": b"x"}))[0] == "done"
        kept = {"authorization", "cookie", "x-key", "x-other"}
        assert [kept & one.headers.keys() for one in (*there.got, *elsewhere.got)] == [kept, kept, {"x-other"}]


@pytest.mark.parametrize(
    ("kind", "body", "read"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[]", []),
        ("application/json", b"{", "{"),
        ("application/json", b'"\\ud800"', '"\\ud800"'),
        ("application/json", b"NaN", "NaN"),
        ("application/json", b"[" * 20_000, "[" * 20_000),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ("text/plain; charset=nonsense", b"\xe4", "\ufffd"),
        ("image/png", b"\x89P\x00", "\ufffdP\ufffd"),
        ("text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        ("text/plain; charset=punycode", b"a-" * 9000, "a-" * 9000),
        ("text/plain; charset=utf-16", "ä".encode("utf-16"), "ä"),
        ("text/plain; charset=hex", b"00", "00"),
        ("application/json", b"[" * 40 + b"]" * 40, "[" * 40 + "]" * 40),
        ("application/json", b"123456789012345678901", "123456789012345678901"),
        ("application/json", b'{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ("application/json", b'"\\u00e4"', "ä"),
    ],
)
async def test_a_body_is_json_if_it_says_so_and_is_and_else_text(kind: str, body: bytes, read: object) -> None:
    async with outside() as there:
        there.reply("/", 200, body, Content_Type=kind)
        label, output, _ = await outcome(there)
        assert (label, output["body"]) == ("done", read)


@pytest.mark.parametrize("size", [1025, 10_000_000])
async def test_an_answer_larger_than_the_output_may_be_fails_for_good(size: int) -> None:
    async with outside() as there:
        there.reply("/", 200, b"x" * size)
        label, output, error = await outcome(there, output_max=1024, retry=retry(fail=5))
        assert (label, output, len(there.got)) == ("fail", {"status": 200, "headers": {}}, 1)
        assert "1024 bytes" in error
        # What comes with it counts, too.
        there.reply("/", 200, b"x" * 1000)
        assert (await outcome(there, output_max=1024))[0] == "fail"
        there.reply("/", 500, b"x" * size)
        label, output, error = await outcome(there, output_max=1024)
        assert (label, output, len(error) < 300) == ("fail", {"status": 500, "headers": {}}, True)


async def test_headers_of_an_answer_are_bounded() -> None:
    async with outside() as there:
        lines = "".join(f"X-{n}: {n}\r\n" for n in range(90)) + "A: 1\r\nX-0: again\r\nLong: " + "x" * 2000
        there.raw("/", f"HTTP/1.1 200 OK\r\nLong: x\r\n{lines}\r\nContent-Length: 0\r\n\r\n".encode())
        headers = (await outcome(there))[1]["headers"]
        assert len(headers) == 50
        assert (headers["x-0"], headers["long"]) == ("0, again", "x")


async def test_a_slow_drip_ends_with_the_attempt_and_so_does_its_connection() -> None:
    async with outside() as there:

        async def drip(_got: Got, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.005)

        there.replies["/"] = drip
        async with a_shop(spec(a=call(there.at("/"), takes=1000))) as site:
            await site.stage.start("r1")
            await closed(lambda: there.got)  # type: ignore[arg-type, return-value]
            await site.stage.pass_(1000)
            await site.ended("r1")
            header, _ = await site.stage.stored("r1")
            assert header.reason == "a closed as timeout, which no edge takes: it took longer than 1s"
            await closed(lambda: not there.open)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"url": "${[run.id]}"}, "url came to no text"),
        ({"url": "${'gopher://x'}"}, "only http:// and https:// are called; got 'gopher'"),
        ({"headers": {"X-A": "${'a' + '\\r\\nX-B: c'}"}}, "header X-A came to no text"),
        ({"headers": {"X-A": "${[1]}"}}, "header X-A came to no text"),
        ({"headers": {"X-A": "${true}"}}, "header X-A came to no text"),
    ],
)
async def test_what_comes_out_as_nothing_that_can_be_sent_fails_for_good(told: dict[str, Any], error: str) -> None:
    async with outside() as there:
        told = {"url": there.at("/"), **told}
        url = told.pop("url")
        async with a_shop(spec(a=call(url, told, retry=retry(fail=5)))) as site:
            await site.stage.start("r1")
            await site.ended("r1")
            header, _ = await site.stage.stored("r1")
            assert error in header.reason
        assert not there.got


async def test_a_number_makes_a_header() -> None:
    async with outside() as there:
        there.reply("/")
        await outcome(there, "/", {"headers": {"X-At": "${1 + 1}", "X-Half": "${0.5}"}})
        assert (there.got[0].headers["x-at"], there.got[0].headers["x-half"]) == ("2", "0.5")


async def test_a_secret_is_sent_and_seen_nowhere_else(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with outside() as there:

        async def echo(got: Got, writer: asyncio.StreamWriter) -> None:
            value = got.headers["x-key"]
            body = json.dumps({"echo": value, value: [value], "url": "/?k=c4nary/%2B%C3%A4&k=c4nary%2F%2B%C3%A4"})
            status = 200 if got.path == "/done" else 400
            head = f"HTTP/1.1 {status} {value}\r\nX-Echo: {value}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

        there.replies["/done"] = there.replies["/fail"] = echo
        there.reply("/to", 302, b"", Location=f"http://{CANARY.encode().hex()}.invalid/")
        headers = {"X-Key": SecretHeader(secret="pay/key", prefix="Bearer "), "X-Empty": SecretHeader(secret="pay/no")}
        with caplog.at_level(logging.DEBUG):
            for path, label in (("/done", "done"), ("/fail", "fail")):
                told = spec(a=call(there.at(path), {"headers": headers}, next={"fail": "b"}), b=call(there.at("/b")))
                there.reply("/b")
                async with a_shop(told, pay_key=CANARY.encode() + b"\n", pay_no=b"") as site:
                    found = await ended(site)
                    assert found[0] == label
                    assert found[1]["body"]["echo"] == "Bearer ***"
                    assert found[1]["body"]["Bearer ***"] == ["Bearer ***"]
                    header, log = await site.stage.stored("r1")
                    _shows_nothing(f"{found} {header} {b''.join(log.values()).decode()}")
        assert {one.headers["x-key"] for one in there.got if one.path != "/b"} == {f"Bearer {CANARY}"}
        _shows_nothing(caplog.text + "".join(capsys.readouterr()))


async def test_a_large_answer_holds_nobody_up_and_hides_secrets_as_well() -> None:
    async with outside() as there:
        there.reply("/", 200, [CANARY, *range(50_000)])
        told = {"headers": {"X-Token": SecretHeader(secret="shop/token")}}
        label, output, _ = await outcome(there, "/", told, secrets={"shop_token": b"c4nary/+\xc3\xa4"}, output_max=MIB)
        assert label == "done"
        assert output["body"] == ["***", *range(50_000)]


async def test_a_secret_that_comes_back_as_a_number_is_hidden() -> None:
    async with outside() as there:
        there.reply("/", 200, {"pin": 492817, "echo": [492817, 4928170, True], "text": "492817"})
        told = {"headers": {"X-Pin": SecretHeader(secret="shop/pin")}}
        _, output, _ = await outcome(there, "/", told, secrets={"shop_pin": b"492817"})
        assert output["body"] == {"pin": "***", "echo": ["***", 4928170, True], "text": "***"}
        _, output, _ = await outcome(there, "/", told, secrets={"shop_pin": b"200"})
        assert output["status"] == 200


def _shows_nothing(text: str) -> None:
    coded = base64.b64encode(CANARY.encode()).decode()
    for shape in (CANARY, json.dumps(CANARY)[1:-1], coded, "c4nary"):
        assert shape not in text, text


@pytest.mark.parametrize(
    ("value", "error", "is_retried"),
    [
        (None, "there is no secret a/b in namespace shop", True),
        (b"a\nb", "secret a/b has line breaks or is no text, so it can be no header", False),
        (b"\xff", "secret a/b has line breaks or is no text, so it can be no header", False),
    ],
)
async def test_a_secret_that_cannot_be_sent_fails_the_attempt(
    value: bytes | None, error: str, is_retried: bool
) -> None:
    async with outside() as there:
        headers = {"X-Key": SecretHeader(secret="a/b")}
        told = spec(a=call(there.at("/"), {"headers": headers}, retry=retry(fail=2)))
        async with a_shop(told, **({} if value is None else {"a_b": value})) as site:
            await site.stage.start("r1")
            run = site.stage.run("r1")
            await site.until(lambda: run.status.is_over or run.open["a", 1].ref.attempt == 2)
            assert (not run.status.is_over) is is_retried
            assert error in (run.reason if run.status.is_over else run.open["a", 1].last_error)
        assert not there.got


async def test_each_item_of_a_list_is_a_call_of_its_own() -> None:
    async with outside() as there:
        for item in "abc":
            there.reply(f"/{item}", 200, {"is": item})
        each = Foreach(items="${['a', 'b', 'c']}", max=10, parallel=2)
        told = spec(a=call(there.at("/${item}"), foreach=each))
        async with a_shop(told) as site:
            label, output, error = await ended(site)
            assert (label, error) == ("done", "")
            assert [one["body"] for one in output] == [{"is": item} for item in "abc"]
        assert {one.headers["idempotency-key"] for one in there.got} == {f"shop/r1/a[]/{n}" for n in (1, 2, 3)}

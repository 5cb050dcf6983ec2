"""What every route has in common: who may enter, what is refused, how errors are told."""

import asyncio
import socket

import pytest
import structlog

from harpoon.api.app import ROUTES
from harpoon.api.limits import Limits
from harpoon.control.registry import Registry
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import (
    Conflict,
    Fenced,
    Gone,
    HarpoonError,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
    Unavailable,
)
from harpoon.store.port import StoreUnavailable
from tests.api.rig import PATIENCE_S, TOKEN, Answer, Rig, a_manifest, a_rig

WEB = "/v1/namespaces/default/jobs/web"
PARTS = {"ns": "default", "name": "web", "id": "default.web.0.1-1", "n": "1", "run": "r1", "signal": "go"} | {
    "op": "ask",
    "visit": "1",
    "token": "t",
}
EVERY_ROUTE = [
    (method, route.path.format(**PARTS))
    for route in ROUTES
    for method in ({"GET", "HEAD"} if route.method == "GET" else {route.method})
]


def as_problem(answer: Answer, status: int, code: str) -> dict[str, object]:
    """Check that an answer is a whole problem, and return it."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json
    assert (told["status"], told["code"], told["type"]) == (status, code, f"urn:harpoon:problem:{code}")
    assert told["title"]
    assert told["detail"]
    assert told["request_id"] == answer.headers["X-Request-Id"]
    return told


async def speak(rig: Rig, *parts: bytes, gap: asyncio.Event | None = None) -> bytes:
    """Send bytes as they are, and return all that comes until the server closes."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if gap is not None:
            await gap.wait()
        answer = await reader.read()
        writer.close()
        return answer


def test_all_routes_of_the_contract_are_there() -> None:
    assert {(route.method, route.path) for route in ROUTES} == {
        ("GET", "/v1/health"),
        ("GET", "/metrics"),
        ("GET", "/v1/status"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/rebalance"),
        ("POST", "/v1/rebalance"),
        ("GET", "/v1/namespaces"),
        ("GET", "/v1/namespaces/{ns}"),
        ("PUT", "/v1/namespaces/{ns}"),
        ("DELETE", "/v1/namespaces/{ns}"),
        ("GET", "/v1/secrets"),
        ("PUT", "/v1/secrets/encryption"),
        ("GET", "/v1/namespaces/{ns}/secrets"),
        ("GET", "/v1/namespaces/{ns}/secrets/{name}"),
        ("PUT", "/v1/namespaces/{ns}/secrets/{name}"),
        ("DELETE", "/v1/namespaces/{ns}/secrets/{name}"),
        ("GET", "/v1/namespaces/{ns}/jobs"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}"),
        ("PUT", "/v1/namespaces/{ns}/jobs/{name}"),
        ("DELETE", "/v1/namespaces/{ns}/jobs/{name}"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/status"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/scale"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/versions"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/versions/{n}"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/diff"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/rollback"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/rollout"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/pause"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/resume"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/promote"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/cron/pause"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/cron/resume"),
        ("POST", "/v1/namespaces/{ns}/jobs/{name}/cron/trigger"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/events"),
        ("GET", "/v1/namespaces/{ns}/tasks/{id}/events"),
        ("GET", "/v1/agents/{name}/events"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/why"),
        ("GET", "/v1/namespaces/{ns}/tasks/{id}/why"),
        ("GET", "/v1/agents/{name}/why"),
        ("GET", "/v1/workflows"),
        ("GET", "/v1/namespaces/{ns}/workflows"),
        ("POST", "/v1/bounds"),
        ("GET", "/v1/namespaces/{ns}/workflows/{name}"),
        ("PUT", "/v1/namespaces/{ns}/workflows/{name}"),
        ("DELETE", "/v1/namespaces/{ns}/workflows/{name}"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/namespaces/{ns}/runs"),
        ("POST", "/v1/namespaces/{ns}/runs"),
        ("GET", "/v1/namespaces/{ns}/runs/export"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}/attempts"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}/why"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}/callbacks"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}/items"),
        ("GET", "/v1/namespaces/{ns}/workflows/{name}/graph"),
        ("GET", "/v1/namespaces/{ns}/runs/{run}/graph"),
        ("GET", "/v1/reports/runs"),
        ("GET", "/v1/namespaces/{ns}/reports/runs"),
        ("GET", "/v1/stats"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/retry"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/fork"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/move"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/skip"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/set"),
        ("GET", "/v1/batches"),
        ("GET", "/v1/namespaces/{ns}/batches"),
        ("POST", "/v1/namespaces/{ns}/batches"),
        ("GET", "/v1/namespaces/{ns}/batches/{run}"),
        ("GET", "/v1/namespaces/{ns}/batches/{run}/items"),
        ("GET", "/v1/namespaces/{ns}/batches/{run}/why"),
        ("DELETE", "/v1/namespaces/{ns}/batches/{run}"),
        ("POST", "/v1/callbacks/{ns}/{run}/{op}/{visit}/{token}"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/signals/{signal}"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/cancel"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/pause"),
        ("POST", "/v1/namespaces/{ns}/runs/{run}/resume"),
        ("GET", "/v1/namespaces/{ns}/signals"),
        ("POST", "/v1/permits"),
        ("POST", "/v1/namespaces/{ns}/signals/{signal}"),
        ("GET", "/v1/waiting"),
        ("POST", "/v1/plan"),
        ("POST", "/v1/plan/promise"),
        ("POST", "/v1/plan/apply"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/endpoints"),
        ("GET", "/v1/namespaces/{ns}/jobs/{name}/logs"),
        ("GET", "/v1/tasks"),
        ("GET", "/v1/tasks/{id}/logs"),
        ("GET", "/v1/namespaces/{ns}/tasks"),
        ("GET", "/v1/namespaces/{ns}/tasks/{id}"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/agents/{name}"),
        ("PUT", "/v1/agents/{name}"),
        ("DELETE", "/v1/agents/{name}"),
        ("POST", "/v1/agents/{name}/cordon"),
        ("POST", "/v1/agents/{name}/uncordon"),
        ("POST", "/v1/agents/{name}/drain"),
        ("POST", "/v1/agents/{name}/declare-dead"),
        ("POST", "/v1/namespaces/{ns}/work"),
        ("POST", "/v1/namespaces/{ns}/work/look"),
        ("GET", "/v1/namespaces/{ns}/workers"),
        ("GET", "/v1/changes/{id}"),
        ("POST", "/v1/apply"),
        ("GET", "/v1/watch"),
        ("GET", "/v1/backup"),
        ("GET", "/v1/history"),
        ("GET", "/v1/history/export"),
        ("POST", "/v1/namespaces/{ns}/tasks/{id}/adopt"),
        ("POST", "/v1/namespaces/{ns}/tasks/{id}/stop"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/v1/schemas/job.json"),
        ("GET", "/v1/schemas/workflow.json"),
        ("GET", "/docs"),
    }


OPEN = {"/v1/health", "/v1/openapi.json", "/v1/schemas/job.json", "/v1/schemas/workflow.json", "/docs"}
#: It has a token of its own, in the path; this rig knows of no runs.
CALLBACK = "/v1/callbacks/default/r1/ask/1/t"


async def test_no_route_but_health_the_reference_and_callbacks_answers_without_the_token() -> None:
    async with a_rig(token=TOKEN) as rig:
        rig.headers.clear()
        for method, path in [*EVERY_ROUTE, ("GET", "/nothing"), ("PATCH", WEB)]:
            answer = await rig.ask(method, path)
            if path in OPEN or path == CALLBACK:
                assert answer.status == (200 if path in OPEN else 503)
                continue
            assert answer.status == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="harpoon"'
            if method != "HEAD":
                as_problem(answer, 401, "unauthorized")


@pytest.mark.parametrize(
    "shown",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer " + "x" * 8000,
    ],
)
async def test_another_token_than_the_right_one_is_refused(shown: str) -> None:
    async with a_rig(token=TOKEN) as rig:
        answer = await rig.get("/v1/jobs", Authorization=shown)
        assert "invalid_token" in answer.headers["WWW-Authenticate"]
        as_problem(answer, 401, "unauthorized")
        assert TOKEN not in answer.body.decode()


async def test_the_scheme_of_the_token_may_be_written_in_any_case() -> None:
    async with a_rig(token=TOKEN) as rig:
        assert (await rig.get("/v1/jobs", Authorization=f"bearer {TOKEN}")).status == 200


async def test_two_tokens_are_refused_even_if_one_is_right() -> None:
    async with a_rig(token=TOKEN) as rig:
        head = f"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAuthorization: Bearer x\r\n"
        assert b" 401 " in await speak(rig, f"{head}Connection: close\r\n\r\n".encode())


@pytest.mark.parametrize("parameter", ["token", "access_token", "Authorization"])
async def test_a_token_in_the_url_is_refused_and_not_logged(parameter: str) -> None:
    async with a_rig(token=TOKEN) as rig:
        with structlog.testing.capture_logs() as logged:
            for path in ("/v1/jobs", "/v1/health", "/nothing"):
                answer = await rig.get(f"{path}?{parameter}={TOKEN}")
                as_problem(answer, 400, "invalid")
                assert TOKEN not in answer.body.decode()
        assert TOKEN not in str(logged)
        assert len(logged) == 3


async def test_without_a_token_only_names_of_this_machine_are_answered_to() -> None:
    async with a_rig() as rig:
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.8.8.8:99", "[::1]:80"):
            assert (await rig.get("/v1/jobs", Host=host)).status == 200
        for host in (
            "evil.example",
            "evil.example:4450",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[2001:db8::1]",
            "localhost.evil",
        ):
            as_problem(await rig.get("/v1/jobs", Host=host), 403, "forbidden")
        assert (await rig.get("/v1/health", Host="anything")).status == 200


class FailingRegistry(Registry):
    """Fails in the way a test wants, whatever it is told to do."""

    error: Exception

    async def put(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code", "members"),
    [
        (
            Invalid("no", [Problem(pointer="/a", detail="b")]),
            400,
            "invalid",
            {"errors": [{"pointer": "/a", "detail": "b"}]},
        ),
        (NotFound("no"), 404, "not_found", {}),
        (Conflict("no"), 409, "conflict", {"current": None}),
        (PreconditionFailed("no"), 412, "precondition_failed", {"current": None}),
        (Fenced("no"), 409, "fenced", {}),
        (Gone("no", oldest="1.5"), 410, "gone", {"oldest": "1.5"}),
        (Unavailable("no"), 503, "unavailable", {}),
        (StoreUnavailable("no", maybe_applied=True), 503, "store_unavailable", {"maybe_applied": True}),
        (HarpoonError("no"), 500, "internal", {}),
        (ZeroDivisionError("a secret"), 500, "internal", {}),
        (TimeoutError(), 503, "unavailable", {}),
    ],
)
async def test_each_error_has_its_status(error: Exception, status: int, code: str, members: dict[str, object]) -> None:
    def failing(store: object, view: object) -> Registry:
        registry = FailingRegistry(store, view, SystemClock())
        registry.error = error
        return registry

    async with a_rig(registry=failing) as rig:
        with structlog.testing.capture_logs() as logged:
            told = as_problem(await rig.ask("PUT", WEB, a_manifest()), status, code)
        assert members.items() <= told.items()
        is_in_doubt = isinstance(error, TimeoutError) or getattr(error, "maybe_applied", False)
        assert ("it may have been done: look before trying again" in told["detail"]) is is_in_doubt
        assert "secret" not in str(told)
        if type(error) is ZeroDivisionError:
            assert next(one for one in logged if one["event"] == "request_failed")["exc_info"] is error
        assert (await rig.get("/v1/health")).status == 200


@pytest.mark.parametrize("status", [503])
async def test_what_is_not_possible_now_says_when_to_come_again(status: int) -> None:
    def failing(store: object, view: object) -> Registry:
        registry = FailingRegistry(store, view, SystemClock())
        registry.error = Unavailable("later")
        return registry

    async with a_rig(registry=failing) as rig:
        answer = await rig.ask("PUT", WEB, a_manifest())
        assert (answer.status, answer.headers["Retry-After"]) == (status, "1")


class HangingRegistry(Registry):
    """Never comes to an end."""

    async def put(self, *_: object, **__: object) -> None:  # type: ignore[override]
        await asyncio.Event().wait()


async def test_a_mutation_that_the_store_does_not_answer_is_told_as_unknown() -> None:
    limits = Limits(mutation_s=0.05)
    async with a_rig(limits=limits, registry=lambda store, view: HangingRegistry(store, view, SystemClock())) as rig:
        told = as_problem(await rig.ask("PUT", WEB, a_manifest()), 503, "unavailable")
        assert "may have been done" in str(told["detail"])


async def test_unknown_routes_and_wrong_methods_are_told_as_problems_too() -> None:
    async with a_rig() as rig:
        as_problem(await rig.get("/v1/nothing"), 404, "no_such_route")
        as_problem(await rig.get("/v1/jobs/"), 404, "no_such_route")
        answer = await rig.ask("PATCH", WEB, {})
        as_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"
        assert (await rig.ask("TRACE", WEB)).status == 405


async def test_no_route_takes_a_parameter_that_it_does_not_know() -> None:
    async with a_rig() as rig:
        for method, path in EVERY_ROUTE:
            answer = await rig.ask(method, f"{path}?nonsense=1", {} if method in ("PUT", "POST") else None)
            assert answer.status == 400, (method, path)
            if method != "HEAD":
                assert as_problem(answer, 400, "invalid")["errors"][0]["pointer"] == "?nonsense"


async def test_a_parameter_given_twice_is_refused() -> None:
    async with a_rig() as rig:
        as_problem(await rig.get("/v1/watch?after=1.1&after=1.2"), 400, "invalid")


@pytest.mark.parametrize("path", [WEB, f"{WEB}/scale", "/v1/agents/a1", "/v1/apply"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/json; charset=utf-7"},
        {"Content_Type": "application/yaml"},
        {"Content_Encoding": "gzip"},
    ],
)
async def test_bodies_that_are_not_plain_json_are_refused(path: str, headers: dict[str, str]) -> None:
    async with a_rig() as rig:
        method = "POST" if path.endswith(("scale", "apply")) else "PUT"
        as_problem(await rig.ask(method, path, a_manifest(), **headers), 415, "unsupported_media_type")


async def test_json_may_name_its_charset() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", WEB, a_manifest(), Content_Type="application/json; charset=UTF-8")
        assert answer.status == 202


async def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    async with a_rig(limits=Limits(linger_s=0.1)) as rig:
        head = f"PUT {WEB} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = await speak(rig, f"{head}Content-Length: 99999999\r\n\r\n".encode())
        assert b" 413 " in answer
        assert b'"code":"too_large"' in answer


async def test_a_body_that_does_not_say_its_length_is_bounded_all_the_same() -> None:
    async with a_rig(limits=Limits(body_bytes=10_000, linger_s=0.1)) as rig:
        head = f"PUT {WEB} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 413 " in await speak(
            rig, head.encode(), b"1000\r\n" + b"[" * 4096 + b"\r\n", b"2000\r\n" + b"[" * 8192 + b"\r\n"
        )


async def test_a_megabyte_is_taken() -> None:
    async with a_rig() as rig:
        manifest = a_manifest(env={f"V{number}": "x" * 65_000 for number in range(7)})
        assert (await rig.ask("PUT", WEB, manifest)).status == 202


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async with a_rig(limits=Limits(body_s=0.05, linger_s=0.05)) as rig:
        head = f"PUT {WEB} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        answer = await speak(rig, head.encode() + b"{")
        assert b" 408 " in answer
        assert b'"code":"too_slow"' in answer


async def test_headers_that_come_too_slowly_end_the_connection() -> None:
    async with a_rig(limits=Limits(idle_s=0.1)) as rig:
        assert await speak(rig, b"GET /v1/health HTTP/1.1\r\nHost: loc") == b""
        assert await speak(rig) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /v1/health?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: 1\r\n" * 70 + b"\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n folded\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    ],
)
async def test_what_is_no_sound_http_is_refused_in_the_same_form(request_bytes: bytes) -> None:
    async with a_rig(limits=Limits(idle_s=0.3)) as rig:
        with structlog.testing.capture_logs() as logged:
            answer = await speak(rig, request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == b"400"
        assert b"application/problem+json" in head
        assert b'"code":"unreadable"' in body
        assert b"secret" not in answer + str(logged).encode()
        assert (await rig.get("/v1/health")).status == 200


async def test_every_answer_has_an_id_and_keeps_the_one_it_was_given() -> None:
    async with a_rig() as rig:
        first, second = [(await rig.get("/v1/health")).headers["X-Request-Id"] for _ in range(2)]
        assert first != second
        assert (await rig.get("/v1/health", X_Request_Id="abc-1.2:3")).headers["X-Request-Id"] == "abc-1.2:3"
        for bad in ("a b", "x" * 65, "ä", ""):
            assert (await rig.get("/v1/health", X_Request_Id=bad)).headers["X-Request-Id"] != bad


async def test_answers_are_not_to_be_kept_or_guessed_at() -> None:
    async with a_rig() as rig:
        headers = (await rig.get("/v1/jobs")).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "harpoon"


async def test_only_mutations_and_refusals_are_logged() -> None:
    async with a_rig() as rig:
        with structlog.testing.capture_logs() as logged:
            await rig.get("/v1/jobs")
            await rig.put()
            await rig.get("/v1/jobs?what=%0Aever")
            await rig.get("/v1/%0Anothing")
        told = [(one["method"], one["path"], one["status"]) for one in logged if one["event"] == "request_answered"]
        assert told == [("PUT", WEB, 202), ("GET", "/v1/jobs", 400), ("GET", "/v1/%0Anothing", 404)]


async def test_requests_on_one_connection_follow_one_another() -> None:
    async with a_rig() as rig:
        one = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = await speak(rig, one + one + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_a_client_that_leaves_at_once_harms_nobody() -> None:
    async with a_rig() as rig:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", rig.port)) as leaving:
                leaving.sendall(f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await rig.get("/v1/health")).status == 200

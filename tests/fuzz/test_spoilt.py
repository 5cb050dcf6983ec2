"""Requests that are almost right, by the ten thousand, each spoilt somewhere, sent to a real server.

The same seed makes the same requests. Every one must be answered, by no 5xx and on a connection that goes on unless
the answer says that it does not; and nobody else may be held up.
"""

import asyncio
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from harpoon.api.app import ROUTES
from harpoon.api.operation import Operation
from tests.fuzz.spoilt import SPICE
from tests.fuzz.target import STALL_S, TOKEN, Bystander, GuardedCluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

REQUESTS = int(os.environ.get("HARPOON_SPOILT_REQUESTS", "20000"))
CONNECTIONS = 8
SEED = 7
#: A stall in one try may be the machine's.
TRIES = 2
#: These have no end, or wait for as long as they are told to.
ENDLESS = {"watch"}

GOOD = {
    "apiVersion": "harpoon/v1",
    "kind": "Job",
    "metadata": {"name": "web", "namespace": "default", "tags": {"team": "shop"}},
    "spec": {
        "type": "service",
        "scale": 2,
        "task": {
            "command": ["serve", "$PORT_HTTP"],
            "env": {"MODE": "fast", "API": {"endpoints": "api/http", "on_change": "keep"}},
            "ports": {"http": 0},
            "resources": {"cpu": "100m", "memory": "64Mi"},
            "checks": [{"http": {"port": "http", "path": "/"}, "every": "2s"}, {"exec": {"command": ["true"]}}],
            "restart": {"policy": "always", "backoff": {"initial": "1s", "max": "1m", "factor": 2.0}},
        },
        "placement": {"require": [{"tag": "zone", "in": ["a"]}], "spread": [{"tag": "zone"}], "distinct": "agent"},
        "update": {"surge": 1, "unavailable": 0},
        "depends_on": [{"job": "db", "is": "ready"}],
        "on_lost": "wait",
    },
}
AGENT = {
    "name": "a9",
    "uid": "u",
    "endpoint": "http://127.0.0.1:9",
    "capacity": {"cpu": "4", "memory": "4Gi"},
    "ports": {"low": 20000, "high": 20010},
}
BODIES = {
    "put_job": GOOD,
    "apply": {"documents": [GOOD]},
    "plan": {"documents": [GOOD]},
    "scale_job": {"scale": 3},
    "rollback": {"version": 1},
    "put_agent": AGENT,
}
PARTS = {"ns": "default", "name": "web", "id": "default.web.0", "version": "1", "n": "1"}
VALUES = [None, True, -1, 0, 1, 2**63, 1e308, "", "x", "\x00", "\ud800", "\u202e", "9" * 30, [], {}, [[]], "a" * 300]
WORDS = ["", "true", "1", "-1", "50ms", "1.2", "1.1", "9.9", "x", "\x00", "../..", "a=b", "=", "9" * 40, "\u00e9", "%"]
HEADERS = {
    "If-Match": ['"1.2"', '"9.9"', "*", "x", '"', 'W/"1.2"'],
    "If-None-Match": ["*", "x"],
    "Idempotency-Key": ["k1", "", "k" * 300, "\xe9"],
    "Accept": ["*/*", "text/plain", "application/json", "x", ",,;q="],
    "Content-Type": ["application/json", "text/plain", "application/json; charset=utf-16", "x"],
    "X-Request-Id": ["ok", "\xe9", "a" * 99],
    "Content-Encoding": ["gzip", "identity"],
    "Range": ["bytes=0-0,0-0"],
}


def spoil_json(rng: random.Random, good: object) -> bytes:
    """Return a body with something in the wrong place."""
    root = [json.loads(json.dumps(good))]
    for _ in range(rng.randint(0, 3)):
        at, key = root, 0
        while isinstance(at[key], dict | list) and at[key] and rng.random() < 0.75:
            at = at[key]
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        match rng.randrange(3):
            case 0 if isinstance(at, dict):
                del at[key]
            case 1 if isinstance(at, dict):
                at[rng.choice(["x", "__proto__", "a/b", "", "name", "scale"])] = deepcopy(rng.choice(VALUES))
            case _:
                at[key] = deepcopy(rng.choice(VALUES))
    data = json.dumps(root[0]).encode()
    if rng.random() < 0.3:
        begin = rng.randint(0, len(data))
        data = data[:begin] + rng.choice(SPICE) + data[begin + rng.randint(0, 8) :]
    return data


def spoil(rng: random.Random, operation: Operation) -> bytes:
    """Return a whole request."""
    path = re.sub(r"\{(\w+)\}", lambda part: _part(rng, part[1]), operation.path)
    known = [parameter.name for parameter in operation.parameters]
    names = [rng.choice([*known, *known, "x", "token", "LIMIT"]) for _ in range(rng.choice([0, 0, 1, 2]))]
    query = "&".join(
        f"{quote(name)}={quote(rng.choice(WORDS))}" for name in names if name not in ("wait", "follow", "watch")
    )
    headers = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}"}
    for name in rng.sample(sorted(HEADERS), rng.choice([0, 0, 1, 2])):
        headers[name] = rng.choice(HEADERS[name])
    body = b""
    if operation.body is not None or rng.random() < 0.05:
        body = spoil_json(rng, BODIES.get(operation.operation_id, GOOD))
        headers = {"Content-Type": "application/json"} | headers | {"Content-Length": str(len(body))}
    method = (
        operation.method if rng.random() < 0.95 else rng.choice(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
    )
    if method != "GET" and not body:
        headers["Content-Length"] = "0"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path}{'?' if query else ''}{query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def _part(rng: random.Random, name: str) -> str:
    good = PARTS.get(name, "x")
    if rng.random() < 0.7:
        return good
    return (
        quote(rng.choice([*WORDS, good.upper(), good + "/..", "default.web.1.1-2", "default.web.1-2"]), safe="") or "-"
    )


def requests() -> Iterator[bytes]:
    """Yield all requests; the same each time."""
    rng = random.Random(SEED)
    operations = [one for one in ROUTES if one.operation_id not in ENDLESS]
    for _ in range(REQUESTS):
        yield spoil(rng, rng.choice(operations))


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer; return its status and its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", lowered)[1]))
    return int(head.split(b" ", 2)[1]), lowered


async def send(port: int, pending: Iterator[bytes], statuses: Counter[int], wrong: list[str]) -> None:
    """Send requests one after another, over a connection for as long as that lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    for request in pending:
        try:
            async with asyncio.timeout(15):
                writer.write(request)
                status, head = await answer_of(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            wrong.append(f"{error!r}: {request[:400]!r}")
            status, head = 0, b"connection: close"
        statuses[status] += 1
        if status >= 500:
            wrong.append(f"{status}: {request[:1000]!r}")
        if b"connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    with GuardedCluster(tmp_path_factory.mktemp("spoilt")) as cluster:
        cluster.start_server("--token-file", str(cluster.token_file))
        good = orjson.loads(orjson.dumps(GOOD))
        cluster.request("PUT", "/v1/namespaces/default/jobs/web", good)
        yield cluster


def test_no_spoilt_request_harms_a_server(cluster: GuardedCluster, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(TRIES):
        statuses: Counter[int] = Counter()
        wrong: list[str] = []

        async def send_all(statuses: Counter[int] = statuses, wrong: list[str] = wrong) -> None:
            pending = requests()
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(send(cluster.port, pending, statuses, wrong))

        with Bystander(cluster.port, cluster.processes["server"].pid) as bystander:
            asyncio.run(send_all())
            worst = bystander.worst_since(0)
        assert not wrong, "\n".join(wrong[:20])
        if worst <= STALL_S:
            break
    assert worst <= STALL_S, f"a bystander was held up for {worst * 1000:.0f} ms"
    assert statuses.total() == REQUESTS
    # What is only refused, or only taken, was not spoilt in the right measure.
    assert statuses[400] > REQUESTS // 10 < sum(count for status, count in statuses.items() if status < 300)
    with capsys.disabled():
        told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        print(
            f"\n{REQUESTS} spoilt requests: 0 server errors, 0 stalls, 0 lost connections; "
            f"worst hold-up {worst * 1000:.0f} ms ({told})"
        )


def test_the_same_requests_are_made_each_time(tmp_path: Path) -> None:
    once = [request for _, request in zip(range(50), requests(), strict=False)]
    assert once == [request for _, request in zip(range(50), requests(), strict=False)]

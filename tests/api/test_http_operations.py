"""``http:`` operations of a whole server: what it was started with decides what is called, and secrets stay secret."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harpoon.config import Listen, ServerSettings
from harpoon.control import keyring
from harpoon.kit.destination import parse_opening
from harpoon.service import server
from harpoon.store.url import parse_url
from tests.client.outside import Got, outside
from tests.ports import free_port

CANARY = "c4nary-value"
API = {"apiVersion": "harpoon/v1", "kind": "Workflow"}


class House:
    """A server, and a client of it."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"{self._base}{path}", json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json() if "json" in response.content_type else await response.text()

    async def run(self, name: str, **operations: Any) -> Any:
        """Run a workflow to its end, and return all that is told of it."""
        document = {**API, "metadata": {"name": name}, "spec": {"operations": operations}}
        await self.ask("PUT", f"/v1/namespaces/default/workflows/{name}", document)
        await self.ask("POST", "/v1/namespaces/default/runs", {"workflow": name, "id": name})
        path = f"/v1/namespaces/default/runs/{name}"
        async with asyncio.timeout(20):
            while (told := await self.ask("GET", f"{path}?wait=5s"))["status"] == "running":
                await asyncio.sleep(0.01)
        return told, await self.ask("GET", f"{path}/attempts"), await self.ask("GET", f"{path}/why")


@asynccontextmanager
async def a_house(folder: Path, *openings: str, port: int = 0) -> AsyncIterator[House]:
    keys = folder / "keys"
    with os.fdopen(os.open(keys, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(f"{keyring.new_key('t')}\n")
    settings = ServerSettings(
        listen=Listen("127.0.0.1", port or free_port()),
        instance="one",
        secrets_key_file=keys,
        http_allow=tuple(map(parse_opening, openings)),
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        group.create_task(server.serve_server(settings, stop=stop, ready=lambda _: ready.set()))
        await ready.wait()
        yield House(session, settings.listen.url)
        stop.set()


async def test_calls_are_made_with_secrets_that_nobody_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with outside() as there, a_house(tmp_path, f"127.0.0.1:{there.port}") as house:

        async def echo(got: Got, writer: asyncio.StreamWriter) -> None:
            body = got.headers["authorization"].encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        there.replies["/"] = echo
        await house.ask("PUT", "/v1/namespaces/default/secrets/pay", {"data": {"key": CANARY}})
        headers = {"Authorization": {"secret": "pay/key", "prefix": "Bearer "}}
        told = await house.run("pay", a={"http": {"url": there.at("/"), "headers": headers}})
        assert told[0]["status"] == "succeeded", told
        assert "Bearer ***" in str(told[1])
        assert there.got[0].headers["authorization"] == f"Bearer {CANARY}"
        metrics = await house.ask("GET", "/metrics")
        assert 'harpoon_connector_closings_total{handler=":http",label="done"} 1.0' in metrics
        shown = await house.ask("GET", "/v1/namespaces/default/workflows/pay")
        assert CANARY not in f"{told} {metrics} {shown} {''.join(capsys.readouterr())}"


async def test_what_nobody_opened_and_what_the_server_itself_is_are_not_called(tmp_path: Path) -> None:
    port = free_port()
    async with outside() as there, a_house(tmp_path, "127.0.0.1", port=port) as house:
        there.reply("/")
        own = {"http": {"url": f"http://127.0.0.1:{port}/v1/namespaces"}, "end": "failed"}
        told, *_ = await house.run("own", a=own)
        assert f"port {port} is one of the store's" in told["reason"]
        told, *_ = await house.run("other", a={"http": {"url": there.at("/", "[::1]")}})
        assert "is no public address" in told["reason"]
        assert "--http-allow [::1]:" in told["reason"]
        assert not there.got


def test_ports_of_the_store_are_the_houses_own() -> None:
    settings = ServerSettings(
        listen=Listen("127.0.0.1", 4450),
        instance="one",
        store=parse_url("etcd://10.0.0.1:2379,[fd00::1]:2390"),
        advertise="http://10.0.0.9:4460",
    )
    assert settings.closed_ports() == {4450, 2379, 2390, 4460}
    assert settings.closed_ports(4999) == {4450, 2379, 2390, 4460, 4999}

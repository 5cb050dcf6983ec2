"""An agent's doors: who may call, what they answer, and how it makes itself known."""

import asyncio
import json
import os
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from harpoon.agent.client import AgentClient
from harpoon.agent.daemon import serve
from harpoon.agent.settings import AgentSettings, advertised_address, describe
from harpoon.kit.clock import SystemClock, system_random
from harpoon.kit.errors import Fenced, Invalid, Unavailable
from harpoon.model.agent import PortRange
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.token import Token
from harpoon.model.volumes import HostPath
from harpoon.model.wire import Adopt
from tests.agent.rig import PATIENCE_S, TOKEN, agent, connected, daemon, serving
from tests.ports import free_port

SECRET = "a-long-enough-secret"
ADOPT = Adopt(token=TOKEN, instance="i", uid="u", cluster="c")


def settings(tmp_path, **told: object) -> AgentSettings:
    return AgentSettings(**{"name": "agent-1", "state_dir": tmp_path} | told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"host": "0.0.0.0"}, "there is no token"),
        ({"host": "example.org"}, "there is no token"),
        ({"token": ""}, "the token is empty"),
        ({"name": "Agent"}, "an agent's name is"),
        ({"port": 70_000}, "a port is 0 to 65535"),
        ({"servers": ("127.0.0.1:4450",)}, "write a server's URL"),
        ({"log_bytes_max": 1}, "at least 4096"),
        ({"named": {"cpu": 2}}, "cpu is no named resource"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, told, words):
    with pytest.raises(ValueError, match=words):
        settings(tmp_path, **told)


def test_a_state_directory_too_long_to_tell_of_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 1024 characters"):
        settings(tmp_path / ("x" * 250) / ("x" * 250) / ("x" * 250) / ("x" * 250) / ("x" * 250))


def test_an_agent_knows_where_it_is_reached(tmp_path):
    assert advertised_address(settings(tmp_path)) == "127.0.0.1"
    assert advertised_address(settings(tmp_path, address="example.org")) == "example.org"
    wild = settings(tmp_path, host="0.0.0.0", token=SECRET, servers=("http://127.0.0.1:4450",))
    assert advertised_address(wild) == "127.0.0.1"
    with pytest.raises(Invalid, match="tell the address"):
        advertised_address(settings(tmp_path, host="::", token=SECRET, servers=("http://[",)[:0]))


def test_an_agent_describes_its_host(tmp_path):
    paths = (HostPath(path="/srv"),)
    told = describe(settings(tmp_path, tags={"zone": "a"}, host_paths=paths), "uid-1", 4451, {"x": "y"}, mounts=True)
    assert (told.facts["x"], told.host_paths, told.mounts) == ("y", paths, True)
    assert told.endpoint == "http://127.0.0.1:4451"
    assert told.capacity.cpu == len(os.sched_getaffinity(0)) * 1000
    assert told.capacity.memory > 1 << 28
    assert told.facts["os"] == "linux"
    assert told.facts["name"] == "agent-1"
    assert told.facts["address"] == "127.0.0.1"
    assert told.tags == {"zone": "a"}
    assert told.ports == PortRange(low=20_000, high=29_999)
    small = describe(settings(tmp_path, cpu=500, memory=1 << 20, address="::1"), "uid-1", 1, mounts=False)
    assert (small.capacity.cpu, small.capacity.memory) == (500, 1 << 20)
    assert not small.mounts
    assert small.endpoint == "http://[::1]:1"
    assert describe(settings(tmp_path, endpoint="https://x"), "u", 1, mounts=False).endpoint == "https://x"


async def test_only_who_shows_the_token_may_call(tmp_path):
    async with agent(tmp_path, token=SECRET) as rig, aiohttp.ClientSession() as session:
        base = rig.client._url
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": SECRET},
            {"Authorization": "Bearer é"},
        ):
            for path in ("/v1/tasks", "/metrics", "/v1/tasks/x/logs", "/none"):
                async with session.get(base + path, headers=headers) as response:
                    assert response.status == 401
                    assert SECRET not in await response.text()
        async with session.get(base + "/v1/health") as response:
            assert (await response.json())["status"] == "ok"
        with pytest.raises(Unavailable, match="401"):
            await AgentClient(session, base, None).adopt(ADOPT)
        await rig.running(await rig.start("sleep", "1000"))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"token": 1}', b"\xff"])
async def test_a_body_that_is_none_is_refused(tmp_path, body):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/json"}
        for path in ("/v1/adopt", "/v1/commands"):
            async with session.post(rig.client._url + path, data=body, headers=headers) as response:
                assert response.status == 400
                assert (await response.json())["title"]


async def test_a_page_in_a_browser_cannot_command_an_agent(tmp_path):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        order = {"token": {"incarnation": 9, "revision": 9}, "instance": "i", "uid": rig.uid, "cluster": "c"}
        async with session.post(rig.client._url + "/v1/adopt", data=json.dumps(order)) as response:
            assert response.status == 400
        assert (await rig.adopt()).mark == TOKEN


async def test_a_refusal_carries_the_mark(tmp_path):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        order = {"token": {"incarnation": 1, "revision": 1}, "instance": "i", "uid": rig.uid, "cluster": "c"}
        async with session.post(rig.client._url + "/v1/adopt", json=order) as response:
            assert response.status == 409
            assert (await response.json())["mark"] == {"incarnation": 1, "revision": 10}


async def test_metrics_count_what_happens(tmp_path):
    async with agent(tmp_path) as rig, aiohttp.ClientSession() as session:
        await rig.running(await rig.start("sleep", "1000"))
        await rig.over(await rig.start("false", restart=Restart(attempts=1)))
        await rig.over(await rig.start("true", restart=Restart(policy=RestartPolicy.NEVER)))
        with pytest.raises(Fenced):
            await rig.adopt(Token(incarnation=1, revision=1))
        async with session.get(rig.client._url + "/metrics") as response:
            text = await response.text()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["harpoon_agent_commands_total", "start"] == 3
        assert found["harpoon_agent_tasks", "running"] == 1
        assert found["harpoon_agent_tasks", "failed"] == 1
        assert found["harpoon_agent_tasks", "finished"] == 1
        assert found["harpoon_agent_spawns_total",] == 4
        assert found["harpoon_agent_restarts_total",] == 1
        assert found["harpoon_agent_fenced_total",] == 1
        assert found["harpoon_agent_events_total",] == rig.events


async def test_a_port_that_is_taken_is_a_clear_error(tmp_path):
    async with agent(tmp_path / "one", port=(port := free_port())):
        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.TaskGroup() as group:
                await _serve_in(group, settings(tmp_path / "two", port=port))
        assert "cannot listen at 127.0.0.1 port" in str(failed.value.exceptions[0])


async def _serve_in(group, told):
    group.create_task(serve(told, clock=SystemClock(), rng=system_random(), stop=asyncio.Event()))


class Server:
    """A server that agents register with."""

    def __init__(self) -> None:
        self.registered: asyncio.Queue = asyncio.Queue()
        self.statuses = [200]

    async def put(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        await self.registered.put(
            (request.match_info["name"], request.headers.get("Authorization"), await request.json())
        )
        return web.Response(status=status)


async def test_an_agent_registers_until_it_is_taken_and_again_when_nobody_follows(tmp_path):
    server = Server()
    server.statuses = [503, 409, 200]
    runner, port = await serving({("PUT", "/v1/agents/{name}"): server.put})
    try:
        dead = f"http://127.0.0.1:{free_port()}"
        told = {"servers": [dead, f"http://127.0.0.1:{port}/"], "token": SECRET, "register_after": 0.2}
        async with daemon(tmp_path, **told) as first, asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                name, shown, body = await server.registered.get()
                assert (name, shown) == ("agent-1", f"Bearer {SECRET}")
            assert body["endpoint"] == f"http://127.0.0.1:{first.port}"
            assert body["uid"]
            async with connected(first.port, bearer=SECRET):
                pass
            # Nobody has followed since.
            assert (await server.registered.get())[2] == body
    finally:
        await runner.cleanup()


async def test_a_followed_agent_does_not_register_again(tmp_path):
    server = Server()
    runner, port = await serving({("PUT", "/v1/agents/{name}"): server.put})
    try:
        told = {"servers": (f"http://127.0.0.1:{port}",), "register_after": timedelta(milliseconds=50)}
        async with agent(tmp_path, **told) as rig:
            for _ in range(3):
                await rig.running(await rig.start("sleep", "1000"))
                await asyncio.sleep(0.1)
            assert server.registered.qsize() <= 2
    finally:
        await runner.cleanup()

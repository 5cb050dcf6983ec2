"""Servers and agents as containers beside a real etcd: what holds for processes holds for them, and what does not is told.

Tasks that are processes live in their agent's container, and end with it.
"""

import asyncio
from collections.abc import Iterator

import pytest

from examples.demo import SITE
from tests.containers import images
from tests.containers.load import visited
from tests.containers.rig import Fleet, eventually

pytestmark = pytest.mark.timeout(900)
AGENTS = ("a1", "a2")


@pytest.fixture(scope="module")
def there(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """An etcd, two servers and two agents, which all tests here share."""
    with Fleet(image, tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_etcd()
        fleet.start_server("s1")
        fleet.start_server("s2")
        for name in AGENTS:
            fleet.start_agent(name)
        yield fleet


@pytest.fixture
def fleet(there: Fleet) -> Iterator[Fleet]:
    """What is there, with a job of two tasks, one on each agent."""
    there.connected("s1", *AGENTS)
    there.put("s1", "web", **web("blue"))
    yield there
    there.unschedule("s2", "web")


def web(colour: str, scale: int = 2) -> dict:
    task = {
        "command": ["python3", "-c", SITE],
        "env": {"COLOUR": colour},
        "ports": {"http": 0},
        # Nothing fails here that a check would find, but for a machine that is busy.
        "checks": [{"http": {"port": "http", "path": "/"}, "every": "300ms", "timeout": "5s", "fail_after": 10}],
        "stop": {"drain": "1s", "grace": "5s"},
    }
    return {"scale": scale, "task": task, "placement": {"spread": [{"tag": "name"}]}}


def holders(fleet: Fleet, server: str) -> dict[str, int]:
    """Return how many agents each live instance holds, by its name."""
    told = fleet.get(server, "/v1/status")["instances"]
    return {one["name"].rpartition("-")[0]: one["agents"] for one in told if one["agents"] is not None}


def is_replaced(before: list[dict], now: list[dict]) -> bool:
    return [(task["id"], task["pid"]) for task in before] != [(task["id"], task["pid"]) for task in now]


def test_a_killed_agents_container_that_is_replaced_is_the_same_agent_and_starts_its_tasks_again(fleet: Fleet) -> None:
    before = fleet.tasks("s1")
    uid = fleet.get("s2", "/v1/agents/a1")["uid"]
    fleet.replace("a1", grace_s=None)
    fleet.connected("s1", "a1", "a2")

    def ready() -> list[dict]:
        return [task for task in fleet.tasks("s1") if task["ready"] and task["restarts"] == (task["agent"] == "a1")]

    after = eventually(ready, lambda found: len(found) == 2)
    assert fleet.get("s2", "/v1/agents/a1")["uid"] == uid
    assert [task["id"] for task in after] == [task["id"] for task in before]


def test_servers_that_are_killed_replaced_or_without_etcd_disturb_no_task(fleet: Fleet) -> None:
    before = fleet.tasks("s1")
    fleet.kill("s1")
    eventually(lambda: holders(fleet, "s2"), lambda told: told.get("s2") == 2)
    fleet.replace("s1", grace_s=None)
    fleet.answers("s1")
    fleet.replace("etcd1", images.etcd(), grace_s=None)
    eventually(lambda: fleet.put("s1", "other", scale=0, task={"command": ["sleep", "1000"]}) is None)
    fleet.connected("s1", "a1", "a2")
    assert not is_replaced(before, fleet.tasks("s1"))


def test_a_server_that_is_cut_off_leaves_its_agents_to_the_other_and_comes_back(fleet: Fleet) -> None:
    before = fleet.tasks("s2")
    fleet.cut("s1")
    eventually(lambda: holders(fleet, "s2"), lambda told: told.get("s2") == 2)
    fleet.put("s2", "web", **web("blue", scale=3))
    fleet.heal("s1")
    fleet.answers("s1")
    eventually(lambda: holders(fleet, "s1"), lambda told: set(told) == {"s1", "s2"})
    assert not is_replaced(before, [task for task in fleet.tasks("s1") if ".web.2." not in task["id"]])


def test_an_agent_that_is_cut_off_keeps_its_tasks_and_comes_back_with_them(fleet: Fleet) -> None:
    before = fleet.tasks("s1")
    fleet.cut("a2")
    eventually(lambda: fleet.get("s1", "/v1/agents/a2")["link"]["state"], lambda state: state == "interrupted")
    fleet.heal("a2")
    fleet.connected("s1", "a1", "a2")
    eventually(lambda: [task["ready"] for task in fleet.tasks("s1")], lambda told: told == [True, True])
    assert not is_replaced(before, fleet.tasks("s1"))


async def test_servers_and_then_agents_are_upgraded_without_a_failed_request(fleet: Fleet) -> None:
    """What users do: a server after the other; an agent after the other, each emptied first, for its tasks are its own."""
    image = await asyncio.to_thread(images.harpoon, "next")

    def upgrade() -> None:
        upgrade_servers(fleet, image)
        upgrade_agents(fleet, image)

    visitor = await visited(fleet.urls, fleet.token, upgrade)
    assert not visitor.failures, (len(visitor.failures), visitor.failures[:3])
    assert visitor.answers.total() > 200
    for name in ("s1", "s2", *AGENTS):
        assert fleet.container(name).image.tags == [image]


def upgrade_servers(fleet: Fleet, image: str) -> None:
    """Replace each server's container once the one before answers; no task is touched by that."""
    before = fleet.tasks("s1")
    for name in ("s1", "s2"):
        fleet.replace(name, image)
        fleet.answers(name)
        fleet.connected(name, *AGENTS)
    assert not is_replaced(before, fleet.tasks("s1"))


def upgrade_agents(fleet: Fleet, image: str) -> None:
    """Empty each agent, replace its container, and use it again."""
    for name in AGENTS:
        fleet.harpoon("s1", "drain", name, "--timeout", "60s")
        fleet.replace(name, image)
        fleet.connected("s1", *AGENTS)
        fleet.harpoon("s1", "uncordon", name)

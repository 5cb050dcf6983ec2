"""Tasks that are containers, of agents that are containers beside them: nothing that happens to the agents happens to the tasks."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from docker.errors import NotFound

from examples.demo import SITE
from tests.containers import images
from tests.containers.load import visited
from tests.containers.rig import Fleet, eventually

pytestmark = pytest.mark.timeout(900)
AGENTS = ("h1", "h2")


@pytest.fixture(scope="module")
def there(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """An etcd, two servers, and two agents that have the host's network and its engine; which all tests here share."""
    with Fleet(image, tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_etcd()
        fleet.start_server("s1")
        fleet.start_server("s2")
        for name in AGENTS:
            fleet.start_agent_of_host(name)
        yield fleet


@pytest.fixture
def fleet(there: Fleet) -> Iterator[Fleet]:
    """What is there, with a job of two tasks, one on each agent; none of their containers is left."""
    there.connected("s1", *AGENTS)
    there.put("s1", "web", **web("blue"))
    try:
        yield there
        there.unschedule("s2", "web")
        assert not containers(there)
    finally:
        for container in containers(there):
            with suppress(NotFound):
                there.engine.containers.get(container).remove(force=True)


def web(colour: str, scale: int = 2) -> dict:
    task = {
        "driver": "docker",
        "image": images.python(),
        "pull": "never",
        "command": ["python3", "-c", SITE],
        "env": {"COLOUR": colour},
        "ports": {"http": 0},
        # Nothing fails here that a check would find, but for a machine that is busy.
        "checks": [{"http": {"port": "http", "path": "/"}, "every": "300ms", "timeout": "5s", "fail_after": 10}],
        "stop": {"drain": "1s", "grace": "5s"},
    }
    return {"scale": scale, "task": task, "placement": {"spread": [{"tag": "name"}]}}


def containers(fleet: Fleet) -> dict[str, str]:
    """Return since when each container of a task of this fleet's agents runs, by its number."""
    uids = [one["uid"] for one in fleet.get("s2", "/v1/agents")["items"]]
    found = fleet.engine.containers.list(all=True, filters={"label": "harpoon.agent"}, ignore_removed=True)
    return {str(one.id): one.attrs["State"]["StartedAt"] for one in found if one.labels["harpoon.agent"] in uids}


def test_a_service_in_containers_is_migrated_and_scaled(fleet: Fleet) -> None:
    fleet.put("s2", "web", **web("green", scale=3))
    assert [(task["ready"], task["restarts"]) for task in fleet.tasks("s1")] == [(True, 0)] * 3
    assert len(containers(fleet)) == 3


@pytest.mark.parametrize("grace_s", [None, 10])
def test_an_agents_container_that_is_killed_or_stopped_and_replaced_adopts_all_its_tasks(
    fleet: Fleet, grace_s: int | None
) -> None:
    before, tasks = containers(fleet), fleet.tasks("s1")
    for name in AGENTS:
        fleet.replace(name, grace_s=grace_s)
    fleet.connected("s1", *AGENTS)
    eventually(lambda: [task["ready"] for task in fleet.tasks("s1")], lambda told: told == [True, True])
    assert containers(fleet) == before
    assert [(task["id"], task["restarts"]) for task in fleet.tasks("s1")] == [(task["id"], 0) for task in tasks]


def test_a_server_that_is_cut_off_and_comes_back_disturbs_no_container(fleet: Fleet) -> None:
    before = containers(fleet)
    fleet.cut("s1")
    fleet.put("s2", "web", **web("blue", scale=3))
    fleet.heal("s1")
    fleet.connected("s1", *AGENTS)
    assert before.items() <= containers(fleet).items()


async def test_servers_and_then_agents_are_upgraded_and_no_container_is_started_again(fleet: Fleet) -> None:
    """What users do: a container after the other. The tasks serve all the time."""
    image = await asyncio.to_thread(images.harpoon, "next")

    def upgrade() -> None:
        for name in ("s1", "s2"):
            fleet.replace(name, image)
            fleet.answers(name)
            fleet.connected(name, *AGENTS)
        for name in AGENTS:
            fleet.replace(name, image)
            fleet.connected("s1", *AGENTS)

    before = containers(fleet)
    visitor = await visited(fleet.urls, fleet.token, upgrade)
    assert not visitor.failures, (len(visitor.failures), visitor.failures[:3])
    assert visitor.answers.total() > 200
    assert containers(fleet) == before
    assert [(task["ready"], task["restarts"]) for task in fleet.tasks("s1")] == [(True, 0)] * 2

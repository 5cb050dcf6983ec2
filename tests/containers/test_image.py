"""The image: nothing in it that builds, no more rights than needed, and a first process that behaves as one."""

import time
from typing import Any

import pytest

from tests.containers import images
from tests.containers.rig import DATA, Fleet, eventually

pytestmark = pytest.mark.timeout(900)  # the first one builds it
#: All that can be taken away from a container.
LOCKED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
#: As in the image, but sooner.
HEALTH = {"test": ["CMD", "harpoon", "health"], "interval": 500_000_000, "timeout": 5_000_000_000, "retries": 2}
HEALTH |= {"start_period": 1_000_000}
ON_ITS_OWN = ("--data", DATA)


def test_it_has_one_entrance_an_account_of_its_own_and_a_health_check(image: str) -> None:
    config = images.client().images.get(image).attrs["Config"]
    assert config["Entrypoint"] == ["harpoon"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "harpoon", "health"]
    assert list(config["Volumes"]) == [DATA]
    assert config["Labels"]["org.opencontainers.image.version"] == "test"


def test_there_is_nothing_to_build_or_install_with(fleet: Fleet) -> None:
    fleet.start_server("s1", *ON_ITS_OWN)
    part = fleet.parts["s1"]
    for tool in ("cc", "gcc", "make", "pip", "pip3"):
        assert part.exec(["sh", "-c", f"command -v {tool}"]).exit_code != 0, tool
    for module in ("pip", "ensurepip"):
        assert part.exec(["python", "-c", f"import {module}"]).exit_code == 1, module
    assert part.exec(["sh", "-c", "ls /src"]).exit_code != 0
    assert part.exec(["sh", "-c", "touch /opt/harpoon/x /usr/local/x /etc/x"]).exit_code != 0


def test_a_server_runs_locked_down_is_found_healthy_and_keeps_its_data(fleet: Fleet) -> None:
    fleet.start_server("s1", *ON_ITS_OWN, healthcheck=HEALTH, **LOCKED)
    eventually(lambda: fleet.container("s1").attrs["State"]["Health"]["Status"], lambda told: told == "healthy")
    fleet.put("s1", "web", scale=0, task={"command": ["sleep", "1000"]})
    fleet.replace("s1")
    fleet.answers("s1")
    assert [job["metadata"]["name"] for job in fleet.get("s1", "/v1/jobs")["items"]] == ["web"]


def test_a_container_in_which_nobody_answers_is_unhealthy(fleet: Fleet) -> None:
    fleet.start_server("s1", *ON_ITS_OWN)
    fleet.run("r1", "watch", "--server", "http://s1:4450", healthcheck=HEALTH)
    eventually(lambda: fleet.container("r1").attrs["State"]["Health"]["Status"], lambda told: told == "unhealthy")


@pytest.mark.parametrize("role", ["server", "agent"])
def test_what_is_asked_to_stop_ends_by_itself_and_says_0(fleet: Fleet, role: str) -> None:
    fleet.start_server("s1", *ON_ITS_OWN)
    if role == "agent":
        fleet.start_agent("a1", **LOCKED)
        fleet.connected("s1", "a1")
    assert stopped(fleet, {"server": "s1", "agent": "a1"}[role]) == 0


def test_a_verb_that_is_the_first_process_heeds_being_asked_to_stop(fleet: Fleet) -> None:
    fleet.start_server("s1", *ON_ITS_OWN)
    fleet.run("r1", "watch", "--server", "http://s1:4450")
    eventually(lambda: fleet.log("r1"))
    assert stopped(fleet, "r1") == 143


def stopped(fleet: Fleet, name: str) -> int:
    """Ask a part to stop, and return its exit code: 137 if it had to be killed in the end."""
    fleet.container(name).stop(timeout=60)
    return int(fleet.container(name).attrs["State"]["ExitCode"])


def test_an_agent_that_is_the_first_process_collects_what_its_tasks_leave_behind(fleet: Fleet) -> None:
    fleet.start_server("s1", *ON_ITS_OWN)
    fleet.start_agent("a1")
    fleet.connected("s1", "a1")
    # Each child is left by its parent, and ends a moment later.
    orphans = "while true; do (sleep 0.2 &); sleep 0.1; done"
    fleet.put("s1", "web", scale=1, task={"command": ["sh", "-c", orphans]})

    def orphaned() -> list[str]:
        return [called for _, parent, called in fleet.processes("a1") if parent == "1" and called == "sleep"]

    eventually(orphaned)
    time.sleep(2)
    zombies = [one for one in fleet.processes("a1") if one[0] == "Z"]
    assert len(zombies) < 3, zombies

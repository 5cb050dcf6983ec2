"""A command runs once on each agent, with real processes: what a user sees of one that fails and of one that is out of use."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system

AGENTS = ("a1", "a2", "a3", "a4")
#: It fails on a2, and writes to both outputs.
SCRIPT = 'echo "here is $HARPOON_AGENT, slot $HARPOON_SLOT"; echo "$GREETING" >&2; test $HARPOON_AGENT != a2 || exit 5'


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as made:
        made.start_server()
        for name in AGENTS:
            made.start_agent(name, "--tag", f"zone={'b' if name == 'a3' else 'a'}")
        made.connected(*AGENTS)
        yield made


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harpoon", *arguments]


def harpoon(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HARPOON_SERVER": cluster.url}
    return subprocess.run(
        command(*arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_it_runs_to_its_end_on_each_though_one_fails_and_one_is_cordoned(cluster: Cluster) -> None:
    assert harpoon(cluster, "cordon", "a4").returncode == 0
    done = harpoon(
        cluster, "batch", "--name", "look", "--parallel", "1", "--env", "GREETING=hi", "--", "sh", "-c", SCRIPT
    )
    assert done.returncode == 7
    lines = done.stdout.splitlines()
    assert sorted(lines[:3]) == [f"a{number} | here is a{number}, slot {number - 1}" for number in (1, 2, 3)]
    assert done.stderr.count("| hi") == 3
    found = {line.split()[0]: line.split()[1:3] for line in lines[4:]}
    assert found == {"a1": ["succeeded", "0"], "a2": ["failed", "5"], "a3": ["succeeded", "0"], "a4": ["left", "out"]}
    assert "it failed on a2; left out, unless --skip-unavailable, are a4" in done.stderr
    assert "2/3 complete, 1 failed" in harpoon(cluster, "get", "job/look").stdout
    assert "once on each of 3 agents (a1, a2, a3)" in harpoon(cluster, "describe", "job/look").stdout


def test_where_it_succeeds_on_all_that_are_named_it_is_0_and_one_document(cluster: Cluster) -> None:
    done = harpoon(
        cluster, "batch", "-l", "zone=a", "--agents", "a1,a4", "-o", "json", "--", "sh", "-c", "pwd; echo $$"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(one["agent"], one["state"], one["exit_code"]) for one in told["agents"]] == [
        ("a1", "succeeded", 0),
        ("a4", "succeeded", 0),
    ]
    assert all(one["output"].splitlines()[1].isdigit() for one in told["agents"]), "a dollar is the shell's"


def test_what_has_not_ended_in_time_is_stopped_and_told_as_unfinished(cluster: Cluster) -> None:
    script = "test $HARPOON_AGENT = a1 || exec sleep 1000"
    done = harpoon(cluster, "batch", "--agents", "a1,a2", "--timeout", "4s", "--", "sh", "-c", script)
    assert done.returncode == 7
    assert "it did not end on a2" in done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("a")}
    assert rows["a1"].split()[1] == "succeeded"
    assert rows["a2"].split()[1] == "unfinished"
    eventually(lambda: [one for one in cluster.tasks().values() if one["state"] == "running"], lambda left: left == [])


def test_ctrl_c_takes_it_back_everywhere(cluster: Cluster) -> None:
    environment = os.environ | {"HARPOON_SERVER": cluster.url}
    with subprocess.Popen(
        command("batch", "--name", "long", "--", "sleep", "1000"), env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        eventually(
            lambda: sorted(one["state"] for one in cluster.tasks().values()), lambda told: told == ["running"] * 4
        )
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, told = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "job/long is unscheduled" in told
        assert time.monotonic() - began < 20
    eventually(lambda: cluster.request("GET", "/v1/namespaces/default/jobs/long")[0], lambda status: status == 404)

"""The history of a real server: what was acknowledged is told, whatever was killed; nothing else is."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.etcd.members import Member
from tests.system.cluster import Cluster, eventually

pytestmark = pytest.mark.system

WEB = "/v1/namespaces/default/jobs/web"


def harpoon(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harpoon", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def followed(cluster: Cluster) -> None:
    """Wait until the history follows the store."""
    eventually(lambda: cluster.get("/v1/history")["state"], lambda state: state == "following")


def scale(cluster: Cluster, size: int) -> str:
    """Change the job; return the revision at which that stands."""
    status, told = cluster.request("POST", f"{WEB}/scale", {"scale": size})
    assert status == 202, told
    return told["revision"]


@pytest.fixture(params=["sqlite", "etcd"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A server that has not been started, with its store."""
    with ExitStack() as stack:
        url = ""
        if request.param == "etcd":
            url = f"etcd://{stack.enter_context(Member(tmp_path / 'etcd')).endpoint}"
        yield stack.enter_context(Cluster(tmp_path, url))


def test_a_killed_server_tells_of_all_that_it_had_acknowledged(kept: Cluster, tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    past, options = tmp_path / "server" / "harpoon.db.history", ()
    if kept.store:
        past = tmp_path / "past"
        options = ("--history", str(past))
    with kept as cluster:
        cluster.start_server(*options)
        followed(cluster)
        acknowledged[cluster.put_job("web", 1)["revision"]] = 1
        size = 2
        for _ in range(3):
            stop = threading.Timer(0.4, cluster.kill, ("server",))
            stop.start()
            try:
                while True:
                    acknowledged[scale(cluster, size)] = size
                    size += 1
            except OSError:
                stop.join()
            # What was on its way may have happened, and what is next is to differ from it.
            size += 1
            cluster.start_server(*options)
            followed(cluster)
        assert size > 10
        for revision, told in acknowledged.items():
            assert cluster.get(f"{WEB}?at={revision}")["spec"]["scale"] == told
        assert cluster.get("/v1/history")["gaps"] == []
        assert past.stat().st_mode & 0o777 == 0o700


def test_an_exported_history_is_read_elsewhere_as_at_its_server(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server("--history", str(tmp_path / "past"), "--history-budget", "1h,8Mi")
        followed(cluster)
        first = cluster.put_job("web", 1)["revision"]
        last = scale(cluster, 3)
        why = cluster.get(f"{WEB}/why?at={first}")
        file, copy = str(tmp_path / "export"), str(tmp_path / "copy")
        done = harpoon("history", "export", "-o", file, "--server", cluster.url)
        assert done.returncode == 0, done.stderr
        assert harpoon("history", "import", file, "--into", copy).returncode == 0
        assert harpoon("history", "import", file, "--into", copy).returncode == 2
        cluster.stop("server")
        cluster._start("reader", "history", "serve", copy, "--listen", f"127.0.0.1:{cluster.port}")
        eventually(lambda: cluster.process_answers("reader", "/v1/health"), bool)
        assert cluster.get(f"{WEB}/why?at={first}") == why
        assert cluster.get(WEB)["spec"]["scale"] == 3
        assert cluster.request("POST", f"{WEB}/scale", {"scale": 9})[0] == 409
        assert cluster.request("GET", f"{WEB}?at=-0s")[0] == 410
        told = harpoon("diff", "web", "--at", first, "--to", last, "-o", "json", "--server", cluster.url)
        assert told.returncode == 10, told.stderr
        assert [one["pointer"] for one in json.loads(told.stdout)["changes"]] == ["/spec/scale"]
        assert cluster.stop("reader") == 0


def test_a_server_that_is_told_so_keeps_no_history(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server("--history", "off")
        assert cluster.get("/v1/history")["state"] == "off"
        assert cluster.request("GET", "/v1/jobs?at=-1s")[0] == 409
        assert not list((tmp_path / "server").glob("*.history"))

"""Runs that call others and wait to be called back, over the death of their server."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.system.cluster import Cluster, eventually
from tests.workflows import a_workflow

pytestmark = pytest.mark.system

RUNS = "/v1/namespaces/default/runs"
#: Each is called by the one before it, and the last waits for somebody outside.
ASK = a_workflow(
    ask={"wait": {"callback": True}, "labels": ["approved"], "next": {"approved": "pick"}},
    pick={"wait": {"for": "10ms"}},
)
ASK["spec"]["outputs"] = {"by": "${ops.ask.output.by}"}


def calling(name: str, other: str) -> dict[str, Any]:
    manifest = a_workflow(call={"call": {"workflow": other}})
    manifest["metadata"]["name"] = name
    manifest["spec"]["outputs"] = {"told": "${ops.call.output}"}
    return manifest


def declare(cluster: Cluster, manifest: dict[str, Any], name: str) -> None:
    manifest["metadata"]["name"] = name
    status, told = cluster.request("PUT", f"/v1/namespaces/default/workflows/{name}", manifest)
    assert status == 200, told


def states(cluster: Cluster) -> dict[str, str]:
    return {run["id"]: run["status"] for run in cluster.get(f"{RUNS}?sub_runs=true")["items"]}


def test_a_family_of_runs_goes_on_after_its_server_was_killed(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server("--lease-ttl", "2s")
        declare(cluster, ASK, "ask")
        declare(cluster, calling("middle", "ask"), "middle")
        declare(cluster, calling("outer", "middle"), "outer")
        for run in ("r1", "r2"):
            assert cluster.request("POST", RUNS, {"id": run, "workflow": "outer"})[0] == 201
        inner = "~call.1~call.1"
        eventually(lambda: set(states(cluster)), lambda told: {f"r1{inner}", f"r2{inner}"} <= set(told))  # type: ignore[call-overload]
        [callback] = cluster.get(f"{RUNS}/r1{inner}/callbacks")["items"]
        cluster.kill("server")
        cluster.start_server("--lease-ttl", "2s")
        eventually(lambda: cluster.get(f"{RUNS}/r1")["status"], lambda told: told == "running")
        body = json.dumps({"by": "ann"}).encode()
        asked = urllib.request.Request(
            f"{cluster.url}{callback['url']}?label=approved", data=body, headers={"Content-Type": "application/json"}
        )
        for _ in range(2):
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert json.load(answer) == {"label": "approved"}
        assert cluster.request("POST", f"{RUNS}/r2/cancel", {"reason": "no more"})[0] == 200
        ended = {f"r{n}{own}": how for n, how in ((1, "succeeded"), (2, "cancelled")) for own in ("", "~call.1", inner)}
        eventually(lambda: states(cluster), lambda told: told == ended)
        assert cluster.get(f"{RUNS}/r1")["outputs"] == {"told": {"told": {"by": "ann"}}}
        assert [run["id"] for run in cluster.get(RUNS)["items"]] == ["r2", "r1"], "lists leave sub-runs out"
        assert [run["id"] for run in cluster.get(f"{RUNS}?parent=r1")["items"]] == ["r1~call.1"]
        assert cluster.get(f"{RUNS}/r1{inner}")["parent"] == "r1~call.1"
        assert callback["url"].rpartition("/")[2] not in cluster.log("server")

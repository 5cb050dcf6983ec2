"""A release by a workflow, as a user makes it: a migration, a canary, a person's word; and both ways back."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, a_manifest, eventually

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples" / "release.yaml"


def harpoon(cluster: Cluster, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "harpoon", *arguments, "--server", cluster.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def version(cluster: Cluster) -> str:
    return cluster.get("/v1/namespaces/default/jobs/shop")["spec"]["task"]["env"]["VERSION"]


def release(cluster: Cluster, to: str) -> str:
    run = f"r-{to}"
    start = {"id": run, "workflow": "release", "inputs": {"version": to}}
    status, told = cluster.request("POST", "/v1/namespaces/default/runs", start)
    assert status == 201, told
    return run


def ended(cluster: Cluster, run: str) -> dict:
    def shown() -> object:
        return cluster.get(f"/v1/namespaces/default/runs/{run}")

    told = eventually(shown, lambda one: isinstance(one, dict) and one["status"] != "running")
    assert isinstance(told, dict)
    return told


def asked(cluster: Cluster, run: str) -> None:
    """Wait until a person is asked."""
    eventually(lambda: cluster.get(f"/v1/namespaces/default/runs/{run}/why"), lambda told: "verdict" in str(told))


def signal(cluster: Cluster, run: str, label: str) -> None:
    path = f"/v1/namespaces/default/runs/{run}/signals/verdict"
    status, told = cluster.request("POST", path, {"id": "s", "label": label})
    assert status in (200, 202), told


def test_a_release_goes_through_or_back(tmp_path: Path) -> None:
    example = tmp_path / "release.yaml"
    # So that a rollout which cannot succeed is taken back soon, and the migration lasts long enough to be killed in.
    text = (
        EXAMPLE.read_text()
        .replace("deadline: 1m", "deadline: 2s")
        .replace("echo migrating", "test $VERSION != 2 || sleep 1; echo migrating")
    )
    example.write_text(text)
    with Cluster(tmp_path) as cluster:
        cluster.start_server("--lease-ttl", "2s")
        cluster.start_agent("a1")
        cluster.connected("a1")
        harpoon(cluster, "apply", "-f", str(example), "--wait")
        run = release(cluster, "2")
        eventually(lambda: len(cluster.tasks()), lambda count: count == 3)
        # The migration goes on, and is not begun again.
        cluster.kill("server")
        cluster.start_server("--lease-ttl", "2s")
        asked(cluster, run)
        [job] = [one for one in cluster.get("/v1/jobs")["items"] if one["metadata"].get("run_owner")]
        assert job["metadata"]["run_owner"] == {"run": run, "op": "migrate", "visit": 1, "attempt": 1}
        name = job["metadata"]["name"]
        [result] = cluster.get(f"/v1/namespaces/default/jobs/{name}/status")["batch"]["results"]
        assert (result["attempts"], result["exit_code"]) == (1, 0)
        assert harpoon(cluster, "logs", name).strip().endswith("migrating to 2")
        assert f"run/{run}, migrate (visit 1, attempt 1)" in harpoon(cluster, "describe", f"job/{name}")
        # A job that is to follow the release waits for the run.
        manifest = a_manifest("after")
        manifest["spec"]["depends_on"] = [{"run": run, "is": "succeeded"}]
        status, after = cluster.request("PUT", "/v1/namespaces/default/jobs/after", manifest)
        assert status == 202, after
        eventually(
            lambda: harpoon(cluster, "why", "after"), lambda told: f"run {run} has not succeeded: running" in str(told)
        )
        signal(cluster, run, "good")
        told = ended(cluster, run)
        cluster.done(after)
        assert (told["status"], told["outputs"]) == ("succeeded", {"version": "2", "migrated_on": "a1"})
        assert version(cluster) == "2"

        # What is not healthy is taken back by the rollout itself.
        told = ended(cluster, release(cluster, "faulty"))
        assert (told["status"], version(cluster)) == ("failed", "2")
        assert "canary" in told["reason"] and "no further slot became healthy for 2s" in told["reason"]
        # What a person does not want is undone.
        run = release(cluster, "3")
        asked(cluster, run)
        assert version(cluster) == "3"
        signal(cluster, run, "bad")
        assert (ended(cluster, run)["status"], version(cluster)) == ("failed", "2")
        # Where the migration fails, nothing else has been changed.
        told = ended(cluster, release(cluster, "broken"))
        assert (told["status"], version(cluster)) == ("failed", "2")
        assert told["reason"].startswith("migrate")

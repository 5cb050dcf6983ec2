"""Requests made from the server's own OpenAPI document, right ones and wrong ones, sent to a real server with an agent.

``HARPOON_FUZZ_EXAMPLES`` is how many of each operation, ``HARPOON_FUZZ_PHASES`` are schemathesis' phases. That of
coverage, which tries each limit of each field of each operation, takes minutes: it is left to `make fuzz`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.target import GROWTH_BYTES, STALL_S, TOKEN, Bystander, GuardedCluster, http_bytes, speak

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

EXAMPLES = int(os.environ.get("HARPOON_FUZZ_EXAMPLES", "8"))
PHASES = os.environ.get("HARPOON_FUZZ_PHASES", "examples,fuzzing,stateful")
#: What is sent at least, with the fewest examples.
REQUESTS_MIN = 1000
#: The same requests are made each time; a collection of garbage does not fall on the same one again.
TRIES = 2
HERE = Path(__file__).parent
_SAMPLE = re.compile(r"^(\w+)\{?(.*?)\}? (\S+)$", re.MULTILINE)


class Fuzzed(GuardedCluster):
    """A cluster whose server counts what it answers."""

    def counts(self) -> dict[tuple[str, str], float]:
        """Return the server's metrics: (name, labels) → value."""
        text = speak(self.port, http_bytes("GET", "/metrics")).body.decode()
        return {(match[1], match[2]): float(match[3]) for match in _SAMPLE.finditer(text)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with Fuzzed(tmp_path_factory.mktemp("fuzzed")) as cluster:
        cluster.start("a1")
        cluster.done(cluster.put_job("good", command=["/bin/sh", "-c", "echo hello; exec sleep 100000"]))
        yield cluster


def fuzz(cluster: Fuzzed, report: Path) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{cluster.url}/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}", "--max-examples", str(EXAMPLES)),
        *("--phases", PHASES),
        *("--report-json-path", str(report), "--no-color"),
        # It has no end; what it is asked with is tested in test_requests.
        *("--exclude-path", "/v1/watch"),
    ]
    # Whatever it keeps between runs is kept beside the report, so that runs are alike.
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=report.parent)


def attempt(cluster: Fuzzed, report: Path) -> tuple[int, float]:
    """Fuzz, and return how many requests were sent, and how long a bystander was held up at most."""
    with Bystander(cluster.port, cluster.processes["server"].pid) as bystander:
        done = fuzz(cluster, report)
        told = json.loads(report.read_text())
        assert not told["failures"], done.stdout[-20_000:]
        assert not told["errors"], done.stdout[-20_000:]
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5000:]
        worst = bystander.worst_since(0)
    return told["test_cases"]["generated"], worst


def test_no_request_of_the_language_harms_a_server(
    cluster: Fuzzed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = cluster.rss("server")
    for number in range(TRIES):
        sent, worst = attempt(cluster, tmp_path / f"report.{number}.json")
        if worst <= STALL_S:
            break
    answered = {labels: n for (name, labels), n in cluster.counts().items() if name == "harpoon_http_requests_total"}
    assert not {labels: count for labels, count in answered.items() if 'status="5' in labels}
    assert worst <= STALL_S, f"a bystander was held up for {worst * 1000:.0f} ms"
    assert cluster.rss("server") - held < GROWTH_BYTES
    assert sent >= REQUESTS_MIN
    cluster.connected("a1")
    with capsys.disabled():
        print(
            f"\n{sent} generated requests: 0 server errors, 0 stalls, 0 lost connections; worst hold-up {worst * 1000:.0f} ms"
        )

"""A server is killed in the middle of many runs, and comes back: each step is done, and closed once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd.members import Member
from tests.system.killed import run_and_kill

pytestmark = pytest.mark.system

RUNS, LENGTH = 20, 100


@pytest.fixture(params=["sqlite", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
    else:
        with Member(tmp_path / "etcd") as member:
            yield f"etcd://{member.endpoint}"


def test_runs_go_on_where_they_were_when_their_server_was_killed(tmp_path: Path, store: str) -> None:
    (tmp_path / "killed").mkdir()
    left = run_and_kill(tmp_path / "killed", store, RUNS, LENGTH, "--lease-ttl", "2s")
    steps = [f"s{number}" for number in range(LENGTH)]
    assert {id_: run["status"] for id_, run in left.runs.items()} == {f"r{n}": "succeeded" for n in range(RUNS)}
    for id_, run in left.runs.items():
        done = [event for event in run["events"] if event["kind"] == "closed" and event["label"] == "done"]
        # Each once, in order, with what the handler has told that had the claim.
        assert [event["op"] for event in done] == steps, id_
        assert {(id_, event["op"], event["output"]) for event in done} <= set(left.done)
        assert all(event["output"] == event["token"] for event in done)
    # No claim was carried out twice; a step only where its claim was out at the kill, and lost.
    assert len(set(left.done)) == len(left.done)
    assert {one[:2] for one in left.done} == {(run, step) for run in left.runs for step in steps}
    assert set(left.twice) <= set(left.lost)
    assert len(left.twice) <= len(left.out) <= RUNS
    assert left.out, "it was killed in the midst of work"

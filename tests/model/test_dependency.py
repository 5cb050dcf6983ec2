"""What a job may wait for, and how an awaited run is told."""

import pytest

from harpoon.kit.codec import load
from harpoon.kit.errors import Invalid
from harpoon.model.awaited import AwaitedRun
from harpoon.model.dependency import Condition, Dependency
from harpoon.model.run import Status


def test_what_it_is_to_be_follows_from_what_it_is_and_may_be_said():
    assert Dependency(job="db") == Dependency(job="db", is_=Condition.READY)
    assert Dependency(run="m-1").wanted is Dependency(run="m-1").is_ is Condition.SUCCEEDED
    assert [(one.kind, one.name, one.label) for one in (Dependency(job="db"), Dependency(run="M.1"))] == [
        ("job", "db", "db"),
        ("run", "M.1", "run/M.1"),
    ]
    assert load(Dependency, b'{"run": "m-1", "is": "succeeded"}') == Dependency(run="m-1")


@pytest.mark.parametrize(
    ("told", "because"),
    [
        (b"{}", "exactly one of job, run"),
        (b'{"job": "db", "run": "m-1"}', "exactly one of job, run"),
        (b'{"job": "db", "is": "succeeded"}', "has no meaning of a job; write ready"),
        (b'{"run": "m-1", "is": "ready"}', "has no meaning of a run; write succeeded"),
        (b'{"job": "Db"}', "job"),
        (b'{"run": "a/b"}', "id is 1 to 128"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(told, because):
    with pytest.raises(Invalid, match=because):
        load(Dependency, told)


def test_how_an_awaited_run_stands_is_told_in_a_few_words():
    def run(**told):
        return AwaitedRun(namespace="shop", run="m-1", **told)

    assert run().found == "there is no such run"
    assert run(status=Status.RUNNING).found == "running"
    assert run(status=Status.FAILED, reason="op migrate failed").found == "failed: op migrate failed"
    assert [one.has_succeeded for one in (run(), run(status=Status.FAILED), run(status=Status.SUCCEEDED))] == [
        False,
        False,
        True,
    ]

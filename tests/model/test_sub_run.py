"""What sub-runs are called, and what follows from that."""

import pytest

from harpoon.control.ledger_records import shard_of
from harpoon.model.sub_run import DEPTH_MAX, Caller, check_any_run, family_of, parent_of, sub_run_id


def test_a_sub_run_is_called_by_what_has_started_it() -> None:
    first = sub_run_id(Caller(run="o-1", op="pack", visit=2, attempt=1))
    assert first == "o-1~pack.2"
    assert sub_run_id(Caller(run="o-1", op="steps[3]", visit=1, attempt=2)) == "o-1~steps_3.1.2"
    assert sub_run_id(Caller(run="o-1", op="pack", visit=2, attempt=3)) == "o-1~pack.2.3"
    assert sub_run_id(Caller(run="o-1", op="pack[]", visit=7, attempt=1)) == "o-1~pack.7", "of one of many items"
    deeper = sub_run_id(Caller(run=first, op="send", visit=1, attempt=1))
    assert deeper == "o-1~pack.2~send.1"
    assert (parent_of(deeper), parent_of(first), parent_of("o-1")) == (first, "o-1", None)
    assert family_of(f"default/{deeper}") == family_of("default/o-1") == "default/o-1"
    assert shard_of(f"default/{deeper}") == shard_of("default/o-1")
    assert check_any_run(deeper) == deeper
    assert check_any_run("o-1") == "o-1"


@pytest.mark.parametrize(
    "run", ["o-1~", "~a.1", "o-1~a", "o-1~a.0", "o-1~A.1", "o-1~a.1.2.3", "o 1", "o-1" + "~a.1" * (DEPTH_MAX + 1)]
)
def test_nothing_else_is_called_so(run: str) -> None:
    with pytest.raises(ValueError, match="id is 1 to 128 of"):
        check_any_run(run)


def test_as_deep_as_calls_go_there_are_names() -> None:
    deep = "o-1" + "~a.1" * DEPTH_MAX
    assert check_any_run(deep) == deep

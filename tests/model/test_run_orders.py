"""Orders about runs check what they can know of themselves."""

import pytest

from harpoon.model.run_orders import REASON_MAX, STARTS_MAX, RunCancel, RunStart, RunStarts


def test_one_request_starts_one_run_at_least_and_a_thousand_at_most() -> None:
    start = RunStart(workflow="refund")
    assert len(RunStarts(runs=(start,) * STARTS_MAX).runs) == STARTS_MAX
    for count in (0, STARTS_MAX + 1):
        with pytest.raises(ValueError, match=f"runs holds 1 to 1000 starts; got {count}"):
            RunStarts(runs=(start,) * count)


def test_a_reason_is_a_text_of_some_length() -> None:
    assert RunCancel(reason="x" * REASON_MAX).reason
    with pytest.raises(ValueError, match="reason has at most 1000 characters"):
        RunCancel(reason="x" * (REASON_MAX + 1))

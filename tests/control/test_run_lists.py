"""Which runs are chosen by the records of their headers, before these are taken apart."""

import pytest

from harpoon.control.ledger_records import fixed_part, header_record
from harpoon.control.run_lists import RunChoice
from harpoon.model.header import Header


@pytest.mark.parametrize("forked_ms", [None, 2_000])
@pytest.mark.parametrize("moment", [0, 1_000, 1_001, 1_999, 2_000, 2_001])
def test_no_run_is_passed_over_that_began_in_the_span(forked_ms: int | None, moment: int) -> None:
    header = Header(
        namespace="default",
        run="o-1b",
        workflow="refund",
        generation="g",
        body_hash="h",
        created_ms=1_000,
        deadline_ms=9_000,
        origin="" if forked_ms is None else "o-1",
        forked_ms=forked_ms,
    )
    record = header_record(fixed_part(header), {"status": "running"})
    for choice in (RunChoice(since_ms=moment), RunChoice(until_ms=moment)):
        assert choice.may_take(record) or not choice.takes(header)

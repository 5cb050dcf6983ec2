"""The record of a run beside its log."""

from harpoon.core.event import Opened, Started, dump, load
from harpoon.kit import codec
from harpoon.model.header import Header
from harpoon.model.run import Status


def test_a_header_is_read_as_it_was_written():
    started = Started(1, 5, (Opened("a", 1, None, {"n": 1}),))
    header = Header(
        namespace="shop",
        run="r1",
        workflow="refund",
        generation="g1",
        body_hash="h",
        inputs={"order": "o1", "n": [1, 2.5, None]},
        tags={"team": "a"},
        created_ms=5,
        deadline_ms=9,
        status=Status.TIMED_OUT,
        cancel_reason="",
        ended_ms=9,
        outputs={"x": None},
        reason="late",
        started=(dump(started),),
    )
    read = codec.load(Header, codec.dump(header))
    assert read == header
    assert load(read.started[0]) == started

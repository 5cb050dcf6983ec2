"""The pure parts: where a prefix ends, what retention lets go, what a ring can serve."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from harpoon.store.commit import prefix_end
from harpoon.store.recent import Recent
from harpoon.store.retention import KEPT_BYTES, KEPT_FOR, KEPT_REVISIONS, Retention

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=4) | st.text(
    alphabet="a/0\ud7ff\ue000\U0010ffff", max_size=4
)


@given(TEXT, TEXT)
def test_what_is_under_a_prefix_lies_from_it_up_to_its_end(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    assert key.startswith(prefix) == (key >= prefix and (end is None or key < end))
    if end is not None:
        assert key.startswith(prefix) == (prefix.encode() <= key.encode() < end.encode())


@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, KEPT_BYTES // 4), st.integers(0, 120)), max_size=200))
def test_retention_keeps_what_is_young_and_lets_go_what_is_too_much(notes: list[tuple[int, int, int]]) -> None:
    now = timedelta(hours=1)
    retention = Retention(0, now)
    written = [(now, 0, 0)]
    floor = revision = total = 0
    for revisions, size, wait_s in notes:
        now += timedelta(seconds=wait_s)
        revision += revisions
        total += size
        retention.note(revision, size, now)
        written.append((now, revision, total))
        assert retention.floor(now) >= floor
        floor = retention.floor(now)
        slack = 1 + 1 / 32
        for at, then, before in written:
            is_old = now - at > KEPT_FOR * slack + timedelta(seconds=120)
            is_much = revision - then > KEPT_REVISIONS * slack + 20_000 or total - before > KEPT_BYTES * (slack + 1 / 4)
            assert then <= floor or not (is_old or is_much), "bounded"
            is_young = now - at < KEPT_FOR and revision - then < KEPT_REVISIONS and total - before < KEPT_BYTES
            assert then >= floor or not is_young, "kept"
    assert len(retention._marks) < 3 * 64 + 3


def test_history_is_due_when_its_oldest_mark_is_too_old() -> None:
    now = timedelta(hours=1)
    retention = Retention(5, now)
    assert retention.due(5) is None
    retention.note(6, 1, now + timedelta(minutes=1))
    assert retention.due(5) == now + timedelta(minutes=1) + KEPT_FOR
    assert retention.floor(now + KEPT_FOR) == 5
    assert retention.floor(now + timedelta(minutes=1) + KEPT_FOR) == 6
    assert retention.due(6) is None


def test_a_ring_serves_from_its_oldest_on() -> None:
    ring: Recent[str] = Recent(10)
    ring.append(12, "a", 1)
    ring.append(15, "b", 1)
    assert ring.since(9) is None
    assert ring.since(10) == ring.since(11) == [(12, "a"), (15, "b")]
    assert ring.since(12) == ring.since(14) == [(15, "b")]
    assert ring.since(15) == ring.since(99) == []
    ring.reset(20)
    assert (len(ring), ring.since(19), ring.since(20)) == (0, None, [])

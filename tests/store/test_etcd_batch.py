"""Packing commits: the first always goes, what goes together cannot collide, and nothing waits for ever."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from harpoon.store.commit import decide
from harpoon.store.etcd.batch import BYTES_MAX, LOOKED_AT_MAX, OPERATIONS_MAX, pack
from harpoon.store.port import COMMIT_BYTES_MAX, Compare, Delete, Entry, Put, Write

KEYS = st.sampled_from(["/a", "/b", "/c", "/d", "/e", "/f"])
WRITES = st.lists(
    st.one_of(st.builds(Put, KEYS, st.binary(max_size=2)), st.builds(Delete, KEYS)),
    min_size=1,
    max_size=3,
    unique_by=lambda write: write.key,
)
COMPARES = st.lists(st.builds(Compare, KEYS, mod=st.integers(0, 2)), max_size=3)


@dataclass(frozen=True)
class Waiting:
    compares: list[Compare]
    writes: list[Write]
    size: int = 10


def put(key: str, **more: object) -> Waiting:
    return Waiting([], [Put(key, b"")], **more)


def test_nothing_makes_no_batch() -> None:
    assert pack([]) == (0, ())


def test_as_many_go_as_the_default_of_etcd_allows() -> None:
    packed = pack([put(f"/{n}") for n in range(400)])
    assert len(packed.places) == OPERATIONS_MAX - 1


def test_a_large_commit_leaves_less_room_for_others() -> None:
    large = Waiting([Compare(f"/{n}", mod=0) for n in range(100)], [Put("/large", b"")])
    packed = pack([large, *(put(f"/x{n}") for n in range(400))])
    assert len(packed.places) == OPERATIONS_MAX - 100


def test_bytes_are_bounded_but_for_a_commit_alone() -> None:
    assert pack([put("/a", size=COMMIT_BYTES_MAX), put("/b")]).places == (0,)
    assert pack([put("/a", size=BYTES_MAX - 10), put("/b", size=11), put("/c", size=10)]).places == (0, 2)


def test_many_may_compare_a_key_that_nobody_writes() -> None:
    waiting = [Waiting([Compare("/hold", create=1)], [Put(f"/{n}", b"")]) for n in range(50)]
    assert len(pack(waiting).places) == 50


def test_a_key_that_all_write_is_written_by_one_batch_after_the_other_without_looking_at_all() -> None:
    packed = pack([put("/hot") for _ in range(5_000)])
    assert packed == (LOOKED_AT_MAX, (0,))


@given(st.lists(st.builds(Waiting, COMPARES, WRITES), min_size=1, max_size=12))
def test_a_batch_does_what_its_commits_do_one_after_the_other(waiting: list[Waiting]) -> None:
    places = pack(waiting).places
    assert places[0] == 0
    before = {key: Entry(key, b"", 1, 1) for key in ("/a", "/b", "/c")}
    after = dict(before)
    for place in places:
        commit = waiting[place]
        at_once = decide(before, commit.compares, commit.writes, 5)
        assert decide(after, commit.compares, commit.writes, 5) == at_once
        for key, entry in at_once or ():
            assert after.get(key) == before.get(key), "a key is written by one commit only"
            after.pop(key, None)
            if entry is not None:
                after[key] = entry

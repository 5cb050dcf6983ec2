"""A history on disk: what is read of it is what happened, whatever befell the files."""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harpoon.store.cluster import Cluster
from harpoon.store.past.archive import Archive, frozen
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import NotKept, Revision, Time, find, fold
from harpoon.store.past.line import Header, Record
from harpoon.store.past.segment import Span
from harpoon.store.port import Change, Entry

ABOUT = Cluster("c1", 1)
KEYS = [f"/h/1/ctl/jobs/default/{name}" for name in "abcd"]
PLENTY = Budget()
#: Texts, and bytes that are none; quotes and line feeds, which lines must not be broken by.
VALUES = [b"{}", b'{"a": "\\n"}', b"line\nfeed", b"\xff\x00", b"", "ß".encode()]

#: A change: which key, and which value; None deletes it.
steps = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([None, *VALUES])), min_size=1, max_size=3), max_size=12
)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), steps),
        st.tuples(st.just("beat"), st.none()),
        st.tuples(st.just("rotate"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("tear"), st.integers(0, 400)),
        st.tuples(st.just("miss"), steps),
        st.tuples(st.just("prune"), st.none()),
    ),
    max_size=14,
)


class World:
    """What really happened, and a history of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.revision, self.now_ms = 10, 1_000_000
        self.known: dict[str, Entry] = {}
        #: Revision → what stood at it, and when it was seen.
        self.truth: dict[int, tuple[dict[str, Entry], int]] = {10: ({}, self.now_ms)}
        #: What happened and was not recorded.
        self.missed: set[int] = set()
        self.archive = Archive.open(directory, PLENTY)
        self.begin()

    def begin(self, reason: str = "") -> None:
        header = Header(about=ABOUT, revision=self.revision, at_ms=self.now_ms, continues=False, reason=reason)
        draft = self.archive.begin(header)
        draft.add(self.known.values())
        draft.finish()
        self.truth[self.revision] = (dict(self.known), self.now_ms)
        self.missed.discard(self.revision)

    def step(self, writes: list[tuple[str, bytes | None]]) -> Record:
        self.revision += 1
        self.now_ms += 10
        changes = []
        for key, value in dict(writes).items():
            before = self.known.pop(key, None)
            if value is not None:
                created = self.revision if before is None else before.create_revision
                self.known[key] = Entry(key, value, created, self.revision)
            changes.append(Change(key, self.known.get(key)))
        self.truth[self.revision] = (dict(self.known), self.now_ms)
        return Record(self.revision, self.now_ms, tuple(changes))

    def do(self, act: str, told: object) -> None:
        match act:
            case "happen":
                self.archive.append([self.step(writes) for writes in told])
            case "beat":
                self.now_ms += 5
                self.archive.append([Record(self.revision, self.now_ms, ())])
            case "rotate":
                self.archive.rotate()
            case "prune":
                for span in self.archive.spans[:-1][:1]:
                    self.archive.budget = Budget(size=max(1 << 20, 0), age=timedelta(minutes=1))
                    self.archive.prune(span.end_ms + 60_001)
            case "restart":
                self.archive.close()
                self.archive = Archive.open(self.directory, PLENTY)
            case "tear":
                self.tear(told)
            case "miss":
                for writes in told:
                    self.missed.add(self.step(writes).revision)
                self.begin("the server was off")

    def tear(self, size: int) -> None:
        """Lose the end of the last file, as a power cut may; the snapshot was synchronised."""
        last = self.archive.last
        self.archive.close()
        there = last.path.stat().st_size
        os.truncate(last.path, max(last.snapshot_size, there - size))
        self.archive = Archive.open(self.directory, PLENTY)
        cut = self.archive.last.end
        # The store is asked for what was cut off.
        again = [revision for revision in sorted(self.truth) if revision > cut]
        if again:
            self.missed.update(again)
            self.begin("torn")


def brief(span: Span) -> tuple[object, ...]:
    return span.number, span.start, span.start_ms, span.end, span.end_ms, span.size, span.continues, span.reason


def check(world: World) -> None:
    """Compare everything that the history says with what happened."""
    spans = world.archive.spans
    assert [brief(span) for span in spans] == [brief(span) for span in frozen(world.directory)]
    assert sum(path.stat().st_size for path in world.directory.glob("*.history")) == world.archive.size
    for revision, (known, at_ms) in world.truth.items():
        point = Revision(1, revision)
        try:
            span = find(spans, point)
        except NotKept:
            assert revision in world.missed or revision < spans[0].start
            continue
        state = fold(span, point)
        assert {entry.key: entry for entry in state.entries} == known
        assert [entry.key for entry in state.entries] == sorted(known)
        if revision not in world.missed:
            assert state.revision == revision
            assert state.at_ms == at_ms
        assert state.answers(point)
        if revision not in world.missed:
            assert fold(find(spans, Time(at_ms)), Time(at_ms)).revision == revision


@given(acts)
def test_what_is_read_at_a_revision_is_the_fold_of_all_that_happened_up_to_it(acts: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name) / "past")
        for act, told in acts:
            world.do(act, told)
        check(world)
        world.archive.close()

"""Recording a history: it never tells what was not so, whatever becomes of the disk, the store and the process."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.clock import SystemClock
from harpoon.store.cluster import Cluster
from harpoon.store.memory import MemoryStore
from harpoon.store.mirror import Mirror
from harpoon.store.past import archive, heard, recorder
from harpoon.store.past.archive import Archive, frozen
from harpoon.store.past.budget import Budget
from harpoon.store.past.fold import NotKept, Revision, find, fold, gaps
from harpoon.store.past.line import Header, Record
from harpoon.store.past.recorder import Recorder, Recording
from harpoon.store.port import Change, Delete, Entry, Put, Write

ROOT = "/h/1/ctl/"
ABOUT = Cluster("c1", 1)
PATIENCE_S = 20.0


class Disk:
    """What the history is written by; it may be full, or lose the last bytes of a write that is told to have failed."""

    def __init__(self) -> None:
        self.is_full = False
        self._write = archive.write_all

    def write_all(self, file: int, data: bytes) -> None:
        if self.is_full:
            self._write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(file, data)


@contextmanager
def a_disk() -> Iterator[Disk]:
    disk = Disk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "write_all", disk.write_all)
        patch.setattr(recorder, "PAUSE_S", (0.005, 0.01))
        patch.setattr("harpoon.store.mirror._RETRY_S", 0.005)
        yield disk


class Past:
    """A store, what it really held at each revision, and the history that is kept of it."""

    def __init__(self, directory: Path, store: MemoryStore, budget: Budget | None = None) -> None:
        self.directory = directory
        self.store = store
        self.budget = budget or Budget()
        self.known: dict[str, Entry] = {}
        self.truth: dict[int, dict[str, Entry]] = {}
        self.mirror: Mirror
        self.recorder: Recorder

    @asynccontextmanager
    async def recording(self, about: Cluster = ABOUT, *, is_awaited: bool = True) -> AsyncIterator[Recorder]:
        """Follow the store, and keep the history, as a server does from its start to its end."""
        self.mirror = Mirror(self.store, ROOT, ())
        await self.mirror.load()
        self.recorder = Recorder(
            self.store,
            self.mirror,
            about=about,
            directory=self.directory,
            budget=self.budget,
            clock=SystemClock(),
        )
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.mirror.run()), group.create_task(self.recorder.run())]
            while is_awaited and self.recorder.condition.state is not Recording.FOLLOWING:
                await asyncio.sleep(0.001)
            yield self.recorder
            for task in tasks:
                task.cancel()

    async def write(self, writes: dict[str, bytes | None]) -> int:
        """Commit, and remember what then stood."""
        named: dict[str, bytes | None] = {ROOT + key: value for key, value in writes.items()}
        asked: list[Write] = [Delete(key) if value is None else Put(key, value) for key, value in named.items()]
        revision = await self.store.commit((), asked)
        assert revision is not None
        for key, value in named.items():
            before = self.known.pop(key, None)
            if value is not None:
                self.known[key] = Entry(key, value, before.create_revision if before else revision, revision)
        self.truth[revision] = dict(self.known)
        return revision

    async def settled(self) -> None:
        """Wait until the history tells of everything."""
        now = await self.store.revision()
        await self.mirror.reached(now)
        await self.recorder.written(now)

    def read(self, revision: int) -> dict[str, Entry] | None:
        """What the files say of a revision; None: that it is not kept."""
        spans = frozen(self.directory)
        if spans and spans[-1].end < revision:
            return None
        with suppress(NotKept):
            point = Revision(1, revision)
            return {entry.key: entry for entry in fold(find(spans, point), point).entries}
        return None

    def check(self) -> list[int]:
        """Compare what is kept with what was; return the revisions that are not kept."""
        missing = []
        for revision, known in self.truth.items():
            found = self.read(revision)
            if found is None:
                missing.append(revision)
            else:
                assert found == known
        return missing


@pytest.fixture
def disk() -> Iterator[Disk]:
    with a_disk() as disk:
        yield disk


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "past", MemoryStore())


async def test_every_revision_is_kept_from_the_start_on(past: Past) -> None:
    await past.write({"jobs/a": b"1"})
    async with past.recording():
        for number in range(50):
            await past.write({"jobs/a": b"%d" % number, f"jobs/{number}": b"\xff", f"jobs/{number - 5}": None})
        await past.settled()
        assert past.recorder.condition.state is Recording.FOLLOWING
    assert past.check() == []
    assert past.recorder.gaps == 0


async def test_answers_to_repeated_requests_are_not_kept(past: Past) -> None:
    async with past.recording():
        await past.write({"jobs/a": b"1"})
        await past.store.commit((), (Put(f"{ROOT}idem/x", b"secret"),))
        await past.settled()
    assert b"secret" not in next(past.directory.glob("*.history")).read_bytes()
    assert past.check() == []


async def test_only_its_owner_may_read_it(past: Past) -> None:
    async with past.recording():
        await past.settled()
    assert past.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in past.directory.iterdir()} == {0o600}


async def test_what_happened_while_the_server_was_off_is_asked_of_the_store(past: Past) -> None:
    async with past.recording():
        await past.write({"jobs/a": b"1"})
        await past.settled()
    for number in range(5):
        await past.write({"jobs/a": b"%d" % number})
    async with past.recording():
        await past.settled()
        await past.write({"jobs/a": b"last"})
        await past.settled()
    assert past.check() == []
    assert len(frozen(past.directory)) == 1


async def test_what_the_store_has_forgotten_meanwhile_is_a_gap_and_said(past: Past) -> None:
    async with past.recording():
        before = await past.write({"jobs/a": b"1"})
        await past.settled()
    missed = [await past.write({"jobs/a": b"%d" % number}) for number in range(5)]
    await past.store.compact(missed[3])
    async with past.recording():
        await past.settled()
        assert past.recorder.gaps == 1
    assert past.check() == missed[:4]
    (gap,) = gaps(frozen(past.directory))
    assert (gap.after, gap.before) == (f"1.{before}", f"1.{missed[4]}")
    assert "did not keep what happened" in gap.reason


@pytest.mark.parametrize("about", [Cluster("c1", 2), Cluster("c2", 1)])
async def test_another_life_of_the_registry_is_not_gone_on_with(past: Past, about: Cluster) -> None:
    async with past.recording():
        await past.write({"jobs/a": b"1"})
        await past.settled()
    async with past.recording(about):
        await past.settled()
    one, two = frozen(past.directory)
    assert (one.about, two.about, two.continues) == (ABOUT, about, False)
    assert two.reason


async def test_a_store_that_was_set_back_is_a_gap(past: Past) -> None:
    async with past.recording():
        for number in range(5):
            await past.write({"jobs/a": b"%d" % number})
        await past.settled()
    past.store = MemoryStore()
    async with past.recording():
        await past.settled()
    assert "set back" in gaps(frozen(past.directory))[0].reason


async def test_a_full_disk_is_said_and_made_good_by_the_store(past: Past, disk: Disk) -> None:
    async with past.recording() as kept:
        await past.write({"jobs/a": b"1"})
        await past.settled()
        disk.is_full = True
        for number in range(5):
            revision = await past.write({"jobs/a": b"%d" % number})
            await past.mirror.reached(revision)
        while kept.condition.state is not Recording.FAILING:
            await asyncio.sleep(0)
        assert "No space left" in kept.condition.reason
        assert kept.through < revision
        disk.is_full = False
        await past.settled()
    assert past.check() == []
    assert kept.gaps == 0


async def test_what_the_disk_cannot_take_in_time_is_asked_of_the_store(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "QUEUED_REVISIONS_MAX", 3)
    monkeypatch.setattr(recorder, "PAUSE_S", (0.005, 0.01))
    async with past.recording() as kept:
        await past.settled()
        for number in range(100):
            await past.write({"jobs/a": b"%d" % number})
        assert kept.queued <= 4
        await past.settled()
    assert past.check() == []
    assert kept.gaps == 0


async def test_a_mirror_that_was_mended_is_doubted(past: Past, disk: Disk) -> None:
    async with past.recording() as kept:
        await past.write({"jobs/a": b"1"})
        await past.settled()
        for hear in past.mirror._breaks:
            hear(None)
        await past.write({"jobs/a": b"2"})
        while kept.gaps == 0:
            await asyncio.sleep(0.005)
        await past.settled()
    assert "left a change out" in gaps(frozen(past.directory))[0].reason


async def test_two_processes_do_not_share_a_directory(past: Past, disk: Disk) -> None:
    taken = Archive.open(past.directory, Budget())
    async with past.recording(is_awaited=False) as kept:
        while kept.condition.state is not Recording.FAILING:
            await asyncio.sleep(0)
        assert "another process's" in kept.condition.reason
        await past.write({"jobs/a": b"1"})
        taken.close()
        await past.settled()
    assert past.check() == []


async def test_it_goes_on_in_segments_and_stays_within_its_budget(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.budget = Budget(size=1 << 20)
    async with past.recording():
        for number in range(400):
            await past.write({"jobs/a": b"x" * 10_000, f"jobs/{number % 7}": b"y" * 100})
            if number % 20 == 0:
                await past.settled()
        await past.settled()
        while sum(span.size for span in past.recorder.spans) > 1 << 20:
            await asyncio.sleep(0.001)
        spans = past.recorder.spans
        assert len(spans) > 3
        assert gaps(spans) == []
    missing = past.check()
    assert missing == sorted(past.truth)[: len(missing)], "only the oldest is deleted"


chaos = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 6)),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("fill"), st.none()),
        st.tuples(st.just("free"), st.none()),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("restart"), st.integers(0, 3)),
        st.tuples(st.just("kill"), st.integers(0, 300)),
        st.tuples(st.just("turns"), st.integers(1, 5)),
    ),
    max_size=16,
)


@settings(deadline=None, max_examples=150)
@given(chaos)
def test_whatever_happens_a_revision_is_told_as_it_was_or_not_at_all(acts: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name, a_disk() as disk:
        past = Past(Path(name) / "past", MemoryStore())
        asyncio.run(_live(past, disk, acts))
        compacted = any(act == "compact" for act, _ in acts)
        missing = past.check()
        assert compacted or not missing, "without that the store has forgotten anything, nothing is missing"


async def _live(past: Past, disk: Disk, acts: list[tuple[str, int]]) -> None:
    """Do these, in one life of the server after the other; in the end the history has come to its rest."""
    rest = list(acts)
    number = 0
    while True:
        async with past.recording(is_awaited=not disk.is_full):
            while rest:
                act, told = rest.pop(0)
                if act in ("restart", "kill"):
                    break
                number += 1
                await _do(past, disk, act, told, number)
            else:
                disk.is_full = False
                await past.write({"jobs/end": b""})
                await past.settled()
                return
        for more in range(told if act == "restart" else 0):
            await past.write({f"jobs/{more}": b"off"})
        if act == "kill" and (last := next(iter(sorted(past.directory.glob("*.history"))[-1:]), None)) is not None:
            snapshot = frozen(past.directory)[-1].snapshot_size
            with last.open("r+b") as file:
                file.truncate(max(snapshot, last.stat().st_size - told))


async def _do(past: Past, disk: Disk, act: str, told: int, number: int) -> None:
    match act:
        case "write":
            for one in range(told):
                key = f"jobs/{(number + one) % 4}"
                await past.write({key: None if one == 5 else b"%d" % number, "jobs/x": b"x" * number})
        case "settle" if not disk.is_full:
            await past.settled()
        case "fill" | "free":
            disk.is_full = act == "fill"
        case "compact":
            await past.store.compact(await past.store.revision())
        case "turns":
            for _ in range(told):
                await asyncio.sleep(0.001)


def test_after_a_write_that_failed_nothing_is_written_until_it_is_opened_anew(tmp_path: Path, disk: Disk) -> None:
    kept = Archive.open(tmp_path, Budget())
    kept.begin(Header(about=ABOUT, revision=1, at_ms=1, continues=False)).finish()
    entry = Entry(f"{ROOT}jobs/a", b"1", 2, 2)
    disk.is_full = True
    with pytest.raises(OSError, match="No space left"):
        kept.append([Record(2, 2, (Change(entry.key, entry),))])
    disk.is_full = False
    # It would say that nothing happened up to revision 2.
    with pytest.raises(OSError, match="could not be written before"):
        kept.append([Record(2, 3, ())])
    kept.close()
    again = Archive.open(tmp_path, Budget())
    assert [span.end for span in again.spans] == [1]
    again.close()

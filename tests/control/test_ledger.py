"""The ledger: one commit at a time, each by virtue of the hold, and nothing told that is not so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from harpoon.control import ledger as module
from harpoon.control import pen as pens
from harpoon.control.draft import Draft, Landing, Overtaken
from harpoon.control.ledger import Ledger
from harpoon.control.ledger_records import LOG, RUNS, whole
from harpoon.control.means import HoldLost
from harpoon.control.together import FOLLOWING, Together
from harpoon.control.turns import Turns
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Unavailable
from harpoon.store.hold import HOLDS, Hold, acquire
from harpoon.store.memory import MemoryStore
from harpoon.store.port import COMMIT_BYTES_MAX, Compare, Delete, Put, Store, StoreUnavailable, Write
from harpoon.store.sqlite import SqliteStore
from tests.faulty import Fault, FaultyStore

SHARD = 7
NAME = f"shards/{SHARD:02d}"


class Counting(MemoryStore):
    """Counts what is asked, and can be told to wait with its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[Sequence[Compare], Sequence[Write]]] = []
        self.gets: list[str] = []
        self.in_flight = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, key):
        self.gets.append(key)
        return await super().get(key)

    async def commit(self, compares, writes):
        self.commits.append((compares, writes))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.gate.wait()
            return await super().commit(compares, writes)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def at_work(store: Store, hold: Hold | None = None) -> AsyncIterator[Ledger]:
    """A ledger of a shard that is held; whatever it ended by is raised at the end of the block."""
    if hold is None:
        hold = await acquire(store, await store.lease(10), NAME, "me", 1)
    assert hold is not None
    ledger = Ledger(Together(store, Turns(SystemClock())), hold, SHARD, "me")
    life = asyncio.ensure_future(ledger.run())
    try:
        yield ledger
    finally:
        life.cancel()
        await asyncio.wait((life,))
        if not life.cancelled() and (error := life.exception()) is not None:
            raise error


def events(*seqs: int, text: str = "") -> bytes:
    return b",".join(orjson.dumps(["c", seq, text]) for seq in seqs)


async def under_way(store: Counting) -> None:
    while not store.in_flight:
        await asyncio.sleep(0)


async def landed(*drafts: Draft) -> None:
    for draft in drafts:
        async with asyncio.timeout(5):
            await draft.settled()
        draft.check()


async def stored(store: Store, key: str) -> list[list[object]]:
    """Return the events of a run in the order of their records, each record as it is."""
    prefix = f"{LOG}{SHARD:02d}/{key}/"
    found = {e.key.removeprefix(prefix): e.value async for page in store.list(prefix) for e in page.entries}
    return [orjson.loads(whole(found[name], found)) for name in sorted(found) if name.isdigit()]


async def test_what_gathers_during_a_commit_goes_into_the_next_one_record_a_run() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        store.gate.clear()
        first = ledger.append("ns/a", 1, events(1))
        await under_way(store)
        drafts = [ledger.append(f"ns/r{number % 5}", number // 5 + 1, events(number // 5 + 1)) for number in range(20)]
        assert len(set(map(id, drafts))) == 5
        before = len(store.commits)
        assert not any(draft.is_landed for draft in (first, *drafts))
        store.gate.set()
        await landed(first, *drafts)
        assert len(store.commits) == before + 1
        assert ledger.commits == 2
        assert await stored(store, "ns/r3") == [[["c", n, ""] for n in (1, 2, 3, 4)]]
        assert store.most == 1


async def test_every_commit_compares_the_hold_as_it_was_sealed() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        await landed(ledger.append("ns/a", 1, events(1)))
        compares, _ = store.commits[-1]
        assert compares == (ledger.hold.compare,)
        assert ledger.hold.compare.mod == ledger.hold.sealed


async def test_a_commit_has_as_many_writes_and_bytes_as_a_store_takes_and_none_is_empty() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        before = len(store.commits)
        many = [ledger.append(f"ns/r{n}", 1, events(1), header=b"{}") for n in range(130)]
        large = [ledger.append(f"ns/l{n}", 1, events(1, text="x" * 300_000)) for n in range(7)]
        await landed(*many, *large)
        sizes = [len(writes) for _, writes in store.commits[before:]]
        assert sum(sizes) == 2 * 130 + 7
        assert all(0 < size <= 100 for size in sizes)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_is_too_large_for_one_commit_is_cut_and_read_back_whole(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else await SqliteStore.open(tmp_path / "s", clock=SystemClock())
    async with at_work(store) as ledger:
        chunks = [events(n, text=chr(96 + n) * 700_000) for n in range(1, 6)]
        drafts = [
            ledger.append("ns/a", n, chunk, header=b'{"x":"%b"}' % (b"h" * 500_000))
            for n, chunk in enumerate(chunks, 1)
        ]
        small = ledger.append("ns/b", 1, events(1))
        await landed(*drafts, small)
        assert (await stored(store, "ns/a"))[0][4] == ["c", 5, "e" * 700_000]
        entry = await store.get(f"{RUNS}{SHARD:02d}/ns/a")
        assert entry is not None
        prefix = f"{LOG}{SHARD:02d}/ns/a/"
        parts = {e.key.removeprefix(prefix): e.value async for page in store.list(prefix) for e in page.entries}
        assert whole(entry.value, parts) == b'{"x":"%b"}' % (b"h" * 500_000)
        assert await stored(store, "ns/b") == [[["c", 1, ""]]]
        assert sum(map(len, chunks)) > 3 * COMMIT_BYTES_MAX
    await store.close()


async def test_a_record_that_was_cut_is_there_whole_or_not_at_all() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        draft = ledger.append("ns/a", 1, events(1, text="x" * 3_000_000))
        seen = []

        async def watch() -> None:
            while not draft.is_landed:
                seen.append(await stored(store, "ns/a"))
                await asyncio.sleep(0)

        await asyncio.gather(watch(), landed(draft))
        assert [] in seen
        assert all(found == [] or len(found[0][0][2]) == 3_000_000 for found in seen)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST, Fault.SILENT, Fault.LATE, Fault.OVERTAKEN])
@pytest.mark.parametrize("times", [1, 3])
async def test_after_a_lost_answer_it_goes_on_and_everything_is_there_once(
    fault: Fault, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    store = FaultyStore()
    async with at_work(store) as ledger:
        sealed = ledger.hold.sealed
        await landed(ledger.append("ns/a", 1, events(1)))
        store.fail(*[fault] * times, prefix=LOG)
        draft = ledger.append("ns/a", 2, events(2))
        await asyncio.sleep(0.0005)
        later = ledger.append("ns/a", 3, events(3))
        await landed(draft, later)
        assert store.left < times
        assert [one for record in await stored(store, "ns/a") for one in record] == [["c", n, ""] for n in (1, 2, 3)]
        assert (ledger.hold.sealed > sealed) is (fault is not Fault.REFUSED)
        # What comes so late does nothing any more.
        assert await store.deliver() == [None] * (times if fault is Fault.LATE else 0)
        assert [one for record in await stored(store, "ns/a") for one in record] == [["c", n, ""] for n in (1, 2, 3)]


async def test_a_lost_answer_to_the_sealing_is_borne_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    store = FaultyStore()
    async with at_work(store) as ledger:
        store.fail(Fault.LATE, prefix=LOG)
        store.fail(Fault.LOST, Fault.SILENT, Fault.REFUSED, prefix=HOLDS)
        draft = ledger.append("ns/a", 1, events(1))
        await landed(draft)
        assert await store.deliver() == [None]
        assert await stored(store, "ns/a") == [[["c", 1, ""]]]


async def test_while_the_store_is_away_it_waits_and_takes_no_more_than_it_can_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    monkeypatch.setattr(module, "WAITING_BYTES", 1000)
    store = FaultyStore()
    async with at_work(store) as ledger:
        store.leave()
        drafts = [ledger.append(f"ns/r{n}", 1, events(1, text="x" * 100)) for n in range(10)]
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="does not keep up"):
            ledger.check_room()
        store.come_back()
        await landed(*drafts)
        ledger.check_room()


async def test_a_ledger_whose_hold_is_lost_writes_nothing_more_and_says_so() -> None:
    store = FaultyStore()
    with pytest.raises(HoldLost):
        async with at_work(store) as ledger:
            await landed(ledger.append("ns/a", 1, events(1)))
            store.lapse(is_gone=True)
            assert await acquire(store, await store.lease(10), NAME, "other", 1) is not None
            under_way = ledger.append("ns/a", 2, events(2))
            await asyncio.sleep(0)
            waiting = ledger.append("ns/b", 1, events(1))
            proof = ledger.proof()
            for draft in (under_way, waiting, proof):
                with pytest.raises(Unavailable):
                    await landed(draft)
            for late in (ledger.append("ns/c", 1, events(1)), ledger.proof()):
                with pytest.raises(Unavailable):
                    await landed(late)
            with pytest.raises(Unavailable, match="no longer"):
                ledger.check_room()
    assert await stored(store, "ns/a") == [[["c", 1, ""]]]
    assert await stored(store, "ns/b") == []


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_hold_lost_in_mid_commit_ends_it_whether_the_commit_happened_or_not(is_written: bool) -> None:
    store = FaultyStore()
    with pytest.raises(HoldLost):
        async with at_work(store) as ledger:
            store.fail(Fault.SILENT if is_written else Fault.LATE, prefix=LOG)
            draft = ledger.append("ns/a", 1, events(1))
            for _ in range(2 * FOLLOWING):
                await asyncio.sleep(0)
            store.lapse(is_gone=True)
            await acquire(store, await store.lease(10), NAME, "other", 1)
            with pytest.raises(Unavailable):
                await landed(draft)
    assert await store.deliver() == ([] if is_written else [None])
    assert bool(await stored(store, "ns/a")) is is_written


async def test_a_store_that_is_closed_or_rolled_back_ends_it() -> None:
    store = FaultyStore()
    with pytest.raises(StoreUnavailable):
        async with at_work(store) as ledger:
            store.shift = -5
            with pytest.raises(Unavailable):
                await landed(ledger.append("ns/a", 1, events(1)))


async def test_what_another_wrote_in_the_way_of_one_run_fails_that_run_alone() -> None:
    store = MemoryStore()
    taken = f"{RUNS}{SHARD:02d}/ns/taken"
    await store.commit((), [Put(taken, b"theirs")])
    async with at_work(store) as ledger:
        failed = []
        fine = ledger.append("ns/fine", 1, events(1))
        fine.compares = (Compare(f"{RUNS}{SHARD:02d}/ns/fine", mod=0), Compare("/shared", mod=0))
        mine = ledger.append("ns/taken", 1, b"", header=b"mine")
        mine.compares = (Compare("/shared", mod=0), Compare(taken, mod=0))
        mine.failed = lambda: failed.append(ledger.is_waiting("ns/taken"))
        await asyncio.sleep(0)
        later = ledger.append("ns/taken", 2, events(2))
        await landed(fine)
        with pytest.raises(Overtaken) as caught:
            await landed(mine)
        assert caught.value.compare.key == taken
        assert caught.value.entry is not None
        assert caught.value.entry.value == b"theirs"
        with pytest.raises(Overtaken):
            await landed(later)
        # Nothing of it is left that could be written yet.
        assert failed == [False]
        assert not ledger.is_waiting("ns/taken")
        assert await stored(store, "ns/taken") == []
        assert await stored(store, "ns/fine") == [[["c", 1, ""]]]
        assert ledger.is_idle


async def test_a_proof_reads_the_hold_once_for_all_who_ask_and_nothing_is_written() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        revision, gets = await store.revision(), len(store.gets)
        proofs = [ledger.proof() for _ in range(5)]
        await landed(*proofs)
        assert await store.revision() == revision
        assert store.gets[gets:] == [HOLDS + NAME]
        # One that goes with a commit asks for nothing: the commit compares the hold.
        draft, proof = ledger.append("ns/a", 1, events(1)), ledger.proof()
        await landed(proof)
        assert draft.is_landed
        assert len(store.gets) == gets + 1


async def test_no_proof_is_given_by_a_hold_that_is_anothers() -> None:
    store = FaultyStore()
    with pytest.raises(HoldLost):
        async with at_work(store) as ledger:
            store.lapse(is_gone=True)
            await acquire(store, await store.lease(10), NAME, "other", 1)
            with pytest.raises(Unavailable):
                await landed(ledger.proof())


async def test_it_goes_on_by_its_hold_as_somebody_of_its_own_sealed_it() -> None:
    store = MemoryStore()
    async with at_work(store) as ledger:
        entry = await store.get(ledger.hold.key)
        assert entry is not None
        await store.commit((), [Put(entry.key, entry.value, ledger.hold.lease)])
        await landed(ledger.append("ns/a", 1, events(1)))
        assert await stored(store, "ns/a") == [[["c", 1, ""]]]


async def test_drafts_of_others_are_written_and_deleting_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    store = FaultyStore()
    async with at_work(store) as ledger:
        await landed(ledger.append("ns/a", 1, events(1), header=b"{}"))
        store.fail(Fault.SILENT, Fault.LOST, prefix=LOG)
        draft = Draft("ns/a")
        draft.writes = (Delete(f"{LOG}{SHARD:02d}/ns/a/00000001"), Delete(f"{RUNS}{SHARD:02d}/ns/a"))
        await landed(ledger.write(draft))
        assert [e async for page in store.list(LOG) for e in page.entries] == []


async def test_what_an_earlier_commit_wrote_alike_does_not_stand_for_one_that_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pens, "RETRY_S", 0.001)
    store = FaultyStore()
    async with at_work(store) as ledger:
        same, other = Put(f"{LOG}same", b"1"), Put(f"{LOG}other", b"1")
        store.fail(Fault.SILENT, Fault.LOST, prefix=LOG)
        for writes in ((same,), (same, other)):
            draft = Draft("ns/a")
            draft.writes = writes
            await landed(ledger.write(draft))
        assert store.is_through
        assert await store.get(other.key) is not None


@pytest.mark.parametrize("is_first", [True, False], ids=["purged first", "started first"])
async def test_a_run_is_purged_and_started_again_by_two_commits_for_none_writes_a_key_twice(is_first: bool) -> None:
    store = MemoryStore()
    async with at_work(store) as ledger:
        header, gone = ledger.place.runs + "ns/a", ledger.place.gone + "ns/a"
        await store.commit((), [Put(header, b"ended")])
        purge = Draft("ns/a/")
        purge.writes = (Delete(header), Put(gone, b"purged"))
        if is_first:
            ledger.write(purge)
        start = ledger.append("ns/a", 1, b"", b"begun")
        start.compares = (Compare(header, mod=0), Compare(gone, mod=0))
        if not is_first:
            ledger.write(purge)
        other = ledger.append("ns/b", 1, events(1))
        await landed(purge, other)
        await start.settled()
        assert isinstance(start.error, Overtaken)
        assert start.error.compare.key == (gone if is_first else header)
        assert await store.get(header) is None
        assert await store.get(gone) is not None


async def test_drained_means_that_nothing_waits() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        store.gate.clear()
        ledger.append("ns/a", 1, events(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ledger.append("ns/b", 1, events(1))
        drained = asyncio.ensure_future(ledger.drained())
        await asyncio.sleep(0)
        assert not drained.done()
        store.gate.set()
        await asyncio.wait_for(drained, 5)
        assert ledger.is_idle


async def test_a_caller_that_gives_up_keeps_nothing_from_the_others() -> None:
    store = Counting()
    async with at_work(store) as ledger:
        store.gate.clear()
        draft = ledger.append("ns/a", 1, events(1))

        async def wait() -> str:
            return await Landing((draft,), lambda: "told")

        one, other = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        one.cancel()
        store.gate.set()
        assert await asyncio.wait_for(other, 5) == "told"
        assert one.cancelled()


async def test_what_was_acknowledged_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    """As after a kill: nothing is closed, the lock is given up, the file is opened anew."""
    path = tmp_path / "store"
    store = await SqliteStore.open(path, clock=SystemClock())
    async with at_work(store) as ledger:
        for seq in range(1, 30):
            await landed(ledger.append("ns/a", seq, events(seq)))
    await store.close()
    again = await SqliteStore.open(path, clock=SystemClock())
    found = [one[1] for record in await stored(again, "ns/a") for one in record]
    assert found == list(range(1, 30))
    # Its hold is gone with the process: by it nothing more is written.
    assert await again.get(HOLDS + NAME) is None
    await again.close()

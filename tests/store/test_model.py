"""Random histories: the store over a file does exactly what the one in memory does."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.store.memory import MemoryStore
from harpoon.store.port import Compacted, Compare, Delete, Put, Store
from harpoon.store.sqlite import SqliteStore
from tests.store.implementations import HandClock
from tests.store.reading import entries, told

#: What a step does; leases are named by the step that granted them.
KEYS = st.sampled_from(["/a", "/a/b", "/a0", "/b", "/é"])
WRITE = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=3), st.integers(0, 2)),
    st.tuples(st.just("delete"), KEYS),
)
#: Whether a compare is on ``mod`` or ``create``, and how far from the truth, as the keys stood before the step.
COMPARE = st.tuples(KEYS, st.sampled_from(["mod", "create"]), st.sampled_from([0, 0, 0, 1]))
COMMIT = st.tuples(
    st.lists(COMPARE, max_size=2),
    st.lists(WRITE, min_size=1, max_size=3, unique_by=lambda write: write[1]),
)
STEP = st.one_of(
    st.tuples(st.just("commits"), st.lists(COMMIT, min_size=1, max_size=6)),
    st.tuples(st.just("revoke"), st.integers(1, 2)),
    st.tuples(st.just("compact"), st.integers(0, 10)),
    st.tuples(st.just("list"), KEYS),
)


class Player:
    """Plays one history on one store, and notes everything that can be seen."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: list[object] = []
        self.leases = {}

    async def play(self, steps: list[tuple]) -> list[object]:
        for number in (1, 2):
            self.leases[number] = await self.store.lease(100)
        for step in steps:
            await getattr(self, step[0])(step[1])
            self.seen.append(await self.store.revision())
        end = await self.store.revision()
        for after in range(end):
            for prefix in ("", "/a", "/a/"):
                try:
                    self.seen.append(await told(self.store, prefix, after=after, until=end))
                except Compacted as error:
                    self.seen.append(error.oldest)
        return self.seen

    async def commits(self, commits: list[tuple]) -> None:
        known = {entry.key: entry for entry in await entries(self.store, "")}
        calls = []
        for compares, writes in commits:
            conditions = []
            for key, field, error in compares:
                entry = known.get(key)
                found = 0 if entry is None else getattr(entry, f"{field}_revision")
                conditions.append(Compare(key, **{field: found + error}))
            deeds = [
                Put(write[1], write[2], self.leases.get(write[3])) if write[0] == "put" else Delete(write[1])
                for write in writes
            ]
            calls.append(self.store.commit(conditions, deeds))
        self.seen.append(
            [
                outcome if isinstance(outcome, int | None) else type(outcome)
                for outcome in await asyncio.gather(*calls, return_exceptions=True)
            ]
        )
        self.seen.append(await entries(self.store, ""))

    async def revoke(self, number: int) -> None:
        await self.leases[number].revoke()

    async def compact(self, back: int) -> None:
        await self.store.compact(max(0, await self.store.revision() - back))

    async def list(self, prefix: str) -> None:
        self.seen.append(await entries(self.store, prefix))
        self.seen.append(await self.store.get(prefix))


async def play_on_both(steps: list[tuple]) -> tuple[list[object], list[object]]:
    memory = MemoryStore(clock=HandClock())
    with tempfile.TemporaryDirectory() as folder:
        sqlite = await SqliteStore.open(Path(folder) / "store.db", clock=HandClock(), synchronous="NORMAL")
        seen = await Player(memory).play(steps), await Player(sqlite).play(steps)
        await sqlite.close()
    await memory.close()
    return seen


@settings(max_examples=100, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_a_file_and_memory_cannot_be_told_apart(steps: list[tuple]) -> None:
    in_memory, on_disk = asyncio.run(play_on_both(steps))
    assert in_memory == on_disk

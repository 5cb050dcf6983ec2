"""Random histories: every kind of store does exactly what the model does, and so no two can be told apart."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpoon.store.port import Compacted, Compare, Delete, Lease, Put, Store
from tests.store.implementations import Ground, Implementation
from tests.store.model import Deed, Model
from tests.store.reading import entries, told

EXAMPLES = 100
#: Under all the prefixes that are watched.
LAST = "/a/~"

#: What a step does; leases are named by the step that granted them.
KEYS = st.sampled_from(["/a", "/a/b", "/a0", "/b", "/é"])
PAIR = st.sampled_from(["/a", "/b"])
#: Rarely one, as a commit with a lease is one that etcd is sent alone.
LEASE = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2])
WRITE = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=3), LEASE),
    st.tuples(st.just("delete"), KEYS),
)
#: Whether a compare is on ``mod`` or ``create``, and how far from the truth, as the keys stood before the step.
COMPARE = st.tuples(KEYS, st.sampled_from(["mod", "create"]), st.sampled_from([0, 0, 0, 1]))
COMMIT = st.tuples(
    st.lists(COMPARE, max_size=2),
    st.lists(WRITE, min_size=1, max_size=3, unique_by=lambda write: write[1]),
)
#: Of many at once, each writes what others compare.
CROSSING = st.tuples(
    st.lists(st.tuples(PAIR, st.just("mod"), st.just(0)), min_size=1, max_size=1),
    st.lists(st.tuples(st.just("put"), PAIR, st.just(b""), st.just(0)), min_size=1, max_size=1),
)
STEP = st.one_of(
    st.tuples(st.just("commits"), st.lists(COMMIT, min_size=1, max_size=6)),
    st.tuples(st.just("commits"), st.lists(COMMIT, min_size=1, max_size=1)),
    st.tuples(st.just("commits"), st.lists(CROSSING, min_size=2, max_size=6)),
    st.tuples(st.just("revoke"), st.integers(1, 2)),
    st.tuples(st.just("compact"), st.integers(0, 10)),
    st.tuples(st.just("list"), KEYS),
)


class Player:
    """Plays one history on one store, and holds everything that can be seen against the model."""

    def __init__(self, store: Store, model: Model, *, is_one_by_one: bool) -> None:
        self.store = store
        self.model = model
        self.is_one_by_one = is_one_by_one
        self.leases: dict[int, Lease] = {}

    async def play(self, steps: list[tuple]) -> None:
        for number in (1, 2):
            self.leases[number] = await self.store.lease(100)
        for step in steps:
            await getattr(self, step[0])(step[1])
            assert await self.store.revision() == self.model.revision
            assert await entries(self.store, "") == self.model.listed("")
        await self.commits([((), [("put", LAST, b"", 0)])])
        await asyncio.gather(
            *(
                self.watch(prefix, after)
                for after in range(self.model.base, self.model.revision)
                for prefix in ("", "/a", "/a/")
            )
        )
        for lease in self.leases.values():
            await lease.revoke()

    async def commits(self, commits: list[tuple]) -> None:
        known = dict(self.model.entries)
        deeds = []
        for compares, writes in commits:
            conditions = []
            for key, field, error in compares:
                entry = known.get(key)
                found = 0 if entry is None else getattr(entry, f"{field}_revision")
                conditions.append(Compare(key, **{field: found + error}))
            deeds.append(
                Deed(
                    tuple(conditions),
                    tuple(
                        Put(write[1], write[2], self.leases.get(write[3])) if write[0] == "put" else Delete(write[1])
                        for write in writes
                    ),
                    {write[1]: write[3] for write in writes if write[0] == "put" and write[3]},
                )
            )
        outcomes = await asyncio.gather(
            *(self.store.commit(deed.compares, deed.writes) for deed in deeds), return_exceptions=True
        )
        self.model.commit(deeds, outcomes, await self.store.revision(), is_one_by_one=self.is_one_by_one)

    async def revoke(self, number: int) -> None:
        await self.leases[number].revoke()
        self.model.revoke(number)

    async def compact(self, back: int) -> None:
        revision = max(self.model.base, self.model.revision - back)
        await self.store.compact(revision)
        self.model.compact(revision)

    async def list(self, prefix: str) -> None:
        assert await entries(self.store, prefix) == self.model.listed(prefix)
        assert await self.store.get(prefix) == self.model.entries.get(prefix)

    async def watch(self, prefix: str, after: int) -> None:
        try:
            seen = await told(self.store, prefix, after=after, until=self.model.revision)
        except Compacted as error:
            assert after < self.model.compacted == error.oldest
        else:
            assert after >= self.model.compacted
            found = [(revision, {change.key: change.entry for change in changes}) for revision, changes in seen]
            assert found == self.model.watched(prefix, after)
            assert sum(len(changes) for _, changes in seen) == sum(len(changes) for _, changes in found)


def test_every_store_does_what_the_model_does(kind: Implementation, ground: Ground, tmp_path: Path) -> None:
    numbers = iter(range(1_000_000))

    with asyncio.Runner() as runner:
        # What is on etcd has one store for all examples, as connecting takes longer than an example does.
        shared = runner.run(kind.open(ground)) if kind.is_on_etcd else None

        async def play(steps: list[tuple]) -> None:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            if ground.etcd is not None:
                ground.etcd.wipe()
            store = shared or await kind.open(Ground(folder=folder))
            try:
                model = Model(await store.revision())
                await Player(store, model, is_one_by_one=kind.is_one_by_one).play(steps)
            finally:
                if store is not shared:
                    await store.close()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(STEP, max_size=12))
        def play_one(steps: list[tuple]) -> None:
            runner.run(play(steps))

        try:
            play_one()
        finally:
            if shared is not None:
                runner.run(shared.close())


A, B = "/a", "/b"


def a_deed(*writes: Put | Delete, compares: tuple[Compare, ...] = ()) -> Deed:
    return Deed(compares, writes, {})


#: With the key /a written at revision 6, and 6 the present one: what no store may answer, and why.
WRONG = {
    "a key was written twice in one revision": ([a_deed(Put(A, b"1")), a_deed(Put(A, b"2"))], [7, 7], 7),
    "it failed, though what it compares held all the time": (
        [a_deed(Put(B, b""), compares=(Compare(A, mod=6),))],
        [None],
        6,
    ),
    "it failed before what made it fail": (
        [a_deed(Delete(A), compares=(Compare(A, mod=6),)), a_deed(Put(B, b""), compares=(Compare(B, mod=0),))],
        [7, None],
        7,
    ),
    "it succeeded, though what it compares did not hold": (
        [a_deed(Put(B, b""), compares=(Compare(A, mod=0),))],
        [7],
        7,
    ),
    "both saw what the other changed": (
        [a_deed(Put(A, b""), compares=(Compare(A, mod=6),)), a_deed(Delete(A), compares=(Compare(A, mod=6),))],
        [7, 8],
        8,
    ),
    "neither saw what the other wrote": (
        [a_deed(Put(B, b""), compares=(Compare(A, mod=6),)), a_deed(Put(A, b""), compares=(Compare(B, mod=0),))],
        [7, 7],
        7,
    ),
    "a revision is of nothing": ([a_deed(Put(A, b""))], [8], 8),
    "the store is ahead of what was done": ([a_deed(Put(A, b""))], [7], 8),
    "what changed something took no revision": ([a_deed(Put(A, b""))], [6], 6),
    "it is unknown": ([a_deed(Put(A, b""))], [ValueError()], 6),
}


def a_model() -> Model:
    model = Model(5)
    model.commit([a_deed(Put(A, b""))], [6], 6, is_one_by_one=True)
    return model


@pytest.mark.parametrize("why", WRONG)
def test_the_model_accepts_no_nonsense(why: str) -> None:
    deeds, outcomes, revision = WRONG[why]
    with pytest.raises(AssertionError):
        a_model().commit(deeds, outcomes, revision, is_one_by_one=False)


def test_the_model_accepts_any_order_unless_there_is_but_one() -> None:
    deeds = [a_deed(Put(A, b"1")), a_deed(Put(B, b"1")), a_deed(Delete(A)), a_deed(Delete(A)), a_deed(Put(A, b"2"))]
    model = a_model()
    # The second deletion found nothing; /b shares a revision with the first.
    model.commit(deeds, [9, 8, 8, 8, 7], 9, is_one_by_one=False)
    assert [entry.value for entry in model.listed("/")] == [b"1", b"1"]
    assert [(entry.create_revision, entry.mod_revision) for entry in model.listed("/")] == [(9, 9), (8, 8)]
    with pytest.raises(AssertionError):
        a_model().commit(deeds, [9, 8, 8, 8, 7], 9, is_one_by_one=True)
    a_model().commit(deeds, [7, 8, 9, 9, 10], 10, is_one_by_one=True)

"""A registry as a file, and back: exactly what was there at one revision, and nothing that is not whole."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.store import backup, cluster
from harpoon.store.backup import LINE_BYTES_MAX, Whole
from harpoon.store.cluster import CLUSTER, COPYING, REGISTRY, Cluster
from harpoon.store.hold import LEASED
from harpoon.store.memory import MemoryStore
from harpoon.store.port import COMMIT_BYTES_MAX, Store, StoreUnavailable
from harpoon.store.restore import Restored, remaining_s, restore
from tests.store.copying import NOW_MS, RECORD, Disturbed, a_source, content, files, many
from tests.store.reading import put

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).map(lambda end: REGISTRY + end)


async def written(store: Store, path: Path) -> Path:
    about = cluster.read((await store.get(CLUSTER)).value)
    path.write_bytes(b"".join([piece async for piece in backup.write(store, about, at_ms=NOW_MS, version="1.2.3")]))
    return path


async def restored(path: Path, target: Store, now_ms: int = NOW_MS) -> Restored:
    backup.inspect(path)
    return await restore(path, target, by="restorer", now_ms=now_ms)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.dictionaries(KEYS, st.binary(max_size=20) | st.text(max_size=9).map(str.encode), max_size=250))
def test_any_registry_comes_back_exactly(tmp_path: Path, records: dict[str, bytes]) -> None:
    async def play() -> None:
        source, target = MemoryStore(), MemoryStore()
        for key, value in (records | {CLUSTER: RECORD, "/other": b"1", "/h/10": b"2"}).items():
            await put(source, key, value)
        path = await written(source, tmp_path / "backup")
        done = await restored(path, target)
        found = await content(target)
        assert cluster.read(found.pop(CLUSTER)) == ("c1", done.incarnation)
        assert found == records
        assert done.whole == backup.inspect(path)
        assert done.whole.records == len(records)
        assert done.whole.header == (Cluster("c1", 3), await source.revision(), NOW_MS, "1.2.3")

    asyncio.run(play())


async def test_what_is_leased_and_the_marker_of_a_copy_are_in_no_backup(tmp_path: Path) -> None:
    source = await a_source()
    for key in (*(f"{prefix}s1" for prefix in LEASED), COPYING):
        await put(source, key)
    lines = (await written(source, tmp_path / "backup")).read_text().splitlines()
    assert [json.loads(line) for line in lines[1:-1]] == [{"key": "/h/1/ctl/jobs/default/web", "value": "{}"}]


async def test_a_backup_is_of_one_revision_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    async with files(tmp_path, "a.db") as (store,):
        await put(store, CLUSTER, RECORD)
        for key, value in many(3_000).items():
            await put(store, key, value)
        before, revision = await content(store, "/h/1/ctl/jobs/"), await store.revision()
        pieces = []
        async for piece in backup.write(store, Cluster("c1", 3), at_ms=1, version="1"):
            pieces.append(piece)
            for number in (1, 1_500, 2_999, 3_000 + len(pieces)):
                await put(store, f"/h/1/ctl/jobs/default/j{number:05}", b"changed")
        assert len(pieces) > 1
        path = tmp_path / "backup"
        path.write_bytes(b"".join(pieces))
        target = MemoryStore()
        done = await restored(path, target)
        assert done.whole.header.revision == revision
        assert await content(target, "/h/1/ctl/jobs/") == before


async def test_a_value_that_is_no_text_or_would_grow_too_long_is_written_in_base64(tmp_path: Path) -> None:
    values = {f"{REGISTRY}a": b"\xff\x00", f"{REGISTRY}b": b"\x00" * (COMMIT_BYTES_MAX - 100)}
    path = await written(await a_source(values), tmp_path / "backup")
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(base64.b64decode(json.loads(line)["base64"]) in values.values() for line in lines[1:-1])
    assert max(map(len, lines)) <= LINE_BYTES_MAX
    target = MemoryStore()
    await restored(path, target)
    assert (await content(target)).items() >= values.items()


async def test_a_key_that_fits_no_line_is_told_by_whoever_writes_it() -> None:
    store = await a_source({REGISTRY + "\x01" * 400_000: b""})
    with pytest.raises(HarpoonError, match="is too large for a backup"):
        assert [piece async for piece in backup.write(store, Cluster("c1", 3), at_ms=1, version="1")]


async def test_a_store_that_holds_another_registry_by_now_is_not_backed_up() -> None:
    with pytest.raises(HarpoonError, match="another registry"):
        assert [piece async for piece in backup.write(await a_source(), Cluster("c1", 4), at_ms=1, version="1")]


# What is no backup


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    async def make() -> bytes:
        values = {"/h/1/ctl/a": b"1", "/h/1/ctl/b": b"\xff", "/h/1/ctl/c": b'{"x": "\xc3\xa4"}'}
        return (await written(await a_source(values), tmp_path_factory.mktemp("made") / "backup")).read_bytes()

    return asyncio.run(make()).splitlines(keepends=True)


def inspected(folder: Path, lines: list[bytes]) -> Whole:
    path = folder / "backup"
    path.write_bytes(b"".join(lines))
    return backup.inspect(path)


def test_a_backup_that_breaks_off_anywhere_is_refused(tmp_path: Path, lines: list[bytes]) -> None:
    data = b"".join(lines)
    assert inspected(tmp_path, [data]).records == 3
    for end in range(len(data)):
        with pytest.raises(Invalid, match=r"backup, line \d+: "):
            inspected(tmp_path, [data[:end]])


def test_a_backup_with_any_byte_changed_is_refused_or_says_the_same_of_its_records(
    tmp_path: Path, lines: list[bytes]
) -> None:
    body = b"".join(lines[1:])
    for at in range(len(body)):
        for other in (b"0", b'"', b"\n", b"\xff"):
            spoilt = body[:at] + other + body[at + 1 :]
            try:
                found = inspected(tmp_path, [lines[0], spoilt])
            except Invalid:
                continue
            assert found.digest == inspected(tmp_path, lines).digest


def line(**told: object) -> bytes:
    return json.dumps(told).encode() + b"\n"


HEAD = {
    "format": "harpoon-backup",
    "v": 1,
    "cluster": "c1",
    "incarnation": 3,
    "revision": 4,
    "at_ms": 5,
    "version": "1",
}


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (b"", "line 1: the last line is missing"),
        (b"SQLite format 3\0\n", "line 1: this is no harpoon backup: the line holds no JSON object"),
        (b"[]\n", "line 1: this is no harpoon backup: the line holds no JSON object"),
        (line(format="velero"), "line 1: this is no harpoon backup: it does not begin"),
        (
            line(**HEAD | {"v": 2, "version": "9.1"}),
            "line 1: its format is v 2, and this release reads v 1; harpoon 9.1",
        ),
        (line(**HEAD | {"v": None, "version": 1}), "line 1: its format is v None, and this release reads v 1$"),
        (line(**HEAD | {"cluster": 7}), "line 1: it is damaged: it names no cluster"),
        (line(**HEAD | {"version": 7}), "line 1: it is damaged: it names no cluster"),
        (line(**HEAD | {"incarnation": True}), "line 1: it is damaged"),
        (line(**HEAD | {"revision": 10**18}), "line 1: it is damaged"),
        (line(**HEAD | {"at_ms": 0}), "line 1: it is damaged"),
        (b" " * LINE_BYTES_MAX + b"\n", "line 1: it is longer than"),
    ],
)
def test_what_does_not_begin_as_a_backup_is_refused(tmp_path: Path, first: bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        inspected(tmp_path, [first] if first else [])


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (b"no\n", "it is damaged: the line holds no JSON object"),
        (line(type="error", detail="x"), "neither a record nor the last line"),
        (line(key=1, value="x"), "neither a record nor the last line"),
        (line(key="/h/1/x"), "neither a record nor the last line"),
        (line(key="/h/1/x", value=1), "neither a record nor the last line"),
        (line(key="/h/1/x", value="x", lease=3), "neither a record nor the last line"),
        (line(key="/h/1/x", base64="?"), "neither a record nor the last line"),
        (line(key="/h/1/x", base64="\xe4"), "neither a record nor the last line"),
        (line(key="/registry/pods/x", value=""), "'/registry/pods/x' belongs into no backup"),
        (line(key=CLUSTER, value=""), "belongs into no backup"),
        (line(key=f"{LEASED[1]}s1", value=""), "belongs into no backup"),
        (line(key="/h/1/x", value="x" * COMMIT_BYTES_MAX), "larger than a record can be"),
        (line(records=4, digest="sha256:0"), "it is damaged: the backup is said to have 4 records of 'sha256:0'"),
    ],
)
def test_what_belongs_into_no_backup_is_refused_with_its_line(
    tmp_path: Path, lines: list[bytes], second: bytes, told: str
) -> None:
    with pytest.raises(Invalid, match=f"backup, line 2: .*{told}"):
        inspected(tmp_path, [lines[0], second, *lines[1:]])


def test_records_out_of_order_twice_or_after_the_end_are_refused(tmp_path: Path, lines: list[bytes]) -> None:
    head, a, b, c, end = lines
    for wrong, told in (
        ([head, b, a, c, end], "line 3: '/h/1/ctl/a' is out of order"),
        ([head, a, a, b, c, end], "line 3: '/h/1/ctl/a' is out of order"),
        ([head, a, c, end], "line 4: it is damaged: the backup is said to have 3 records"),
        ([head, a, b, c, end, c], "line 6: something follows"),
        ([head, head, a, b, c, end], "line 2: it is damaged: it is neither"),
    ):
        with pytest.raises(Invalid, match=told):
            inspected(tmp_path, wrong)


def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nothing: No such file or directory"):
        backup.inspect(tmp_path / "nothing")
    with pytest.raises(Invalid, match="Is a directory"):
        backup.inspect(tmp_path)


# Restoring


async def test_the_same_backup_is_restored_again_with_a_higher_incarnation(tmp_path: Path) -> None:
    path = await written(await a_source(), tmp_path / "backup")
    first = await restored(path, MemoryStore())
    waited_ms = int(remaining_s(first, NOW_MS) * 1000)
    assert (first.incarnation, waited_ms) == (NOW_MS // 1000, 877)
    second = await restored(path, MemoryStore(), NOW_MS + waited_ms)
    assert second.incarnation == first.incarnation + 1


async def test_by_a_clock_that_is_behind_it_rises_by_one_and_nothing_is_waited_for(tmp_path: Path) -> None:
    done = await restored(await written(await a_source(), tmp_path / "backup"), MemoryStore(), 1_000)
    assert (done.incarnation, remaining_s(done, 1_000)) == (4, 0.0)
    assert remaining_s(done, 9_000) == 0.0


async def test_a_store_that_holds_a_registry_is_left_alone(tmp_path: Path) -> None:
    path, target = await written(await a_source(), tmp_path / "backup"), await a_source(many(4))
    before = await content(target)
    with pytest.raises(HarpoonError, match="has 5 keys under /h/1/ already"):
        await restored(path, target)
    assert await content(target) == before


@pytest.mark.parametrize("is_applied", [False, True])
async def test_restoring_that_breaks_at_any_commit_leaves_no_registry_and_is_made_good(
    tmp_path: Path, is_applied: bool
) -> None:
    path = await written(await a_source(many(350)), tmp_path / "backup")
    for at in range(1, 7):
        target = MemoryStore()
        if at == 6 and is_applied:
            assert (await restored(path, Disturbed(target, at, is_applied=True))).whole.records == 350
            continue
        with pytest.raises(StoreUnavailable):
            await restored(path, Disturbed(target, at, is_applied=is_applied))
        if await content(target):
            with pytest.raises(HarpoonError, match="harpoon restore again"):
                await cluster.found(target, "fresh")
        assert (await restored(path, target)).whole.records == 350
        assert (await cluster.found(target, "fresh")).id == "c1"
        assert len(await content(target)) == 351


async def test_a_file_that_is_spoilt_after_it_was_looked_at_leaves_the_store_unfinished(tmp_path: Path) -> None:
    path, target = await written(await a_source(many(3)), tmp_path / "backup"), MemoryStore()
    spoiling = Disturbed(target)

    async def spoil(number: int) -> None:
        if number == 1:
            path.write_bytes(path.read_bytes().replace(b'"2"', b'"7"'))

    spoiling.before_commit = spoil
    with pytest.raises(Invalid, match="line 5: it is damaged"):
        await restored(path, spoiling)
    assert set(await content(target)) >= {COPYING}
    assert await target.get(CLUSTER) is None


async def test_a_file_that_is_gone_after_it_was_looked_at_is_told(tmp_path: Path) -> None:
    path, target = await written(await a_source(), tmp_path / "backup"), MemoryStore()
    removing = Disturbed(target)

    async def remove(_number: int) -> None:
        path.unlink()

    removing.before_commit = remove
    with pytest.raises(Invalid, match="No such file"):
        await restored(path, removing)


async def test_a_store_that_spoils_what_it_is_given_is_found_out(tmp_path: Path) -> None:
    path, spoiling = await written(await a_source(many(5)), tmp_path / "backup"), Disturbed(MemoryStore())
    spoiling.spoil = lambda key, value: value + b"!" if key.endswith("3") else value
    with pytest.raises(HarpoonError, match="does not hold what was sent: 5 records"):
        await restored(path, spoiling)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.dictionaries(
                st.sampled_from(["format", "v", "key", "value", "base64", "records", "digest", "version"]), inner
            ),
            max_leaves=5,
        ).map(lambda told: json.dumps(told).encode() + b"\n"),
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_a_file_holds_it_is_refused_in_words(lines: list[bytes], has_head: bool) -> None:
    reading = backup.Reading()
    with pytest.raises(Invalid, match=r"line \d+: "):
        for one in [line(**HEAD), *lines] if has_head else lines:
            reading.take(one)
        reading.whole()

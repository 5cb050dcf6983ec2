"""``harpoon backup`` and ``harpoon restore``: there and back as anybody would, and every way in which it is refused."""

import asyncio
import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.cli import main
from harpoon.kit.clock import SystemClock
from harpoon.store import backup
from harpoon.store.cluster import CLUSTER, COPYING, Cluster
from harpoon.store.port import Put
from harpoon.store.sqlite import SqliteStore
from tests.cli.fake_server import FakeServer, Told, problem
from tests.cli.terminal_rig import Done, Terminal
from tests.store.copying import a_source, content, many

COUNT = 150


def a_backup(count: int = COUNT) -> bytes:
    async def write() -> bytes:
        pieces = backup.write(await a_source(many(count)), Cluster("c1", 3), at_ms=1_700_000_000_000, version="1.2")
        return b"".join([piece async for piece in pieces])

    return asyncio.run(write())


def held(path: Path) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        store = await SqliteStore.open(path, clock=SystemClock())
        try:
            return await content(store)
        finally:
            await store.close()

    return asyncio.run(read())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Backing up


def test_a_backup_is_the_owners_alone_and_takes_the_place_of_the_one_before(
    terminal: Terminal, server: FakeServer, here: Path
) -> None:
    (here / "b").write_text("the one before")
    server.tell("GET /v1/backup", Told(text=a_backup()))
    done = terminal.run("backup", "-o", "b", server=server.url)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{COUNT} records, ")
    assert "of cluster c1 at revision 3.151 are in b (sha256:" in done.out
    assert (here / "b").read_bytes() == a_backup()
    assert stat.S_IMODE((here / "b").stat().st_mode) == 0o600
    assert [one.name for one in here.iterdir()] == ["b"]
    assert server.asked[0].headers["accept"] == "application/x-ndjson"


def test_a_link_goes_on_to_name_the_file(terminal: Terminal, server: FakeServer, here: Path) -> None:
    (here / "link").symlink_to("real")
    server.tell("GET /v1/backup", Told(text=a_backup()))
    assert terminal.run("backup", "-o", "link", server=server.url).code == 0
    assert (here / "link").is_symlink()
    assert (here / "real").read_bytes() == a_backup()


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (Told(text=a_backup()[:-1]), 1, "the server told no whole backup: line 152: it breaks off"),
        (Told(text=b"".join(a_backup().splitlines(keepends=True)[:-1])), 1, "line 152: the last line is missing"),
        (Told(text=a_backup().replace(b'"77"', b'"78"')), 1, "line 152: it is damaged: the backup is said to have"),
        (Told(text=b"<html>\n"), 1, "line 1: this is no harpoon backup"),
        (Told(text=b"x" * (3 << 20)), 1, "line 1: it is longer than"),
        (Told(text=a_backup(), cut=True), 9, "the connection broke in the middle of an answer"),
        (
            Told(text=a_backup(9)[:400].rpartition(b"\n")[0] + b'\n{"type":"bye"}\n'),
            9,
            "the server broke off: it is ab",
        ),
        (Told(text=b'{"type":"error","code":"x","detail":"no store"}\n'), 9, "broke off: no store; n"),
        (problem(503, "the store is away"), 9, "the store is away"),
        (problem(401, "a token is needed"), 5, "a token is needed"),
    ],
)
def test_what_is_not_whole_is_not_kept(
    terminal: Terminal, server: FakeServer, here: Path, told: Told, code: int, said: str
) -> None:
    (here / "b").write_text("the one before")
    server.tell("GET /v1/backup", told)
    done = terminal.run("backup", "-o", "b", server=server.url)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert (here / "b").read_text() == "the one before"
    assert [one.name for one in here.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("file", "said"),
    [(".", "-o .: it is no file"), ("no/b", "-o no/b: No such file"), ("/dev/null", "-o /dev/null: it is no file")],
)
def test_what_cannot_be_a_file_is_refused(
    terminal: Terminal, server: FakeServer, here: Path, file: str, said: str
) -> None:
    done = terminal.run("backup", "-o", file, server=server.url)
    assert (done.code, done.err.startswith(f"error: {said}")) == (2, True)
    assert server.asked == []


def test_a_backup_that_takes_long_is_told_of(
    terminal: Terminal, server: FakeServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harpoon.cli.backup.TOLD_EVERY", timedelta(0))
    server.tell("GET /v1/backup", Told(text=a_backup(2)))
    assert "2 records, 58 bytes so far" in terminal.run("backup", "-o", "b", server=server.url).err


def test_standard_output_is_the_backup_and_nothing_else(
    server: FakeServer, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARPOON_SERVER", server.url)
    server.tell("GET /v1/backup", Told(text=a_backup()))
    assert main.run(("backup", "-o", "-")) == 0
    told = capfdbinary.readouterr()
    assert told.out == a_backup()
    assert told.err.startswith(b"150 records, ")


# Restoring


def restore(terminal: Terminal, file: str = "b", goes: str = "sqlite:///new/h.db", *more: str) -> Done:
    return terminal.run("restore", file, "--to", goes, *more)


def test_a_backup_is_restored_and_again_with_a_higher_incarnation(terminal: Terminal, here: Path) -> None:
    (here / "b").write_bytes(a_backup())
    began = SystemClock().now().wall // 1000
    done = restore(terminal)
    assert done.code == 0, done.err
    told = {name: value.strip() for name, value in (line.split(":", 1) for line in done.out.splitlines())}
    assert (told["Records"], told["Cluster"], told["Revision"]) == (str(COUNT), "c1", "3.151")
    assert told["Backed up"] == "2023-11-14T22:13:20Z"
    assert "start servers with --store sqlite:///new/h.db from now on" in done.err
    assert "harpoon get waiting -A" in done.err
    found = held(here / "new" / "h.db")
    first = json.loads(found.pop(CLUSTER))
    assert (first["cluster"], first["incarnation"] >= began) == ("c1", True)
    assert found == many(COUNT)
    again = json.loads(restore(terminal, "b", "sqlite:///other.db", "-o", "json").out)
    assert again["incarnation"]["before"] == 3
    assert again["incarnation"]["now"] > first["incarnation"]


def test_a_clock_that_is_behind_the_backup_is_warned_of(terminal: Terminal, here: Path) -> None:
    ahead = a_backup().replace(b'"incarnation":3', b'"incarnation":99000000000')
    (here / "b").write_bytes(ahead)
    done = restore(terminal, "b", "sqlite:///h.db", "-o", "json")
    assert json.loads(done.out)["incarnation"] == {"before": 99000000000, "now": 99000000001}
    assert "warning: the clock of this machine is behind" in done.err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (a_backup()[:-30], "b, line 152: it breaks off"),
        (
            a_backup().replace(b'"v":1', b'"v":7'),
            "b, line 1: its format is v 7, and this release reads v 1; harpoon 1.2",
        ),
        (a_backup().replace(b'"77"', b'"78"'), "b, line 152: it is damaged"),
        (b"\x1f\x8b\x08gzip", "b, line 1: it breaks off"),
    ],
)
def test_what_is_no_whole_backup_is_refused_before_anything_is_made(
    terminal: Terminal, here: Path, data: bytes, said: str
) -> None:
    (here / "b").write_bytes(data)
    done = restore(terminal)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    assert [one.name for one in here.iterdir()] == ["b"]


def test_what_cannot_be_restored_to_is_refused(terminal: Terminal, here: Path) -> None:
    (here / "b").write_bytes(a_backup())
    assert restore(terminal, "nothing").err == "error: nothing: No such file or directory\n"
    assert restore(terminal, "b", "memory").code == 2
    assert restore(terminal, "b", "sqlite:///x.db", "-o", "name").code == 2
    assert restore(terminal, "b", "sqlite:///x.db").code == 0
    done = restore(terminal, "b", "sqlite:///x.db")
    assert (done.code, f"the destination has {COUNT + 1} keys under /h/1/ already" in done.err) == (4, True)


def test_what_an_interrupted_one_left_is_made_good(terminal: Terminal, here: Path) -> None:
    async def interrupted() -> None:
        store = await SqliteStore.open(here / "x.db", clock=SystemClock())
        await store.commit((), (Put(COPYING, b"{}"), Put("/h/1/ctl/jobs/default/old", b"old")))
        await store.close()

    asyncio.run(interrupted())
    (here / "b").write_bytes(a_backup())
    done = restore(terminal, "b", "sqlite:///x.db", "-o", "json")
    assert json.loads(done.out)["removed"] == 1
    assert set(held(here / "x.db")) == {CLUSTER, *many(COUNT)}

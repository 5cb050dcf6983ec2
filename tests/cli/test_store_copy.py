"""``harpoon store copy``: from one file to another as anybody would, and every way in which it is refused."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from harpoon.kit.clock import SystemClock
from harpoon.store.cluster import CLUSTER
from harpoon.store.port import Put
from harpoon.store.sqlite import SqliteStore
from harpoon.store.sqlite_file import FileLock
from tests.cli.terminal_rig import Terminal

RECORD = b'{"cluster": "c1", "incarnation": 1}'


def fill(path: Path, count: int = 3) -> None:
    """Make a file that holds a registry."""

    async def write() -> None:
        store = await SqliteStore.open(path, clock=SystemClock(), synchronous="NORMAL")
        await store.commit(
            (), [Put(CLUSTER, RECORD), *(Put(f"/h/1/ctl/jobs/default/{n}", b"{}") for n in range(count))]
        )
        await store.close()

    asyncio.run(write())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy(terminal: Terminal, came: str = "sqlite:///a.db", goes: str = "sqlite:///new/b.db", *more: str) -> Sequence:
    done = terminal.run("store", "copy", "--from", came, "--to", goes, *more)
    return done.code, done.out, done.err


def test_a_copy_tells_what_it_did_and_how_to_go_on(terminal: Terminal, here: Path) -> None:
    fill(here / "a.db")
    code, out, err = copy(terminal)
    assert code == 0
    told = dict(line.split(":", 1) for line in out.splitlines())
    assert told.keys() == {"Records", "Bytes", "Digest", "Cluster", "Incarnation", "Removed", "Seconds"}
    assert (told["Records"].strip(), told["Cluster"].strip()) == ("3", "c1")
    assert err == (
        "start servers with --store sqlite:///new/b.db from now on, and none on sqlite:///a.db any more: "
        "agents would refuse it\n"
    )


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_copy_is_told_as_data(terminal: Terminal, here: Path, form: str, load: type) -> None:
    fill(here / "a.db")
    began = SystemClock().now().wall // 1000
    code, out, _ = copy(terminal, "sqlite:///a.db", "sqlite:///b.db", "-o", form)
    told = load(out)
    assert code == 0
    assert told["records"] == 3
    assert told["bytes"] == 3 * len("/h/1/ctl/jobs/default/0" + "{}")
    assert told["digest"].startswith("sha256:")
    assert len(told["digest"]) == len("sha256:") + 64
    assert told["incarnation"]["before"] == 1
    assert told["incarnation"]["now"] >= began
    again = load(copy(terminal, "sqlite:///b.db", "sqlite:///c.db", "-o", form)[1])
    assert (again["digest"], again["incarnation"]["now"]) == (told["digest"], again["incarnation"]["now"])
    assert again["incarnation"]["now"] > told["incarnation"]["now"] == again["incarnation"]["before"]


@pytest.mark.parametrize(
    ("came", "goes", "told"),
    [
        ("memory", "sqlite:///b.db", "--from memory: it is inside its server alone"),
        ("sqlite:///a.db", "memory", "--to memory: it is inside its server alone"),
        ("sqlite:///a.db", "postgres://db", "--to: a store is memory, sqlite:///FILE, etcd://HOST:PORT"),
        ("sqlite:///nothing.db", "sqlite:///b.db", "--from sqlite:///nothing.db: there is no such file"),
        ("sqlite:///a.db", "sqlite:///adir", "--to sqlite:///adir: it is a directory"),
        ("sqlite:///a.db", "sqlite:///a.db/b.db", "--to a.db cannot be a directory: it is a file"),
        ("sqlite:///a.db", "sqlite:///./adir/../a.db", "--from and --to name the same store"),
        ("etcd://10.0.0.1", "etcd://10.0.0.1:2379", "--from and --to name the same store"),
    ],
)
def test_what_cannot_be_copied_is_refused_by_its_option(
    terminal: Terminal, here: Path, came: str, goes: str, told: str
) -> None:
    fill(here / "a.db")
    (here / "adir").mkdir()
    code, out, err = copy(terminal, came, goes)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")


def test_a_copy_has_no_name(terminal: Terminal) -> None:
    assert copy(terminal, "sqlite:///a.db", "sqlite:///b.db", "-o", "name")[0] == 2


def test_what_a_store_refuses_has_an_exit_code(terminal: Terminal, here: Path) -> None:
    fill(here / "a.db")
    fill(here / "b.db", count=7)
    (here / "no.db").write_bytes(b"not a database" * 100)
    code, _, err = copy(terminal, goes="sqlite:///b.db")
    assert (code, err.startswith("error: the destination has 8 keys under /h/1/ already")) == (4, True)
    code, _, err = copy(terminal, "sqlite:///no.db")
    assert (code, err.startswith("error: --from sqlite:///no.db: no.db cannot be used: ")) == (9, True)


def test_a_file_without_a_registry_is_not_found(terminal: Terminal, here: Path) -> None:
    (here / "empty.db").touch()
    code, _, err = copy(terminal, "sqlite:///empty.db")
    assert (code, err.startswith("error: the source holds no registry")) == (3, True)


def test_a_file_that_a_server_has_open_is_told_with_its_process(terminal: Terminal, here: Path) -> None:
    fill(here / "a.db")
    lock = FileLock(here / "a.db")
    code, _, err = copy(terminal)
    lock.release()
    told = f"--from sqlite:///a.db: a.db is in use by process {os.getpid()}; stop that first"
    assert (code, err) == (9, f"error: {told}\n")
    assert not (here / "new").exists()

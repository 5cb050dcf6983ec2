"""Archives are unpacked whole, within their directory and within bounds, or not at all."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harpoon.agent.artifacts import unpack
from tests.agent.archives import a_link, a_member, a_tar, a_zip, names, sha256

MIB = 1 << 20
LIMIT = 8 * MIB


def put(tmp_path: Path, data: bytes, *, mode: str = "unpack", digest: str | None = None, limit: int = LIMIT) -> str:
    source = tmp_path / "file"
    source.write_bytes(data)
    return unpack.put(str(source), digest or sha256(data), str(tmp_path / "out"), mode, limit)


def files(tmp_path: Path) -> dict[str, bytes | str]:
    root = tmp_path / "out"
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if not path.is_dir() or path.is_symlink()
    }


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_archive_is_unpacked_whatever_it_is_compressed_with(tmp_path, mode, form):
    data = a_tar(
        a_member("./", None, type=tarfile.DIRTYPE),
        a_member("./bin/run", b"#!/bin/sh\n", mode=0o755, mtime=1_000_000_000),
        a_member("etc", None, type=tarfile.DIRTYPE),
        a_member("etc/app.conf", b"a=b" * 100_000),
        a_link("etc/current", "app.conf"),
        a_link("bin/run2", "./bin/run", tarfile.LNKTYPE),
        a_link("etc/self", "."),
        a_link("top", "etc/../bin/run"),
        mode=mode,
        format=form,
    )
    assert put(tmp_path, data) == ""
    assert files(tmp_path) == {
        "bin/run": b"#!/bin/sh\n",
        "bin/run2": b"#!/bin/sh\n",
        "etc/app.conf": b"a=b" * 100_000,
        "etc/current": "app.conf",
        "etc/self": ".",
        "top": "etc/../bin/run",
    }
    told = (tmp_path / "out" / "bin" / "run").stat()
    assert (stat.S_IMODE(told.st_mode), told.st_mtime) == (0o755, 1_000_000_000)
    assert told.st_ino == (tmp_path / "out" / "bin" / "run2").stat().st_ino


def test_a_zip_archive_is_unpacked(tmp_path):
    data = a_zip(
        ("bin/run", b"#!"),
        ("link", b"bin/run"),
        ("plain", b"p" * MIB),
        ("empty/", b""),
        modes=(stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777),
    )
    assert put(tmp_path, data) == ""
    assert files(tmp_path) == {"bin/run": b"#!", "link": "bin/run", "plain": b"p" * MIB}
    assert stat.S_IMODE((tmp_path / "out" / "bin" / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out" / "plain").stat().st_mode) == 0o600
    assert (tmp_path / "out" / "empty").is_dir()


@pytest.mark.parametrize("name", ["a" * 255, "CON", "a.", "...", "..a", "a\\..\\b", "%2e%2e", "-rf", "a\nb", "ü"])
def test_names_that_only_look_odd_are_kept(tmp_path, name):
    assert put(tmp_path, a_tar(a_member(f"d/{name}"))) == ""
    assert files(tmp_path) == {f"d/{name}": b"x"}


def test_neither_set_user_id_nor_writing_for_others_is_kept(tmp_path):
    assert put(tmp_path, a_tar(a_member("a", mode=0o7777), a_member("b", mode=0o000, uid=1000, uname="root"))) == ""
    modes = [stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in "ab"]
    assert modes == [0o755, 0o600]
    assert (tmp_path / "out" / "b").stat().st_uid == os.getuid()


def test_a_file_that_is_there_twice_is_the_later_one(tmp_path):
    assert put(tmp_path, a_tar(a_member("a", b"old"), a_member("a", b"new"))) == ""
    assert files(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/etc/cron.d/x", "..", "a/..", "d/../../../../../../../../etc/passwd", "//a", "./../a"],
)
def test_no_member_leads_out(tmp_path, name):
    for data in (a_tar(a_member(name)), a_zip((name, b"x")), a_tar(a_member(name, None, type=tarfile.DIRTYPE))):
        assert put(tmp_path, data) == f"{name!r} leads out of the archive"
        (tmp_path / "out").rmdir()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "members",
    [
        [a_link("l", "/etc/passwd")],
        [a_link("l", "..")],
        [a_link("l", "../x")],
        [a_link("a/b/l", "../../../x")],
        [a_link("l", "a/../../x")],
        # Each leads inside by its text.
        [a_link("here", "."), a_link("l", "here/../x")],
        [a_link("d/here", "."), a_link("d/there", "here/.."), a_link("l", "d/there/../x")],
        [a_member("a/b/c/f"), a_link("up", "a/b/c"), a_link("l", "up/../../../../x")],
        [a_link("l", "x" * 5000)],
        [a_link("l", "../x", tarfile.LNKTYPE)],
        [a_link("l", "/etc/passwd", tarfile.LNKTYPE)],
    ],
)
def test_no_link_leads_out(tmp_path, members):
    assert put(tmp_path, a_tar(*members)).endswith("leads out of the archive")


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    through = a_tar(a_member("d/f"), a_link("e", "d"), a_member("e/f", b"through"))
    assert put(tmp_path, through) == "'e' is a directory, and something else as well"
    assert (tmp_path / "out" / "d" / "f").read_bytes() == b"x"


def test_a_zip_archives_links_lead_nowhere_either(tmp_path):
    data = a_zip(("l", b"/etc/passwd"), modes=(stat.S_IFLNK | 0o777,))
    assert put(tmp_path, data) == "'l': it links to '/etc/passwd', which leads out of the archive"


def test_a_hard_link_is_to_a_file_that_came_before(tmp_path):
    assert put(tmp_path, a_tar(a_link("l", "none", tarfile.LNKTYPE))).endswith("which is not there before it")
    (tmp_path / "out").rmdir()
    members = (a_member("d", None, type=tarfile.DIRTYPE), a_link("l", "d", tarfile.LNKTYPE))
    assert put(tmp_path, a_tar(*members)).endswith("which is no file")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_neither_devices_nor_fifos_are_made(tmp_path, kind):
    data = a_tar(a_member("x", None, type=kind, devmajor=1, devminor=3))
    assert put(tmp_path, data) == "'x' is no file, directory or link"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_nor_are_they_out_of_a_zip(tmp_path, kind):
    assert put(tmp_path, a_zip(("x", b""), modes=(kind | 0o644,))) == "'x' is no file, directory or link"


def test_a_sparse_file_is_not_unpacked(tmp_path):
    # One of 1 TiB with nothing in it, as GNU tar writes it.
    member = tarfile.TarInfo("huge")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:482] = b"0" * 11 + b"\0" + b"0" * 11 + b"\0" + bytes(72)
    header[483:495] = b"\x80" + bytes(5) + (1 << 40).to_bytes(6, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert put(tmp_path, bytes(header) + bytes(1024)) == "'huge' is a sparse file"


def test_a_file_and_a_directory_of_one_name_are_refused(tmp_path):
    for members in (
        (a_member("a"), a_member("a/b")),
        (a_member("a/b"), a_member("a")),
        (a_member("a"), a_member("a", None, type=tarfile.DIRTYPE)),
    ):
        assert put(tmp_path, a_tar(*members)) == "'a' is a directory, and something else as well"
        assert subprocess.run(["rm", "-r", tmp_path / "out"], check=True)


def test_names_that_no_file_can_have_are_refused(tmp_path):
    for name in ("a" * 256, "d/" * 65 + "f"):
        assert put(tmp_path, a_tar(a_member(name))).endswith("is longer than a name can be")
        (tmp_path / "out").rmdir()
    assert put(tmp_path, a_tar(a_member("."))) == "'.' is no name of a file"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_a_bomb_is_stopped_at_the_limit(tmp_path, kind):
    content = bytes(LIMIT + 1)
    data = a_zip(("bomb", content)) if kind == "zip" else a_tar(a_member("bomb", content), mode=f"w:{kind}")
    assert len(data) < 100_000
    assert put(tmp_path, data) == f"'bomb': unpacked, it is larger than {LIMIT} bytes"
    (tmp_path / "out").rmdir()
    assert put(tmp_path, data, limit=LIMIT + 1) == ""


def test_many_files_count_together(tmp_path):
    data = a_tar(*(a_member(f"f{n}", bytes(MIB)) for n in range(9)))
    assert put(tmp_path, data) == f"'f8': unpacked, it is larger than {LIMIT} bytes"


def test_a_zip_that_lies_about_its_size_is_stopped_all_the_same(tmp_path):
    data = bytearray(a_zip(("bomb", bytes(LIMIT + 1))))
    # The size in the central directory, which is what is believed.
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    assert put(tmp_path, bytes(data)) != ""
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir()]
    assert sum(sizes) <= LIMIT


def test_more_members_than_there_may_be_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MEMBERS_MAX", 10)
    data = a_tar(*(a_member("same") for _ in range(11)))
    assert put(tmp_path, data) == "it has more than 10 members"
    (tmp_path / "out" / "same").unlink()
    (tmp_path / "out").rmdir()
    assert put(tmp_path, a_zip(*((f"f{n}", b"") for n in range(11)))) == "it has more than 10 members"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        b"PK\x03\x04nothing",
        gzip.compress(b"no archive"),
        b"\x1f\x8bno gzip at all",
        bz2.compress(b"no archive"),
        lzma.compress(b"no archive"),
        a_tar(a_member("a", os.urandom(100_000)))[:50_000],
        a_tar(a_member("a", os.urandom(100_000)), mode="w:xz")[:50_000],
        a_tar(a_member("a", os.urandom(100_000)), mode="w:")[:50_000],
        a_zip(("a", os.urandom(100_000)))[:50_000],
    ],
    ids=range(11),
)
def test_what_is_no_archive_or_not_whole_is_told(tmp_path, data):
    assert put(tmp_path, data).startswith("it is no archive that can be read: ")


def test_an_encrypted_zip_is_told(tmp_path):
    data = bytearray(a_zip(("a", b"x")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + offset
        data[at] |= 1
    assert put(tmp_path, bytes(data)) == "'a' is encrypted"


def test_zstd_is_unpacked_where_python_can_and_else_told(tmp_path):
    reason = put(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(10))
    if sys.version_info < (3, 14):
        assert reason.endswith("compress it with gzip or xz")
    else:
        assert reason.startswith("it is no archive that can be read")


def test_a_file_is_put_as_it_is_and_can_be_executed(tmp_path):
    data = a_tar(a_member("a"))
    assert put(tmp_path, data, mode="file") == ""
    assert (tmp_path / "out").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", ["file", "unpack"])
def test_what_is_not_what_its_digest_says_is_not_put(tmp_path, mode):
    assert put(tmp_path, a_tar(a_member("a")), mode=mode, digest="0" * 64) == "what was kept of it is damaged"
    assert not (tmp_path / "out").exists()


def run(tmp_path: Path, data: bytes, limit: int = LIMIT) -> subprocess.CompletedProcess[str]:
    (tmp_path / "file").write_bytes(data)
    arguments = [str(tmp_path / "file"), sha256(data), str(tmp_path / "out"), "unpack", str(limit)]
    return subprocess.run(
        [sys.executable, "-I", "-S", unpack.__file__, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_script_does_without_anything_installed_and_says_why_it_failed(tmp_path):
    done = run(tmp_path, a_tar(a_member("a")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(tmp_path / ".", a_tar(a_member("../a")))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "file exists\n"
    subprocess.run(["rm", "-r", tmp_path / "out"], check=True)
    assert run(tmp_path, a_tar(a_member("../a"))).stdout == "'../a' leads out of the archive\n"


def test_a_header_that_is_a_bomb_itself_ends_the_script_and_nothing_else(tmp_path):
    # Extended headers are read into memory, whole, before anything of them can be looked at.
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = 3 << 30
    zeros = gzip.compress(bytes(64 * MIB), compresslevel=1)
    data = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT)) + zeros * 48
    done = run(tmp_path, data)
    assert (done.returncode, done.stdout) == (1, "it takes more than 1024 MiB of memory to be unpacked\n")

"""Which of the host's paths tasks may have, whatever leads where."""

import os
import socket
import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from harpoon.agent.paths import Allowed, find, find_own, make_within, open_file, open_plainly
from harpoon.kit.errors import Invalid
from harpoon.model.volumes import HostPath


def allowing(*paths: object, own: object = "/nowhere", read_only: bool = False) -> Allowed:
    return Allowed(paths=tuple(HostPath(path=str(path), read_only=read_only) for path in paths), own=str(own))


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    (tmp_path / "srv" / "db").mkdir(parents=True)
    (tmp_path / "srv" / "file").write_text("what is shared")
    (tmp_path / "secret").write_text("what is not")
    return tmp_path / "srv"


def test_what_is_allowed_is_found_and_known_again(srv):
    found = find(f"{srv}/db", allowing(srv), is_written=True)
    told = (srv / "db").stat()
    assert (found.path, found.is_directory, found.identity) == (f"{srv}/db", True, f"{told.st_dev}:{told.st_ino}")
    assert not find(f"{srv}/file", allowing(srv), is_written=True).is_directory
    assert find(str(srv), allowing(srv), is_written=True).path == str(srv)


def test_links_are_followed_before_anything_is_judged(srv, tmp_path):
    (srv / "inside").symlink_to("db")
    (srv / "outside").symlink_to("../secret")
    (srv / "up").symlink_to("..")
    (tmp_path / "alias").symlink_to("srv")
    assert find(f"{srv}/inside", allowing(srv), is_written=True).path == f"{srv}/db"
    # What is allowed may be a link as well.
    assert find(f"{srv}/db", allowing(tmp_path / "alias"), is_written=True).path == f"{srv}/db"
    assert find(f"{tmp_path}/alias/db", allowing(srv), is_written=True).path == f"{srv}/db"
    for path in ("outside", "up", "up/secret", "../secret", "db/../../secret"):
        with pytest.raises(Invalid, match="is not allowed here; the agent's operator says so with --allow-host-path"):
            find(f"{srv}/{path}", allowing(srv), is_written=False)
    with pytest.raises(Invalid, match=f"host path {srv}/outside leads to {tmp_path}/secret, which is not allowed"):
        open_file(f"{srv}/outside", allowing(srv))


def test_nothing_is_allowed_beside_what_is(srv, tmp_path):
    (tmp_path / "srv2").mkdir()
    for path in (tmp_path, tmp_path / "srv2", "/etc/passwd"):
        with pytest.raises(Invalid, match="is not allowed here"):
            find(str(path), allowing(srv), is_written=False)
    with pytest.raises(Invalid, match="is not allowed here"):
        find(str(srv), allowing(tmp_path / "gone"), is_written=False)
    with pytest.raises(Invalid, match="is not allowed here"):
        find(str(srv), allowing(), is_written=False)


def test_what_is_for_reading_only_is_not_written(srv):
    assert find(f"{srv}/db", allowing(srv, read_only=True), is_written=False).path
    with pytest.raises(Invalid, match="allowed for reading only; set read_only: true"):
        find(f"{srv}/db", allowing(srv, read_only=True), is_written=True)
    both = Allowed(paths=(HostPath(path=str(srv), read_only=True), HostPath(path=f"{srv}/db")), own="/nowhere")
    assert find(f"{srv}/db", both, is_written=True).path


def test_the_agents_own_state_is_never_given_nor_what_holds_it(srv, tmp_path):
    own = srv / "agent"
    (own / "tasks").mkdir(parents=True)
    (srv / "alias").symlink_to("agent")
    for path in (own, own / "tasks", srv, tmp_path, srv / "alias", srv / "alias/tasks"):
        with pytest.raises(Invalid, match="is the agent's own state, or holds it"):
            find(str(path), allowing("/", own=own), is_written=False)
    assert find(f"{srv}/db", allowing("/", own=own), is_written=True).path


def test_no_engines_socket_is_given_nor_what_holds_one():
    for path in ("/run", "/var/run"):
        with pytest.raises(Invalid, match=r"is or holds .*, and whoever has that has the host"):
            find(path, allowing("/", own="/nowhere/else"), is_written=False)


def test_nor_that_of_the_engine_which_the_agent_asks_itself(srv):
    allowed = replace(allowing(srv), engine=str(srv / "db" / "engine.sock"))
    for path in (srv, srv / "db", srv / "db" / "engine.sock"):
        (srv / "db" / "engine.sock").touch()
        with pytest.raises(Invalid, match=r"is or holds .*/engine.sock, and whoever has that has the host"):
            find(str(path), allowed, is_written=False)


def test_only_directories_and_plain_files_are_given(srv):
    os.mkfifo(srv / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(srv / "docker.sock"))
        for path in (srv / "fifo", srv / "docker.sock"):
            with pytest.raises(Invalid, match="is neither a directory nor a plain file"):
                find(str(path), allowing(srv), is_written=False)
            with pytest.raises(Invalid, match=r"is not a plain file|no such device"):
                open_file(str(path), allowing(srv))
    for path in ("/dev/null", "/dev/zero"):
        with pytest.raises(Invalid, match="is neither a directory nor a plain file"):
            find(path, allowing("/dev"), is_written=False)
        with pytest.raises(Invalid, match="is not a plain file"):
            open_file(path, allowing("/dev"))
    with pytest.raises(Invalid, match="is not a plain file"):
        open_file(f"{srv}/db", allowing(srv))


def test_what_is_not_there_is_told(srv):
    (srv / "loop").symlink_to("loop")
    for path, reason in (("none", "no such file or directory"), ("loop", "too many levels"), ("file/x", "not a dir")):
        with pytest.raises(Invalid, match=f"host path {srv}/{path}: .*{reason}"):
            find(f"{srv}/{path}", allowing(srv), is_written=False)


def test_a_link_is_not_followed_once_it_was_judged(srv):
    (srv / "link").symlink_to("db")
    (srv / "db" / "deep").mkdir()
    # This is what is done after the judging, when the directory has been changed for a link.
    for path in ("link/deep", "link/deep/deeper"):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            os.close(open_plainly(f"{srv}/{path}", os.O_RDONLY | os.O_NOFOLLOW))
    with pytest.raises(OSError, match=r"Too many levels"):
        os.close(open_plainly(f"{srv}/link", os.O_RDONLY | os.O_NOFOLLOW))


def test_a_link_that_is_swapped_in_all_the_time_never_leads_out(srv, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("what is not")
    (srv / "db" / "file").write_text("what is shared")
    (srv / "evil").symlink_to("../other")
    is_over = threading.Event()

    def swap():
        while not is_over.is_set():
            (srv / "db").rename(srv / "aside")
            (srv / "evil").rename(srv / "db")
            (srv / "db").rename(srv / "evil")
            (srv / "aside").rename(srv / "db")

    thread = threading.Thread(target=swap)
    thread.start()
    read = set()
    try:
        # Often, and until both have been met: who comes when is not ours to say.
        for times in count():
            if times >= 500 and len(read) > 1:
                break
            try:
                descriptor = open_file(f"{srv}/db/file", allowing(srv))
            except Invalid:
                read.add("refused")
                continue
            with os.fdopen(descriptor) as file:
                read.add(file.read())
    finally:
        is_over.set()
        thread.join()
    assert read == {"what is shared", "refused"}


def test_what_is_made_below_a_directory_is_made_without_following_links(tmp_path):
    base = tmp_path / "scratch"
    base.mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert make_within(str(base), "a/b") == f"{base}/a/b"
    assert make_within(str(base), "a/b") == f"{base}/a/b"
    assert (base / "a" / "b").is_dir()
    assert make_within(str(base), "a/file", is_directory=False) == f"{base}/a/file"
    assert (base / "a" / "file").read_bytes() == b""
    (base / "link").symlink_to(tmp_path / "elsewhere")
    for path, is_directory in (("link/x", True), ("link", True), ("link/x", False), ("a/file/x", True)):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            make_within(str(base), path, is_directory=is_directory)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_is_the_agents_own_is_known_without_being_allowed(tmp_path):
    assert find_own(str(tmp_path)).path == str(tmp_path)
    with pytest.raises(FileNotFoundError):
        find_own(f"{tmp_path}/none")

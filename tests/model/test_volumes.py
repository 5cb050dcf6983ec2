"""Volumes and artifacts as they are declared."""

from typing import Any

import pytest

from harpoon.model.agent import Agent
from harpoon.model.template import TaskTemplate
from harpoon.model.volumes import Artifact, ArtifactMode, HostPath, Volume, allowance, check_url, statuses
from tests.model.test_agent import an_agent

SUM = "0123456789abcdef" * 4


def an_artifact(**changes: Any) -> Artifact:
    return Artifact(**{"url": "https://host/app.tar.gz", "sha256": SUM, "at": "app"} | changes)


def a_template(**fields: Any) -> TaskTemplate:
    return TaskTemplate(command=("true",), **fields)


def test_a_volume_is_a_path_of_the_host_or_scratch_space() -> None:
    assert Volume(host="/srv/db", at="/data").is_mounted
    assert Volume(host="/srv/db", at="data", read_only=True).is_mounted
    assert Volume(scratch=1 << 30, at="/var/cache/app").is_mounted
    assert not Volume(scratch=1 << 30, at="cache/of mine/\N{SNOWMAN}").is_mounted


@pytest.mark.parametrize(
    "at", ["/data", "data", "/etc/app", "/home/a", "..data", "a..b", "...", "CON", "a.", "x" * 255]
)
def test_what_only_looks_odd_can_be_a_place(at: str) -> None:
    assert Volume(host="/srv", at=at).at == at


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../data", "data/..", "a/../b", "a/./b", "./a", "a//b", "a/", "/..", "/data/", "//data"),
        *("a\x00b", "a\nb", "\x7f", "x" * 256, "/" + "x" * 256, "a/" * 520 + "a", "\udc80"),
        *("/proc", "/proc/self", "/sys/fs", "/dev", "/dev/shm", "/", "/etc", "/usr", "/bin", "/lib64", "/run", "/var"),
    ],
)
def test_no_place_is_outside_itself_or_hides_the_host(path: str) -> None:
    with pytest.raises(ValueError, match=r"at is a path without|nothing can be put at"):
        Volume(host="/srv", at=path)
    with pytest.raises(ValueError, match=r"at is a path without|nothing can be put at|starts with no '/'"):
        an_artifact(at=path)


@pytest.mark.parametrize("host", ["srv", "", "/srv/", "//srv", "/srv/../etc", "/srv/.", "/a\x00b", "/" + "x" * 256])
def test_a_path_of_the_host_is_absolute_and_written_the_short_way(host: str) -> None:
    with pytest.raises(ValueError, match="host is an absolute path"):
        Volume(host=host, at="/data")
    with pytest.raises(ValueError, match="a host path is an absolute path"):
        HostPath(path=host)
    assert HostPath(path="/").path == "/"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of host, scratch"),
        ({"host": "/srv", "scratch": 1}, "exactly one of host, scratch"),
        ({"scratch": 1, "read_only": True}, "read_only is for host"),
        ({"scratch": 0}, "scratch is more than 0"),
    ],
)
def test_a_volume_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Volume(at="/data", **fields)


@pytest.mark.parametrize(
    "url",
    [
        "https://host/app.tar.gz",
        "http://127.0.0.1:8000/a?b=c%20d",
        "http://[::1]:8000/",
        "https://host",
        "file:///srv/app.zip",
        "HTTPS://host/",
    ],
)
def test_an_artifact_comes_from_a_url(url: str) -> None:
    assert an_artifact(url=url).mode is ArtifactMode.UNPACK
    assert check_url(url).scheme in ("https", "http", "file")


def test_a_files_url_names_a_path_of_the_host() -> None:
    assert an_artifact(url="file:///srv/a%20b").host == "/srv/a b"
    assert an_artifact(url="FILE:///srv/a").host == "/srv/a"
    assert an_artifact().host is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/a", "url starts with"),
        ("gopher://host/a", "url starts with"),
        ("unix:///run/docker.sock", "url starts with"),
        ("//host/a", "url starts with"),
        ("host/a", "url starts with"),
        ("", "url starts with"),
        ("https:///a", "url names a host"),
        ("https://user@host/a", "no user and no password"),
        ("https://user:secret@host/a", "no user and no password"),
        ("https://good.example@169.254.169.254/a", "no user and no password"),
        ("https://host/a#b", "holds no '#'"),
        ("https://host/a b", "without blanks"),
        ("https://host/a\nHost: b", "without blanks"),
        ("https://host/\x00", "without blanks"),
        ("https://host\\@other/a", "without blanks"),
        ("https://h\N{LATIN SMALL LETTER O WITH DIAERESIS}st/a", "ASCII"),
        ("https://host/" + "a" * 2048, "at most 2048"),
        ("https://host:99999/a", "url is no URL"),
        ("https://[::1/a", "url is no URL"),
        ("file://host/srv/a", "file:///PATH"),
        ("file:///srv/a?b", "file:///PATH"),
        ("file:///srv/../etc/shadow", "the path of a file's url"),
        ("file:///srv/%2e%2e/etc/shadow", "the path of a file's url"),
        ("file:///srv/a%00", "the path of a file's url"),
        ("file:srv/a", "the path of a file's url"),
    ],
)
def test_what_nothing_may_be_fetched_from_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        an_artifact(url=url)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "sha256:" + "0" * 64, "\u0660" * 64])
def test_an_artifact_has_a_checksum(sha256: str) -> None:
    with pytest.raises(ValueError, match="sha256 is 64 digits"):
        an_artifact(sha256=sha256)


def test_places_are_apart() -> None:
    volumes = (Volume(host="/srv", at="/data"), Volume(scratch=1, at="data"), Volume(scratch=1, at="/data2"))
    assert a_template(volumes=volumes, artifacts=(an_artifact(), an_artifact(at="app2")))
    for at in ("/data", "/data/more", "data/deep/er"):
        with pytest.raises(ValueError, match="volumes and artifacts are at places apart; they name"):
            a_template(volumes=(*volumes, Volume(host="/opt", at=at)))
    with pytest.raises(ValueError, match="they name app/conf, which is within app"):
        a_template(artifacts=(an_artifact(at="app/conf"), an_artifact()))
    with pytest.raises(ValueError, match="they name data twice"):
        a_template(volumes=volumes, artifacts=(an_artifact(at="data"),))


def test_there_are_not_too_many() -> None:
    with pytest.raises(ValueError, match="volumes holds at most 16"):
        a_template(volumes=tuple(Volume(scratch=1, at=f"v{n}") for n in range(17)))
    with pytest.raises(ValueError, match="artifacts holds at most 16"):
        a_template(artifacts=tuple(an_artifact(at=f"a{n}") for n in range(17)))
    allowed = tuple(HostPath(path=f"/srv/{n}") for n in range(65))
    with pytest.raises(ValueError, match="host_paths holds at most 64"):
        an_agent(host_paths=allowed)
    assert isinstance(an_agent(host_paths=allowed[:64]), Agent)


def test_what_is_allowed_is_so_with_all_below_it_and_nothing_beside() -> None:
    allowed = (HostPath(path="/srv", read_only=True), HostPath(path="/srv/db"), HostPath(path="/opt"))
    told = {path: allowance(allowed, path) for path in ("/srv", "/srv/x", "/srv/db", "/srv/db/1", "/opt/a")}
    assert told == {"/srv": False, "/srv/x": False, "/srv/db": True, "/srv/db/1": True, "/opt/a": True}
    assert [allowance(allowed, path) for path in ("/", "/srv2", "/op", "/data")] == [None] * 4
    assert allowance((HostPath(path="/"),), "/anything") is True


def test_of_each_volume_is_told_whether_and_how_a_task_is_held_to_it() -> None:
    volumes = (
        Volume(host="/srv", at="/a"),
        Volume(host="/srv", at="/b", read_only=True),
        Volume(scratch=1 << 30, at="c"),
    )
    assert [(one.at, one.is_enforced, one.detail) for one in statuses(volumes)] == [
        ("/a", True, "/srv: a mount that only this task sees"),
        ("/b", True, "/srv: a read-only mount that only this task sees"),
        ("c", False, "at most 1Gi: it is measured from time to time, and the task fails beyond that"),
    ]

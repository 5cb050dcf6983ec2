"""The engine's client, without an engine: what it takes for no answer, and what for a refusal."""

import asyncio
import contextlib

import pytest

from harpoon.agent.drivers.docker_credentials import credentials_for, full_name, registry_of
from harpoon.agent.drivers.docker_engine import Engine, Refused
from harpoon.agent.drivers.docker_images import Progress
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.kit.errors import Invalid, Unavailable

VERSION = b'{"ApiVersion": "1.41", "Version": "20.10"}'


@contextlib.asynccontextmanager
async def an_engine_that(says, path):
    """Answer each request with what ``says`` makes of its first line; None: close the connection."""

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                line = head.partition(b"\r\n")[0].decode()
                told = VERSION if line.split()[1].endswith("/version") else says(line)
                if told is None:
                    break
                writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % ((200 if told is VERSION else 409), len(told), told))  # fmt: skip
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    engine = Engine(str(path))
    try:
        yield engine
    finally:
        await engine.close()
        server.close()


async def test_an_engine_that_is_not_there_gives_no_answer(tmp_path):
    engine = Engine(str(tmp_path / "none.sock"))
    for ask in (engine.version, lambda: engine.create("x", {}), lambda: engine.listed("a=b"), lambda: engine.inspect("x")):  # fmt: skip
        with pytest.raises(Unavailable, match="no such file or directory"):
            await ask()
    await engine.close()


async def test_an_answer_that_breaks_off_is_none_and_what_was_asked_may_have_happened(tmp_path):
    async with an_engine_that(lambda _: None, tmp_path / "e.sock") as engine:
        for ask in (lambda: engine.create("x", {}), lambda: engine.start("x"), lambda: engine.remove("x")):
            with pytest.raises(Unavailable):
                await ask()


async def test_an_answer_that_says_no_is_a_refusal_in_its_words(tmp_path):
    async with an_engine_that(lambda _: b'{"message": "the name is taken"}', tmp_path / "e.sock") as engine:
        with pytest.raises(Refused, match="the name is taken") as caught:
            await engine.create("x", {})
        assert caught.value.status == 409
        # What is removed already, or being removed, is no error.
        await engine.remove("x")


def test_progress_is_the_sum_of_what_is_there():
    progress = Progress()
    assert progress.words == ""
    for told in (
        {"status": "Pulling from team/web", "id": "1"},
        {"id": "a", "status": "Downloading", "progressDetail": {"current": 3_000_000, "total": 10_000_000}},
        {"id": "b", "status": "Downloading", "progressDetail": {"current": 1, "total": 2_000_001}},
        {"id": "c", "status": "Waiting", "progressDetail": {}},
        {"status": "Status: done"},
    ):
        progress.hear(told)
    assert progress.words == "3 of 13 MB"
    progress.hear({"id": "a", "status": "Download complete"})
    assert progress.words == "10 of 13 MB"


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("nginx:1", "https://index.docker.io/v1/", "docker.io/library/nginx:1"),
        ("team/web", "https://index.docker.io/v1/", "docker.io/team/web"),
        ("ghcr.io/a/b", "ghcr.io", "ghcr.io/a/b"),
        ("localhost/a", "localhost", "localhost/a"),
        ("host:5000/a:1", "host:5000", "host:5000/a:1"),
    ],
)
def test_an_image_names_its_registry(image, registry, full):
    assert (registry_of(image), full_name(image)) == (registry, full)


async def test_a_credential_helper_is_asked(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-tests"
    helper.write_text('#!/bin/sh\nread -r registry\nprintf \'{"Username": "me", "Secret": "of %s"}\' "$registry"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    file = tmp_path / "config.json"
    file.write_text(
        '{"credHelpers": {"host:1": "tests"}, "auths": {"host:2": {"auth": "eDp5"}, "host:3": {"auth": "?"}}}'
    )
    shown = await credentials_for("host:1/a", file)
    assert shown == {"username": "me", "password": "of host:1", "serveraddress": "host:1"}
    assert await credentials_for("host:2/a", file) == {"username": "x", "password": "y", "serveraddress": "host:2"}
    assert await credentials_for("nginx", file) is None
    with pytest.raises(Invalid, match="what it says of host:3"):
        await credentials_for("host:3/a", file)
    file.write_text('{"credsStore": "../../bin/sh"}')
    with pytest.raises(Invalid, match="no program's name"):
        await credentials_for("nginx", file)
    file.write_text("no json")
    with pytest.raises(Invalid, match="is not JSON"):
        await credentials_for("nginx", file)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:2375", "http://host", "/var/run/docker.sock", "unix://relative", ""])
def test_an_engine_is_asked_at_a_socket_only(url):
    with pytest.raises(ValueError, match="an engine is asked at its socket"):
        DockerRules(url=url)


def test_only_capabilities_that_there_could_be_are_allowed():
    with pytest.raises(ValueError, match="a capability is a single one"):
        DockerRules(capabilities=frozenset({"ALL"}))

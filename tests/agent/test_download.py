"""Fetching a file: what it is stays what its digest says, and nobody on the way makes the agent do more than that."""

import asyncio
import contextlib
import gzip
import os

import pytest
from aiohttp import web

from harpoon.agent.artifacts import download
from harpoon.agent.artifacts.download import Downloader, Rules, download_session, name_of, told
from harpoon.agent.paths import Allowed
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.volumes import Artifact, HostPath
from tests.agent.archives import sha256
from tests.agent.rig import serving

DATA = os.urandom(3_000_000)
BYTES_MAX = 5_000_000


def an_artifact(url, data=DATA):
    return Artifact(url=url, sha256=sha256(data), at="app")


@contextlib.asynccontextmanager
async def server(**routes):
    """Serve handlers by the first part of the path; yields the URL."""
    runner, port = await serving({("GET", f"/{name}"): handler for name, handler in routes.items()})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def fetch(tmp_path, artifact, *, progress=lambda *_: None, **rules):
    async with download_session() as session:
        given = {"bytes_max": BYTES_MAX} | rules
        await Downloader(session, Rules(**given)).fetch(artifact, str(tmp_path / "file"), progress)
    return (tmp_path / "file").read_bytes()


async def answering(request):
    return web.Response(body=DATA)


def redirecting(to, status=302):
    async def handler(request):
        return web.Response(status=status, headers={"Location": to})

    return handler


async def test_a_file_is_fetched_and_its_progress_told(tmp_path):
    seen = []
    async with server(app=answering) as url:
        got = await fetch(tmp_path, an_artifact(f"{url}/app?x=%20y"), progress=lambda *now: seen.append(now))
    assert got == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [count for count, _ in seen] == sorted(count for count, _ in seen)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


async def test_what_is_served_compressed_is_not_expanded_on_the_way(tmp_path):
    bomb = gzip.compress(bytes(100_000_000))

    async def handler(request):
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with server(app=handler) as url:
        assert await fetch(tmp_path, an_artifact(f"{url}/app", bomb)) == bomb


async def test_no_cookie_is_shown_to_anybody(tmp_path):
    async def handler(request):
        assert "Cookie" not in request.headers
        return web.Response(body=DATA, headers={"Set-Cookie": "a=b"})

    async with server(app=handler, to=redirecting("/app")) as url:
        for _ in range(2):
            assert await fetch(tmp_path, an_artifact(f"{url}/to")) == DATA


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(tmp_path, status):
    async with server(to=redirecting("app", status), app=answering) as url:
        assert await fetch(tmp_path, an_artifact(f"{url}/to")) == DATA


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254: nothing is fetched from link-local or metadata"),
        ("http://[fd00:ec2::254]/", "nothing is fetched from link-local or metadata"),
        ("http://[::ffff:a9fe:a9fe]/", "nothing is fetched from link-local or metadata"),
        ("http://2852039166/", "2852039166"),
        ("file:///etc/passwd", "redirected from http to file"),
        ("gopher://127.0.0.1/", "nothing can be fetched from: url starts with"),
        ("http://user:password@127.0.0.1/", "nothing can be fetched from: url holds no user"),
        ("/to", "redirected more than 5 times"),
        ("", "its server answered 302"),
    ],
)
async def test_a_redirect_leads_nowhere_that_could_not_be_asked_for(tmp_path, to, reason):
    async with server(to=redirecting(to)) as url:
        with pytest.raises(Unavailable) as failed:
            await fetch(tmp_path, an_artifact(f"{url}/to"))
    assert reason in str(failed.value)


async def test_a_redirect_to_a_host_that_is_not_named_is_not_followed(tmp_path):
    async with server(app=answering) as url, server(to=redirecting(f"{url}/app")) as other:
        there = other.replace("127.0.0.1", "localhost")
        assert await fetch(tmp_path, an_artifact(f"{there}/to")) == DATA
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 is not among the hosts"):
            await fetch(tmp_path, an_artifact(f"{there}/to"), hosts=("localhost",))


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):
        while True:
            await response.write(bytes(100_000))
    return response


async def too_large(request):
    return web.Response(body=bytes(BYTES_MAX + 1))


async def cut_short(request):
    response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
    await response.prepare(request)
    await response.write(DATA[:1000])
    request.transport.abort()
    return response


async def missing(request):
    return web.Response(status=404)


async def partial(request):
    return web.Response(status=206, body=DATA)


async def other(request):
    return web.Response(body=b"other")


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (endless, "it is larger than 4.76Mi, which is the most this agent fetches; see --artifact-max"),
        (too_large, "it is larger than 4.76Mi"),
        (cut_short, "ended the connection before the file was whole"),
        (missing, "its server answered 404"),
        (partial, "its server answered 206"),
        (other, f"its sha256 is {sha256(b'other')}, not {sha256(DATA)}"),
    ],
)
async def test_what_is_not_the_file_is_told(tmp_path, handler, reason):
    async with server(app=handler) as url:
        with pytest.raises(Unavailable) as failed:
            await fetch(tmp_path, an_artifact(f"{url}/app"))
    assert reason in str(failed.value)
    assert (tmp_path / "file").stat().st_size <= BYTES_MAX


async def test_a_server_that_is_not_there_or_silent_is_told(tmp_path, monkeypatch):
    from aiohttp import ClientTimeout

    async def silent(request):
        await asyncio.sleep(60)

    monkeypatch.setattr(download, "_TIMEOUT", ClientTimeout(total=0.2))
    async with server(app=silent) as url:
        with pytest.raises(Unavailable, match="did not answer in time"):
            await fetch(tmp_path, an_artifact(f"{url}/app"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 port \d+: connect"):
        await fetch(tmp_path, an_artifact(f"{url}/app"))
    with pytest.raises(Unavailable, match=r"no-such-host\.invalid"):
        await fetch(tmp_path, an_artifact("http://no-such-host.invalid/app"))


async def test_what_speaks_no_http_is_told(tmp_path):
    async def babble(reader, writer):
        writer.write(b"220 ready\r\n" * 10)
        writer.close()

    listening = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="its server cannot be asked"):
            await fetch(tmp_path, an_artifact(f"http://127.0.0.1:{port}/app"))


async def test_a_file_of_the_host_is_copied_if_its_operator_allows_it(tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "a b").write_bytes(DATA)
    (tmp_path / "srv" / "sneaky").symlink_to("/etc/passwd")
    with (tmp_path / "srv" / "huge").open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "srv" / "fifo")
    allowed = Allowed(paths=(HostPath(path=str(tmp_path / "srv"), read_only=True),), own="/nowhere")
    artifact = an_artifact(f"file://{tmp_path}/srv/a%20b")
    assert await fetch(tmp_path, artifact, allowed=allowed) == DATA
    with pytest.raises(Invalid, match="is not allowed here"):
        await fetch(tmp_path, artifact)
    for name, kind, reason in (
        ("sneaky", Invalid, "leads to /etc/passwd, which is not allowed"),
        ("fifo", Invalid, "is not a plain file"),
        ("none", Invalid, "no such file"),
        ("huge", Unavailable, "it is larger than"),
    ):
        with pytest.raises(kind, match=reason):
            await fetch(tmp_path, an_artifact(f"file://{tmp_path}/srv/{name}"), allowed=allowed)


def test_progress_is_told_in_few_words():
    assert told("app.tar.gz", 3_500_000, 12_000_000) == "fetching app.tar.gz: 3 of 12 MB"
    assert told("app.tar.gz", 3_500_000, None) == "fetching app.tar.gz: 3 MB"


def test_what_may_be_secret_in_a_url_is_not_told():
    assert name_of(an_artifact("https://host/a/app.tar.gz?signature=secret")) == "app.tar.gz"
    assert name_of(an_artifact("https://host/?signature=secret")) == "host"
    assert name_of(an_artifact("file:///srv/app.zip")) == "app.zip"
    assert len(name_of(an_artifact("https://host/" + "a" * 500))) == 80

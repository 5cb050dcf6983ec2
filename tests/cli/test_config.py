"""Settings are checked together, before anything is started."""

from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.config import Listen, ServerSettings, instance_name, parse_listen, read_token

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("10.0.0.1:4450", Listen("10.0.0.1", 4450)),
        ("[::1]:4450", Listen("::1", 4450)),
        ("4450", Listen("127.0.0.1", 4450)),
        (":4450", Listen("127.0.0.1", 4450)),
        ("localhost:0", Listen("localhost", 0)),
    ],
)
def test_an_address_is_host_and_port(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen


@pytest.mark.parametrize("text", ["", "host", "host:", "host:65536", "host:-1", "host:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org")),
    ],
)
def test_without_a_token_only_loopback_is_listened_at(host: str, is_loopback: bool) -> None:
    listen = Listen(host, 4450)
    assert listen.is_loopback is is_loopback
    ServerSettings(listen=listen, token=TOKEN, instance="a")
    if is_loopback:
        ServerSettings(listen=listen, instance="a")
    else:
        with pytest.raises(ValueError, match="token"):
            ServerSettings(listen=listen, instance="a")


def test_a_url_names_an_address_that_clients_here_can_use() -> None:
    assert Listen("::1", 4450).url == "http://[::1]:4450"
    assert Listen("0.0.0.0", 4450).url == "http://127.0.0.1:4450"


@pytest.mark.parametrize(
    "wrong",
    [
        {"instance": "Upper"},
        {"agents": {"A1": "http://a"}},
        {"agents": {"a1": "a:1"}},
        {"lost_after": timedelta(0)},
        {"resync": timedelta(seconds=-1)},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".{20}"):
        ServerSettings(**{"instance": "a", **wrong})


@pytest.mark.parametrize(
    ("host", "name"), [("web-1.example.org", "web-1"), ("10.0.0.1", "h-10"), ("Ünï", "n"), ("---", "h"), ("", "h")]
)
def test_any_host_has_an_instance_name(host: str, name: str) -> None:
    assert instance_name(host) == name
    ServerSettings(instance=instance_name(host))


def a_file(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_a_token_is_the_only_line_of_its_file(tmp_path: Path) -> None:
    assert read_token(a_file(tmp_path / "t", TOKEN.encode() + b"\n")) == (TOKEN, "")


def test_a_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    token, warning = read_token(a_file(tmp_path / "t", TOKEN.encode(), 0o644))
    assert token == TOKEN
    assert "chmod 600" in warning


@pytest.mark.parametrize("text", [b"", b"short", TOKEN.encode() + b" two", TOKEN.encode() * 1000, b"\xff" * 32])
def test_a_file_that_holds_no_token_is_refused_and_not_quoted(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError, match="token file") as raised:
        read_token(a_file(tmp_path / "t", text))
    assert TOKEN not in str(raised.value)


def test_a_token_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_token(tmp_path / "t")

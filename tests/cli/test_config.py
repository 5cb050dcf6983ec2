"""Settings are checked together, before anything is started."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from harpoon.cli.server_options import ServerOptions
from harpoon.config import Listen, ServerSettings, instance_name, parse_listen, read_token
from harpoon.kit.destination import parse_opening
from harpoon.model.lease import LeaseTimes
from harpoon.store.url import parse_url
from tests.cli.terminal_rig import Terminal

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


ETCD = parse_url("etcd://e1")


@pytest.mark.parametrize(
    ("listen", "advertise", "url"),
    [
        (Listen("10.0.0.1", 4450), None, "http://10.0.0.1:4450"),
        (Listen("::1", 4450), None, "http://[::1]:4450"),
        (Listen("0.0.0.0", 4450), None, f"http://{socket.gethostname()}:4450"),
        (Listen("::", 4450), None, f"http://{socket.gethostname()}:4450"),
        (Listen("0.0.0.0", 4450), "https://h.example.org:8443/", "https://h.example.org:8443"),
        (Listen("127.0.0.1", 0), None, ""),
    ],
)
def test_an_instance_is_reached_where_it_says_or_where_it_listens(
    listen: Listen, advertise: str | None, url: str
) -> None:
    assert ServerSettings(listen=listen, advertise=advertise, token=TOKEN, instance="a").url() == url


@pytest.mark.parametrize(
    ("advertise", "url"), [(None, "http://10.0.0.1:5555"), ("http://h.example.org", "http://h.example.org:5555")]
)
def test_one_that_shares_its_port_is_reached_at_its_own(advertise: str | None, url: str) -> None:
    listen = Listen("10.0.0.1", 4450)
    shared = ServerSettings(listen=listen, advertise=advertise, token=TOKEN, store=ETCD, is_sharing=True, instance="a")
    assert shared.url(5555) == url


@pytest.mark.parametrize(
    "url",
    ["h:1", "ftp://h", "http://", "http://h:99999", "http://h:0", "http://h/x", "http://h?x", "http://u@h", "http://["],
)
def test_what_is_no_base_url_is_not_advertised(url: str) -> None:
    with pytest.raises(ValueError, match="--advertise: write a base URL"):
        ServerSettings(advertise=url, instance="a")


@pytest.mark.parametrize("url", ["http://0.0.0.0:1", "http://[::]:1"])
def test_an_address_that_nobody_can_reach_is_not_advertised(url: str) -> None:
    with pytest.raises(ValueError, match="name this host"):
        ServerSettings(advertise=url, instance="a")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"store": parse_url("memory")}, "one process owns the memory; use --store etcd://"),
        ({"store": parse_url("sqlite:///h.db")}, "one process owns the file; use --store etcd://"),
        ({"store": ETCD, "advertise": "http://h:1"}, "leave out that of http://h:1"),
    ],
)
def test_only_processes_on_etcd_share_a_port(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match="--instances") as raised:
        ServerSettings(is_sharing=True, instance="a", **wrong)
    assert told in str(raised.value)


def test_on_etcd_an_agent_is_not_lost_before_another_instance_can_mind_it() -> None:
    short = timedelta(seconds=10)
    ServerSettings(lost_after=short, instance="a")
    ServerSettings(lost_after=short, lease=LeaseTimes.of(timedelta(seconds=4)), store=ETCD, instance="a")
    with pytest.raises(ValueError, match="lost_after >= 2 x lease_ttl"):
        ServerSettings(lost_after=short, store=ETCD, instance="a")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--lease-ttl", "5s", "--keepalive", "3s"], "2 x 3 s + 0.5 s = 6.5 s > 5 s"),
        (["--store", "etcd://e1", "--lost-after", "10s"], "10 s < 2 x 5 s + 2 s = 12 s"),
        (["--instances", "2"], "one process owns the file"),
        (["--instances", "65", "--store", "etcd://e1"], "--instances"),
        (["--advertise", "somewhere"], "--advertise: write a base URL"),
    ],
)
def test_a_command_line_that_does_not_go_together_starts_nothing(
    terminal: Terminal, options: list[str], told: str
) -> None:
    done = terminal.run("server", *options)
    assert done.code == 2
    assert told in done.err


def test_options_are_spelled_out_as_they_were_given() -> None:
    options = ServerOptions(store="etcd://e1", agent=["a=http://a", "b=http://b"], lease_ttl="4s", tied=True)
    assert options.arguments() == (
        *("--store", "etcd://e1", "--agent", "a=http://a", "--agent", "b=http://b", "--lease-ttl", "4s", "--tied"),
    )
    assert ServerOptions().arguments() == ()


def test_what_may_be_called_is_read_and_spelled_out_for_each_instance() -> None:
    options = ServerOptions(store="memory", http_allow=["10.0.0.0/8", "billing.internal:8443"])
    assert options.settings().http_allow == (parse_opening("10.0.0.0/8"), parse_opening("billing.internal:8443"))
    spelled = ("--http-allow", "10.0.0.0/8", "--http-allow", "billing.internal:8443")
    assert options.arguments() == ("--store", "memory", *spelled)
    assert ServerOptions(store="memory").settings().http_allow == ()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "http://a", "a:0", ""])
def test_what_opens_nothing_is_refused_at_the_start(terminal: Terminal, text: str) -> None:
    done = terminal.run("server", "--store", "memory", "--http-allow", text)
    assert (done.code, "write a network, an address or a name" in done.err) == (2, True)

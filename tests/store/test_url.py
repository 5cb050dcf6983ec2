"""Where a registry is kept, as it is written: what is read back, and what is refused with what would be right."""

from pathlib import Path

import pytest

from harpoon.store.url import EtcdUrl, MemoryUrl, SqliteUrl, StoreUrl, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("memory", MemoryUrl()),
        ("sqlite:///a/b.db", SqliteUrl(Path("a/b.db"))),
        ("sqlite:////a/b.db", SqliteUrl(Path("/a/b.db"))),
        ("etcd://a:1,b:2", EtcdUrl(endpoints=("a:1", "b:2"))),
        ("etcd://[::1]:23,10.0.0.1:24", EtcdUrl(endpoints=("[::1]:23", "10.0.0.1:24"))),
        (
            "etcd://a:1?user=harpoon&password_file=/etc/harpoon/password",
            EtcdUrl(endpoints=("a:1",), user="harpoon", password_file=Path("/etc/harpoon/password")),
        ),
        (
            "etcds://a:1?ca=/c/ca.pem&cert=/c/me.pem&key=/c/me.key&server_name=etcd.example",
            EtcdUrl(
                endpoints=("a:1",),
                is_tls=True,
                ca=Path("/c/ca.pem"),
                cert=Path("/c/me.pem"),
                key=Path("/c/me.key"),
                server_name="etcd.example",
            ),
        ),
    ],
)
def test_a_store_is_read_as_it_is_written(text: str, url: StoreUrl) -> None:
    assert parse_url(text) == url
    assert str(url) == text


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("etcd://a", ("a:2379",)),
        ("etcd://A.example,b:1", ("a.example:2379", "b:1")),
        ("etcd://[fd00::1]", ("[fd00::1]:2379",)),
        ("etcd://a:1/", ("a:1",)),
    ],
)
def test_an_endpoint_has_etcds_port_unless_it_says_otherwise(text: str, endpoints: tuple[str, ...]) -> None:
    url = parse_url(text)
    assert isinstance(url, EtcdUrl)
    assert url.endpoints == endpoints


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a store is memory"),
        ("redis://a", "a store is memory"),
        ("sqlite:///", "names no file"),
        ("sqlite://a", "a store is memory"),
        ("etcd://", "HOST:PORT"),
        ("etcd://a,,b", "HOST:PORT"),
        ("etcd://a:0", "HOST:PORT"),
        ("etcd://a:70000", "HOST:PORT"),
        ("etcd://a:x", "HOST:PORT"),
        ("etcd://::1", "HOST:PORT"),
        ("etcd://a/prefix", "no path"),
        ("etcd://a#b", "no #"),
        ("etcd://me:secret-word@a", "no password"),
        ("etcd://a?password=secret-word", "password_file"),
        ("etcd://a?colour=red", "'colour'"),
        ("etcds://a?ca=", "ca is empty"),
        ("etcds://a?cert=x", "cert and key"),
        ("etcds://a?key=x", "cert and key"),
        ("etcd://a?user=x", "user and password_file"),
        ("etcd://a?password_file=x", "user and password_file"),
        ("etcd://a?ca=x", "etcds://"),
        ("etcd://[::1", "in brackets"),
        ("http://me:secret-word@a", "a store is memory"),
        ("me:secret-word@a:2379", "a store is memory"),
        ("etcd://me%3Asecret-word%40a", "HOST:PORT"),
        ("etcd://a/secret-word", "no path"),
        ("etcd://me:secret-word\u2100@a", "in brackets"),
    ],
)
def test_what_is_not_a_store_is_refused_without_telling_a_secret(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_url(text)
    assert told in str(caught.value)
    assert "secret-word" not in str(caught.value)

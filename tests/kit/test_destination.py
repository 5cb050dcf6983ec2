"""Where servers may be sent to: every form of address that leads back to where they stand."""

from ipaddress import ip_address

import pytest

from harpoon.kit.destination import Forbidden, Guard, Opening, is_public, literal, meant, parse_opening

#: Written so in a URL → the address that is meant.
FORMS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "0": "0.0.0.0",
    "0x": "0.0.0.0",
    "0x7f.1": "127.0.0.1",
    "0X7F.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.0.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0177.0.0.01": "127.0.0.1",
    "0xa9.0xfe.0xa9fe": "169.254.169.254",
    "2852039166": "169.254.169.254",
    "::1": "::1",
    "[::1]": "::1",
    "::": "::",
    "::ffff:127.0.0.1": "127.0.0.1",
    "::ffff:7f00:1": "127.0.0.1",
    "::127.0.0.1": "127.0.0.1",
    "64:ff9b::7f00:1": "127.0.0.1",
    "64:ff9b::a9fe:a9fe": "169.254.169.254",
    "8.8.8.8": "8.8.8.8",
    "64:ff9b::808:808": "8.8.8.8",
}
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.0.1"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("::", "::1", "fc00::1", "fd00:ec2::254", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize(("host", "address"), FORMS.items())
def test_every_form_of_an_address_is_that_address(host: str, address: str) -> None:
    found = literal(host)
    assert found is not None
    assert meant(found) == ip_address(address)


@pytest.mark.parametrize(
    "host", ["example.com", "a.b-c.d.", "0x7f.example", "127.0.0.1.example", "x", "", "١٢٧.example", "٣"]
)
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize(
    "host",
    [
        *(
            "1.2.3.4.5",
            "256.0.0.1",
            "1.256.1",
            "4294967296",
            "08",
            "0x7g",
            "a.1",
            "1..1",
            "fe80::1%eth0",
            "::1::",
            "1:2",
        ),
        *("[::1%25lo]", "-1.1", "0x" + "1" * 40, "1e3.1"),
    ],
)
def test_what_only_looks_like_an_address_is_refused(host: str) -> None:
    with pytest.raises(Forbidden):
        literal(host)


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_the_internets_is_refused(text: str) -> None:
    address = ip_address(text)
    assert not is_public(address)
    guard = Guard()
    with pytest.raises(Forbidden, match="--http-allow"):
        guard.check("a.example", (address,), 80)
    with pytest.raises(Forbidden):
        guard.check_host(text, 80)


@pytest.mark.parametrize("text", PUBLIC)
def test_the_internet_is_open(text: str) -> None:
    address = ip_address(text)
    assert is_public(address)
    Guard().check("a.example", (address,), 8443)
    Guard().check_host(text, 80)


@pytest.mark.parametrize("host", ["metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"])
def test_names_of_metadata_are_refused_whatever_they_come_to(host: str) -> None:
    with pytest.raises(Forbidden, match="cloud"):
        Guard([parse_opening(host.lower().rstrip("."))]).check_host(host, 80)


def test_one_bad_answer_among_many_is_enough() -> None:
    with pytest.raises(Forbidden, match=r"a\.example is 10\.0\.0\.1"):
        Guard().check("a.example", tuple(map(ip_address, ("8.8.8.8", "10.0.0.1"))), 80)


def test_a_name_is_decided_on_by_what_it_comes_to() -> None:
    Guard().check_host("a.example", 80)
    Guard().check("a.example", (), 80)


@pytest.mark.parametrize(
    ("opening", "host", "address", "port"),
    [
        ("10.0.0.0/8", "a.example", "10.1.2.3", 80),
        ("10.0.0.0/8:8080", "a.example", "10.1.2.3", 8080),
        ("10.1.2.3", "a.example", "10.1.2.3", 1),
        ("10.1.2.3", "a.example", "::ffff:10.1.2.3", 1),
        ("localhost", "localhost", "127.0.0.1", 80),
        ("LocalHost.:8080", "LOCALHOST.", "::1", 8080),
        ("fd00::/8", "a.example", "fd12::1", 80),
        ("[fd12::1]:81", "fd12::1", "fd12::1", 81),
        ("[fd12::1]", "fd12::1", "fd12::1", 81),
        ("169.254.169.254", "a.example", "169.254.169.254", 80),
        ("169.254.1.2:80", "a.example", "169.254.1.2", 80),
    ],
)
def test_an_operator_opens_what_is_named(opening: str, host: str, address: str, port: int) -> None:
    Guard([parse_opening(opening)]).check(host, (ip_address(address),), port)


@pytest.mark.parametrize(
    ("opening", "host", "address", "port"),
    [
        ("10.0.0.0/8", "a.example", "192.168.0.1", 80),
        ("10.0.0.0/8:8080", "a.example", "10.1.2.3", 8081),
        ("localhost:8080", "localhost", "127.0.0.1", 80),
        ("localhost", "a.example", "127.0.0.1", 80),
        ("0.0.0.0/0", "a.example", "::1", 80),
        ("0.0.0.0/0", "a.example", "169.254.169.254", 80),
        ("0.0.0.0/0", "a.example", "100.100.100.200", 80),
        ("::/0", "a.example", "fe80::1", 80),
        ("169.254.0.0/16", "a.example", "169.254.1.2", 80),
        ("evil.example", "evil.example", "169.254.169.254", 80),
    ],
)
def test_and_nothing_else(opening: str, host: str, address: str, port: int) -> None:
    with pytest.raises(Forbidden):
        Guard([parse_opening(opening)]).check(host, (ip_address(address),), port)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "a.example", "8.8.8.8"])
def test_ports_of_the_store_and_of_servers_are_refused_whatever_is_opened(host: str) -> None:
    guard = Guard([parse_opening("0.0.0.0/0"), parse_opening("a.example")], closed={2379, 4450})
    for port in (2379, 4450):
        with pytest.raises(Forbidden, match="own"):
            guard.check_host(host, port)
        with pytest.raises(Forbidden, match="own"):
            guard.check(host, (ip_address("127.0.0.1"),), port)
    guard.check("a.example", (ip_address("127.0.0.1"),), 80)


def test_a_server_at_a_port_of_the_web_does_not_close_the_web() -> None:
    guard = Guard([parse_opening("0.0.0.0/0")], closed={443})
    guard.check_host("8.8.8.8", 443)
    with pytest.raises(Forbidden):
        guard.check_host("127.0.0.1", 443)


@pytest.mark.parametrize(
    "text", ["", ":80", "10.0.0.1/8", "10.0.0.0/33", "a/b", "a b", "a:0", "a:70000", "a:x", "[::1]:", "1.2.3", "a@b"]
)
def test_what_opens_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a network"):
        parse_opening(text)


def test_an_opening_is_of_a_network_or_of_a_name() -> None:
    assert parse_opening("::1").is_exact
    assert not parse_opening("10.0.0.0/8").is_exact
    assert not Opening(name="a").is_exact
    assert parse_opening("db-1.Example").name == "db-1.example"

"""What is never asked for files: addresses that hand out credentials, however they are written or reached."""

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from harpoon.agent.artifacts.addresses import Resolver, check_host, is_refused
from harpoon.kit.errors import Unavailable


class Names(AbstractResolver):
    """Resolves names as a table says; each answer is given once, the last one for ever."""

    def __init__(self, **table):
        self.table = table

    async def resolve(self, host, port=0, family=socket.AF_INET):
        answers = self.table[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {"hostname": host, "host": one, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for one in addresses
        ]

    async def close(self):
        pass


@pytest.mark.parametrize(
    "address",
    [
        *(
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "fe80::1",
            "fe80::1%eth0",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
        *("100.100.100.200", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
        *("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "nonsense", ""),
    ],
)
def test_nothing_is_fetched_from_metadata_services_or_nobody(address):
    assert is_refused(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "8.8.8.8", "2a00::1"],
)
def test_private_networks_and_the_host_itself_are_where_files_are_kept(address):
    assert not is_refused(address)
    check_host(address, ())


def test_addresses_written_in_a_url_are_judged_too():
    for host in ("169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "fe80::1%eth0"):
        with pytest.raises(Unavailable, match="nothing is fetched from link-local or metadata addresses"):
            check_host(host, ())
    # These are no addresses yet: they are when they are resolved.
    for host in ("metadata.google.internal", "0xa9fea9fe", "2852039166"):
        check_host(host, ())


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "0"])
async def test_odd_ways_to_write_an_address_are_judged_by_what_they_lead_to(host):
    with pytest.raises(OSError, match=f"{host} leads to .*: nothing is fetched from"):
        await Resolver().resolve(host, 80)


async def test_a_name_is_refused_if_any_of_its_addresses_is():
    resolver = Resolver(Names(good=[["10.0.0.1"]], bad=[["10.0.0.1", "169.254.169.254"]]))
    assert [one["host"] for one in await resolver.resolve("good")] == ["10.0.0.1"]
    with pytest.raises(OSError, match=r"bad leads to 169\.254\.169\.254"):
        await resolver.resolve("bad")
    await resolver.close()


async def test_a_name_that_leads_elsewhere_the_second_time_gains_nothing():
    asked = []

    async def answer(reader, writer):
        asked.append(writer.get_extra_info("sockname")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    names = Names(**{"rebinding.example": [["127.0.0.1"], ["169.254.169.254"]]})
    connector = aiohttp.TCPConnector(resolver=Resolver(names), use_dns_cache=False, force_close=True)
    async with server, aiohttp.ClientSession(connector=connector) as session:
        async with session.get(f"http://rebinding.example:{port}/") as response:
            assert response.status == 200
        # What was judged was what was connected to; the next time is judged anew.
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://rebinding.example:{port}/")
    assert asked == ["127.0.0.1"]


def test_an_operator_names_the_hosts_that_may_be_asked():
    allowed = ("files.example.org", ".corp.example", "10.0.0.7")
    for host in ("files.example.org", "FILES.example.org", "files.example.org.", "a.b.corp.example", "10.0.0.7"):
        check_host(host, allowed)
    for host in ("example.org", "corp.example", "evilcorp.example", "files.example.org.evil", "10.0.0.8", "localhost"):
        with pytest.raises(
            Unavailable, match="is not among the hosts that this agent fetches from; see --artifact-host"
        ):
            check_host(host, allowed)
    with pytest.raises(Unavailable, match="metadata"):
        check_host("169.254.169.254", ("169.254.169.254",))

"""Three members on hosts of their own, made of network namespaces; any way between them, or from us to them, can be cut.

Hosts and we hang on one bridge, which is in a namespace of its own so that no filter of this machine applies. What is cut
is dropped on the bridge: nobody is told, as with a cable pulled out far away. It takes root, iproute2 and nftables.
"""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pytest

from tests.etcd.cluster import Cluster
from tests.etcd.members import Member

#: Who is neither member: the process under test, in the namespace that the tests run in.
US = "us"
_LEFT_BEHIND = re.compile(r"^harpoon-(\d+)-\d+-\w+")
_COUNTER = itertools.count()


class NetworkCluster(Cluster):
    """A cluster whose members are reached from here, at addresses 10.77.x.1 to .3, and can be cut off."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        super().__init__(folder, flags)
        self.id = f"harpoon-{os.getpid()}-{next(_COUNTER)}"
        self.net = ""
        self._switch = f"{self.id}-switch"
        self._dropped: set[tuple[str, str]] = set()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._remove()

    def start(self) -> None:
        """Make the network, and start all members in it."""
        _need_root_and_tools()
        _remove_what_was_left_behind()
        try:
            self._make()
            super().start()
        except BaseException:
            self.kill()
            self._remove()
            raise

    # What is cut stays so until it is healed; every way has two directions.

    def cut(self, member: Member) -> None:
        """Cut a member off from everybody, both ways."""
        for other in (US, *(peer.name for peer in self._others(member))):
            self._dropped |= {(member.name, other), (other, member.name)}
        self._apply()

    def cut_peers(self, member: Member) -> None:
        """Cut a member off from the others, both ways; clients still reach it."""
        for peer in self._others(member):
            self._dropped |= {(member.name, peer.name), (peer.name, member.name)}
        self._apply()

    def cut_clients(self, member: Member) -> None:
        """Cut a member off from us, both ways; it stays with its peers."""
        self._dropped |= {(member.name, US), (US, member.name)}
        self._apply()

    def one_way(self, source: Member | None, target: Member | None) -> None:
        """Drop what ``source`` sends to ``target``, and nothing of the other direction; None stands for us."""
        names = [US if member is None else member.name for member in (source, target)]
        self._dropped.add((names[0], names[1]))
        self._apply()

    def heal(self) -> None:
        """Let everything through again."""
        self._dropped.clear()
        self._apply()

    # Within.

    def _others(self, member: Member) -> list[Member]:
        return [other for other in self.members if other is not member]

    def _address(self, name: str) -> str:
        return f"{self.net}.{254 if name == US else name[1:]}"

    def _apply(self) -> None:
        """Tell the bridge all that is dropped at this time, at once."""
        rules = "".join(
            f"ip saddr {self._address(source)} ip daddr {self._address(target)} drop; "
            for source, target in sorted(self._dropped)
        )
        chain = f"chain cut {{ type filter hook forward priority 0; {rules}}}"
        rules = f"flush ruleset\ntable bridge harpoon {{ {chain}; }}\n"
        _run("ip", "netns", "exec", self._switch, "nft", "-f", "-", given=rules)

    def _make(self) -> None:
        self.net = _free_net()
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for member in self.members:
            host = f"{self.id}-{member.name}"
            _run("ip", "netns", "add", host)
            self._plug(member.name, "eth0", f"{self.net}.{member.name[1:]}/24", host)
            member.address = self._address(member.name)
            member.ports = [2379, 2380, 2381]
            member.within = ["ip", "netns", "exec", host]
            member.asked_from = f"{self.net}.253"
        # Our names are seen on this machine, and at most 15 long. The second address is for asking from: never cut.
        ours = f"hp{os.getpid()}x{self.id.rsplit('-', 1)[1]}"
        self._plug(US, ours, f"{self.net}.254/24")
        _run("ip", "addr", "add", f"{self.net}.253/24", "dev", ours)

    def _plug(self, name: str, interface: str, address: str, host: str | None = None) -> None:
        """Connect a host, or us, to the bridge."""
        there = [] if host is None else ["-n", host]
        where = [] if host is None else ["netns", host]
        _run(
            "ip",
            "link",
            "add",
            "name",
            interface,
            *where,
            "type",
            "veth",
            "peer",
            "name",
            f"to-{name}",
            "netns",
            self._switch,
        )
        _run("ip", "-n", self._switch, "link", "set", f"to-{name}", "master", "br0", "up")
        _run("ip", *there, "addr", "add", address, "dev", interface)
        _run("ip", *there, "link", "set", interface, "up")
        if host is not None:
            _run("ip", *there, "link", "set", "lo", "up")

    def _remove(self) -> None:
        _remove_namespaces([f"{self.id}-{member.name}" for member in self.members] + [self._switch])


def _need_root_and_tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    for tool, package in (("ip", "iproute2"), ("nft", "nftables")):
        assert shutil.which(tool, path=_path()), f"these tests need {tool!r}: sudo apt-get install {package}"


def _free_net() -> str:
    """Return the first three numbers of a network that this machine does not use."""
    used = _run("ip", "-4", "route") + _run("ip", "-4", "addr")
    for number in range(255):
        net = f"10.77.{(os.getpid() + number) % 255}"
        if f"{net}." not in used:
            return net
    raise RuntimeError("every network 10.77.x.0/24 is in use")


def _remove_what_was_left_behind() -> None:
    """Remove namespaces of test runs that were killed."""
    names = [line.split()[0] for line in _run("ip", "netns", "list").splitlines() if line.strip()]
    left = [name for name in names if (found := _LEFT_BEHIND.match(name)) and not Path("/proc", found[1]).exists()]
    _remove_namespaces(left)


def _remove_namespaces(names: Sequence[str]) -> None:
    for name in names:
        with suppress(RuntimeError):
            _run("ip", "netns", "del", name)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command: str, given: str = "") -> str:
    ran = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env=os.environ | {"PATH": _path()},
    )
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr.strip()}\n{given}")
    return ran.stdout

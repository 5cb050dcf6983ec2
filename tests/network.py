"""Hosts made of network namespaces, each with an address on one bridge; what passes between any two can be dropped.

Hosts and we hang on one bridge, which is in a namespace of its own so that no filter of this machine applies. What is cut
is dropped on the bridge: nobody is told, as with a cable pulled out far away. It takes root, iproute2 and nftables.
"""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

#: Who is no host: the process under test, or the one that tests, in the namespace that the tests run in.
US = "us"
_LEFT_BEHIND = re.compile(r"^harpoon-(\d+)-\d+-\w+")
_COUNTER = itertools.count()

#: From whom to whom something goes.
Way = tuple[str, str]


class Network:
    """Some hosts at 10.77.x.1 and up, and us at 10.77.x.254; at 10.77.x.253 too, where nothing is ever dropped."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self.id = f"harpoon-{os.getpid()}-{next(_COUNTER)}"
        self.net = ""
        self._switch = f"{self.id}-switch"
        #: What is dropped, by what it is dropped for: each way with how many of a hundred packets.
        self._dropped: dict[str, Mapping[Way, int]] = {}

    def make(self) -> None:
        """Make all of it.

        Raises:
            RuntimeError: It cannot be made; nothing is left behind.
        """
        need_root_and_tools()
        _remove_what_was_left_behind()
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove all of it; what runs there is cut off from then on."""
        _remove_namespaces([*map(self._namespace, self.hosts), self._switch])

    def address(self, host: str) -> str:
        """Return a host's address, or ours."""
        return f"{self.net}.{254 if host == US else self.hosts.index(host) + 1}"

    @property
    def safe_address(self) -> str:
        """Our other address."""
        return f"{self.net}.253"

    def enter(self, host: str) -> tuple[str, ...]:
        """Return what a program is started by so that it is on this host; it sees this machine's files and processes."""
        # Not by `ip netns exec`, which mounts another /sys.
        return ("nsenter", f"--net=/run/netns/{self._namespace(host)}")

    def drop(self, why: str, ways: Iterable[Way], percent: int = 100) -> None:
        """Drop what goes these ways, all of it or so many of a hundred packets, until it is healed by the same name."""
        self._dropped[why] = dict.fromkeys(ways, percent)
        self._apply()

    def heal(self, why: str | None = None) -> None:
        """Drop nothing more for this; for nothing at all, when it is not told for what."""
        if why is None:
            self._dropped.clear()
        else:
            self._dropped.pop(why, None)
        self._apply()

    # Within.

    def _namespace(self, host: str) -> str:
        return f"{self.id}-{host}"

    def _apply(self) -> None:
        """Tell the bridge all that is dropped at this time, at once."""
        rules = "".join(
            f"ip saddr {self.address(source)} ip daddr {self.address(target)} "
            f"{'' if percent >= 100 else f'numgen random mod 100 < {percent} '}drop; "
            for dropped in self._dropped.values()
            for (source, target), percent in sorted(dropped.items())
        )
        chain = f"chain cut {{ type filter hook forward priority 0; {rules}}}"
        rules = f"flush ruleset\ntable bridge harpoon {{ {chain}; }}\n"
        run("ip", "netns", "exec", self._switch, "nft", "-f", "-", given=rules)

    def _make(self) -> None:
        self.net = _free_net()
        run("ip", "netns", "add", self._switch)
        run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for host in self.hosts:
            run("ip", "netns", "add", self._namespace(host))
            self._plug(host, "eth0", f"{self.address(host)}/24", self._namespace(host))
        # Our names are seen on this machine, and at most 15 long. The second address is for asking from: never cut.
        ours = f"hp{os.getpid()}x{self.id.rsplit('-', 1)[1]}"
        self._plug(US, ours, f"{self.address(US)}/24")
        run("ip", "addr", "add", f"{self.safe_address}/24", "dev", ours)

    def _plug(self, name: str, interface: str, address: str, namespace: str | None = None) -> None:
        """Connect a host, or us, to the bridge."""
        there = [] if namespace is None else ["-n", namespace]
        where = [] if namespace is None else ["netns", namespace]
        peer = ("type", "veth", "peer", "name", f"to-{name}", "netns", self._switch)
        run("ip", "link", "add", "name", interface, *where, *peer)
        run("ip", "-n", self._switch, "link", "set", f"to-{name}", "master", "br0", "up")
        run("ip", *there, "addr", "add", address, "dev", interface)
        run("ip", *there, "link", "set", interface, "up")
        if namespace is not None:
            run("ip", *there, "link", "set", "lo", "up")


def run(*command: str, given: str = "") -> str:
    """Run a tool of the administrator's, and return what it says.

    Raises:
        RuntimeError: It fails.
    """
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


def need_root_and_tools() -> None:
    """Skip the test that runs without root; fail without the tools."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux")):
        assert shutil.which(tool, path=_path()), f"these tests need {tool!r}: sudo apt-get install {package}"


def _free_net() -> str:
    """Return the first three numbers of a network that this machine does not use."""
    used = run("ip", "-4", "route") + run("ip", "-4", "addr")
    for number in range(255):
        net = f"10.77.{(os.getpid() + number) % 255}"
        if f"{net}." not in used:
            return net
    raise RuntimeError("every network 10.77.x.0/24 is in use")


def _remove_what_was_left_behind() -> None:
    """Remove namespaces of test runs that were killed."""
    names = [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]
    left = [name for name in names if (found := _LEFT_BEHIND.match(name)) and not Path("/proc", found[1]).exists()]
    _remove_namespaces(left)


def _remove_namespaces(names: Sequence[str]) -> None:
    for name in names:
        with suppress(RuntimeError):
            run("ip", "netns", "del", name)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

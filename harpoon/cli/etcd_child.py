"""An etcd of one member, as a child of ``harpoon dev``: for this machine alone, and for trying things."""

import http.client
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harpoon.cli.children import Child
from harpoon.config import Listen
from harpoon.kit.errors import Invalid

#: It listens on loopback only; there is neither TLS nor a user.
_HOST: Final = "127.0.0.1"
#: Below those that the kernel gives to outgoing connections, which could take the port while etcd is started again.
PORTS: Final = range(4460, 32768)
#: Raft entries kept in memory: a batch of commits is one, and may have a mebibyte.
_SNAPSHOT_COUNT: Final = 10_000
#: How long it may take to say that it is well.
_ASKED_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdChild:
    """The process, and where its clients find it; the same address each time it is started again."""

    child: Child
    where: Listen

    @property
    def store(self) -> str:
        """The URL of the store on it."""
        return f"etcd://{self.where.host}:{self.where.port}"

    def is_well(self) -> bool:
        """Whether it takes writes."""
        connection = http.client.HTTPConnection(self.where.host, self.where.port, timeout=_ASKED_WITHIN_S)
        try:
            connection.request("GET", "/health")
            told = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()
        return isinstance(told, dict) and told.get("health") == "true"


def lay_etcd(data: Path, *, is_free: Callable[[Listen], bool]) -> EtcdChild:
    """Choose its ports and its directory; nothing is started.

    Raises:
        Invalid: There is no etcd on this machine; the message says how to get one.
    """
    program = find_etcd()
    free = (port for port in PORTS if is_free(Listen(_HOST, port)))
    clients, peers = Listen(_HOST, next(free)), Listen(_HOST, next(free))
    command = [program, "--name", "dev", "--data-dir", str(data / "etcd")]
    command += ["--listen-client-urls", clients.url, "--advertise-client-urls", clients.url]
    command += ["--listen-peer-urls", peers.url, "--initial-advertise-peer-urls", peers.url]
    command += ["--initial-cluster", f"dev={peers.url}", "--snapshot-count", str(_SNAPSHOT_COUNT)]
    command += ["--logger", "zap", "--log-outputs", "stderr"]
    return EtcdChild(child=Child("etcd", command, data / "etcd.log"), where=clients)


def find_etcd() -> str:
    """Return where the program is.

    Raises:
        Invalid: Nowhere on the path.
    """
    program = shutil.which("etcd")
    if program is None:
        raise Invalid(
            "--store etcd needs the program etcd, and it is not on the PATH. Install it (apt-get install etcd-server) "
            "or unpack a release from https://github.com/etcd-io/etcd/releases; without --store, harpoon dev needs none"
        )
    return program

"""Members of etcd as processes of their own: started, killed, paused and asked, each with its data under a test's folder.

Everything here blocks; a test whose store is to go on meanwhile calls it as ``await asyncio.to_thread(member.restart)``.
A member that its test has left behind ends with the process that runs the tests.
"""

import functools
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.etcd.certificates import Certificates
from tests.etcd.programs import can_skip_fsync, etcd_binary, etcd_environment
from tests.ports import free_ports

READY_WITHIN_S = 20.0
_ATTEMPTS_MAX = 5

#: A process that is tied to its parent's life is tied to the thread that started it: so one that lives as long.
_SPAWNER = ThreadPoolExecutor(1, "spawner")


class PortTaken(Exception):
    """Somebody took a port between its choice and its use."""


@dataclass(eq=False)
class Member:
    """One etcd process. It is a cluster of its own unless it is given peers."""

    folder: Path
    name: str = "m1"
    address: str = "127.0.0.1"
    #: Further arguments; they may be changed between two starts.
    flags: Sequence[str] = ()
    certificates: Certificates | None = None
    #: Whether clients must show a certificate.
    is_mutual: bool = False
    #: The name in its certificate, when that is not its address.
    server_name: str = ""
    #: What the process is started by, as a namespace is entered.
    within: Sequence[str] = ()
    #: Address of ours that it is asked from; any, when empty.
    asked_from: str = ""
    #: Whether its writes reach the disk; needed only where the machine itself is lost.
    is_synced: bool = False
    #: Client, peer and metrics port; chosen when empty.
    ports: list[int] = field(default_factory=list)
    peers: "list[Member]" = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    #: As a member of its cluster; known once it has been ready.
    id: str = ""

    def __enter__(self) -> "Member":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def endpoint(self) -> str:
        """Host and port that clients connect to."""
        return f"{self.address}:{self.ports[0]}"

    @property
    def url(self) -> str:
        """The store URL of this member alone."""
        if self.certificates is None:
            return f"etcd://{self.endpoint}"
        return f"etcds://{self.endpoint}?ca={self.certificates.ca}" + (
            f"&cert={self.certificates.client_cert}&key={self.certificates.client_key}" if self.is_mutual else ""
        )

    @property
    def peer_url(self) -> str:
        return f"http://{self.address}:{self.ports[1]}"

    @property
    def data(self) -> Path:
        return self.folder / f"{self.name}.etcd"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # Its life.

    def start(self) -> None:
        """Start it, and wait until it is of use. A cluster's member is, when most of its peers run."""
        start_together([self])

    def restart(self) -> None:
        """Kill it if it runs, and start it with the data that it has."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End it with SIGKILL, paused or not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it as an operator would."""
        assert self.process is not None
        self.process.terminate()
        self.resume()
        self.process.wait(timeout=15)

    def pause(self) -> None:
        """Let it stand still; its connections stay open and are answered by nobody."""
        self._signal(signal.SIGSTOP)
        assert self.process is not None
        # The signal is only sent so far: threads that run still answer. It stands still when its parent is told so.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self, lines: int = 40) -> str:
        """Return the end of what it has logged."""
        with suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        assert not self.is_running, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        tied = [found, "--pdeathsig", "KILL"] if (found := shutil.which("setpriv")) else []
        command = [*self.within, *tied, etcd_binary(), *self._arguments()]
        # Only what is of this start is looked at.
        self._log.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            begin = functools.partial(subprocess.Popen, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.process = _SPAWNER.submit(begin, command, env=etcd_environment()).result()

    def wait_until_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Wait until it serves; with an alarm it serves, too."""
        until = time.monotonic() + within_s
        while not self._is_ready():
            if not self.is_running:
                log = self.log()
                raise (
                    PortTaken(log) if "address already in use" in log else AssertionError(f"{self.name} ended:\n{log}")
                )
            assert time.monotonic() < until, f"{self.name} is not ready after {within_s} s:\n{self.log()}"
            time.sleep(0.02)
        if not self.id:
            self.id = self.status()["header"]["member_id"]

    # Asking it, by a way that is not the one under test.

    def ask(self, path: str, body: object, *, token: str = "", timeout_s: float = 5.0) -> dict:
        """Ask its JSON gateway, and return what it answers; ``path`` is as in ``kv/put``, bytes are base64."""
        connection = self._connection(self.ports[0], timeout_s, self._tls())
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
            connection.request("POST", f"/v3/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read() or b"{}")
        finally:
            connection.close()
        assert answer.status == 200, f"{self.name} answered {path}: {answer.status} {told}"
        return told

    def status(self) -> dict:
        return self.ask("maintenance/status", {}, timeout_s=1.0)

    def metric(self, name: str, label: str = "") -> float:
        """Return the sum of one of its metrics over the labels, or over those with this one."""
        lines = self._get("/metrics", 5.0)[1].splitlines()
        found = [line for line in lines if line.startswith((name + " ", name + "{")) and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def wipe(self) -> None:
        """Delete all keys and their history and revoke all leases: the next test finds nothing but a higher revision."""
        for lease in self.ask("lease/leases", {}).get("leases", ()):
            with suppress(AssertionError):  # it may have run out meanwhile
                self.ask("lease/revoke", {"ID": lease["ID"]})
        everything = {"key": "AA==", "range_end": "AA=="}
        deleted = self.ask("kv/deleterange", everything, timeout_s=20.0)
        if "deleted" in deleted:
            self.ask("kv/compaction", {"revision": deleted["header"]["revision"]})

    def enable_auth(self, password: str) -> None:
        """Make a user ``root`` of all rights, and let nobody in without a password."""
        self.ask("auth/user/add", {"name": "root", "password": password})
        self.ask("auth/role/add", {"name": "root"})
        self.ask("auth/user/grant", {"user": "root", "role": "root"})
        self.ask("auth/enable", {})

    # Within.

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _arguments(self) -> list[str]:
        scheme = "http" if self.certificates is None else "https"
        peers = self.peers or [self]
        given = {
            "name": self.name,
            "data-dir": self.data,
            "listen-client-urls": f"{scheme}://{self.endpoint}",
            "advertise-client-urls": f"{scheme}://{self.endpoint}",
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-metrics-urls": f"http://{self.address}:{self.ports[2]}",
            "initial-cluster": ",".join(f"{peer.name}={peer.peer_url}" for peer in peers),
            "initial-cluster-token": str(self.folder),
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "logger": "zap",
            "log-outputs": "stderr",
        }
        if self.certificates is not None:
            given |= {"cert-file": self.certificates.server_cert, "key-file": self.certificates.server_key}
            if self.is_mutual:
                given |= {"trusted-ca-file": self.certificates.ca}
        arguments = [f"--{name}={value}" for name, value in given.items()]
        if self.is_mutual:
            arguments.append("--client-cert-auth")
        if not self.is_synced and can_skip_fsync():
            arguments.append("--unsafe-no-fsync")
        return [*arguments, *self.flags]

    def _tls(self) -> ssl.SSLContext | None:
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cafile=self.certificates.ca)
        context.load_cert_chain(self.certificates.client_cert, self.certificates.client_key)
        # The rig looks after itself; who is whom is for the client under test to see.
        context.check_hostname = not self.server_name
        return context

    def _connection(self, port: int, timeout_s: float, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
        source = (self.asked_from, 0) if self.asked_from else None
        if tls is None:
            return http.client.HTTPConnection(self.address, port, timeout=timeout_s, source_address=source)
        return http.client.HTTPSConnection(self.address, port, timeout=timeout_s, source_address=source, context=tls)

    def _get(self, path: str, timeout_s: float) -> tuple[int, str]:
        connection = self._connection(self.ports[2], timeout_s, None)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self._get("/health?exclude=NOSPACE", 2.0)[0] == 200
        return False


def start_together(members: Sequence[Member]) -> None:
    """Start members, and wait until all are of use; with other ports, if one was taken and there is no data yet."""
    for _ in range(_ATTEMPTS_MAX):
        is_first = not any(member.data.exists() for member in members)
        for member in members:
            member.ports = member.ports or free_ports(member.address, 3)
        try:
            for member in members:
                member.launch()
            for member in members:
                member.wait_until_ready()
        except PortTaken:
            _end(members)
            if not is_first or members[0].within:
                raise
            for member in members:
                shutil.rmtree(member.data, ignore_errors=True)
                member.ports = []
        except BaseException:
            _end(members)
            raise
        else:
            return
    raise RuntimeError(f"ports were taken {_ATTEMPTS_MAX} times")


def _end(members: Sequence[Member]) -> None:
    for member in members:
        member.kill()

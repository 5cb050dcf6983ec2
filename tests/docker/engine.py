"""A Docker engine for tests alone: its own data, socket and bridge, beside whatever engine the host may have.

It is started as root from the system's ``dockerd`` (`.ci/docker` installs it) and leaves nothing behind. Its bridge is
reached from this host and from nowhere else: it writes no firewall rules, and publishes ports by ``docker-proxy``.
Where there is none to be had, tests that need it fail: they are not skipped.
"""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

#: What tests run in containers: busybox, and nothing else.
IMAGE = "harpoon-test/busybox:1"
_UP_S = 60
_APPLETS = ("sh", "sleep", "echo", "cat", "httpd", "nc", "id", "mkdir", "true", "false", "wget", "head", "tail", "kill", "ls", "touch", "printf", "seq", "env", "stat", "ip", "grep", "yes", "date", "dd", "tr", "setsid", "test", "tty", "wc")  # fmt: skip


class Asked(Exception):
    """The engine answered that it will not."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


class TestEngine:
    """One engine, asked the plain way: what tests judge by is not what they judge."""

    __test__ = False

    def __init__(self, directory: Path, number: int = 1) -> None:
        self.directory = directory
        # Below the length that a socket's path may have, wherever the tests are.
        self.socket = Path(f"/run/hpt{os.getpid()}-{number}.sock")
        self.url = f"unix://{self.socket}"
        self._bridge = f"hpt{os.getpid() % 100000}n{number}"
        self._subnet = 10 + (os.getpid() + number) % 200
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def up(self) -> None:
        """Start it, and wait until it answers."""
        if os.geteuid() != 0 or shutil.which("dockerd") is None:
            raise AssertionError("tests of containers need root and dockerd: apt-get install docker.io iproute2")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._make_bridge()
        run = self.directory / "run"
        for stale in (run / "dockerd.pid", run / "containerd" / "containerd.pid", self.socket):
            stale.unlink(missing_ok=True)
        with (self.directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                (
                    *("dockerd", "--host", self.url, "--data-root", str(self.directory / "data")),
                    *("--exec-root", str(run), "--pidfile", str(run / "dockerd.pid"), "--bridge", self._bridge),
                    *("--iptables=false", "--ip-masq=false", "--log-level", "warn"),
                ),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            )
        deadline = time.monotonic() + _UP_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.ask("GET", "/version")
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"dockerd does not come up:\n{self.log_tail()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it as a crash would: with what it needs to run containers, which it starts anew with itself."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Have it answer nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def down(self) -> None:
        """Remove all containers, stop it, and leave nothing behind."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.go_on()
            with contextlib.suppress(OSError, Asked, http.client.HTTPException):
                self.wipe()
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._end_containerd()
        subprocess.run(("ip", "link", "del", self._bridge), check=False, capture_output=True)
        self.socket.unlink(missing_ok=True)
        self._unmount()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wipe(self) -> None:
        """Remove all containers."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._remove, [one["Id"] for one in self.containers()]))

    def _remove(self, container: str) -> None:
        with contextlib.suppress(Asked):
            self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def ask(self, verb: str, path: str, body: Any = None, *, data: bytes | None = None) -> Any:
        """Ask it, and return what it says."""
        connection = _Connection(str(self.socket))
        try:
            sent = data if data is not None else None if body is None else json.dumps(body)
            kind = "application/x-tar" if data is not None else "application/json"
            connection.request(verb, path, sent, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 400:
                raise Asked(answer.status, text.decode(errors="replace"))
            lines = text.decode(errors="replace").strip()
            try:
                return json.loads(lines) if lines else None
            except ValueError:
                return lines
        finally:
            connection.close()

    def containers(self, label: str = "") -> list[Any]:
        """Return all containers."""
        filters = json.dumps({"label": [label]} if label else {})
        return self.ask("GET", f"/containers/json?{urlencode({'all': 1, 'filters': filters})}")

    def inspect(self, container: str) -> Any:
        return self.ask("GET", f"/containers/{container}/json")

    def create(self, name: str, **config: Any) -> str:
        """Make a container behind the agent's back."""
        return str(self.ask("POST", f"/containers/create?name={quote(name)}", {"Image": IMAGE} | config)["Id"])

    def start(self, container: str) -> None:
        self.ask("POST", f"/containers/{container}/start")

    def make_image(self, name: str = IMAGE, changes: tuple[str, ...] = ('CMD ["sleep", "1000"]',)) -> None:
        """Make an image of this host's busybox, without any registry."""
        busybox = shutil.which("busybox")
        if busybox is None:
            raise AssertionError("tests of containers need a static busybox: apt-get install busybox-static")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "data"):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
                tar.addfile(entry)
            tar.add(busybox, "bin/busybox")
            for applet in _APPLETS:
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
            users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
            entry = tarfile.TarInfo("etc/passwd")
            entry.size = len(users)
            tar.addfile(entry, io.BytesIO(users))
        repository, _, tag = name.rpartition(":")
        query = [("fromSrc", "-"), ("repo", repository), ("tag", tag)]
        query += [("changes", change) for change in ("ENV PATH=/bin", *changes)]
        self.ask("POST", f"/images/create?{urlencode(query)}", data=packed.getvalue())

    def remove_image(self, name: str) -> None:
        with contextlib.suppress(Asked):
            self.ask("DELETE", f"/images/{name}?force=1")

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.directory / "dockerd.log").read_text(errors="replace")[-2000:]
        return ""

    def _make_bridge(self) -> None:
        subprocess.run(("ip", "link", "del", self._bridge), check=False, capture_output=True)
        for command in (
            f"ip link add {self._bridge} type bridge",
            f"ip addr add 10.213.{self._subnet}.1/24 dev {self._bridge}",
            f"ip link set {self._bridge} up",
        ):
            told = subprocess.run(command.split(), check=False, capture_output=True)
            assert told.returncode == 0, told.stderr.decode()

    def _end_containerd(self) -> None:
        """End the containerd of an engine that was killed before it could."""
        file = self.directory / "run" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if Path(f"/proc/{pid}/comm").read_text().startswith("containerd"):
                os.kill(pid, signal.SIGTERM)

    def _unmount(self) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.directory}/")), reverse=True):
            subprocess.run(("umount", "-l", mount), check=False, capture_output=True)


@contextlib.contextmanager
def an_engine(directory: Path, number: int = 1) -> Iterator[TestEngine]:
    """An engine with the tests' image, for as long as it is used."""
    engine = TestEngine(directory, number)
    try:
        engine.up()
        engine.make_image()
        yield engine
    finally:
        engine.down()

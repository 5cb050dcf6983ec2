"""Etcd, servers and agents as containers on one network: started, killed, replaced, cut off, and asked by a user's doors.

Whatever is made at the engine bears a label with the number of the process that made it, so that nothing is left behind
for long by a run that was killed, and no other run's things are taken for one's own.
"""

import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.containers import images
from tests.ports import free_port, free_ports, task_ports

LABEL = "harpoon-test"
#: The account that the image runs as.
ACCOUNT = 10001
DATA = "/var/lib/harpoon"
TOKEN = "/run/secrets/token"
SOCKET = "/var/run/docker.sock"
#: Generous: a machine that is busy with other tests takes a minute for what is done in seconds.
READY_WITHIN_S = 120.0
#: Of a client of the engine: likewise.
ASKED = {"timeout": 300}


def eventually(
    read: Callable[[], Any], is_right: Callable[[Any], bool] = bool, within_s: float = READY_WITHIN_S
) -> Any:
    """Read again and again until it is right; what was read last, or why it could not be, is in the failure."""
    until, value = time.monotonic() + within_s, None
    while True:
        try:
            value = read()
            if is_right(value):
                return value
        except (OSError, AssertionError, APIError) as error:
            value = error
        assert time.monotonic() < until, f"still not right after {within_s:g} s: {value!r}"
        time.sleep(0.05)


def labels() -> dict[str, str]:
    """Return what marks things as made by this run."""
    return {LABEL: str(os.getpid())}


def clean_up(*, is_left: bool) -> None:
    """Remove from the engine what this run has made; or what runs that are over have left there, tasks' containers too."""
    engine = images.client()

    def is_meant(found: dict[str, str]) -> bool:
        pid = found.get(LABEL, "")
        return pid.isdigit() and ((not Path(f"/proc/{pid}").exists()) if is_left else int(pid) == os.getpid())

    def remove(found: list[Container]) -> None:
        for container in found:
            with suppress(NotFound):
                container.remove(force=True, v=True)

    ours = engine.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
    remove([one for one in ours if is_meant(one.labels)])
    for network in engine.networks.list(filters={"label": LABEL}):
        if is_meant(network.attrs["Labels"]):
            network.remove()
    for volume in engine.volumes.list(filters={"label": LABEL}):
        if is_meant(volume.attrs["Labels"]):
            volume.remove(force=True)
    if is_left and all(is_meant(one.labels) for one in ours):  # no other run goes on
        tasks = engine.containers.list(all=True, filters={"label": "harpoon.agent"}, ignore_removed=True)
        remove([one for one in tasks if str(one.attrs["Config"]["Image"]).startswith(f"{images.NAME}/")])
    engine.close()


class Fleet:
    """What runs on one network. Parts are known by their name, which is also how they reach each other."""

    def __init__(self, image: str, folder: Path) -> None:
        self.image = image
        self.parts: dict[str, DockerContainer] = {}
        #: What each part is started with, so that it can be replaced by one that is alike.
        self._made: dict[str, Callable[[str], DockerContainer]] = {}
        self.ports: dict[str, int] = {}
        self.token = secrets.token_hex(16)
        self._token_file = folder / "token"
        self._token_file.write_text(self.token)
        if os.getuid() == 0:
            os.chown(self._token_file, ACCOUNT, ACCOUNT)
            self._token_file.chmod(0o400)
        self.engine = images.client()
        self._volumes: list[Any] = []
        #: The volume of each part that has data.
        self._data: dict[str, str] = {}
        self.network = Network(ASKED, {"labels": labels()})

    def __enter__(self) -> "Fleet":
        self.network.create()
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts.values():
            with suppress(NotFound):
                part.stop()
        for volume in self._volumes:
            volume.remove(force=True)
        self.network.remove()
        self.network._docker.client.close()
        self.engine.close()

    # Starting and ending.

    def start_etcd(self, name: str = "etcd1") -> None:
        """Start an etcd of one member, and wait until it answers."""
        clients = ["--listen-client-urls=http://0.0.0.0:2379", f"--advertise-client-urls=http://{name}:2379"]
        peers = ["--listen-peer-urls=http://0.0.0.0:2380", f"--initial-advertise-peer-urls=http://{name}:2380"]
        whole = [f"--initial-cluster={name}=http://{name}:2380", f"--name={name}", "--data-dir=/data", "--logger=zap"]
        volume = self.volume()

        def make(image: str) -> DockerContainer:
            part = self._part(name, image).with_volume_mapping(volume, "/data", "rw")
            return part.with_command(["etcd", *clients, *peers, *whole])

        self._made[name] = make
        self.start(name, images.etcd())
        health = ["etcdctl", "--command-timeout=1s", "endpoint", "health"]
        eventually(lambda: self.parts[name].exec(health).exit_code == 0)

    def start_server(self, name: str, *options: str, **kwargs: Any) -> None:
        """Start a server on the etcd, unless the options say otherwise, and wait until it answers."""
        if "--data" not in options and "--store" not in options:
            options = ("--store", "etcd://etcd1", *options)
        self.ports[name] = free_port()
        command = ["server", "--listen", "0.0.0.0:4450", "--instance", name, "--advertise", f"http://{name}:4450"]

        def make(image: str) -> DockerContainer:
            part = self._ours(name, image, **kwargs).with_bind_ports(4450, self.ports[name])
            return part.with_command([*command, *options])

        self._made[name] = make
        self.start(name)
        self.answers(name)

    def start_agent(self, name: str, *options: str, **kwargs: Any) -> None:
        """Start an agent that registers with all servers there are, on the network and without an engine."""
        servers = [f"--server=http://{server}:4450" for server in self.ports]
        command = ["agent", "--name", name, "--listen", "0.0.0.0:4451", "--state-dir", f"{DATA}/agent", *servers]

        def make(image: str) -> DockerContainer:
            return self._ours(name, image, **kwargs).with_command([*command, *options])

        self._made[name] = make
        self.start(name)

    def start_agent_of_host(self, name: str) -> None:
        """Start an agent that has the host's network and its engine, at the host's address as the network sees it."""
        gateway = self._gateway()
        (port,), ports = free_ports(gateway, 1), task_ports()
        where = [f"--listen={gateway}:{port}", f"--ports={ports.low}-{ports.high}", f"--state-dir={DATA}/agent"]
        servers = [f"--server={self.url(server)}" for server in self.ports]
        group = Path(SOCKET).stat().st_gid

        def make(image: str) -> DockerContainer:
            part = self._ours(name, image, is_of_host=True, group_add=[group], read_only=True, cap_drop=["ALL"])
            part.with_volume_mapping(SOCKET, SOCKET, "rw")
            return part.with_command(["agent", "--name", name, *where, *servers])

        self._made[name] = make
        self.start(name)

    def start(self, name: str, image: str = "") -> None:
        """Start a part as it is to be."""
        self.parts[name] = self._made[name](image or self.image)
        self.parts[name].start()

    def replace(self, name: str, image: str = "", *, grace_s: int | None = 10) -> None:
        """Remove a part's container and make another one that has its data; without a grace it is killed."""
        if grace_s is not None:
            self.container(name).stop(timeout=grace_s)
        self.parts[name].stop(delete_volume=False)
        self.start(name, image)

    def run(self, name: str, *command: str, **kwargs: Any) -> None:
        """Start the image with a command of one's own."""
        self._made[name] = lambda image: self._ours(name, image, **kwargs).with_command(list(command))
        self.start(name)

    def volume(self) -> str:
        """Return the name of a new volume."""
        self._volumes.append(self.engine.volumes.create(labels=labels()))
        return str(self._volumes[-1].name)

    def _part(self, name: str, image: str, *, is_of_host: bool = False, **kwargs: Any) -> DockerContainer:
        part = DockerContainer(image, ASKED)
        if is_of_host:
            kwargs["network_mode"] = "host"
        else:
            part.with_network(self.network).with_network_aliases(name)
            kwargs["hostname"] = name
        # What a test waits for it asks itself.
        kwargs.setdefault("healthcheck", {"test": ["NONE"]})
        return part.with_kwargs(labels=labels(), **kwargs)

    def _gateway(self) -> str:
        self.network._unwrap_network.reload()
        return str(self.network._unwrap_network.attrs["IPAM"]["Config"][0]["Gateway"])

    def _ours(self, name: str, image: str, **kwargs: Any) -> DockerContainer:
        if name not in self._data:
            self._data[name] = self.volume()
        part = self._part(name, image, **kwargs).with_volume_mapping(self._data[name], DATA, "rw")
        part.with_volume_mapping(self._token_file, TOKEN, "ro")
        return part.with_envs(HARPOON_TOKEN_FILE=TOKEN)

    # Breaking.

    def container(self, name: str) -> Container:
        """Return a part as the engine knows it now."""
        found = self.parts[name].get_wrapped_container()
        found.reload()
        return found

    def kill(self, name: str) -> None:
        """Kill a part as hard as can be."""
        self.container(name).kill()

    def cut(self, name: str) -> None:
        """Take a part's network away."""
        self.network._unwrap_network.disconnect(self.container(name), force=True)

    def heal(self, name: str) -> None:
        """Give it back."""
        self.network.connect(self.parts[name].get_container_id(), [name])

    # Asking.

    def url(self, name: str) -> str:
        """Return where a server is found on this host."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def urls(self) -> list[str]:
        """Where all servers are found on this host."""
        return [self.url(name) for name in self.ports]

    def ask(self, name: str, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """Ask a server, by the port that it has on this host."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url(name) + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=35) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def get(self, name: str, path: str) -> dict:
        status, answer = self.ask(name, "GET", path)
        assert status == 200, answer
        return answer

    def answers(self, name: str) -> None:
        """Wait until a server answers; one that has ended says why."""

        def is_there() -> bool:
            assert self.container(name).status == "running"
            return self.ask(name, "GET", "/v1/health")[0] == 200

        try:
            eventually(is_there)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log(name)}") from error

    def connected(self, server: str, *agents: str) -> None:
        """Wait until these agents are commanded, and no others are there."""

        def states() -> dict[str, str]:
            return {one["name"]: one["link"]["state"] for one in self.get(server, "/v1/agents")["items"]}

        eventually(states, lambda found: found == dict.fromkeys(agents, "connected"))

    def put(self, server: str, name: str, **spec: object) -> None:
        """Declare a job, and wait until that is done."""
        body = {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        self._done(server, self.ask(server, "PUT", f"/v1/namespaces/default/jobs/{name}", body))

    def unschedule(self, server: str, name: str) -> None:
        """Take a job away, and wait until nothing is left of it."""
        self._done(server, self.ask(server, "DELETE", f"/v1/namespaces/default/jobs/{name}"))

    def _done(self, server: str, answered: tuple[int, dict]) -> None:
        status, answer = answered
        assert status in (200, 202), answer
        eventually(lambda: self.get(server, f"/v1/changes/{answer['change']}?wait=20s"), lambda told: told["is_done"])

    def tasks(self, server: str) -> list[dict]:
        """Return all tasks, by their ids."""
        return sorted(self.get(server, "/v1/tasks")["items"], key=lambda task: str(task["id"]))

    def harpoon(self, name: str, *arguments: str) -> str:
        """Type a command in a part's container; it must succeed."""
        done = self.parts[name].exec(["harpoon", *arguments])
        assert done.exit_code == 0, f"harpoon {' '.join(arguments)} exited {done.exit_code}: {done.output.decode()}"
        return done.output.decode()

    def processes(self, name: str) -> list[Sequence[str]]:
        """Return state, parent and name of each process of a container."""
        code = "for one in /proc/[0-9]*; do cat $one/stat 2>/dev/null; done; true"
        lines = self.parts[name].exec(["sh", "-c", code]).output.decode().splitlines()
        parsed = [(line.partition("(")[2].rpartition(")")[0], *line.rpartition(")")[2].split()[:2]) for line in lines]
        return [(state, parent, called) for called, state, parent in parsed]

    def log(self, name: str) -> str:
        return self.container(name).logs(tail=30).decode(errors="replace")

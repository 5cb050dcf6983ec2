"""Three servers on three members of etcd, and four agents with gates before them, all as processes of their own."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harpoon.core.assign import owner
from tests.etcd.cluster import Cluster as EtcdCluster
from tests.ports import free_port
from tests.system.cluster import Cluster, a_manifest, eventually
from tests.system.gates import Gates

SERVERS = ("s1", "s2", "s3")
AGENTS = ("a1", "a2", "a3", "a4")
HOLDS = "/h/1/ctl/holds/"
LINKS = "/h/1/ctl/links/"
INSTANCES = "/h/1/ctl/instances/"
SCHEDULER = "scheduler"


class Fleet(Cluster):
    """Servers and agents; what is asked is asked of the server last named by `use`."""

    def __init__(self, directory: Path, etcds: EtcdCluster, *options: str) -> None:
        super().__init__(directory, etcds.url)
        self.etcds = etcds
        self.options = options
        self.server_ports = {name: free_port() for name in SERVERS}
        self.gates = Gates(self.server_pids)

    def use(self, server: str) -> "Fleet":
        """Ask this server from now on."""
        self.port = self.server_ports[server]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    @property
    def running(self) -> list[str]:
        """Servers whose process is there."""
        return [name for name in SERVERS if (one := self.processes.get(name)) is not None and one.poll() is None]

    def server_pids(self) -> dict[str, int]:
        return {name: self.processes[name].pid for name in self.running}

    def begin(self) -> None:
        """Start all, and wait until each agent is commanded."""
        for name in AGENTS:
            port = self.agent_ports[name] = free_port()
            self._start(
                name,
                "agent",
                "--name",
                name,
                "--listen",
                f"127.0.0.1:{port}",
                "--state-dir",
                str(self.directory / name),
            )
            self.gates.add(name, port)
        for name in SERVERS:
            self.launch(name)
        for name in SERVERS:
            self.await_server(name)
        self.connected(*AGENTS)

    def launch(self, server: str, *options: str, program: tuple[str, ...] = ("harpoon",)) -> None:
        """Start a server, and wait for nothing; ``program`` is what stands in for harpoon."""
        listed = [f"--agent={name}=http://127.0.0.1:{port}" for name, port in self.gates.ports.items()]
        where = ["--listen", f"127.0.0.1:{self.server_ports[server]}", "--store", self.store, "--instance", server]
        self._start(server, "server", *where, *listed, *self.options, *options, program=program)

    def await_server(self, server: str) -> None:
        """Wait until a server answers; it is asked from then on."""
        self.use(server)
        eventually(lambda: self.process_answers(server, "/v1/health"), bool)

    def pause(self, name: str) -> None:
        """Let a process stand still."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def make_whole(self) -> None:
        """Start what does not run, let everything through, and wait until agents are where they belong."""
        for member in self.etcds.members:
            if not member.is_running:
                member.start()
        self.gates.let_go()
        self.gates.heal()
        for name in SERVERS:
            if name in self.running:
                self.resume(name)
            else:
                self.launch(name)
        for name in SERVERS:
            self.await_server(name)
        self.settle()

    def settle(self) -> dict[str, str]:
        """Wait until each agent is commanded by the one of all three whose it is; return what is held by whom."""
        eventually(lambda: (self.belongings(), self.holders()), lambda both: both[0].items() <= both[1].items())
        eventually(
            lambda: (self.marks(), self.holders()), lambda both: all(both[1][a] == w for a, (_, w) in both[0].items())
        )
        assert SCHEDULER in eventually(self.holders, lambda held: SCHEDULER in held)
        self.connected(*AGENTS)
        return self.holders()

    def belongings(self) -> dict[str, str]:
        """Return which server each agent is to have; nobody's, as long as not all have joined, and none too many."""
        joined = self.stored(INSTANCES)
        if sorted(map(_server_of, joined)) != list(SERVERS):
            return dict.fromkeys(AGENTS, "nobody")
        links = self.stored(LINKS)
        return {name: _server_of(owner(name, joined, links.get(name, {}).get("failed_by", ()))) for name in AGENTS}

    # What is stored and what agents have on disk: asked by ways that are not under test.

    def stored(self, prefix: str) -> dict[str, dict]:
        """Return the records under a prefix, with the revisions at which they came to be as ``at``."""
        ends = [base64.b64encode(key).decode() for key in (prefix.encode(), prefix.encode()[:-1] + b"0")]
        members = [member for member in self.etcds.running if not _is_stopped(member.process.pid)]
        query = {"key": ends[0], "range_end": ends[1], "serializable": True}
        told = members[0].ask("kv/range", query)
        return {
            base64.b64decode(one["key"]).decode().removeprefix(prefix): json.loads(base64.b64decode(one["value"]))
            | {"at": int(one["create_revision"])}
            for one in told.get("kvs", ())
        }

    def holders(self) -> dict[str, str]:
        """Return which server holds what: ``scheduler``, or an agent; not whose shards of runs are."""
        return {
            name.removeprefix("agents/"): _server_of(record["instance"])
            for name, record in self.stored(HOLDS).items()
            if not name.startswith("shards/")
        }

    def minded_by(self, server: str) -> list[str]:
        """Return the agents that a server holds."""
        return [name for name, holder in self.holders().items() if holder == server and name != SCHEDULER]

    def marks(self) -> dict[str, tuple[int, str]]:
        """Return the token that each agent has adopted, and whose it is."""
        found = {}
        for name in AGENTS:
            mark = json.loads((self.directory / name / "mark.json").read_bytes())
            found[name] = (mark["token"]["revision"], _server_of(mark["instance"]))
        return found

    def put_job(self, name: str, scale: int = 1, **task: object) -> dict:
        """Put a job; what is lost of it is waited for, so that a process that is started anew is a fault."""
        status, answer = self.request("PUT", f"/v1/namespaces/default/jobs/{name}", waiting(name, scale, **task))
        assert status in (200, 202), answer
        return answer

    def runs(self) -> dict[str, int]:
        """Return the process of each task of job ``web``: the very same, if none was started anew."""
        return {id_: task["pid"] for id_, task in self.tasks().items() if task["job"] == "web"}

    def spawned(self) -> float:
        """Return how many processes all agents have started for tasks."""
        return sum(self.metric("harpoon_agent_spawns_total", port) for port in self.agent_ports.values())


@contextmanager
def fleet(directory: Path, *options: str) -> Iterator[Fleet]:
    """Run a fleet with job ``web`` on each agent."""
    for name in ("etcd", "fleet"):
        (directory / name).mkdir()
    with (
        EtcdCluster(directory / "etcd") as etcds,
        Fleet(directory / "fleet", etcds, *options) as made,
        made.gates.running(),
    ):
        made.begin()
        made.done(made.put_job("web", 2 * len(AGENTS)))
        yield made


def waiting(name: str, scale: int, **task: object) -> dict:
    """Return a job whose tasks are not replaced when they are lost."""
    manifest = a_manifest(name, scale, **task)
    manifest["spec"]["on_lost"] = "wait"
    return manifest


def _server_of(instance: str | None) -> str:
    return (instance or "").rpartition("-")[0]


def _is_stopped(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return True

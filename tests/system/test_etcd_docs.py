"""What docs/etcd.md tells an operator to type is typed here, on three members of its unit file, with TLS and users."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.documents import FENCED, ROOT
from tests.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
TEXT = (ROOT / "docs" / "etcd.md").read_text()
JOB = '{"apiVersion":"harpoon/v1","kind":"Job","metadata":{"name":"web"},"spec":{"task":{"command":["sleep","9"]}}}'


def blocks(title: str, language: str = "sh") -> list[str]:
    """Return the blocks of one language under a heading of the second or third level."""
    section = re.split(r"^##", re.split(rf"^###? {title}\n", TEXT, flags=re.MULTILINE)[1], flags=re.MULTILINE)[0]
    plain = re.sub(r"^ {3}", "", section, flags=re.MULTILINE)
    return [body for found, body in FENCED.findall(plain) if found == language]


@dataclass
class Ground:
    """Three addresses of this machine in place of three machines, and a directory in place of /etc and /var."""

    folder: Path
    clients: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    server: int = field(default_factory=free_port)
    restored: int = field(default_factory=free_port)
    restored_peer: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def here(self, text: str) -> str:
        """Return a text of the page with what is there on this machine."""
        text = re.sub(r"etcds://([\d.,]+)", lambda found: f"etcds://{found[1].replace(',', ':2379,')}:2379", text)
        for theirs, ours in {
            "10.0.1.1:4450": f"127.0.0.1:{self.server}",
            "10.0.0.": "127.0.0.",
            ":2379": f":{self.clients}",
            ":2380": f":{self.peers}",
            ":2389": f":{self.restored}",
            ":2390": f":{self.restored_peer}",
            "/etc/harpoon": str(self.folder),
            "/var/tmp": str(self.folder),
        }.items():
            text = text.replace(theirs, ours)
        return text.replace("\\\n", " ")

    def type(self, text: str, *, is_root: bool = True) -> str:
        """Type a block, after the one that etcdctl needs; it ends well."""
        root = 'export ETCDCTL_USER="root:$(cat root-password)"\n' if is_root else ""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(blocks("For etcdctl")[0]) + root + self.here(text)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def start_member(self, number: int, state: str = "new") -> None:
        """Start what the unit file starts, as this member."""
        (unit,) = blocks("Run it", "ini")
        command = self.here(unit).partition("ExecStart=")[2].partition("\n")[0]
        before, cluster, after = re.split(r"(--initial-cluster \S+)", command)
        before, after = (part.replace("127.0.0.1", f"127.0.0.{number}") for part in (before, after))
        command = f"{before}{cluster}{after}".replace("--name e1", f"--name e{number}")
        command = command.replace("/var/lib/etcd/data", str(self.folder / f"data-{number}")).replace("new", state)
        command = command.replace("/etc/etcd/member", f"{self.folder}/e{number}").replace("/etc/etcd", str(self.folder))
        self.start(f"e{number}", command)

    def start_server(self) -> None:
        """Start the server as the page does."""
        (self.folder / "token").write_text("t" * 32)
        (self.folder / "token").chmod(0o600)
        self.start("server", self.here(blocks("Run it")[0]))
        self.until("server", "harpoon status")

    def harpoon(self, line: str) -> str:
        """Type something for the server."""
        of = f"export HARPOON_SERVER=http://127.0.0.1:{self.server} HARPOON_TOKEN_FILE=token\n"
        return self.type(of + line, is_root=False)

    def until(self, name: str, line: str) -> None:
        """Type something again and again until it ends well."""
        began = time.monotonic()
        while True:
            try:
                self.harpoon(line) if line.startswith("harpoon") else self.type(line, is_root=False)
            except AssertionError:
                assert time.monotonic() - began < 30, (self.folder / f"{name}.log").read_text()[-4000:]
                time.sleep(0.2)
            else:
                return

    def stop(self, name: str) -> None:
        self.running[name].kill()
        self.running.pop(name).wait()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    assert shutil.which("etcdctl"), "this test needs etcdctl: apt-get install etcd-client"
    ground = Ground(tmp_path)
    program = tmp_path / "bin" / "harpoon"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harpoon "$@"\n')
    program.chmod(0o755)
    (tmp_path / "web.json").write_text(JOB)
    with ExitStack() as ending:
        ending.callback(lambda: [ground.stop(name) for name in list(ground.running)])
        yield ground


def test_an_operator_gets_there_by_the_page_alone(ground: Ground) -> None:
    # All members come from one address here, and etcd compares it with their certificates.
    made = blocks("Certificates")[0].replace("IP:${name#*:}", "IP:${name#*:},IP:127.0.0.1")
    ground.type(made, is_root=False)
    for number in (1, 2, 3):
        ground.start_member(number)
    ground.until("e1", "etcdctl endpoint health")
    told = ground.type(blocks("User and role")[0], is_root=False)
    assert "[/h/, /h0)" in told

    ground.start_server()
    assert "of 8Gi" in ground.harpoon("harpoon status")
    assert ground.harpoon("harpoon apply --no-wait -f web.json") == "job/web created\n"

    assert "IS LEADER" in ground.type(blocks("Compaction and defragmentation")[0])
    assert "compacted revision" in ground.type(blocks("Make room")[0])
    assert "Snapshot saved" in ground.type(blocks("Backup and restore")[0])
    assert ground.harpoon("harpoon scale web 2 --no-wait") == "job/web changed\n"

    ground.stop("e3")
    number = next(line.split(",")[0] for line in ground.type("etcdctl member list").splitlines() if " e3," in line)
    ground.type(blocks("Replace a member")[0].replace("8e9e05c52164694d", number))
    shutil.rmtree(ground.folder / "data-3")
    ground.start_member(3, "existing")
    ground.until("e3", "etcdctl endpoint health")

    ground.stop("server")
    _restore(ground)
    ground.start_server()
    assert "0/1 ready" in ground.harpoon("harpoon get jobs"), "as it was when it was saved"


def _restore(ground: Ground) -> None:
    _, restoring, copying = blocks("Backup and restore")
    (saved,) = ground.folder.glob("harpoon-*.db")
    first, second = re.sub(r"harpoon-[\d-]+\.db", saved.name, ground.here(restoring)).strip().splitlines()
    ground.type(first)
    ground.start("restored", second)
    assert int(ground.type("etcdctl del /h/ --prefix")) > 0
    user = "?user=harpoon&password_file=/etc/harpoon/etcd-password"
    ground.until("restored", copying.replace("127.0.0.1:2389", f"127.0.0.1:2389{user}"))

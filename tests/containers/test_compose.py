"""What docs/deploy.md tells to type about compose is typed here, in order, with the product's own image.

Only images, addresses and ports are others, so that nothing of this machine is in the way. What takes minutes is typed by
`make containers` alone.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples import demo
from tests.containers import images
from tests.containers.load import visited
from tests.documents import ROOT, section, shell_blocks
from tests.ports import free_port

pytestmark = pytest.mark.timeout(900)
TEXT = (ROOT / "docs" / "deploy.md").read_text()
START, USE = shell_blocks(section(TEXT, "Everything by compose"))


@dataclass
class Shell:
    """A copy of ``deploy`` to type in."""

    folder: Path
    bin: Path
    project: str
    #: Where the servers are found on this host.
    servers: list[str]

    def type(self, text: str) -> str:
        """Type lines at the same terminal as those before; they end well."""
        begun = f'harpoon() {{ docker-compose exec -T server1 harpoon "$@"; }}\ncd {self.folder}\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", begun + self.here(text)],
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "COMPOSE_PROJECT_NAME": self.project},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr
        return done.stdout

    def here(self, text: str) -> str:
        """Return what is typed, with what is there on this machine."""
        text = text.replace("cd deploy\n", "").replace("<an image of etcd>", images.etcd())
        return re.sub(r"^docker build .*$", "", text, flags=re.MULTILINE)

    def container(self, service: str) -> str:
        """Return the number of a service's container."""
        return self.type(f"docker-compose ps -q {service}").strip()


@pytest.fixture(scope="module")
def shell(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A terminal in a copy of ``deploy``, where all is up as told; nothing of what is started there is left."""
    folder, programs = (tmp_path_factory.mktemp(name) / name for name in ("deploy", "bin"))
    shutil.copytree(ROOT / "deploy", folder, ignore=shutil.ignore_patterns("token", ".env"))
    programs.mkdir()
    if os.getuid() == 0:
        (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    if shutil.which("docker-compose") is None:
        (programs / "docker-compose").write_text('#!/bin/sh\nexec docker compose "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    ports = [free_port() for _ in (1, 2)]
    servers = [f"http://127.0.0.1:{port}" for port in ports]
    shell = Shell(folder, programs, f"harpoontest{os.getpid()}", servers)
    settings = [f"HARPOON_IMAGE={image}", f"HARPOON_NET={free_net()}"]
    settings += [f"SERVER{number}_PORT={port}" for number, port in enumerate(ports, 1)]
    try:
        shell.type(START.replace("docker-compose up -d", "") + "\n".join(f"echo {one} >> .env" for one in settings))
        shell.type("docker-compose up -d")
        yield shell
    finally:
        print(shell.type("docker-compose logs --tail=5; docker-compose down -v -t 2")[-6000:])
        left = "docker ps -aq --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
        assert shell.type(left) == "", "the compose file takes all down that it brought up"


def free_net() -> str:
    """Return the first three numbers of addresses that no network of this engine has."""
    engine = images.client()
    taken = {
        ".".join(one["Subnet"].split(".")[:3])
        for network in engine.networks.list()
        for one in network.attrs["IPAM"]["Config"] or ()
    }
    engine.close()
    return next(net for number in range(100, 200) if (net := f"172.30.{number}") not in taken)


def test_all_is_up_as_told_and_runs_a_service(shell: Shell) -> None:
    shell.type(USE)
    assert shell.type("harpoon get tasks -o name").count("task/") == 3
    states = "docker inspect -f '{{.State.Health.Status}}' $(docker-compose ps -q etcd1 etcd2 etcd3 server1 server2)"
    assert set(shell.type(states).split()) == {"healthy"}
    shell.type("harpoon unschedule web")


@pytest.mark.skipif("HARPOON_ALL_CONTAINERS" not in os.environ, reason="takes minutes: make containers")
async def test_it_is_upgraded_without_a_failed_request_and_restored_as_told(shell: Shell) -> None:
    shell.type(USE)
    site = demo.manifest("blue")
    site["spec"]["task"]["command"][0] = "python3"
    (shell.folder / "site.json").write_text(json.dumps(site))
    shell.type("harpoon migrate - < site.json")
    backup, restore = shell_blocks(section(TEXT, "Backup and restore"))
    shell.type(backup)
    servers = shell.container("server1")
    following = images.harpoon("next")
    (upgrade,) = shell_blocks(section(TEXT, "Upgrading"))
    token = (shell.folder / "token").read_text().strip()
    visitor = await visited(shell.servers, token, lambda: shell.type(upgrade.replace("harpoon:next", following)))
    assert not visitor.failures, (len(visitor.failures), visitor.failures[:3])
    assert visitor.answers.total() > 200
    assert shell.container("server1") != servers
    told = shell.type("docker inspect -f '{{.Config.Image}}' $(docker-compose ps -q agent3)")
    assert told.strip() == following
    tasks = json.loads(shell.type("harpoon get tasks -o json"))["items"]
    assert [(task["ready"], task["restarts"]) for task in tasks] == [(True, 0)] * 3

    # Etcd is lost, with all it had.
    shell.type("docker-compose rm -s -f -v etcd1 etcd2 etcd3; docker volume rm ${COMPOSE_PROJECT_NAME}_etcd{1,2,3}")
    shell.type(restore)
    shell.type("harpoon wait agents --count 3; harpoon wait job/web --timeout 60s")
    shell.type("harpoon unschedule web")

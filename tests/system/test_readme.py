"""What the README tells a newcomer to type is typed here, in order, in a real shell; what it promises is compared.

A line that its comment gives an exit code ends with that one, every other one with 0. Only two lines are not run:
installing (which is how the tests came to run at all) and the demonstration (which has a test of its own).
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT, section, shell_blocks
from tests.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
README = (ROOT / "README.md").read_text()
NOT_RUN = ("pip install .", "make demo")
#: Marks in the output which line of the block comes next, and in a file which line ended how.
TRAPS = """\
trap 'printf "\\n@@ %s\\n" "$LINENO" | tee /dev/stderr' DEBUG
trap 'echo "$LINENO $?" >> "$ENDINGS"' ERR
"""


@dataclass
class Shell:
    """A directory to type in, with ``harpoon`` on the path; its server listens where nobody else does."""

    directory: Path
    port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        found = {"PATH": path, "PYTHONPATH": str(ROOT), "HARPOON_SERVER": f"http://127.0.0.1:{self.port}"}
        return {**os.environ, **found, "ENDINGS": str(self.directory / "endings")}

    def prepare(self) -> None:
        """Lay a ``harpoon`` that is the one under test, and whose ``dev`` listens at this shell's port."""
        program = self.directory / "bin" / "harpoon"
        program.parent.mkdir()
        dev = f'[ "$1" = dev ] && shift && exec {sys.executable} -m harpoon dev --listen 127.0.0.1:{self.port} "$@"'
        program.write_text(f'#!/bin/sh\n{dev}\nexec {sys.executable} -m harpoon "$@"\n')
        program.chmod(0o755)

    def start(self, text: str) -> subprocess.Popen[str]:
        """Type something that stays, in a terminal of its own."""
        with (self.directory / "stays.log").open("ab") as log:
            return subprocess.Popen(
                ["bash", "-euc", text],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def log(self) -> str:
        return (self.directory / "stays.log").read_text()

    def type(self, text: str) -> "Typed":
        """Type a block, line after line; a line that fails does not end it."""
        endings = self.directory / "endings"
        endings.write_text("")
        script = self.directory / "block.sh"
        script.write_text(TRAPS + text)
        done = subprocess.run(
            ["bash", script.name],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        failed = {int(number): int(code) for number, code in map(str.split, endings.read_text().splitlines())}
        offset = TRAPS.count("\n")
        return Typed(
            lines=text.splitlines(),
            codes={number - offset: code for number, code in failed.items()},
            out=_parts(done.stdout, offset),
            err=_parts(done.stderr, offset),
        )

    def wait(self, *arguments: str) -> None:
        """Wait for something by ``harpoon wait``."""
        done = subprocess.run(
            ["harpoon", "wait", *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + self.log()


@dataclass
class Typed:
    """What became of a block: by the number of its line, from 1."""

    lines: list[str]
    codes: dict[int, int]
    out: dict[int, str]
    err: dict[int, str]

    def check(self) -> "Typed":
        """Check that each line ended as its comment says, or well."""
        for number, line in enumerate(self.lines, 1):
            promised = re.search(r"# .*\(exit code (\d+)", line)
            told = f"{line}\n{self.out.get(number, '')}{self.err.get(number, '')}"
            assert self.codes.get(number, 0) == (int(promised[1]) if promised else 0), told
        return self

    def of(self, start: str) -> tuple[str, str]:
        """Return stdout and stderr of the line that begins so."""
        number = next(number for number, line in enumerate(self.lines, 1) if line.startswith(start))
        return self.out.get(number, ""), self.err.get(number, "")


def _parts(text: str, offset: int) -> dict[int, str]:
    """Split an output at its marks."""
    parts = re.split(r"\n@@ (\d+)\n", text)
    found: dict[int, str] = defaultdict(str)
    for number, part in zip(parts[1::2], parts[2::2], strict=True):
        found[int(number) - offset] += part  # a line's own end is marked as well if it failed
    return found


def _stop(process: subprocess.Popen[str]) -> int:
    """Press Ctrl-C in its terminal."""
    os.killpg(process.pid, signal.SIGINT)
    return process.wait(timeout=60)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.prepare()
    return shell


@pytest.fixture
def dev(shell: Shell) -> Iterator[Shell]:
    """What the section "Two commands" leaves running."""
    blocks = shell_blocks(section(README, "Two commands"))
    typed = "\n".join(line for block in blocks for line in block.splitlines() if line not in NOT_RUN)
    assert typed == "harpoon dev"
    running = shell.start(typed)
    try:
        shell.wait("agents", "--count", "2", "--timeout", "60s")
        yield shell
    finally:
        code = _stop(running)
    assert code == 0, shell.log()


def test_the_tour_is_as_it_says(dev: Shell) -> None:
    blocks = shell_blocks(section(README, "A tour"))
    first, killed, changed, too_much, bounded, hidden, timed, flowing = (dev.type(block).check() for block in blocks)

    out, err = first.of("harpoon schedule web.yaml")
    assert out == "job/web created\n"
    assert "3/3 ready" in err
    tasks = first.of("harpoon get tasks")[0].splitlines()
    assert len(tasks) == 4
    assert all("running   yes" in line for line in tasks[1:])
    endpoints = first.of("harpoon get endpoints web")[0].splitlines()
    assert len([line for line in endpoints if "http=127.0.0.1:" in line]) == 3
    screen = first.of("harpoon describe job/web")[0]
    assert screen.startswith("job/web   ready, 3/3 ready\n")
    for title in ("Wanted", "Actual", "\nTASK ", "\nEvents:\n", "\nLog of "):
        assert title in screen
    assert "GET / HTTP/1.1" in first.of("harpoon logs web")[0]

    rows = killed.of("harpoon get tasks")[0].splitlines()
    assert len(rows) == 4
    assert [row.split()[0] for row in rows] == [row.split()[0] for row in tasks]

    plan = changed.of("harpoon plan")[0]
    assert plan.startswith("job/web: change, new generation\n  ~ spec.task.command")
    # The one that was killed may not be ready again: then nothing waits for its successor.
    assert plan.count("replaced by its successor, which is ready") >= 2
    assert len(re.findall(r"^    \d+ +[012] +agent-[12] +- +version 2 replaces version 1", plan, re.MULTILINE)) == 3
    assert changed.of("harpoon migrate")[0] == "job/web changed\n"
    versions = changed.of("harpoon versions")[0].splitlines()
    assert [line.split()[0] for line in versions] == ["VERSION", "2", "1"]
    assert changed.of("harpoon rollback")[0] == "job/web rolled back\n"
    assert "taken back" in changed.of("harpoon migrate bad.yaml")[1]
    assert "nonsense" in changed.of("harpoon rollout status web")[0]
    assert "5/5 ready" in changed.of("harpoon scale")[1]
    assert changed.of("harpoon unschedule")[0] == "job/web unscheduled\n"

    assert "900Gi" in too_much.of("harpoon schedule")[1]
    why = too_much.of("harpoon why")[0]
    assert "memory: wants 900Gi free, finds" in why
    assert "Nearest fix: " in why
    assert "quota of namespace shop: memory 192Mi of 128Mi" in bounded.of("harpoon schedule")[1]
    assert bounded.of("harpoon get namespaces")[0].splitlines()[-1].startswith("shop ")

    assert hidden.of("echo correct-horse")[0] == "secret/db created: version 1, keys password\n"
    assert hidden.of("harpoon schedule")[0] == "job/web created\n"
    assert hidden.of("echo battery-staple")[0] == "secret/db changed: version 2, keys password\n"
    assert re.search(r"^db +password +2 ", hidden.of("harpoon secret get")[0], re.MULTILINE)

    assert re.search(r"02:30 CES?T +2\d{3}-", timed.of("harpoon cron preview")[0])
    assert re.match(r"job/nightly-t\d+ created\n", timed.of("harpoon cron trigger")[0])
    assert timed.of("harpoon unschedule")[0] == "job/nightly unscheduled\n"
    assert dev.type("harpoon get jobs -o name").check().of("harpoon")[0] == ""

    assert "2 attempts: " in flowing.of("harpoon bounds")[0]
    assert flowing.of("harpoon apply")[0] == "workflow/release created\n"
    assert flowing.of("harpoon run start")[0] == "run/r1 started\n"
    assert "approve (visit 1) waits for signal go, until " in flowing.of("harpoon why")[0]
    assert "run/r1 succeeded after " in flowing.of("harpoon wait")[1]
    assert "cool_down 1" in flowing.of("harpoon describe")[0]
    assert flowing.of("harpoon delete")[0] == "workflow/release deleted\n"


def test_several_machines_may_be_one(shell: Shell) -> None:
    (block,) = shell_blocks(section(README, "Several machines"))
    agent_port = free_port()
    for theirs, here in {
        "10.0.0.1:4450": f"127.0.0.1:{shell.port}",
        "10.0.0.2:4451": f"127.0.0.1:{agent_port}",
        "/var/lib/harpoon-agent": str(shell.directory / "agent"),
        "/var/lib/harpoon": str(shell.directory / "server"),
    }.items():
        assert theirs in block
        block = block.replace(theirs, here)
    token, *staying = block.replace("\\\n", " ").splitlines()
    shell.type(token).check()
    running = [shell.start(line) for line in staying]
    try:
        shell.wait("agents", "--count", "1", "--timeout", "60s", "--token-file", "token")
        told = shell.type("harpoon get agents --token-file token -o json\nharpoon get agents # (exit code 5)").check()
        (agent,) = json.loads(told.out[1])["items"]
        assert (agent["name"], agent["tags"], agent["link"]["state"]) == ("a1", {"zone": "a"}, "connected")
    finally:
        codes = [_stop(process) for process in reversed(running)]
    assert codes == [0, 0], shell.log()


def test_the_api_answers_what_its_reference_sends(shell: Shell) -> None:
    blocks = [block for block in shell_blocks((ROOT / "docs" / "api.md").read_text()) if "curl" in block]
    assert len(blocks) >= 4
    blocks.sort(key=lambda block: "If-None-Match" not in block)  # what makes the job comes first
    server = shell.start(f"exec harpoon server --listen 127.0.0.1:{shell.port} --data server")
    try:
        _wait_for(shell)
        for block in blocks:
            typed = shell.type(_present(shell, block)).check()
            answers = [line for out in typed.out.values() for line in out.splitlines() if line]
            assert answers, typed
            for answer in answers:
                assert "problem" not in json.loads(answer).get("type", ""), answer + shell.log()[-4000:]
    finally:
        assert _stop(server) == 0


def _wait_for(shell: Shell) -> None:
    began = time.monotonic()
    while subprocess.run(["harpoon", "status"], env=shell.environment, capture_output=True, check=False).returncode:
        assert time.monotonic() - began < 30, shell.log()


def _present(shell: Shell, block: str) -> str:
    """Put the present address, ETag, page and documents where the reference shows some."""
    task = {"command": ["sleep", "1000"]}
    manifests = [
        {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"task": task}}
        for name in ("api", "db")
    ]
    text = re.sub(r"(?m)\s*# \{.*$", "", block).replace("[…]", json.dumps(manifests))
    if "If-Match" in text:
        text = re.sub(r'If-Match: "[^"]+"', f"If-Match: {_ask(shell, 'namespaces/default/jobs/web')[1]}", text)
    if "continue=" in text:
        shell.type(f"harpoon apply --no-wait -f - <<< '{json.dumps(manifests[0])}'").check()
        text = re.sub(r"continue=[^']+", f"continue={_ask(shell, 'jobs?limit=1')[0]['continue']}", text)
    if "at=-10m" in text:
        # The registry is younger than that; and an answer is told from its headers by a test of its own.
        text = text.replace("at=-10m", f"at={_ask(shell, 'namespaces/default/jobs/web')[1].strip(chr(34))}")
        text = text.replace("curl -i ", "curl ")
    return text.replace("localhost:4450", f"127.0.0.1:{shell.port}").replace("curl ", "curl -sS --max-time 5 -w '\\n' ")


def _ask(shell: Shell, path: str) -> tuple[dict[str, Any], str]:
    """Read from the API: the answer, and its ETag."""
    with urllib.request.urlopen(f"http://127.0.0.1:{shell.port}/v1/{path}", timeout=10) as response:
        return json.loads(response.read()), response.headers["ETag"] or ""

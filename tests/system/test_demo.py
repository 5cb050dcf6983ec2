"""The demonstration holds, and says where it does not."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
def test_the_demonstration_holds(store: str) -> None:
    command = [sys.executable, str(DEMO), "--store", store]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("etcd Version: 3." in done.stdout) == (store == "etcd")
    assert "0 failed" in done.stdout
    assert "everything held; nothing is left" in done.stdout


def test_an_agent_killed_in_the_middle_is_named_with_the_step() -> None:
    with subprocess.Popen(
        [sys.executable, str(DEMO)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        guard = threading.Timer(90, demo.kill)
        guard.start()
        for line in demo.stdout:
            if "== fetch a page" in line:
                os.kill(an_agent_of(demo.pid), signal.SIGKILL)
        said = demo.stderr.read()
        assert demo.wait() == 1
        guard.cancel()
    assert re.search(r"FAILED at step '[a-z]", said), said
    assert "this part has died: a2 (exit -9)" in said


def test_without_etcd_the_demonstration_says_how_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--store", "etcd"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert "FAILED at step 'start an etcd'" in done.stderr
    assert "apt-get install etcd-server" in done.stderr


def an_agent_of(parent: int) -> int:
    """Return the process of agent a2, a child of the demonstration."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(child) for child in children if b"\0a2\0" in Path(f"/proc/{child}/cmdline").read_bytes())

"""Verbs start fast: in shares of what the interpreter itself and the command-line library take on this machine."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fastest(*arguments: str, tries: int = 5) -> float:
    """Return the shortest of some runs, in seconds: the least disturbed by what else the machine does."""
    took = []
    for _ in range(tries):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
        took.append(time.perf_counter() - began)
    return min(took)


def imported(*arguments: str) -> set[str]:
    """Return the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harpoon", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_version_takes_little_more_than_the_interpreter() -> None:
    assert fastest("-m", "harpoon", "version") < 4 * fastest("-c", "pass")


def test_get_takes_less_than_thrice_what_the_command_line_library_takes() -> None:
    library = fastest("-c", "import typer, pydantic, http.client, json")
    assert fastest("-m", "harpoon", "get", "jobs", "--server", "http://127.0.0.1:1") < 3 * library


def test_get_imports_no_server_no_renderer_and_no_yaml() -> None:
    heavy = {"aiohttp", "asyncio", "structlog", "uvloop", "prometheus_client", "rich.live", "yaml", "harpoon.service"}
    assert imported("get", "jobs", "--server", "http://127.0.0.1:1") & heavy == set()

"""Verbs start fast: in shares of what the interpreter itself and the command-line library take on this machine."""

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fastest(*arguments: str, tries: int = 5) -> float:
    """Return the least CPU time of some runs, in seconds: what else the machine does hardly disturbs it."""
    took = []
    for _ in range(tries):
        began = cpu_of_children()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
        took.append(cpu_of_children() - began)
    return min(took)


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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


def test_get_takes_little_more_than_the_libraries_it_stands_on() -> None:
    library = fastest("-c", "import typer, pydantic, asyncio, h11, orjson")
    assert fastest("-m", "harpoon", "get", "jobs", "--server", "http://127.0.0.1:1") < 2.5 * library


def test_get_imports_no_server_no_renderer_and_no_yaml() -> None:
    heavy = {"aiohttp", "structlog", "uvloop", "prometheus_client", "rich.live", "yaml", "harpoon.service"}
    assert imported("get", "jobs", "--server", "http://127.0.0.1:1") & heavy == set()


def test_get_decodes_no_nouns() -> None:
    heavy = {"harpoon.kit.codec", "harpoon.client.jobs", "harpoon.model.shown"}
    assert imported("get", "jobs", "--server", "http://127.0.0.1:1") & heavy == set()


def test_what_asks_no_server_imports_no_event_loop() -> None:
    assert imported("server", "--help") & {"asyncio", "h11"} == set()

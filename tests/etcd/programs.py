"""The etcd program under test, and ports for it."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


@functools.cache
def etcd_binary() -> str:
    """Return the program that is tested with; without one the tests fail, for they say nothing then."""
    named = os.environ.get("HARPOON_ETCD", "etcd")
    beside = Path(__file__).parents[2] / ".venv/bin"
    found = shutil.which(named) or shutil.which(named, path=str(beside))
    if found is None:
        pytest.fail(
            f"these tests need etcd, and there is no program {named!r}. Get it with `.ci/etcd` (which `make test` runs) "
            "or `sudo apt-get install etcd-server`, or name one: HARPOON_ETCD=/path/to/etcd",
            pytrace=False,
        )
    return found


@functools.cache
def etcd_version() -> tuple[int, ...]:
    """Return the program's version, as numbers."""
    told = subprocess.run([etcd_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", told)
    assert found, told
    return tuple(int(number) for number in found.groups())


@functools.cache
def can_skip_fsync() -> bool:
    """Whether the program has the option, which some versions hide."""
    return (
        subprocess.run([etcd_binary(), "--unsafe-no-fsync", "--version"], capture_output=True, check=False).returncode
        == 0
    )


def etcd_environment() -> dict[str, str]:
    """Ours, without what would set up etcd behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}

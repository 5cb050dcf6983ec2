"""An engine to test with, which is started if need be, and what an earlier run that was killed has left there."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read when testcontainers is imported: what it cleans up with is an image of a registry, and a file that containers have
# is no sign that this is one.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")

from tests.containers import images, rig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[None]:
    """See that there is an engine; that there is none is a failure, not a reason to skip."""
    told = subprocess.run([str(ROOT / ".ci/docker")], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    rig.clean_up(is_left=True)
    yield
    rig.clean_up(is_left=False)
    if "started" in told.stdout:
        subprocess.run([str(ROOT / ".ci/docker"), "stop"], check=True)


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    """The product's own image."""
    return images.harpoon()


@pytest.fixture
def fleet(image: str, tmp_path: Path) -> Iterator[rig.Fleet]:
    """A network that is empty to begin with; what is started there is gone with the test."""
    with rig.Fleet(image, tmp_path) as fleet:
        yield fleet

"""What holds for all tests.

Generated inputs are the same each time, so that a change is judged by what it changes, and coverage by what is there.
To look further: ``make test ARGS=--hypothesis-profile=explore``.
"""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.etcd.members import Member
from tests.groups import clear_groups

# A job in the background of a shell ignores Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("explore", derandomize=False)
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """One etcd for all tests that leave it as it is; each begins with `Member.wipe`."""
    with Member(tmp_path_factory.mktemp("etcd"), flags=["--quota-backend-bytes=8589934592"]) as member:
        yield member


@pytest.fixture(autouse=True)
def _no_group_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Clear away what agents with their state in the test's own directory have made outside of it."""
    directory = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if directory is not None:
        clear_groups(directory)

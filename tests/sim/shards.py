"""Few shards: a registry has as many as it was made with, and with fewer of them more happens in each."""

import os
import secrets
from random import Random
from typing import Final

from harpoon.api import work_passing
from harpoon.control import ledger_records, retention, run_reader, shards
from harpoon.control.runs import SHARD_HOLDS, shard_name

COUNT: Final = 4


def make_few() -> None:
    """Have so few in this process, for good."""
    for module in (ledger_records, retention, run_reader):
        module.SHARDS = COUNT  # type: ignore[misc]
    shards._NAMES = {shard_name(number): number for number in range(COUNT)}  # type: ignore[misc]
    work_passing._NAMES = tuple(SHARD_HOLDS + shard_name(number) for number in range(COUNT))  # type: ignore[misc]


def make_alike(rng: Random) -> None:
    """Have the same made each time of what is drawn from the machine: ids of sessions, keys of requests."""
    secrets.token_hex = lambda nbytes=None: rng.randbytes(nbytes or 32).hex()
    os.urandom = rng.randbytes

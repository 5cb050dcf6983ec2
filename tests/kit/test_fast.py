"""A process runs on the faster loop if it is there, and on the usual one if it is not."""

import asyncio
import sys

import pytest

from harpoon.kit.fast import run_fast


async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_the_faster_loop_is_taken() -> None:
    assert run_fast(loop()).startswith("uvloop")


def test_without_it_everything_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run_fast(loop()).startswith("asyncio")

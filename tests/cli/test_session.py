"""The loop between a verb's calls."""

import asyncio
from typing import NoReturn

import pytest

from harpoon.cli.session import Session


async def interrupted_as_it_is_done() -> None:
    """Be done in the very turn in which Ctrl-C comes, while something else runs."""
    asyncio.get_running_loop().call_soon(interrupt)


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


async def a_call() -> str:
    await asyncio.sleep(0)
    return "answered"


def test_ctrl_c_at_the_end_of_a_call_does_not_break_the_next() -> None:
    with Session("http://127.0.0.1:1") as session:
        with pytest.raises(KeyboardInterrupt):
            session._run(interrupted_as_it_is_done())
        assert session._run(a_call()) == "answered"

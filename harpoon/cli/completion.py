"""The verb ``completion``, which prints the script that makes a shell complete command lines."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from harpoon.cli.completing import VARIABLE
from harpoon.cli.verb import app, verb


class Shell(StrEnum):
    """Whose completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@verb(
    "completion",
    examples=("harpoon completion bash", "harpoon completion zsh", "harpoon completion fish"),
)
def completion(
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.", metavar="SHELL", show_default=False)],
) -> None:
    """Print the script that makes a shell complete verbs, options, kinds and the names of what is there.

    For bash, put this into ~/.bashrc: source <(harpoon completion bash)
    """
    os.environ[VARIABLE] = f"source_{shell}"
    try:
        app([], prog_name="harpoon")
    finally:
        del os.environ[VARIABLE]

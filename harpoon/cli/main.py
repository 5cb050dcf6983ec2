"""The whole command line. Importing a module registers its verbs, so all of them are imported here and only here."""

from types import ModuleType
from typing import Final

from harpoon.cli import changes, dev, reads, run, streams, verb

MODULES: Final[tuple[ModuleType, ...]] = (changes, reads, streams, run, dev)


def run_verb() -> None:
    """Run the verb that the process's arguments name; it ends by ``SystemExit``."""
    verb.app(prog_name="harpoon")

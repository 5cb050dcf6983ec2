"""The whole command line. A verb's module is imported when the verb is used, so that the others do not slow it."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

from harpoon.cli import terminal
from harpoon.cli.outcome import ExitCode
from harpoon.cli.verb import app

#: Module → the verbs that importing it registers.
VERBS: Final[Mapping[str, Sequence[str]]] = {
    "harpoon.cli.changes": ("apply", "schedule", "migrate", "scale", "unschedule", "delete"),
    "harpoon.cli.reads": ("version", "get", "describe", "status"),
    "harpoon.cli.streams": ("watch", "wait", "logs"),
    "harpoon.cli.run": ("server", "agent"),
    "harpoon.cli.dev": ("dev",),
}


def run_verb() -> None:
    """Run the verb that the process's arguments name; it ends by ``SystemExit``."""
    try:
        load(sys.argv[1:])
        app(prog_name="harpoon")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except OSError as error:  # such as a full disk behind stdout; what a verb itself opens, it answers for
        terminal.say(f"error: {error.strerror or error}")
        sys.exit(ExitCode.FAILED)


def load(arguments: Sequence[str]) -> None:
    """Register the verb that these arguments name; all of them when they name none, to list or to suggest them."""
    word = next((argument for argument in arguments if not argument.startswith("-")), None)
    for module, verbs in VERBS.items():
        if word in verbs:
            import_module(module)
            return
    for module in VERBS:
        import_module(module)

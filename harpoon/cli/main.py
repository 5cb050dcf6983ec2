"""The whole command line. A verb's module is imported when the verb is used, so that the others do not slow it."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import typer

from harpoon.cli import completing, terminal, usage
from harpoon.cli.outcome import ExitCode, code_of, complain
from harpoon.cli.verb import app
from harpoon.kit.errors import HarpoonError

#: Module → the verbs that importing it registers, or adds to.
VERBS: Final[Mapping[str, Sequence[str]]] = {
    "harpoon.cli.plan": ("plan", "verify-plan"),
    "harpoon.cli.diff": ("diff",),
    "harpoon.cli.changes": ("apply", "schedule", "migrate", "scale", "rollback", "unschedule", "delete"),
    "harpoon.cli.rollout": ("rollout",),
    "harpoon.cli.cron": ("cron",),
    "harpoon.cli.runs": ("run",),
    "harpoon.cli.run_repairs": ("run",),
    "harpoon.cli.bounds": ("bounds",),
    "harpoon.cli.report": ("report",),
    "harpoon.cli.graph": ("graph",),
    "harpoon.cli.agents": ("cordon", "uncordon", "drain", "declare-dead"),
    "harpoon.cli.rebalance": ("rebalance",),
    "harpoon.cli.reads": ("version", "get", "status"),
    "harpoon.cli.health": ("health",),
    "harpoon.cli.describe": ("describe",),
    "harpoon.cli.why": ("why",),
    "harpoon.cli.past": ("versions", "events"),
    "harpoon.cli.explain": ("explain",),
    "harpoon.cli.watching": ("watch",),
    "harpoon.cli.streams": ("wait", "logs"),
    "harpoon.cli.batch": ("batch",),
    "harpoon.cli.run": ("server", "agent"),
    "harpoon.cli.worker": ("worker",),
    "harpoon.cli.dev": ("dev",),
    "harpoon.cli.secrets": ("secret",),
    "harpoon.cli.unclaimed": ("adopt", "stop"),
    "harpoon.cli.backup": ("backup",),
    "harpoon.cli.history": ("history",),
    "harpoon.cli.store": ("store", "restore"),
    "harpoon.cli.completion": ("completion",),
}


def run_verb() -> None:
    """Run the verb that the process's arguments name; it ends by ``SystemExit``."""
    if completing.is_asked():
        completing.answer(load, list(dict.fromkeys(name for verbs in VERBS.values() for name in verbs)))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the verb that these arguments name, and return its exit code."""
    try:
        load(arguments)
        return int(app(list(arguments), prog_name="harpoon", standalone_mode=False) or ExitCode.OK)
    except usage.UsageError as error:
        usage.complain(error)
        return ExitCode.USAGE
    except HarpoonError as error:
        complain(error)
        return code_of(error)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except OSError as error:  # such as a full disk behind stdout; what a verb itself opens, it answers for
        where = f"{error.filename}: " if error.filename else ""
        terminal.say(f"error: {where}{error.strerror or error}")
        return ExitCode.FAILED


def load(arguments: Sequence[str]) -> None:
    """Register the verb that these arguments name; all of them when they name none, to list or to suggest them."""
    word = next((argument for argument in arguments if not argument.startswith("-")), None)
    named = [module for module, verbs in VERBS.items() if word in verbs]
    for module in named or VERBS:
        import_module(module)

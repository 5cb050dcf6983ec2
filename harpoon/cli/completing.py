"""Answers to a shell that asks how a command line could go on.

The shell starts ``harpoon`` with the command line so far in the environment, at every press of the key. So only the
verb that is being completed is imported, and the verbs themselves are offered without importing any.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

from harpoon.cli.verb import app

#: Says what is asked for; its name is the library's choice.
VARIABLE: Final = "_HARPOON_COMPLETE"


def is_asked() -> bool:
    """Whether a shell asks how a command line could go on."""
    return VARIABLE in os.environ


def answer(load: Callable[[Sequence[str]], None], verbs: Iterable[str]) -> NoReturn:
    """Tell the shell, and end the process: at once, and without a word about what went wrong.

    Args:
        load: Registers the verb that arguments name.
        verbs: All there are.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = 0
    try:
        words, at = _line()
        if at == 1 and not words[at].startswith("-"):
            _offer([one for one in verbs if one.startswith(words[at])])
        else:
            load(words[1:2])
            app(prog_name="harpoon")
    except SystemExit as ended:
        code = 0 if ended.code is None else int(ended.code)  # fish takes 1 for "nothing to offer"
    finally:
        sys.stdout.flush()
        os._exit(code)  # a name may still be being looked up, which nobody waits for


def _line() -> tuple[list[str], int]:
    """Return the words of the line so far, and which of them is being written; that one may be empty."""
    if "COMP_CWORD" in os.environ:
        words, at = os.environ.get("COMP_WORDS", "").split(), int(os.environ["COMP_CWORD"])
    else:
        line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
        words = line.split()
        at = len(words) if line.endswith(" ") else len(words) - 1
    return [*words, *[""] * (at + 1 - len(words))], at


def _offer(names: Sequence[str]) -> None:
    """Write names as the script of the shell reads them; the library could, but would build all verbs for it."""
    if not names:
        raise SystemExit(1 if os.environ[VARIABLE].endswith("fish") else 0)
    if os.environ[VARIABLE].endswith("zsh"):
        quoted = "\n".join(f'"{name}"' for name in names)
        sys.stdout.write(f"_arguments '*: :(({quoted}))'\n")
    elif os.environ.get("_TYPER_COMPLETE_FISH_ACTION") != "is-args":
        sys.stdout.write("\n".join(names) + "\n")

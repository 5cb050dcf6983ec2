"""How a verb ends: exit codes, which are a contract, and one clear line on what went wrong and what to do."""

from enum import IntEnum

from harpoon.cli import terminal
from harpoon.kit.errors import (
    Conflict,
    Denied,
    Exceeded,
    Gone,
    HarpoonError,
    Invalid,
    NotFound,
    Outdated,
    Problem,
    Unavailable,
    Unreachable,
)


class ExitCode(IntEnum):
    """What scripts may rely on; also in ``docs/cli.md``."""

    OK = 0
    FAILED = 1
    #: The command line or a file is wrong; the same again will be too.
    USAGE = 2
    NOT_FOUND = 3
    #: It exists already, or was changed by someone else meanwhile.
    CONFLICT = 4
    DENIED = 5
    #: The wait is over; what was asked for goes on.
    TIMED_OUT = 6
    #: What was waited for ended, and not well.
    ENDED_IN_FAILURE = 7
    #: The wait is over, and some slot has no agent that could run it; or a quota refused what was asked for.
    NOT_PLACED = 8
    #: No server there, or it cannot serve now.
    UNREACHABLE = 9
    #: What was compared differs (plan, diff).
    DIFFERS = 10
    INTERRUPTED = 130


class TimedOut(HarpoonError):
    """A wait was over before what it waited for."""


class EndedInFailure(HarpoonError):
    """What was waited for has failed."""


class NotPlaced(HarpoonError):
    """A wait was over, and what it waited for cannot be placed."""


#: First match wins, so an error stands before its own kind.
_CODES: tuple[tuple[type[HarpoonError], ExitCode], ...] = (
    (Invalid, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.CONFLICT),
    (Denied, ExitCode.DENIED),
    (TimedOut, ExitCode.TIMED_OUT),
    (EndedInFailure, ExitCode.ENDED_IN_FAILURE),
    (NotPlaced, ExitCode.NOT_PLACED),
    (Exceeded, ExitCode.NOT_PLACED),
    (Unavailable, ExitCode.UNREACHABLE),
)


def code_of(error: HarpoonError) -> ExitCode:
    """Return the code that a verb ended by ``error`` exits with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def complain(error: HarpoonError) -> None:
    """Say on stderr what went wrong, each fault of the input on a line of its own, and what may help."""
    faults = [_told(problem) for problem in error.problems] if isinstance(error, Invalid) else []
    headline = str(error) if not faults else faults[0] if len(faults) == 1 else f"{len(faults)} faults"
    terminal.say(f"{terminal.paint('error', 'red', is_error=True)}: {headline}")
    for fault in faults if len(faults) > 1 else ():
        terminal.say(f"  {fault}")
    for problem in error.problems if isinstance(error, Outdated) else ():
        terminal.say(f"  {terminal.plain(problem.detail)}")
    if hint := _hint(error):
        terminal.say(hint)


def _told(problem: Problem) -> str:
    """Write one fault after its place: in a file, in a document, or the name of a parameter."""
    place = problem.pointer.removeprefix("?")
    return f"{place}: {problem.detail}" if place else problem.detail


def _hint(error: HarpoonError) -> str:
    if isinstance(error, Unreachable):
        return "is it running? try: harpoon dev (or name another one with --server or HARPOON_SERVER)"
    if isinstance(error, Denied):
        return "name the file that holds the token: --token-file FILE, or HARPOON_TOKEN_FILE"
    if isinstance(error, Gone) and error.gaps is not None:
        return "what is kept tells: harpoon history show"
    # Of what is not there to be begun at, nothing would help: a run that is not kept any more, for one.
    if isinstance(error, Gone) and error.oldest:
        return f"start again without --after, or from {error.oldest}"
    return ""

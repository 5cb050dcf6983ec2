"""Telling in a line what is wrong with a command line, and what was perhaps meant.

The library's own errors are told apart by what they carry rather than by their class, because its releases keep
those classes in different places.
"""

import re
from typing import Any, Final

import typer
from typer.core import TyperGroup

from harpoon.cli import terminal
from harpoon.cli.nearest import did_you_mean
from harpoon.kit.errors import Invalid

#: What the library raises for a command line that it cannot read: what a wrong value is a case of.
UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]

#: What its validation says → what a person would.
_WORDS: Final = {
    "Input should be a valid integer, unable to parse string as an integer": "a whole number is wanted",
    "Input should be a valid integer, unable to parse string": "a whole number is wanted",
    "Input should be greater than or equal to ": "it must be at least ",
    "Input should be less than or equal to ": "it must be at most ",
    "Value error, ": "",
}


_EXTRA: Final = re.compile(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)", re.DOTALL)
_CHOICE: Final = re.compile(r"'(.*)' is not one of (.*)", re.DOTALL)


class Verbs(TyperGroup):
    """The verbs, which knows what a mistyped one was perhaps meant to be."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb that the arguments begin with.

        Raises:
            Invalid: There is none.
        """
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = did_you_mean(args[0], self.commands)
            raise Invalid(
                f"there is no verb {terminal.plain(args[0])!r}{near or f'; {ctx.command_path} --help lists them'}"
            )
        return super().resolve_command(ctx, args)


def complain(error: Exception) -> None:
    """Say on stderr what is wrong, and how the verb is used; help that was not asked for goes there as well."""
    context: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        terminal.say(context.get_help())
        return
    terminal.say(f"{terminal.paint('error', 'red', is_error=True)}: {terminal.plain(_told(error, context))}")
    if context is not None:
        usage = " ".join(context.get_usage().translate({ord("{"): None, ord("}"): None}).split())
        terminal.say(f"{usage.replace('Usage:', 'usage:', 1)}   (more: {context.command_path} --help)")


def _told(error: Any, context: Any) -> str:
    parameter = getattr(error, "param", None)
    if option := getattr(error, "option_name", None):
        return _option(option, error, context)
    if hasattr(error, "param_type") and parameter is not None:
        return f"{_name(parameter)} is missing"
    if isinstance(error, typer.BadParameter):
        told = _value(error.message)
        return f"{_name(parameter)}: {told}" if parameter is not None else told
    told = str(error.format_message()).rstrip(".")
    if extra := _EXTRA.fullmatch(told):
        return f"too many arguments: {extra[1]}"
    return told[:1].lower() + told[1:]


def _value(told: str) -> str:
    """Say what is wrong with a value."""
    for theirs, ours in _WORDS.items():
        told = told.replace(theirs, ours)
    told = told.rstrip(".")
    choice = _CHOICE.fullmatch(told)
    if choice is None:
        return told
    return told + did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2]))


def _option(option: str, error: Any, context: Any) -> str:
    """Say that there is no such option, or what it lacks."""
    if not str(error.message).startswith("No such option"):
        return (
            f"{option} needs a value" if "requires an argument" in str(error.message) else f"{option}: {error.message}"
        )
    commands = getattr(getattr(context, "command", None), "commands", None)
    if commands is not None:
        line = f"{context.command_path} VERB {option} …"
        return f"there is no option {option} before the verb; options stand after it: {line}"
    known = [name for one in context.command.get_params(context) for name in (*one.opts, *one.secondary_opts)]
    return f"there is no option {option}{did_you_mean(option, known)}"


def _name(parameter: Any) -> str:
    """Return what a parameter is called on the command line."""
    if getattr(parameter, "param_type_name", "") == "argument":
        return str(parameter.metavar or parameter.human_readable_name)
    return str(parameter.opts[0])

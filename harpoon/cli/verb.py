"""How a function becomes a verb: its options, its examples, and its errors as exit codes.

A verb's parameter may be an *option group*, a dataclass whose fields are options shared by several verbs; it is
spelled out as its fields on the command line and handed to the function whole.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final, TypeVar

import typer

from harpoon.cli.ending import ending
from harpoon.cli.outcome import ExitCode, code_of, complain
from harpoon.cli.usage import Verbs
from harpoon.kit.errors import HarpoonError

F = TypeVar("F", bound=Callable[..., None])

app: Final = typer.Typer(
    name="harpoon",
    cls=Verbs,
    help="Keep services in the state you declared, and say why when they are not.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 denied, 6 timed out, 7 ended in failure, "
    "8 cannot be placed or over a quota, 9 server unreachable, 10 differs (plan, diff), 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Hold the verbs: with this there may also be only one."""


def verb(name: str, *, examples: Sequence[str], group: typer.Typer = app) -> Callable[[F], F]:
    """Make the decorated function the verb ``name``; each example is a command line shown by ``--help``."""

    def register(function: F) -> F:
        group.command(name, help=_help(inspect.getdoc(function), examples))(_command(function))
        return function

    return register


def verbs(name: str, told: str, *, examples: Sequence[str]) -> typer.Typer:
    """Make ``name`` a word that verbs of its own follow; `verb` is given what this returns."""
    group = typer.Typer(cls=Verbs, no_args_is_help=True, rich_markup_mode=None, help=_help(told, examples))
    group.callback()(_root)
    app.add_typer(group, name=name)
    return group


def _help(told: str | None, examples: Sequence[str]) -> str:
    shown = "\n".join(f"  {example}" for example in examples)
    return f"{told}\n\n\b\nExamples:\n{shown}"


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function with plain options only, which ends by an exit code instead of an error."""
    signature = inspect.signature(function)
    groups: dict[str, Any] = {p.name: p.annotation for p in signature.parameters.values() if is_dataclass(p.annotation)}

    def command(**given: Any) -> None:
        try:
            with ending():
                for name, group in groups.items():
                    given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
                function(**given)
        except HarpoonError as error:
            complain(error)
            raise typer.Exit(code_of(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    parameters = [
        option
        for parameter in signature.parameters.values()
        for option in (_options(groups[parameter.name]) if parameter.name in groups else (_named(parameter),))
    ]
    vars(command).update(
        __signature__=inspect.Signature(parameters),
        __annotations__={parameter.name: parameter.annotation for parameter in parameters},
        __name__=function.__name__,
        __doc__=function.__doc__,
    )
    return command


def _options(group: Any) -> list[inspect.Parameter]:
    """Return the parameters that an option group stands for."""
    annotations: Mapping[str, Any] = inspect.get_annotations(group)
    return [_named(_parameter(one, annotations[one.name])) for one in fields(group)]


def _parameter(one: "Field[Any]", annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if one.default is MISSING else one.default
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _named(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)

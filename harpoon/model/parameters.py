"""Parameters of a job: values that its command and environment name, given when it is declared. Not for secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

PARAMETERS_MAX = 64
#: Characters of a text, unless the parameter allows fewer.
TEXT_MAX = 4096
ENUM_MAX = 100

Value = str | int | float | bool

_NAME = re.compile(r"[a-z]([a-z0-9_]{0,30}[a-z0-9])?", re.ASCII)
_IN_COMMAND = re.compile(r"\$\$|\$\{parameters\.([a-z][a-z0-9_]*)\}", re.ASCII)
_IN_TEXT = re.compile(r"(\$\$\{)|\$\{parameters\.([a-z][a-z0-9_]*)\}|(\$\{)", re.ASCII)


class ParameterType(StrEnum):
    """What values a parameter takes."""

    STRING = "string"
    INTEGER = "integer"
    #: Any number.
    NUMBER = "number"
    #: true or false.
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter: ``${parameters.<name>}`` in the parts of commands and in the values of ``env``."""

    type: ParameterType
    #: Left out: a value must be given.
    default: Value | None = None
    #: The values that it takes; left out: any.
    enum: tuple[Value, ...] = ()
    #: Of a text: so many characters at most.
    maxLength: int | None = None  # noqa: N815 the field's name on the wire

    def __post_init__(self) -> None:
        if self.maxLength is not None and (
            self.type is not ParameterType.STRING or not 0 <= self.maxLength <= TEXT_MAX
        ):
            raise ValueError(f"maxLength is of type: string, 0 to {TEXT_MAX}")
        if len(self.enum) > ENUM_MAX:
            raise ValueError(f"enum holds at most {ENUM_MAX} values")
        for what, value in (*(("a value of enum", one) for one in self.enum), ("default", self.default)):
            fault = "" if value is None else self.fault_of(value, is_listed=what != "default")
            if fault:
                raise ValueError(f"{what} {fault}")

    def fault_of(self, value: Value, *, is_listed: bool = False) -> str:
        """Say what is wrong with a value; empty: nothing.

        Args:
            value: The value.
            is_listed: It is one of ``enum``.
        """
        if not _is_of(self.type, value):
            return f"is of type {self.type}; got {value!r:.80}"
        if isinstance(value, str) and ("\x00" in value or len(value) > self.longest):
            return f"holds no NUL and at most {self.longest} characters"
        if self.enum and not is_listed and not any(_same(value, one) for one in self.enum):
            return f"is one of {', '.join(map(written, self.enum))}; got {value!r:.80}"
        return ""

    @property
    def longest(self) -> int:
        """How many characters a text may have."""
        return TEXT_MAX if self.maxLength is None else self.maxLength


def _is_of(kind: ParameterType, value: Value) -> bool:
    match kind:
        case ParameterType.STRING:
            return isinstance(value, str)
        case ParameterType.BOOLEAN:
            return isinstance(value, bool)
        case ParameterType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Value, other: Value) -> bool:
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def written(value: Value) -> str:
    """Return a value as a command or a variable has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def values_of(parameters: Mapping[str, Parameter], arguments: Mapping[str, Value]) -> dict[str, str]:
    """Return the value of each parameter as text: the one given, else its default.

    Raises:
        ValueError: One has none, or a wrong one; or one is given that there is not.
    """
    if len(parameters) > PARAMETERS_MAX:
        raise ValueError(f"parameters holds at most {PARAMETERS_MAX}")
    for name in parameters:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"a parameter's name is 1 to 32 of a-z, 0-9 and '_', starting with a letter; got {name[:80]!r}"
            )
    for name in arguments:
        if name not in parameters:
            known = f"it has {', '.join(parameters)}" if parameters else "it has none"
            raise ValueError(f"arguments.{name[:80]}: the job has no such parameter; {known}")
    values = {}
    for name, parameter in parameters.items():
        value = arguments.get(name, parameter.default)
        if value is None:
            raise ValueError(f"arguments.{name}: it has no value; give it one (--set {name}=VALUE), or a default")
        if fault := parameter.fault_of(value):
            raise ValueError(f"arguments.{name} {fault}")
        values[name] = written(value)
    return values


def bind_command(part: str, values: Mapping[str, str]) -> str:
    """Return a part of a command with the values of parameters; a dollar in them stands for itself.

    Raises:
        ValueError: It names one that there is not.
    """

    def value(match: re.Match[str]) -> str:
        return match[0] if match[1] is None else _value(match[1], values).replace("$", "$$")

    return _IN_COMMAND.sub(value, part)


def without_parameters(part: str) -> str:
    """Return a part of a command with nothing where it names parameters."""
    return _IN_COMMAND.sub(lambda match: match[0] if match[1] is None else "", part)


def bind_text(text: str, values: Mapping[str, str]) -> str:
    """Return the value of a variable with the values of parameters; ``$${`` stands for ``${``.

    Raises:
        ValueError: It names one that there is not, or holds another expression.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "${"
        if match[3]:
            raise ValueError("of expressions there is only ${parameters.NAME}; write '$${' for '${'")
        return _value(match[2], values)

    return _IN_TEXT.sub(value, text)


def names_parameters(text: str) -> bool:
    """Return whether a text names any parameter."""
    return "${parameters." in text


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise ValueError(f"${{parameters.{name[:80]}}} is not declared; add it to parameters")
    return values[name]

"""What a handler takes: its type hints are read once, and then every input against them, strictly.

An input's fields are the handler's parameters. A handler with one parameter that bears no name (``def f(order, /)``)
takes the input as a whole. Types are what pydantic knows: plain ones, dataclasses, ``TypedDict``, its own models.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, get_type_hints

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from harpoon.kit.strict import pointer
from harpoon.worker.context import Context
from harpoon.worker.outcome import Label

#: Faults of one input that are told.
FAULTS_MAX: Final = 5
_CONTEXT: Final = "ctx"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Unfit(Exception):
    """An input is not what a handler takes; the message names the fields, and repeats no value."""


class Parameters:
    """The parameters of one handler, but for its context."""

    def __init__(self, function: Callable[..., object]) -> None:
        """Read them.

        Raises:
            TypeError: No input could be given to it.
        """
        hints = get_type_hints(function, include_extras=True)
        every = list(inspect.signature(function).parameters.values())
        self.takes_context = bool(every) and _is_context(every[0], hints)
        self._taken = every[1:] if self.takes_context else every
        self._hints = hints
        #: Whether the one parameter stands for the whole input.
        self._is_whole = any(one.kind is one.POSITIONAL_ONLY for one in self._taken)
        if self._is_whole and len(self._taken) > 1:
            raise TypeError("a parameter without a name takes the whole input, so there can be no other")
        if any(one.kind is one.VAR_POSITIONAL for one in self._taken):
            raise TypeError("it takes *arguments, and the fields of an input have names")
        assert self._model is not None, "what cannot be read at all is to be found now"

    def read(self, given: object) -> tuple[Sequence[object], Mapping[str, object]]:
        """Return the arguments that an input stands for.

        Raises:
            Unfit: It is not what is taken.
        """
        if not self._is_whole and given is not None and not isinstance(given, dict):
            raise Unfit("its input is to be a mapping of the handler's parameters")
        fields = {"input": given} if self._is_whole else given or {}
        try:
            read = self._model.model_validate_json(orjson.dumps(fields))
        except ValidationError as error:
            raise Unfit(self._told(error.errors(include_url=False, include_input=False))) from None
        arguments = {one.name: getattr(read, _field(index)) for index, one in self._named() if _is_set(read, index)}
        if self._is_whole:
            return tuple(arguments.values()), {}
        return (), {**arguments, **(read.model_extra or {})}

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its input."""
        schema = self._model.model_json_schema(schema_generator=_Schema)
        definitions = schema.get("$defs")
        if self._is_whole:
            schema = dict(schema["properties"]["input"])
            if definitions:
                schema["$defs"] = definitions
        return {"$schema": _DIALECT, **schema}

    def output_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of what it returns; None: its hints do not tell."""
        hint = self._hints.get("return", inspect.Parameter.empty)
        if hint is inspect.Parameter.empty or hint in (Label, Any):
            return None
        try:
            told = TypeAdapter(hint).json_schema(mode="serialization", schema_generator=_Schema)
        except PydanticUserError:
            return None
        return {"$schema": _DIALECT, **told}

    def _told(self, errors: Sequence[Any]) -> str:
        skipped = 1 if self._is_whole else 0
        faults = [f"{pointer(one['loc'][skipped:]) or '/'}: {one['msg']}" for one in errors[:FAULTS_MAX]]
        more = f"; and {len(errors) - FAULTS_MAX} more" if len(errors) > FAULTS_MAX else ""
        return f"its input is not what the handler takes: {'; '.join(faults)}{more}"

    def _named(self) -> list[tuple[int, inspect.Parameter]]:
        return [(index, one) for index, one in enumerate(self._taken) if one.kind is not one.VAR_KEYWORD]

    @cached_property
    def _model(self) -> Any:
        """What reads an input: its fields bear the parameters' names as aliases, so that each name is possible."""
        fields: dict[str, Any] = {}
        for index, one in self._named():
            name = "input" if self._is_whole else one.name
            default = ... if one.default is one.empty else one.default
            fields[_field(index)] = (self._hints.get(one.name, Any), Field(default, alias=name))
        is_open = any(one.kind is one.VAR_KEYWORD for one in self._taken)
        config = ConfigDict(strict=True, extra="allow" if is_open else "forbid", hide_input_in_errors=True)
        return create_model("Input", __config__=config, **fields)


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    if parameter.name in hints:
        return hints[parameter.name] is Context
    return parameter.name == _CONTEXT


def _field(index: int) -> str:
    return f"p_{index}"


def _is_set(read: Any, index: int) -> bool:
    return _field(index) in read.model_fields_set


class _Schema(GenerateJsonSchema):
    """Leaves out defaults that are no JSON."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 the library's

"""What a field of the language is: its type, its default, what it is for, and the fields that it has."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

import orjson

from harpoon.kit import codec
from harpoon.kit.comments import comments, description
from harpoon.kit.complaint import fields_of, wire_name
from harpoon.kit.errors import NotFound
from harpoon.kit.strict import quote
from harpoon.model.batch_manifest import BatchManifest
from harpoon.model.manifest import Manifest
from harpoon.model.namespace import NamespaceManifest
from harpoon.model.units import Unit
from harpoon.model.workflow import WorkflowManifest

#: What can be explained, by the first word of a path.
TOPICS: Final[Mapping[str, Any]] = {
    "job": Manifest,
    "namespace": NamespaceManifest,
    "workflow": WorkflowManifest,
    "batch": BatchManifest,
}
_PLAIN: Final[Mapping[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "null",
    Any: "anything",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedField:
    """A field, seen from the noun that has it."""

    name: str
    type: str
    is_required: bool
    #: As it is written; None: it has none.
    default: str | None
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What stands at a path."""

    #: Dotted, from the topic on.
    path: str
    type: str
    is_required: bool
    #: As it is written; None: it has none.
    default: str | None
    #: What the field is for, then what its noun is; perhaps empty.
    description: str
    #: Those of the noun; of each of its items, where it is a list or a mapping.
    fields: tuple[ExplainedField, ...]


def explain(kind: Any, path: str = "", *, root: str = "job") -> Explained:
    """Explain what stands at a path; lists and mappings are passed through, so it needs no index and no key.

    Args:
        kind: The noun at the root.
        path: Names with dots between, such as ``spec.task.checks.http``; empty for the root itself.
        root: What the noun at the root is called.

    Raises:
        NotFound: There is no such field; the message names what is near, or all that there is.
    """
    hint, told = kind, root
    found = ExplainedField(name=root, type=type_name(kind), is_required=True, default=None, description="")
    for name in path.split(".") if path else ():
        nouns = _nouns(hint)
        inner = _fields(nouns)
        if name not in inner:
            raise NotFound(_absent(told, name, list(inner)))
        noun = next(noun for noun in nouns if name in fields_of(noun))
        found, hint, told = inner[name], fields_of(noun)[name], f"{told}.{name}"
    texts = dict.fromkeys((found.description, _about(hint), _words(hint)))
    return Explained(
        path=told,
        type=found.type,
        is_required=found.is_required,
        default=found.default,
        description="\n\n".join(text for text in texts if text),
        fields=tuple(_fields(_nouns(hint)).values()),
    )


def type_name(hint: Any) -> str:
    """Return what a type is called by those who write it."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, NewType):
        return type_name(hint.__supertype__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next((mark.name for mark in hint.__metadata__ if isinstance(mark, Unit)), "")
    if origin is Literal:
        return " or ".join(str(word) for word in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_name(member) for member in arguments if member is not NoneType)
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is not None:
        return f"mapping of {type_name(arguments[1])}"
    return " or ".join(member.value for member in hint) if issubclass(hint, Enum) else hint.__name__


def _fields(nouns: Sequence[Any]) -> dict[str, ExplainedField]:
    """Return the fields of whichever noun there may be; one that several have, as the first has it."""
    told: dict[str, ExplainedField] = {}
    for noun in nouns:
        told |= {name: field for name, field in _own_fields(noun).items() if name not in told}
    return told


def _own_fields(noun: Any) -> dict[str, ExplainedField]:
    said, hints, defaults = comments(noun), fields_of(noun), codec.defaults(noun)
    told = {}
    for field in fields(noun):
        name = wire_name(field.name)
        told[name] = ExplainedField(
            name=name,
            type=type_name(hints[name]),
            is_required=name not in defaults,
            default=None if defaults.get(name) is None else _written(defaults[name]),
            description=said.get(field.name) or _about(hints[name]),
        )
    return told


def _written(default: object) -> str:
    return default if isinstance(default, str) else orjson.dumps(default).decode()


def _nouns(hint: Any) -> tuple[Any, ...]:
    """Return the nouns that a type is, or holds."""
    if _is_noun(hint):
        return (hint,)
    return tuple(noun for argument in get_args(hint) for noun in _nouns(argument))


def _about(hint: Any) -> str:
    """Return what is said of the noun or the enumeration that a type is, or holds; perhaps nothing."""
    if _is_noun(hint) or _is_enumeration(hint):
        return description(hint)
    return next((about for argument in get_args(hint) if (about := _about(argument))), "")


def _words(hint: Any) -> str:
    """Return what the words mean that may be written, one a line; empty when it is no enumeration."""
    if not _is_enumeration(hint):
        return next((words for argument in get_args(hint) if (words := _words(argument))), "")
    said = comments(hint)
    return "\n".join(f"- {member.value}: {said[member.name]}" for member in hint if member.name in said)


def _is_noun(hint: Any) -> bool:
    # What a type is annotated with may be an instance of a dataclass.
    return isinstance(hint, type) and is_dataclass(hint)


def _is_enumeration(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _absent(path: str, name: str, known: list[str]) -> str:
    if not known:
        return f"{path} has no fields"
    near = difflib.get_close_matches(name, known, n=3)
    told = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
    return f"{path} has no field {quote(name)}; {told}"

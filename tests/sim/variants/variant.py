"""Wrong variants of the product: each is the shipped code with a small mistake in it, which some check must find.

A mistake is told as what a hurried author would have typed: in one function one piece of text stands in place of
another. The function is compiled anew, and put wherever it is known. It is done in a process that does nothing else.
"""

import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

#: Those of a whole system, and of the core of one that stays broken: what is broken for ever decides which is judged.
CONVERGES = frozenset({"L1", "L5"})


class Stale(AssertionError):
    """A variant speaks of code that is not there any more: it is to be written anew."""


@dataclass(frozen=True)
class Edit:
    """In a function, method or property, ``old`` is replaced by ``new``; it stands there just once."""

    where: Any
    old: str
    new: str


@dataclass(frozen=True)
class Value:
    """A constant of a module is another one, wherever it is known."""

    module: str
    name: str
    value: Any

    def apply(self) -> None:
        module = sys.modules[self.module]
        if not hasattr(module, self.name):
            raise Stale(f"{self.module} has no {self.name}")
        _put_everywhere(getattr(module, self.name), self.value, self.name)


@dataclass(frozen=True)
class Variant:
    """The product, with a mistake."""

    name: str
    #: What is wrong, in one sentence.
    says: str
    #: Properties that it may violate; any other would be an accident.
    kills: frozenset[str]
    edits: tuple[Edit | Value, ...]

    def apply(self) -> None:
        """Make the mistake, in this process."""
        together: dict[FunctionType, list[Edit]] = {}
        for edit in self.edits:
            if isinstance(edit, Edit):
                together.setdefault(_function(edit.where), []).append(edit)
            else:
                edit.apply()
        for function, edits in together.items():
            _rewrite(function, edits)


def named(*variants: Variant) -> Mapping[str, Variant]:
    """Return variants by their names."""
    found = {variant.name: variant for variant in variants}
    assert len(found) == len(variants), "two variants share a name"
    return found


def _function(where: Any) -> FunctionType:
    if isinstance(where, property):
        where = where.fget
    found = inspect.unwrap(getattr(where, "__func__", where))
    assert isinstance(found, FunctionType), f"{where} is no function"
    return found


def _rewrite(function: FunctionType, edits: Iterable[Edit]) -> None:
    text, name = textwrap.dedent(inspect.getsource(function)), function.__name__
    for edit in edits:
        if text.count(edit.old) != 1:
            raise Stale(f"{function.__qualname__} has {text.count(edit.old)} times {edit.old!r}")
        text = text.replace(edit.old, edit.new)
    module, scope = sys.modules[function.__module__], {}
    exec(compile(text, f"<variant of {function.__module__}>", "exec", dont_inherit=True), module.__dict__, scope)
    if function.__qualname__ == name:
        _put_everywhere(function, scope[name])
        return
    owner: Any = module
    for step in function.__qualname__.split(".")[:-1]:
        owner = getattr(owner, step)
    setattr(owner, name, scope[name])


def _put_everywhere(known: Any, made: Any, name: str | None = None) -> None:
    """Put something in place of something else in all modules that have it by a name."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("harpoon", "tests.sim")):
            for key, value in list(vars(module).items()):
                if value is known and name in (None, key):
                    setattr(module, key, made)
                elif name is None and type(value) is dict:
                    # A table of functions knows it, too.
                    value.update({known_by: made for known_by, one in value.items() if one is known})

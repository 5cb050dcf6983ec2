"""A mapping whose keys are ``<group>/<name>``, kept by group: neither keys nor an index of groups cost anything."""

import sys
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

T = TypeVar("T")
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class _Items(ItemsView[str, T]):
    """The keys and values of a grouped mapping, in one go."""

    _mapping: "Grouped[T]"

    def __iter__(self) -> Iterator[tuple[str, T]]:
        for group in self._mapping.groups():
            for name, value in self._mapping.group(group).items():
                yield f"{group}/{name}", value


class Grouped(MutableMapping[str, T]):
    """Values by ``<group>/<name>``; the first slash parts them."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, T]] = {}
        self._size = 0

    def group(self, name: str) -> Mapping[str, T]:
        """Return the values of a group, by name; for reading, and only until something changes."""
        return self._groups.get(name, _EMPTY)

    def groups(self) -> list[str]:
        """Return the names of all groups."""
        return list(self._groups)

    def copy(self) -> "Grouped[T]":
        """Return one that changes apart from this; it is made by the group, not by the key."""
        twin: Grouped[T] = Grouped()
        twin._groups = {name: dict(values) for name, values in self._groups.items()}
        twin._size = self._size
        return twin

    def items(self) -> ItemsView[str, T]:
        """Return keys and values, without looking for each."""
        return _Items(self)

    def __getitem__(self, key: str) -> T:
        group, _, name = key.partition("/")
        return self._groups[group][name]

    def __setitem__(self, key: str, value: T) -> None:
        group, _, name = key.partition("/")
        values = self._groups.setdefault(group, {})
        before = len(values)
        # Other groupings of the same things have the same names: one text does for all.
        values[sys.intern(name)] = value
        self._size += len(values) - before

    def __delitem__(self, key: str) -> None:
        group, _, name = key.partition("/")
        values = self._groups[group]
        del values[name]
        self._size -= 1
        if not values:
            del self._groups[group]

    def __iter__(self) -> Iterator[str]:
        return (f"{group}/{name}" for group, values in self._groups.items() for name in values)

    def __len__(self) -> int:
        return self._size

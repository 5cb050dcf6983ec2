"""What a commit means, apart from where it is kept: its limits, and which changes it makes of the keys it finds.

Pure; every implementation that keeps its own keys decides with these functions, so they cannot disagree.
"""

from collections.abc import Iterable, Mapping, Sequence

from harpoon.store.port import (
    COMMIT_BYTES_MAX,
    COMPARES_MAX,
    WRITES_MAX,
    Change,
    Compare,
    Entry,
    Put,
    Write,
)

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def check(compares: Sequence[Compare], writes: Sequence[Write]) -> int:
    """Return the size of a commit (bytes of keys and values) if it is within the limits of the contract.

    Raises:
        ValueError: It is not; nothing of it may be tried.
    """
    if not writes:
        raise ValueError("a commit writes at least one key")
    if len(compares) > COMPARES_MAX:
        raise ValueError(f"a commit holds at most {COMPARES_MAX} compares; got {len(compares)}")
    if len(writes) > WRITES_MAX:
        raise ValueError(f"a commit holds at most {WRITES_MAX} writes; got {len(writes)}")
    keys = [write.key for write in writes]
    if len(keys) > 1 and len(set(keys)) != len(keys):
        raise ValueError("a commit writes a key at most once")
    size = 0
    for write in writes:
        if isinstance(write, Put):
            size += len(write.value)
    keys += [compare.key for compare in compares]
    for key in keys:
        # A lone surrogate has no UTF-8 bytes; UnicodeEncodeError is a ValueError.
        size += len(key) if key.isascii() else len(key.encode())
    if not all(keys):
        raise ValueError("a key is not empty")
    if size > COMMIT_BYTES_MAX:
        raise ValueError(f"keys and values of a commit are at most {COMMIT_BYTES_MAX} bytes; got {size}")
    return size


def decide(
    entries: Mapping[str, Entry], compares: Iterable[Compare], writes: Iterable[Write], revision: int
) -> tuple[Change, ...] | None:
    """Return the changes that a commit makes at ``revision``, or None when a compare does not hold.

    No changes, when all it does is delete absent keys: then it takes no revision.

    Args:
        entries: Every key that the commit names, as it stands; an absent key is absent here.
        compares: What must hold of ``entries``.
        writes: What is done if it does.
        revision: The one that the commit gets if it changes anything.
    """
    for compare in compares:
        entry = entries.get(compare.key)
        if compare.mod is not None:
            if compare.mod != (0 if entry is None else entry.mod_revision):
                return None
        elif compare.create != (0 if entry is None else entry.create_revision):
            return None
    changes = []
    for write in writes:
        key = write.key
        before = entries.get(key)
        if isinstance(write, Put):
            created = revision if before is None else before.create_revision
            changes.append(Change(key, Entry(key, write.value, created, revision)))
        elif before is not None:
            changes.append(Change(key, None))
    return tuple(changes)


def size_of(changes: Iterable[Change]) -> int:
    """Return about how many bytes of memory ``changes`` keep alive."""
    return sum(100 + 2 * len(key) if entry is None else 300 + 2 * len(key) + len(entry.value) for key, entry in changes)


def prefix_end(prefix: str) -> str | None:
    """Return the lowest key above all keys under ``prefix``, or None when there is no such key.

    Text is ordered by code points, which is the order of its UTF-8 bytes.
    """
    for place in range(len(prefix) - 1, -1, -1):
        following = ord(prefix[place]) + 1
        if following in _SURROGATES:
            following = _SURROGATES.stop
        if following <= _LAST_CHARACTER:
            return prefix[:place] + chr(following)
    return None

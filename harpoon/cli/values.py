"""Values of options of those verbs that start something, read from what was typed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harpoon.config import Listen, parse_listen
from harpoon.kit.errors import Invalid
from harpoon.model.agent import PortRange
from harpoon.model.amounts import AMOUNT_MAX
from harpoon.model.volumes import HostPath

T = TypeVar("T")


def told(make: Callable[[], T]) -> T:
    """Make something of what the command line says.

    Raises:
        Invalid: It cannot be made of that.
    """
    try:
        return make()
    except ValueError as error:
        raise Invalid(str(error)) from error


def existing(option: str, path: Path) -> Path:
    """Return a directory that is there.

    Raises:
        Invalid: It is not.
    """
    if not path.is_dir():
        raise Invalid(f"{option} {path}: there is no such directory")
    return path.absolute()


def listen_of(text: str) -> Listen:
    """Read where to listen.

    Raises:
        Invalid: It is no address.
    """
    return told(lambda: parse_listen(text))


def mapping_of(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` options.

    Raises:
        Invalid: One has no ``=``, or the same key stands twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise Invalid(f"{option}: write NAME=VALUE; got {pair!r}")
        if key in mapping:
            raise Invalid(f"{option}: {key} stands twice")
        mapping[key] = value
    return mapping


def amounts_of(pairs: Sequence[str]) -> dict[str, int]:
    """Read ``--resource NAME=COUNT`` options.

    Raises:
        Invalid: One is no such pair.
        ValueError: One is no count.
    """
    given = mapping_of("--resource", pairs)
    for name, count in given.items():
        if not (count.isascii() and count.isdigit() and len(count) <= len(str(AMOUNT_MAX))):
            raise ValueError(f"--resource: write a whole number, such as {name}=2; got {f'{name}={count}'[:80]!r}")
    return {name: int(count) for name, count in given.items()}


def host_path(text: str) -> HostPath:
    """Read ``DIR[:ro]``.

    Raises:
        ValueError: It is none.
    """
    path = text.removesuffix(":ro")
    return HostPath(path=path, read_only=path != text)


def ports_of(text: str) -> PortRange:
    """Read ``LOW-HIGH``.

    Raises:
        ValueError: It is none.
    """
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal()):
        raise ValueError(f"--ports: write LOW-HIGH, such as 20000-29999; got {text!r}")
    return PortRange(low=int(low), high=int(high))

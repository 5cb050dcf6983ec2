"""Plans as files: written, read, and checked."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from harpoon.core.verify import verify
from harpoon.kit import codec
from harpoon.kit.digest import digest_of
from harpoon.kit.errors import Invalid
from harpoon.model.promise import PlanDocument

#: As much as a server takes.
_BYTES_MAX: Final = 64 << 20


def write(document: Mapping[str, Any], file: str) -> None:
    """Write a plan, laid out for people.

    Raises:
        Invalid: The file cannot be written.
    """
    try:
        Path(file).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror or error}") from error


def read(file: str) -> Mapping[str, Any]:
    """Read a plan.

    Raises:
        Invalid: The file cannot be read, or holds none.
    """
    return _read(file)[1]


def check(file: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return every fault of a plan, each with its place; and what was checked of it, and what could not be.

    Raises:
        Invalid: The file cannot be read, or holds no plan.
    """
    data, document = _read(file)
    plan = codec.load(PlanDocument, data)
    faults = [] if plan.digest == digest_of(document) else [("/digest", "the plan was changed after it was made")]
    faults += [(one.pointer, one.detail) for one in verify(plan)]
    return faults, _told(file, plan)


def _told(file: str, plan: PlanDocument) -> list[str]:
    placed, dropped = (sum(len(getattr(one.plan, what)) for one in plan.jobs) for what in ("placements", "drops"))
    agents = sum(len(group.names) for group in plan.agents)
    told = f"{file} holds together: jobs: {len(plan.jobs)}; tasks: {placed} to start, {dropped} to stop"
    cut = [
        f"job {one.plan.job} is foretold for {one.plan.waves} waves only" for one in plan.jobs if not one.plan.is_whole
    ]
    return [f"{told}; on {agents} agents as they were at revision {plan.revision}", *cut]


def _read(file: str) -> tuple[bytes, Mapping[str, Any]]:
    try:
        data = _bytes(file)
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror or error}") from error
    if len(data) > _BYTES_MAX:
        raise Invalid(f"{file} is larger than {_BYTES_MAX} bytes, which no plan is")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{file} holds no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != "Plan":
        raise Invalid(f"{file} holds no plan; write one with `harpoon plan FILE… -o plan.json`")
    return data, document


def _bytes(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(_BYTES_MAX + 1)
    with Path(file).open("rb") as opened:
        return opened.read(_BYTES_MAX + 1)

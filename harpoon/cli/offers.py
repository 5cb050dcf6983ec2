"""What the shell's completion offers: kinds, and the names of what is there right now.

A name is offered when the server tells it within 0.3 s, and remembered for 5 s, since a person presses the key again
and again. Whatever goes wrong, nothing is offered, and nothing is said.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import typer

from harpoon import config
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import HarpoonError
from harpoon.model.name import DEFAULT_NAMESPACE

#: A person notices more.
WITHIN: Final = timedelta(milliseconds=300)
#: Names are offered again for so long without asking the server.
KEPT_FOR: Final = timedelta(seconds=5)
#: More names than this help nobody.
NAMES_MAX: Final = 500
#: What ``get`` lists.
KINDS: Final = (
    *("jobs", "tasks", "agents", "endpoints", "waiting", "namespaces"),
    *("workflows", "runs", "batches", "items", "workers"),
)
#: What ``watch`` takes several of at once.
WATCHED: Final = ("jobs", "placements", "tasks", "agents")
#: Likewise, and not together with those.
WATCHED_OF_RUNS: Final = ("workflows", "runs", "attempts")

Complete = Callable[[typer.Context, str], list[str]]


def subjects(*kinds: str, is_bare: bool = False) -> Complete:
    """Return what completes ``kind/NAME`` of these kinds (singular); if ``is_bare``, also the name of a job alone."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        word, mark, _ = incomplete.partition("/")
        asked = [kind for kind in kinds if (kind == word if mark else kind.startswith(word))]
        if not incomplete:
            asked = [kind for kind in asked if kind not in _MANY]
        told = [f"{kind}/{name}" for kind in asked for name in names(ctx, kind)]
        return told + (names(ctx, "job") if is_bare and not mark else [])

    return complete


def jobs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a job's name, with ``job/`` before it where there is one already."""
    prefix = "job/" if incomplete.startswith("job/") else ""
    return [f"{prefix}{name}" for name in names(ctx, "job")]


def agents(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an agent's name, with ``agent/`` before it where there is one already."""
    prefix = "agent/" if incomplete.startswith("agent/") else ""
    return [f"{prefix}{name}" for name in names(ctx, "agent")]


def jobs_and_tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a job's name or a task's id."""
    return names(ctx, "task") if "." in incomplete else jobs(ctx, incomplete)


def kinds_and_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete what ``get`` takes first: a kind, or ``kind/NAME``."""
    if "/" in incomplete:
        return subjects("job", "task", "agent", "namespace", "workflow", "run", "batch")(ctx, incomplete)
    return list(KINDS)


def names_of_kind(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete what ``get`` takes second: a name of the kind that stands before it."""
    asked = str(ctx.params.get("kind"))
    kind = {"endpoints": "job", "items": "run", "batches": "batch"}.get(asked, asked.removesuffix("s"))
    return names(ctx, kind) if kind in _PATHS else []


def awaited(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete what ``wait`` takes."""
    return [*subjects("job", "change", "run", "batch")(ctx, incomplete), "agents"]


def watched(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete what ``watch`` takes: kinds with commas between them, or ``run`` for one by its name."""
    before, comma, _ = incomplete.rpartition(",")
    if not comma:
        return [*WATCHED, *WATCHED_OF_RUNS, "run"]
    among = WATCHED_OF_RUNS if before.partition(",")[0] in WATCHED_OF_RUNS else WATCHED
    return [f"{before},{kind}" for kind in among]


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete a namespace that is declared, or has a job."""
    return names(ctx, "namespace")


def workflows(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete a workflow's name."""
    return names(ctx, "workflow")


def runs(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete a run's id."""
    return names(ctx, "run")


def secrets(ctx: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 the library hands it over
    """Complete a secret's name."""
    return names(ctx, "secret")


def names(ctx: typer.Context, kind: str) -> list[str]:
    """Return the names of one kind (``job``, ``task``, ``agent``, …); none if it goes wrong."""
    import hashlib  # noqa: PLC0415 as below

    given = ctx.params
    url = str(given.get("server") or config.DEFAULT_LISTEN.url)
    token_file = given.get("token_file")
    namespace = None if given.get("all_namespaces") else str(given.get("namespace") or DEFAULT_NAMESPACE)
    with suppress(HarpoonError, OSError, ValueError, LookupError, TypeError, AttributeError):
        asked = json.dumps([url, str(token_file), namespace, kind])
        directory = _directory()
        place = directory and directory / hashlib.sha256(asked.encode()).hexdigest()
        if place and (kept := _kept(place)) is not None:
            return kept
        token = None if token_file is None else config.read_token(Path(token_file)).token
        told = _ask(url, token, _PATHS[kind](namespace), kind)
        with suppress(OSError):  # a full disk is no reason to offer nothing
            if place:
                _keep(place, told)
        return told
    return []


def _in(plural: str) -> Callable[[str | None], Sequence[str]]:
    return lambda namespace: (plural,) if namespace is None else ("namespaces", namespace, plural)


#: Kind → where its names are told.
_PATHS: Final[dict[str, Callable[[str | None], Sequence[str]]]] = {
    "job": _in("jobs"),
    "change": _in("jobs"),
    "namespace": lambda _: ("namespaces",),
    "task": _in("tasks"),
    "agent": lambda _: ("agents",),
    "secret": _in("secrets"),
    "workflow": _in("workflows"),
    "run": _in("runs"),
    "batch": _in("batches"),
}
#: There are too many of them to offer them unasked.
_MANY: Final = ("task", "run", "batch")


def _name_of(kind: str, item: dict[str, Any]) -> str:
    match kind:
        case "job":
            return str(item["metadata"]["name"])
        case "namespace" | "workflow":
            return str(item["metadata"]["name"])
        case "change":
            return str(item["status"]["change"])
        case "task" | "run" | "batch":
            return str(item["id"])
        case _:
            return str(item["name"])


def _ask(url: str, token: str | None, path: Sequence[str], kind: str) -> list[str]:
    """Ask the server; the loop is left as it is, since closing it could wait for a name to be looked up."""
    import asyncio  # noqa: PLC0415 what is remembered needs none, and verbs that complete nothing load this module too

    from harpoon.client import Client  # noqa: PLC0415

    async def ask() -> Any:
        async with Client(url, token=token) as client:
            return (await client.get(*path, query={"limit": str(NAMES_MAX)}, within=WITHIN)).body

    told = asyncio.Runner().run(ask())
    return sorted({name for item in told["items"] if (name := _name_of(kind, item)).isprintable()})


def _directory() -> Path | None:
    """Return the directory of what is remembered; None when there is none that is this user's alone."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(home) / "harpoon" / "names"
    with suppress(OSError):
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return directory
    return None


def _kept(place: Path) -> list[str] | None:
    """Return what is remembered there and still fresh."""
    with suppress(FileNotFoundError):
        if 0 <= _age_ms(place) < KEPT_FOR / timedelta(milliseconds=1):
            told = json.loads(place.read_bytes())
            return [str(name) for name in told]
    return None


def _keep(place: Path, told: Sequence[str]) -> None:
    """Remember it, and forget what is stale."""
    for old in _stale(place.parent):
        old.unlink(missing_ok=True)
    import tempfile  # noqa: PLC0415 as above

    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
        json.dump(told, file)
    Path(file.name).replace(place)


def _stale(directory: Path) -> Iterator[Path]:
    return (old for old in directory.iterdir() if not 0 <= _age_ms(old) < KEPT_FOR / timedelta(milliseconds=1))


def _age_ms(path: Path) -> float:
    return SystemClock().now().wall - path.stat().st_mtime_ns / 1e6

"""The verbs of ``store``, and ``restore``: for operators, on the store itself, while no server runs."""

import asyncio
import sys
import time
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli import fields, output, terminal
from harpoon.cli.options import Format, Output, directory_of
from harpoon.cli.verb import verb, verbs
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.kit.logs import warnings_only
from harpoon.store import backup
from harpoon.store.copy import Copied, copy
from harpoon.store.opening import open_store
from harpoon.store.port import Store, StoreUnavailable
from harpoon.store.restore import Restored, remaining_s, restore
from harpoon.store.url import MemoryUrl, SqliteUrl, StoreUrl, parse_url

#: How stores are named.
_METAVAR: Final = "URL"
_COPIES: Final = (
    "harpoon store copy --from sqlite:///harpoon-data/server/harpoon.db --to etcd://10.0.0.1,10.0.0.2,10.0.0.3",
    "harpoon store copy --from etcd://10.0.0.1 --to sqlite:////var/lib/harpoon/harpoon.db -o json",
)

stores: Final = verbs("store", "Work on the store itself, while no server runs.", examples=_COPIES)


@verb("copy", group=stores, examples=_COPIES)
def copy_registry(
    source: Annotated[
        str, typer.Option("--from", help="What is copied: etcd://HOST:PORT,… or sqlite:///FILE.", metavar=_METAVAR)
    ],
    target: Annotated[
        str, typer.Option("--to", help="Where to; it holds no registry yet. Written like --from.", metavar=_METAVAR)
    ],
    form: Format = Output.TABLE,
) -> None:
    """Copy a whole registry into another store, so that servers go on there. Stop all servers first; tasks run on.

    Nothing in the source is changed. A copy that was interrupted is no registry: run the same again.
    """
    if form is Output.NAME:
        raise Invalid("a copy has no name; write it as table, wide, json or yaml")
    came, goes = _url("--from", source), _url("--to", target)
    if _is_same(came, goes):
        raise Invalid(f"--from and --to name the same store, {came}")
    clock = SystemClock()
    began = clock.now()
    with warnings_only(sys.stderr):
        done = asyncio.run(_copy(came, goes, now_ms=began.wall))
    told = _told(done, (clock.now().elapsed - began.elapsed).total_seconds())
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        for line in fields.lines(told):
            terminal.show(line)
    terminal.say(f"start servers with --store {goes} from now on, and none on {came} any more: agents would refuse it")


@verb(
    "restore",
    examples=(
        "harpoon restore harpoon.backup --to etcd://10.0.0.1,10.0.0.2,10.0.0.3",
        "harpoon restore harpoon.backup --to sqlite:////var/lib/harpoon/harpoon.db -o json",
    ),
)
def restore_registry(
    file: Annotated[Path, typer.Argument(help="What `harpoon backup` wrote.", metavar="FILE", show_default=False)],
    target: Annotated[
        str,
        typer.Option(
            "--to", help="Where to; it holds no registry yet: etcd://HOST:PORT,… or sqlite:///FILE.", metavar=_METAVAR
        ),
    ],
    form: Format = Output.TABLE,
) -> None:
    """Bring a backup into an empty store, so that servers go on there. Stop all servers first; tasks run on.

    Tasks that were started after the backup are left alone, and shown as unclaimed. What was interrupted is no
    registry: run the same again.
    """
    if form is Output.NAME:
        raise Invalid("a registry has no name; write it as table, wide, json or yaml")
    goes, clock = _url("--to", target), SystemClock()
    whole = backup.inspect(file)
    began = clock.now()
    with warnings_only(sys.stderr):
        done = asyncio.run(_restore(file, goes, now_ms=began.wall))
    told = _restored(done, (clock.now().elapsed - began.elapsed).total_seconds())
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        for line in fields.lines(told):
            terminal.show(line)
    if done.incarnation * 1000 > began.wall:
        terminal.say(
            "warning: the clock of this machine is behind the life of the registry that was backed up; restored once "
            "more from the same backup, both would be of one incarnation, and agents could not tell them apart"
        )
    terminal.say(
        f"start servers with --store {goes} from now on, and none on the store that was backed up: agents would refuse "
        f"it. What was done since {_moment(whole.header.at_ms)} is not in it; to see tasks started since: "
        "harpoon get waiting -A"
    )
    # Whoever restores the same again begins another life, which only the second it begins in tells apart.
    time.sleep(remaining_s(done, clock.now().wall))


async def _restore(file: Path, goes: StoreUrl, *, now_ms: int) -> Restored:
    async with AsyncExitStack() as stack:
        target = await _open(stack, "--to", goes)
        try:
            return await restore(file, target, by=f"restore-{uuid.uuid4().hex[:8]}", now_ms=now_ms)
        except StoreUnavailable as error:
            raise Unavailable(f"{error}; run the same again once it answers") from error


async def _copy(came: StoreUrl, goes: StoreUrl, *, now_ms: int) -> Copied:
    async with AsyncExitStack() as stack:
        source = await _open(stack, "--from", came)
        target = await _open(stack, "--to", goes)
        try:
            return await copy(source, target, by=f"store-copy-{uuid.uuid4().hex[:8]}", now_ms=now_ms)
        except StoreUnavailable as error:
            raise Unavailable(f"{error}; run the same again once it answers") from error


async def _open(stack: AsyncExitStack, option: str, url: StoreUrl) -> Store:
    """Open a store, until the end of the stack.

    Raises:
        Invalid: It cannot be used.
        Unavailable: It does not answer, or somebody else has it open.
    """
    try:
        store = await open_store(url, clock=SystemClock())
    except StoreUnavailable as error:
        raise Unavailable(f"{option} {url}: {error}") from error
    except ValueError as error:
        raise Invalid(f"{option} {url}: {error}") from error
    stack.push_async_callback(store.close)
    return store


def _url(option: str, text: str) -> StoreUrl:
    """Read where a store is, and look whether its file can be there.

    Raises:
        Invalid: It is none, or cannot be copied.
    """
    try:
        url = parse_url(text)
    except ValueError as error:
        raise Invalid(f"{option}: {error}") from error
    match url:
        case MemoryUrl():
            raise Invalid(f"{option} memory: it is inside its server alone; name sqlite:///FILE or etcd://HOST:PORT,…")
        case SqliteUrl(path) if option == "--from" and not path.is_file():
            raise Invalid(f"{option} {url}: there is no such file")
        case SqliteUrl(path) if path.is_dir():
            raise Invalid(f"{option} {url}: it is a directory; name a file in it")
        case SqliteUrl(path):
            directory_of(option, path.parent)
        case _:
            pass
    return url


def _is_same(one: StoreUrl, other: StoreUrl) -> bool:
    if isinstance(one, SqliteUrl) and isinstance(other, SqliteUrl):
        return one.path.resolve() == other.path.resolve()
    return one == other


def _told(done: Copied, seconds: float) -> dict[str, object]:
    return {
        "records": done.records,
        "bytes": done.size,
        "digest": f"sha256:{done.digest}",
        "cluster": done.cluster,
        "incarnation": {"before": done.incarnation_before, "now": done.incarnation},
        "removed": done.removed,
        "seconds": round(seconds, 3),
    }


def _restored(done: Restored, seconds: float) -> dict[str, object]:
    about = done.whole.header
    return {
        "records": done.whole.records,
        "bytes": done.whole.size,
        "digest": f"sha256:{done.whole.digest}",
        "cluster": about.cluster.id,
        "incarnation": {"before": about.cluster.incarnation, "now": done.incarnation},
        "revision": f"{about.cluster.incarnation}.{about.revision}",
        "backed_up": _moment(about.at_ms),
        "removed": done.removed,
        "seconds": round(seconds, 3),
    }


def _moment(at_ms: int) -> str:
    """Write a moment as it was where it was, for people of any place."""
    try:
        return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"

"""``backup``: a running server's registry into a file, which is there whole or not at all."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from harpoon.cli import terminal
from harpoon.cli.options import Remote
from harpoon.cli.verb import verb
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import HarpoonError, Invalid, Unavailable
from harpoon.store.backup import LINE_BYTES_MAX, Reading, Whole

#: A backup that takes longer is told of, each time that so much has passed.
TOLD_EVERY: Final = timedelta(seconds=2)
#: Standard output instead of a file.
_STDOUT: Final = "-"


@verb(
    "backup",
    examples=(
        "harpoon backup -o harpoon.backup",
        "harpoon backup -o /backups/harpoon.backup --server http://10.0.0.1:4450 --token-file token",
    ),
)
def backup(
    remote: Remote,
    file: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Where to: a file, replaced when the backup is whole, or - .", metavar="FILE"
        ),
    ],
) -> None:
    """Write the whole registry, as it stands at one moment, into a file; servers go on meanwhile.

    The file holds environments as they were declared, secrets among them; only its owner may read it.
    `harpoon restore` brings it back.
    """
    client = remote.client()
    if file == _STDOUT:
        whole = _write(client.backup(), sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        terminal.say(_told(whole, "standard output"))
        return
    with replaced(Path(file)) as write:
        whole = _write(client.backup(), write)
    terminal.show(_told(whole, file))


def _write(pieces: Iterator[bytes], write: Callable[[bytes], object]) -> Whole:
    """Write what comes line by line, and look at it meanwhile.

    Raises:
        Unavailable: The server broke off.
        HarpoonError: It is no whole backup.
    """
    reading, clock = Reading(), SystemClock()
    due = clock.now().elapsed + TOLD_EVERY
    try:
        for line in whole_lines(pieces):
            check_goes_on(line)
            reading.take(line)
            write(line)
            if (now := clock.now().elapsed) >= due:
                due = now + TOLD_EVERY
                terminal.say(f"{reading.tally.records} records, {reading.tally.size} bytes so far")
        return reading.whole()
    except Invalid as error:
        raise HarpoonError(f"the server told no whole backup: {error}") from error


def whole_lines(pieces: Iterator[bytes], most_bytes: int = LINE_BYTES_MAX) -> Iterator[bytes]:
    """Yield lines with their ends; of one that is too long, no more than tells so."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > most_bytes:
            break
    if rest:
        yield rest


def check_goes_on(line: bytes) -> None:
    """Tell the last word of a server that breaks off.

    Raises:
        Unavailable: It is one.
    """
    if line.startswith((b'{"type":"error"', b'{"type":"bye"')):
        with suppress(orjson.JSONDecodeError):
            detail = orjson.loads(line).get("detail") or "it is about to stop"
            raise Unavailable(f"the server broke off: {terminal.plain(str(detail))}; nothing was kept, try again")


@contextmanager
def replaced(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Have a file written beside, which takes its place when the block has ended well, and is gone otherwise.

    Raises:
        Invalid: There can be no such file.
    """
    place = path.resolve()
    if place.exists() and not place.is_file():
        raise Invalid(f"-o {path}: it is no file; to write into a pipe or a device, write -o - and redirect")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{place.name[:100]}.", suffix=".unfinished", dir=place.parent)
    except OSError as error:
        raise Invalid(f"-o {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(place.parent)


def _sync(directory: Path) -> None:
    """Have the file's new name survive a power failure, too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(whole: Whole, place: str) -> str:
    about = whole.header
    return (
        f"{whole.records} records, {whole.size} bytes, of cluster {about.cluster.id} at revision "
        f"{about.cluster.incarnation}.{about.revision} are in {place} (sha256:{whole.digest})"
    )

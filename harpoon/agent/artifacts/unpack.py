"""Puts one fetched file where a task finds it, in a process of its own; it is run as a script, and imports no sibling.

A fetched file is checked against its digest, which proves that it is what the job's author meant, not that it means
well. So this trusts nothing in it. It has a process of its own, with limits of memory and file size, so that a bomb or
a flaw in what reads archives ends this process and nothing else. And it does not let `tarfile` write anything: names
are taken apart here, every directory on the way is opened without following links, files are made anew, links are made
last, when nothing is written any more, and then each is followed to see that it stays inside.

What it says last is the reason of a failure. ``python unpack.py FILE SHA256 TARGET MODE BYTES_MAX``: the target is
made, in a directory that nobody else writes to; when it fails, what is there of it is for the caller to remove.
"""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import resource
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Final

MEMBERS_MAX: Final = 100_000
#: Of the memory of this process, archives that want more to be read are refused.
MEMORY_MAX: Final = 1 << 30
_LINK_MAX: Final = 4096
_NAME_MAX: Final = 255
_DEPTH_MAX: Final = 64
_CHUNK: Final = 1 << 20
#: More polite than anything that serves.
_NICE: Final = 10
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Latest time of a file that every file system can keep.
_TIME_MAX: Final = (1 << 32) - 1


class Refused(Exception):
    """What is in the file is not to be, or cannot be, unpacked."""


class Target:
    """The directory that an archive is unpacked into."""

    def __init__(self, path: str, bytes_max: int) -> None:
        self._path = path
        self._left = bytes_max
        self._bytes_max = bytes_max
        self._members = 0
        self._links: list[tuple[str, tuple[str, ...], str]] = []
        os.mkdir(path, 0o755)  # noqa: PTH102 paths are text here
        self._root = os.open(path, _DIRECTORY)

    def count(self, name: str) -> tuple[str, ...]:
        """Count a member, and return the parts of its name; none: it is the directory itself."""
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise Refused(f"it has more than {MEMBERS_MAX} members")
        return parts_of(name)

    def room(self, name: str, size: int) -> None:
        """See that so many bytes more may be written."""
        if size > self._left:
            raise Refused(f"{_shown(name)}: unpacked, it is larger than {self._bytes_max} bytes")

    def directory(self, parts: tuple[str, ...]) -> None:
        """Make a directory, with those above it."""
        os.close(self._open(parts))

    def file(self, name: str, parts: tuple[str, ...], content: IO[bytes], mode: int, modified: float) -> None:
        """Make a file; one that the archive has twice is the later one."""
        parent = self._parent(name, parts)
        try:
            self._make_way(name, parts[-1], parent)
            descriptor = os.open(parts[-1], _WRITE, 0o600, dir_fd=parent)
            with os.fdopen(descriptor, "wb") as file:
                while chunk := content.read(_CHUNK):
                    self.room(name, len(chunk))
                    self._left -= len(chunk)
                    file.write(chunk)
                file.flush()
                os.fchmod(descriptor, (mode & 0o755) | 0o600)
                when = min(max(modified, 0), _TIME_MAX)
                os.utime(descriptor, (when, when))
        finally:
            os.close(parent)

    def hard_link(self, name: str, parts: tuple[str, ...], to: str) -> None:
        """Make one more name of a file that was unpacked before."""
        there = parts_of(to)
        parent = self._parent(name, parts)
        try:
            other = self._parent(to, there)
            try:
                if not stat.S_ISREG(os.stat(there[-1], dir_fd=other, follow_symlinks=False).st_mode):
                    raise Refused(f"{_shown(name)}: it links to {_shown(to)}, which is no file")
                self._make_way(name, parts[-1], parent)
                os.link(there[-1], parts[-1], src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                raise Refused(f"{_shown(name)}: it links to {_shown(to)}, which is not there before it") from None
            finally:
                os.close(other)
        finally:
            os.close(parent)

    def symbolic_link(self, name: str, parts: tuple[str, ...], to: str) -> None:
        """Take note of a link; it is made when everything else is."""
        if not parts or not to or len(to) > _LINK_MAX or to.startswith("/") or "\x00" in to:
            raise Refused(f"{_shown(name)}: it links to {_shown(to)}, which leads out of the archive")
        self._links.append((name, parts, to))

    def finish(self) -> None:
        """Make the links, and see that none leads outside."""
        for name, parts, to in self._links:
            parent = self._parent(name, parts)
            try:
                self._make_way(name, parts[-1], parent)
                os.symlink(to, parts[-1], dir_fd=parent)
            finally:
                os.close(parent)
        os.close(self._root)
        root = os.path.realpath(self._path)
        for name, parts, to in self._links:
            # Where it leads also by way of other links.
            real = os.path.realpath("/".join((root, *parts)))
            if real != root and not real.startswith(f"{root}/"):
                raise Refused(f"{_shown(name)}: it links to {_shown(to)}, which leads out of the archive")

    def _parent(self, name: str, parts: tuple[str, ...]) -> int:
        if not parts:
            raise Refused(f"{_shown(name)} is no name of a file")
        return self._open(parts[:-1])

    def _open(self, parts: tuple[str, ...]) -> int:
        """Open a directory, and make it with those above it where need be."""
        at = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=at)
                below = os.open(part, _DIRECTORY, dir_fd=at)
                os.close(at)
                at = below
        except NotADirectoryError:
            os.close(at)
            raise Refused(f"{_shown('/'.join(parts))} is a directory, and something else as well") from None
        return at

    @staticmethod
    def _make_way(name: str, last: str, parent: int) -> None:
        try:
            os.unlink(last, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise Refused(f"{_shown(name)} is a directory, and something else as well") from None


def parts_of(name: str) -> tuple[str, ...]:
    """Take a member's name apart; whatever could lead outside is refused."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    is_long = len(parts) > _DEPTH_MAX or any(len(os.fsencode(part)) > _NAME_MAX for part in parts)
    if name.startswith("/") or ".." in parts or "\x00" in name:
        raise Refused(f"{_shown(name)} leads out of the archive")
    if is_long:
        raise Refused(f"{_shown(name)} is longer than a name can be")
    return parts


def unpack_tar(stream: IO[bytes], target: Target) -> None:
    """Unpack a tar archive, read from its beginning to its end."""
    with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
        for member in archive:
            parts = target.count(member.name)
            if member.isdir():
                target.directory(parts)
            elif member.issym():
                target.symbolic_link(member.name, parts, member.linkname)
            elif member.islnk():
                target.hard_link(member.name, parts, member.linkname)
            elif member.isreg() and not member.issparse():
                # Before anything of it is read: what is told may be a lie, but then it ends early.
                target.room(member.name, member.size)
                content = archive.extractfile(member)
                assert content is not None, "it is a file"
                target.file(member.name, parts, content, member.mode, member.mtime)
            else:
                kind = "a sparse file" if member.isreg() else "no file, directory or link"
                raise Refused(f"{_shown(member.name)} is {kind}")


def unpack_zip(file: IO[bytes], target: Target) -> None:
    """Unpack a zip archive."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            parts = target.count(member.filename)
            mode = member.external_attr >> 16
            if member.is_dir():
                target.directory(parts)
                continue
            target.room(member.filename, member.file_size)
            if member.flag_bits & 0x1:
                raise Refused(f"{_shown(member.filename)} is encrypted")
            with archive.open(member) as content:
                if stat.S_ISLNK(mode):
                    to = content.read(_LINK_MAX + 1).decode(errors="surrogateescape")
                    target.symbolic_link(member.filename, parts, to)
                elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                    target.file(member.filename, parts, content, mode or 0o644, 0)
                else:
                    raise Refused(f"{_shown(member.filename)} is no file, directory or link")


def unpack(file: IO[bytes], path: str, bytes_max: int) -> None:
    """Unpack an archive of whatever kind into a new directory."""
    magic = file.read(6)
    file.seek(0)
    target = Target(path, bytes_max)
    if magic.startswith(b"PK"):
        unpack_zip(file, target)
    else:
        with _opened(file, magic) as stream:
            unpack_tar(stream, target)
    target.finish()


@contextlib.contextmanager
def _opened(file: IO[bytes], magic: bytes) -> Iterator[Any]:
    """Read through whatever it is compressed with."""
    if magic.startswith(b"\x1f\x8b"):
        stream: Any = gzip.GzipFile(fileobj=file, mode="rb")
    elif magic.startswith(b"BZh"):
        stream = bz2.BZ2File(file)
    elif magic.startswith(b"\xfd7zXZ\x00"):
        stream = lzma.LZMAFile(file)  # noqa: SIM115 it is closed below
    elif magic.startswith(b"\x28\xb5\x2f\xfd"):
        stream = _zstd(file)
    else:
        yield file
        return
    with stream:
        yield stream


def _zstd(file: IO[bytes]) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415 not there before Python 3.14
    except ImportError:
        told = f"it is compressed with zstd, which takes Python 3.14, and this is {sys.version.split()[0]}"
        raise Refused(f"{told}: compress it with gzip or xz") from None
    return zstd.ZstdFile(file)


def copy(file: IO[bytes], path: str) -> None:
    """Make the file itself, which can be executed."""
    with os.fdopen(os.open(path, _WRITE, 0o600), "wb") as target:
        while chunk := file.read(_CHUNK):
            target.write(chunk)
        os.fchmod(target.fileno(), 0o755)


def check(file: IO[bytes], sha256: str) -> None:
    """See that the file is still what was fetched."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise Refused("what was kept of it is damaged")
    file.seek(0)


def put(source: str, sha256: str, path: str, mode: str, bytes_max: int) -> str:
    """Put a fetched file where it is to be; return why it could not be, or nothing."""
    try:
        with open(source, "rb") as file:  # noqa: PTH123
            check(file, sha256)
            if mode == "file":
                copy(file, path)
            else:
                unpack(file, path, bytes_max)
    except Refused as error:
        return str(error)
    except MemoryError:
        return f"it takes more than {MEMORY_MAX >> 20} MiB of memory to be unpacked"
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        return f"it is no archive that can be read: {str(error) or type(error).__name__}"
    except (NotImplementedError, ValueError, UnicodeError, RecursionError) as error:
        return f"it is no archive that can be read: {str(error) or type(error).__name__}"
    except OSError as error:
        # Bad data of gzip and bz2 are told like that, too.
        return error.strerror.lower() if error.strerror else f"it is no archive that can be read: {error}"
    return ""


def _shown(name: str) -> str:
    return ascii(name[:100])


def main() -> int:
    """Do what the arguments say, within limits."""
    source, sha256, path, mode, bytes_max = sys.argv[1:]
    os.nice(_NICE)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reason = put(source, sha256, path, mode, int(bytes_max))
    if reason:
        sys.stdout.write(f"{reason}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a task finds on its host beside its own directory: volumes of it, and artifacts fetched before it starts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from harpoon.model.units import Size, format_size

VOLUMES_MAX = 16
ARTIFACTS_MAX = 16
HOST_PATHS_MAX = 64
PATH_MAX = 1024
URL_MAX = 2048
_PART_MAX = 255
#: Nothing is mounted at these: programs would not be found, or a set-uid program be told who is who.
_NOT_AT = frozenset(
    ("/", "/bin", "/boot", "/etc", "/home", "/lib", "/lib32", "/lib64", "/root", "/run", "/sbin", "/usr", "/var")
)
#: Nor at these or anywhere below.
_NOT_BELOW = ("/proc", "/sys", "/dev")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """A path of its host that an agent's operator lets tasks have, with everything below it."""

    path: str
    read_only: bool = False

    def __post_init__(self) -> None:
        check_path("a host path", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A path of the host, or scratch space, where the task finds it; exactly one of ``host`` and ``scratch`` is set."""

    #: Absolute; or, without a leading ``/``, below the task's own directory.
    at: str
    #: A directory or file of the host that the operator of the agent allows.
    host: str | None = None
    #: Empty at first, gone with the task: how much it may hold.
    scratch: Size | None = None
    #: Only for ``host``.
    read_only: bool = False

    def __post_init__(self) -> None:
        if (self.host is None) is (self.scratch is None):
            raise ValueError("a volume sets exactly one of host, scratch")
        if self.scratch is not None and self.read_only:
            raise ValueError("read_only is for host; scratch space that nobody can write to is of no use")
        if self.scratch is not None and self.scratch < 1:
            raise ValueError("scratch is more than 0, such as 1Gi")
        if self.host is not None:
            check_path("host", self.host)
        _check_at(self.at)

    @property
    def is_mounted(self) -> bool:
        """Whether it takes a mount to have it there; scratch space below the task's directory is just a directory."""
        return self.host is not None or self.at.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeStatus:
    """One volume of a task: whether its agent holds the task to what is declared of it."""

    at: str
    is_enforced: bool
    #: How; or why not, and what is done instead.
    detail: str


class ArtifactMode(StrEnum):
    """What becomes of a fetched file."""

    #: An archive: it is unpacked into the directory ``at``.
    UNPACK = "unpack"
    #: It is the file ``at``, which can be executed.
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that the agent fetches before the task is first started."""

    #: ``http://``, ``https://``, or ``file://`` of a path that the operator of the agent allows; no user, no password.
    url: str
    #: Of the file as it is served, in lower-case hexadecimal.
    sha256: str
    #: Below the task's own directory.
    at: str
    mode: ArtifactMode = ArtifactMode.UNPACK

    def __post_init__(self) -> None:
        check_url(self.url)
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256 is 64 digits of 0-9 and a-f; `sha256sum FILE` tells it")
        if self.at.startswith("/"):
            raise ValueError("at is a path below the task's directory, such as app; it starts with no '/'")
        _check_at(self.at)

    @property
    def host(self) -> str | None:
        """The path of the host that it is read from; None: it is not."""
        return unquote(urlsplit(self.url).path) if self.url.lower().startswith("file:") else None


def statuses(volumes: Iterable[Volume]) -> tuple[VolumeStatus, ...]:
    """Return what is told of the volumes of a task."""
    return tuple(VolumeStatus(at=one.at, is_enforced=one.scratch is None, detail=_how(one)) for one in volumes)


def _how(volume: Volume) -> str:
    if volume.scratch is not None:
        return (
            f"at most {format_size(volume.scratch)}: it is measured from time to time, and the task fails beyond that"
        )
    what = "a read-only mount" if volume.read_only else "a mount"
    return f"{volume.host}: {what} that only this task sees"


def check_url(url: str) -> SplitResult:
    """Return the parts of a URL that something can be fetched from.

    Raises:
        ValueError: It is not one; the message says what would be right.
    """
    if len(url) > URL_MAX or not url.isascii() or any(c <= " " or c in '\x7f\\"<>^`{|}' for c in url):
        raise ValueError(f"url is at most {URL_MAX} ASCII characters, without blanks; write others as %XX")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url is no URL: {error}") from error
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError("url starts with https://, http:// or file://")
    if "@" in parts.netloc:
        raise ValueError("url holds no user and no password: everybody who may read the job would see them")
    if parts.fragment:
        raise ValueError("url holds no '#'")
    if parts.scheme == "file":
        if parts.netloc or parts.query:
            raise ValueError("a file's url is file:///PATH")
        check_path("the path of a file's url", unquote(parts.path, errors="surrogateescape"))
    elif not host:
        raise ValueError("url names a host")
    return parts


def allowance(allowed: Iterable[HostPath], path: str) -> bool | None:
    """Return whether a path may be written, going by its text; None: it may not be had at all."""
    found = [one.read_only for one in allowed if is_within(path, one.path)]
    return None if not found else not all(found)


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or something below it, going by their text."""
    return path == directory or path.startswith(directory if directory == "/" else f"{directory}/")


def check_places(volumes: tuple[Volume, ...], artifacts: tuple[Artifact, ...]) -> None:
    """Check that what a task finds somewhere does not hide, or go into, something else.

    Raises:
        ValueError: It does, or there is too much of it.
    """
    if len(volumes) > VOLUMES_MAX:
        raise ValueError(f"volumes holds at most {VOLUMES_MAX}")
    if len(artifacts) > ARTIFACTS_MAX:
        raise ValueError(f"artifacts holds at most {ARTIFACTS_MAX}")
    places = sorted((*(one.at for one in volumes), *(one.at for one in artifacts)))
    for index, place in enumerate(places):
        for other in places[index + 1 :]:
            if is_within(other, place):
                told = f"{place} twice" if other == place else f"{other}, which is within {place}"
                raise ValueError(f"volumes and artifacts are at places apart; they name {told}")


def check_path(what: str, path: str) -> None:
    """Check that a path is absolute, and the shortest way to write it.

    Raises:
        ValueError: It is not.
    """
    if not path.startswith("/") or path.startswith("//") or (path != "/" and not _is_plain(path[1:])):
        raise ValueError(f"{what} is an absolute path without '.', '..', '//' or a '/' at its end; got {path[:80]!r}")


def _check_at(at: str) -> None:
    if at.startswith("//") or not _is_plain(at.removeprefix("/")):
        told = "at is a path without '.', '..', '//' or a '/' at its end, such as /data or data"
        raise ValueError(f"{told}; got {at[:80]!r}")
    if at in _NOT_AT or any(is_within(at, one) for one in _NOT_BELOW):
        raise ValueError(f"nothing can be put at {at}; write another path, such as /data")


def _is_plain(path: str) -> bool:
    """Whether a path without its leading ``/`` is one, and the shortest way to write it."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return False
    parts = path.split("/")
    is_short = size <= PATH_MAX and all(len(part.encode()) <= _PART_MAX for part in parts)
    return is_short and not _CONTROL.search(path) and str(PurePosixPath(path)) == path and not {".", ".."} & {*parts}

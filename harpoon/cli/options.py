"""Options that several verbs share, in groups."""

import os
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harpoon import config
from harpoon.cli import offers, terminal
from harpoon.cli.ending import at_end
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.units import parse_duration

if TYPE_CHECKING:  # verbs that ask no server start without it
    from harpoon.cli.session import Session


class Output(StrEnum):
    """How data is written."""

    TABLE = "table"
    #: A table with more columns, nothing shortened.
    WIDE = "wide"
    #: The API's objects as they are.
    JSON = "json"
    YAML = "yaml"
    #: ``kind/name``, one a line.
    NAME = "name"


def _bare(name: str) -> str:
    """Take the name out of ``job/NAME``, as other verbs write it."""
    return name.removeprefix("job/")


Format = Annotated[Output, typer.Option("--output", "-o", help="How to write it.")]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Where it is.", metavar="NS", autocompletion=offers.namespaces)
]
#: What can be asked about: a job, which may be named alone, a task, an agent or a run.
What = Annotated[
    str,
    typer.Argument(
        help="job/NAME, NAME, task/ID, agent/NAME or run/ID.",
        metavar="WHAT",
        show_default=False,
        autocompletion=offers.subjects("job", "task", "agent", "run", "batch", is_bare=True),
    ),
]
NamespaceOfFile = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="For manifests that name none.", metavar="NS", show_default="default"),
]
#: Of a verb that declares a job, or has one made.
Arguments = Annotated[
    list[str] | None,
    typer.Option("--set", help="The value of a parameter; may be repeated. Not for secrets.", metavar="NAME=VALUE"),
]
#: The name of a job, which may be written ``job/NAME``.
JobName = Annotated[
    str,
    typer.Argument(
        help="The job's name.", metavar="NAME", show_default=False, callback=_bare, autocompletion=offers.jobs
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Which server to ask, and with which token."""

    server: Annotated[str, typer.Option(envvar="HARPOON_SERVER", help="The server's URL.", metavar="URL")] = (
        config.DEFAULT_LISTEN.url
    )
    token_file: Annotated[
        Path | None, typer.Option(envvar="HARPOON_TOKEN_FILE", help="The file that holds the token.", metavar="FILE")
    ] = None

    def client(self) -> "Session":
        """Return a client of that server, closed when the verb ends.

        Raises:
            Invalid: The URL or the token file is none.
        """
        from harpoon.cli.session import Session  # noqa: PLC0415 see above

        session = Session(self.server, token=token_of(self.token_file))
        at_end(session.close)
        return session


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which objects are meant."""

    namespace: Namespace = DEFAULT_NAMESPACE
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")] = False
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--selector", "--tag", "-l", help="Only those with this tag; may be repeated, all must hold.", metavar="K=V"
        ),
    ] = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags asked for, each ``key=value``.

        Raises:
            Invalid: One is not written so.
        """
        for tag in self.tag or ():
            if not all(tag.partition("=")[:2]):
                raise Invalid(f"write a tag as key=value; got {tag!r}")
        return tuple(self.tag or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Whether to wait until a change is done, and how long."""

    wait: Annotated[bool, typer.Option(help="Wait until the change is done: new tasks ready, old ones gone.")] = True
    timeout: Annotated[str, typer.Option(help="How long to wait, such as 30s or 5m.", metavar="DURATION")] = "5m"

    def __post_init__(self) -> None:
        span_of(self.timeout)  # a wrong one is refused before anything is changed

    @property
    def span(self) -> timedelta:
        """How long to wait."""
        return span_of(self.timeout)


def span_of(text: str) -> timedelta:
    """Read a duration given on the command line.

    Raises:
        Invalid: It is none.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Invalid(f"{text!r}: {error}") from error


def directory_of(option: str, path: Path) -> Path:
    """Return a directory named by an option, which may still have to be made.

    Raises:
        Invalid: It is no directory, or cannot be made there.
    """
    try:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
    except OSError as error:
        raise Invalid(f"{option} {path}: {error.strerror or error}") from error
    if not there.is_dir():
        what = "it is a file" if there == path else f"{there} is a file"
        raise Invalid(f"{option} {path} cannot be a directory: {what}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Invalid(f"{option} {path} cannot be used: this user may not write in {there}")
    return path


def token_of(path: Path | None) -> str | None:
    """Read the token from its file, if there is one; a doubtful file is used and complained about.

    Raises:
        Invalid: It cannot be read, or is no token.
    """
    if path is None:
        return None
    try:
        token, warning = config.read_token(path)
    except ValueError as error:
        raise Invalid(str(error)) from error
    if warning:
        terminal.say(f"warning: {warning}")
    return token

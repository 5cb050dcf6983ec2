"""The verbs of ``secret``: set what nobody sees again, see what there is of it, and the keys it is encrypted with."""

import base64
import getpass
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from harpoon.cli import at as looking
from harpoon.cli import columns, figures, offers, output, screens, terminal
from harpoon.cli.listing import read_list
from harpoon.cli.options import Format, Output, Remote
from harpoon.cli.table import Column, Object
from harpoon.cli.verb import verb, verbs
from harpoon.kit.errors import Conflict, Invalid
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.secret import VALUE_MAX, check_key

secret: Final = verbs(
    "secret",
    "Set what tasks need and nobody is to see, and see what there is of it: never the values.",
    examples=(
        "harpoon secret set db password=-",
        "harpoon secret set tls cert=@cert.pem key=@key.pem",
        "harpoon secret get",
        "harpoon secret describe db",
    ),
)

Name = Annotated[
    str, typer.Argument(help="The secret's name.", metavar="NAME", show_default=False, autocompletion=offers.secrets)
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Where it is.", metavar="NS", autocompletion=offers.namespaces)
]


@verb(
    "set",
    group=secret,
    examples=(
        "harpoon secret set db password=-",
        "harpoon secret set tls cert=@cert.pem key=@key.pem",
        "harpoon secret set db --remove old-password",
    ),
)
def set_(  # noqa: PLR0913 one parameter an option
    *,
    remote: Remote,
    name: Name,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(
            help="KEY=- asks, or reads standard input less the last line's end; KEY=@FILE reads a file; KEY=VALUE is "
            "seen by others on this host.",
            metavar="KEY=…",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Drop this key; may be repeated.", metavar="KEY")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop every key that is not named.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Only if there is no such secret.")] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Set values of a secret, which is made if there is none. Keys that are not named stay as they are.

    Tasks that refer to a value that is another one now are replaced, unless they say on_change: keep.
    """
    if not (pairs or remove):
        raise Invalid("name what to set, such as password=- or key=@key.pem")
    if replace and remove:
        raise Invalid("with --replace every key that is not named is gone anyway; drop --remove")
    change: dict[str, Any] = {"base64": _values(pairs or ())}
    if not replace:
        change |= {"keep_others": True, "remove": list(remove or ())}
    answer = remote.client().put("namespaces", namespace, "secrets", name, body=change, is_new=new).body
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
        return
    told = answer["secret"]
    keys = ", ".join(one["key"] for one in told["keys"])
    terminal.show(f"secret/{name} {answer['outcome']}: version {told['version']}, keys {keys}")
    if answer["outcome"] == "changed" and told["used_by"]:
        terminal.say(f"it is used by {', '.join(told['used_by'])}: tasks follow, as on_change says")


@verb("get", group=secret, examples=("harpoon secret get", "harpoon secret get -A", "harpoon secret get db -o json"))
def get(
    *,
    remote: Remote,
    name: Annotated[
        str | None,
        typer.Argument(help="One of them.", metavar="NAME", show_default=False, autocompletion=offers.secrets),
    ] = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")] = False,
    at: looking.At = None,
    form: Format = Output.TABLE,
) -> None:
    """List secrets: their names, keys and versions, and who uses them. Values are shown to nobody."""
    if name and all_namespaces:
        raise Invalid(f"{name} is in one namespace; name it with -n instead of -A")
    client = remote.client()
    if name:
        path: tuple[str, ...] = ("namespaces", namespace, "secrets", name)
        told = client.get(*path).body if at is None else looking.read(client, path, at)
        rows = [told]
    else:
        path = ("secrets",) if all_namespaces else ("namespaces", namespace, "secrets")
        told = read_list(client, path, {}) if at is None else looking.read(client, path, at)
        rows = told["items"]
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    elif form is Output.NAME:
        for row in rows:
            terminal.show(terminal.plain(f"secret/{row['name']}"))
    elif not rows:
        terminal.say("no secrets")
    else:
        output.write_table((columns.NAMESPACE, *_COLUMNS) if all_namespaces else _COLUMNS, rows, form)


@verb("describe", group=secret, examples=("harpoon secret describe db", "harpoon secret describe db -n shop"))
def describe(remote: Remote, name: Name, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Show all that may be seen of a secret: each key, since when it has its value, and how it is encrypted."""
    told = remote.client().get("namespaces", namespace, "secrets", name).body
    for line in _screen(told):
        terminal.show(line)


@verb("delete", group=secret, examples=("harpoon secret delete db", "harpoon secret delete db --force"))
def delete(
    *,
    remote: Remote,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also while something refers to it.")] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
) -> None:
    """Delete a secret; refused while jobs, workflows or open runs refer to it.

    Backups and the history keep it, encrypted.
    """
    query = {"force": "true"} if force else None
    remote.client().delete("namespaces", namespace, "secrets", name, query=query)
    terminal.show(f"secret/{name} deleted")


@verb("rotate-keys", group=secret, examples=("harpoon secret rotate-keys",))
def rotate_keys(remote: Remote) -> None:
    """Encrypt every secret with the newest key of the server's key file. No task is replaced for it."""
    told = remote.client().put("secrets", "encryption", body={}).body
    count = told["rotated"]
    terminal.show(
        f"every secret is encrypted with key {told['key_id']} ({count} {'was' if count == 1 else 'were'} anew); "
        "backups and the history may still need the keys before"
    )


@verb(
    "new-key",
    group=secret,
    examples=("harpoon secret new-key /etc/harpoon/secrets.keys", "harpoon secret new-key keys --id 2026-spring"),
)
def new_key(
    file: Annotated[Path, typer.Argument(help="The key file; made if it is not there.", show_default=False)],
    key_id: Annotated[
        str | None, typer.Option("--id", help="What the key is called.", show_default="made of the time")
    ] = None,
) -> None:
    """Put a new key first in a key file, for `harpoon server --secrets-key-file`. It needs no server.

    All servers are to have the same file. Keep a copy apart from the backups: without it they do not tell the secrets.
    """
    from harpoon.control import keyring  # noqa: PLC0415 the other verbs do without it

    called = key_id or f"k{datetime.now(UTC):%Y%m%d%H%M%S}"  # noqa: TID251 a name, and no more than that
    line, known = keyring.new_key(called), ""
    try:
        if file.exists():
            if called in keyring.ids_in(file):
                raise Conflict(f"{file} has a key {called} already; give the new one another --id")
            known = file.read_text(encoding="utf-8")
        _replace(file, f"{line}\n{known}")
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror or error}") from error
    terminal.show(f"key {called} is the first in {file}" + ("" if known else ", which is new"))
    if known:
        terminal.say("once all servers have this file: harpoon secret rotate-keys")


def _replace(file: Path, text: str) -> None:
    """Replace a file by one that only this user may read, whole or not at all."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)
    fresh.replace(file)


def _values(pairs: Sequence[str]) -> dict[str, str]:
    """Read the values that a command line names, in base64. No error repeats one."""
    values: dict[str, str] = {}
    has_read = False
    for pair in pairs:
        key, mark, source = pair.partition("=")
        if not mark:
            raise Invalid("write KEY=-, KEY=@FILE or KEY=VALUE")
        try:
            check_key("a key", key)
        except ValueError as error:
            raise Invalid(str(error)) from error
        if key in values:
            raise Invalid(f"key {key} stands twice")
        if source == "-" and has_read:
            raise Invalid("standard input is read once; have the other keys from files: KEY=@FILE")
        has_read = has_read or (source == "-" and not sys.stdin.isatty())
        value = _read(key, source)
        if len(value) > VALUE_MAX:
            raise Invalid(f"the value of {key} is longer than {VALUE_MAX} bytes")
        values[key] = base64.b64encode(value).decode()
    return values


def _read(key: str, source: str) -> bytes:
    if source == "-":
        if sys.stdin.isatty():
            return getpass.getpass(f"{key}: ").encode()
        return sys.stdin.buffer.read(VALUE_MAX + 2).removesuffix(b"\n")
    if source.startswith("@"):
        try:
            with Path(source[1:]).open("rb") as file:
                return file.read(VALUE_MAX + 1)
        except OSError as error:
            raise Invalid(f"{key}: {source[1:]}: {error.strerror or error}") from error
    terminal.say(
        f"warning: others on this host can see the value of {key} on this command line, and the shell may keep it; "
        f"better {key}=- or {key}=@FILE"
    )
    return source.encode()


def _screen(told: Object) -> Iterator[str]:
    yield screens.headline(f"secret/{told['name']}", f"version {told['version']}", "its values are shown to nobody")
    yield from screens.pairs_of(
        [
            ("Namespace", told["namespace"]),
            ("Created", f"{figures.age(told['created_ms'])} ago"),
            ("Changed", f"{figures.age(told['updated_ms'])} ago"),
            ("Used by", ", ".join(_users(told)) or "no job and no workflow"),
        ]
    )
    yield ""
    yield from screens.table(_KEYS, told["keys"], is_wide=False)


def _users(told: Object) -> list[str]:
    jobs, workflows = told["used_by"], told.get("used_by_workflows") or ()
    return [*(f"job/{name}" for name in jobs), *(f"workflow/{name}" for name in workflows)]


_COLUMNS: Final = (
    Column("NAME", lambda row: str(row["name"])),
    Column("KEYS", lambda row: ", ".join(one["key"] for one in row["keys"])),
    Column("VERSION", lambda row: str(row["version"])),
    Column("CHANGED", lambda row: figures.age(row["updated_ms"])),
    Column("USED BY", lambda row: ", ".join(_users(row) if row.get("used_by_workflows") else row["used_by"])),
)
_KEYS: Final = (
    Column("KEY", lambda row: str(row["key"])),
    Column("SET IN VERSION", lambda row: str(row["version"])),
    Column("AGE", lambda row: figures.age(row["set_ms"])),
    Column("ENCRYPTED WITH", lambda row: str(row["encrypted_with"])),
)

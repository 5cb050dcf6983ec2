"""What one server is started with, as typed; and what that comes to."""

import socket
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli.options import directory_of, token_of
from harpoon.cli.values import mapping_of, told
from harpoon.config import DEFAULT_LISTEN, ServerSettings, instance_name, parse_listen
from harpoon.kit.destination import parse_opening
from harpoon.kit.errors import Invalid
from harpoon.model.lease import LeaseTimes
from harpoon.model.units import parse_duration
from harpoon.store.past.budget import parse_budget
from harpoon.store.url import SqliteUrl, StoreUrl, parse_url

#: Where state is kept unless told otherwise.
DATA: Final = Path("harpoon-data")
DATABASE: Final = "harpoon.db"
#: Follows the name of the file that the registry is kept in.
HISTORY: Final = ".history"
#: Instead of a directory.
OFF: Final = "off"

TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HARPOON_TOKEN_FILE", help="The token that everyone must show; needed beyond loopback.", metavar="FILE"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What one instance is started with; `arguments` spells them out again, for a process that is to be given them."""

    data: Annotated[
        Path | None, typer.Option(help="Directory of the state.", metavar="DIR", show_default=str(DATA))
    ] = None
    store: Annotated[
        str | None,
        typer.Option(help="Instead of --data: etcd://HOST:PORT,…, sqlite:///FILE, or memory.", metavar="URL"),
    ] = None
    listen: Annotated[str, typer.Option(help="Where to listen.", metavar="HOST:PORT")] = (
        f"{DEFAULT_LISTEN.host}:{DEFAULT_LISTEN.port}"
    )
    advertise: Annotated[
        str | None,
        typer.Option(
            help="Where other instances reach this one, and no other.", metavar="URL", show_default="where it listens"
        ),
    ] = None
    public_url: Annotated[
        str | None,
        typer.Option(
            help="Where users outside reach the servers, for callbacks.",
            metavar="URL",
            show_default="callbacks are paths",
        ),
    ] = None
    token_file: TokenFile = None
    secrets_key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="HARPOON_SECRETS_KEY_FILE",
            help="The keys that secrets are encrypted with; the same on all servers.",
            metavar="FILE",
        ),
    ] = None
    agent: Annotated[
        list[str] | None,
        typer.Option(help="An agent that does not register itself; may be repeated.", metavar="NAME=URL"),
    ] = None
    instance: Annotated[
        str | None, typer.Option(help="What this server calls itself.", show_default="the host's name")
    ] = None
    lost_after: Annotated[
        str,
        typer.Option(help="An agent not reached for so long is lost, and its tasks are replaced.", metavar="DURATION"),
    ] = "30s"
    lease_ttl: Annotated[
        str, typer.Option(help="An instance that is silent for so long has lost its holds.", metavar="DURATION")
    ] = "5s"
    keepalive: Annotated[
        str | None,
        typer.Option(help="The lease is renewed so often.", metavar="DURATION", show_default="lease-ttl / 3"),
    ] = None
    fence_margin: Annotated[
        str | None,
        typer.Option(
            help="It stops acting so long before its lease may be over.",
            metavar="DURATION",
            show_default="lease-ttl / 10",
        ),
    ] = None
    resync: Annotated[
        str, typer.Option(help="Everything is looked at again so often, woken or not.", metavar="DURATION")
    ] = "30s"
    keep_history: Annotated[
        str, typer.Option(help="A watcher may be away for so long, and resume; not with memory.", metavar="DURATION")
    ] = "10m"
    history: Annotated[
        str | None,
        typer.Option(
            help="Where what happened is kept for get --at and why --at; off: nowhere.",
            metavar="DIR",
            show_default="beside an SQLite file, else off",
        ),
    ] = None
    history_budget: Annotated[
        str, typer.Option(help="How long that is kept, and how many bytes of it.", metavar="AGE,SIZE")
    ] = "7d,1Gi"
    http_allow: Annotated[
        list[str] | None,
        typer.Option(
            help="What http: operations may call beside public addresses, such as 10.0.0.0/8 or localhost:8080; "
            "may be repeated.",
            metavar="NETWORK|NAME[:PORT]",
        ),
    ] = None
    sharing: Annotated[bool, typer.Option("--sharing", hidden=True)] = False
    tied: Annotated[bool, typer.Option("--tied", hidden=True)] = False

    def settings(self) -> ServerSettings:
        """Return what they say.

        Raises:
            Invalid: They say nothing that goes together.
        """
        if self.data is not None and self.store is not None:
            raise Invalid("give --data or --store, not both")
        return told(
            lambda: ServerSettings(
                listen=parse_listen(self.listen),
                store=self._store(),
                advertise=self.advertise,
                public_url=self.public_url,
                is_sharing=self.sharing,
                is_tied=self.tied,
                token=token_of(self.token_file),
                secrets_key_file=self._keys(),
                instance=self.called,
                agents=mapping_of("--agent", self.agent or ()),
                lost_after=parse_duration(self.lost_after),
                lease=self._lease(),
                resync=parse_duration(self.resync),
                keep_history=parse_duration(self.keep_history),
                http_allow=tuple(map(parse_opening, self.http_allow or ())),
                history=self._history(),
                history_budget=parse_budget(self.history_budget),
            )
        )

    @property
    def called(self) -> str:
        """What the instance calls itself."""
        return self.instance or instance_name(socket.gethostname())

    def arguments(self) -> tuple[str, ...]:
        """Return them as a command line has them."""
        spelled: list[str] = []
        for one in fields(self):
            value, option = getattr(self, one.name), f"--{one.name.replace('_', '-')}"
            if value is True:
                spelled.append(option)
            elif value != one.default:
                for single in value if isinstance(value, list) else (value,):
                    spelled += (option, str(single))
        return tuple(spelled)

    def _store(self) -> StoreUrl:
        return parse_url(self.store) if self.store else SqliteUrl(directory_of("--data", self.data or DATA) / DATABASE)

    def _history(self) -> Path | None:
        if self.history == OFF:
            return None
        if self.history is not None:
            return directory_of("--history", Path(self.history))
        store = self._store()
        return store.path.with_name(f"{store.path.name}{HISTORY}") if isinstance(store, SqliteUrl) else None

    def _keys(self) -> Path | None:
        if self.secrets_key_file is not None:
            from harpoon.control import keyring  # noqa: PLC0415 most verbs do without it

            keyring.ids_in(self.secrets_key_file)
        return self.secrets_key_file

    def _lease(self) -> LeaseTimes:
        def read(text: str | None) -> timedelta | None:
            return None if text is None else parse_duration(text)

        return LeaseTimes.of(parse_duration(self.lease_ttl), read(self.keepalive), read(self.fence_margin))

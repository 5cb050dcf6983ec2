"""Verbs that start something and stay: server, agent. What they start is imported when they run."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from harpoon.cli.options import directory_of, token_of
from harpoon.cli.verb import verb
from harpoon.config import DEFAULT_LISTEN, Listen, ServerSettings, instance_name, parse_listen
from harpoon.kit.errors import Invalid
from harpoon.model.agent import PortRange
from harpoon.model.lease import LeaseTimes
from harpoon.model.units import parse_cpu, parse_duration, parse_size
from harpoon.store.url import SqliteUrl, StoreUrl, parse_url

T = TypeVar("T")

#: Where state is kept unless told otherwise.
DATA: Final = Path("harpoon-data")
DATABASE: Final = "harpoon.db"
#: Server processes behind one port: more than a host has processors are of no use.
INSTANCES_MAX: Final = 64

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
    token_file: TokenFile = None
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
                is_sharing=self.sharing,
                is_tied=self.tied,
                token=token_of(self.token_file),
                instance=self.called,
                agents=mapping_of("--agent", self.agent or ()),
                lost_after=parse_duration(self.lost_after),
                lease=self._lease(),
                resync=parse_duration(self.resync),
                keep_history=parse_duration(self.keep_history),
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

    def _lease(self) -> LeaseTimes:
        def read(text: str | None) -> timedelta | None:
            return None if text is None else parse_duration(text)

        return LeaseTimes.of(parse_duration(self.lease_ttl), read(self.keepalive), read(self.fence_margin))


@verb(
    "server",
    examples=(
        "harpoon server",
        "harpoon server --listen 10.0.0.1:4450 --data /var/lib/harpoon --token-file /etc/harpoon/token",
        "harpoon server --store etcd://10.0.0.1,10.0.0.2,10.0.0.3 --token-file /etc/harpoon/token",
        "harpoon server --store etcd://127.0.0.1 --instances 4",
        "harpoon server --store memory --agent a1=http://127.0.0.1:4451",
    ),
)
def server(
    *,
    options: ServerOptions,
    instances: Annotated[
        int | None,
        typer.Option(
            help=f"Run so many behind one port, 2 to {INSTANCES_MAX}, each a process; with etcd.",
            metavar="N",
            min=2,
            max=INSTANCES_MAX,
            show_default="one process",
        ),
    ] = None,
) -> None:
    """Run a server until SIGTERM or Ctrl-C. Tasks run on without it."""
    if instances is not None:
        from harpoon.cli import instances as several  # noqa: PLC0415 one process does without it

        raise typer.Exit(several.run(options, instances))
    settings = options.settings()
    from harpoon import service  # noqa: PLC0415 the other verbs do without it

    raise typer.Exit(service.run_server(settings))


@verb(
    "agent",
    examples=(
        "harpoon agent --name a1 --server http://127.0.0.1:4450 --state-dir /var/lib/harpoon-agent",
        "harpoon agent --server http://10.0.0.1:4450 --listen 10.0.0.2:4451 --tag zone=b --token-file token",
        "harpoon agent --server http://10.0.0.1:4450 --cpu 4 --memory 8Gi --ports 20000-29999",
    ),
)
def agent(  # noqa: PLR0913, PLR0917 one parameter an option
    name: Annotated[str | None, typer.Option(help="Its name.", show_default="the host's name")] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            envvar="HARPOON_SERVER",
            help="A server to register with; may be repeated. Without one, servers list this agent themselves.",
            metavar="URL",
        ),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="What it must not forget.", metavar="DIR", show_default=f"{DATA}/NAME")
    ] = None,
    listen: Annotated[str, typer.Option(help="Where to listen.", metavar="HOST:PORT")] = "127.0.0.1:4451",
    cpu: Annotated[str | None, typer.Option(help="What tasks may reserve.", show_default="all of it")] = None,
    memory: Annotated[str | None, typer.Option(help="What tasks may reserve.", show_default="all of it")] = None,
    ports: Annotated[str, typer.Option(help="Ports for tasks that ask for any.", metavar="LOW-HIGH")] = "20000-29999",
    address: Annotated[
        str | None,
        typer.Option(help="Where its tasks are reached.", metavar="HOST", show_default="where it listens"),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="For placement rules; may be repeated.", metavar="K=V")] = None,
    token_file: TokenFile = None,
) -> None:
    """Run the agent of this host until SIGTERM or Ctrl-C. Its tasks run on, and are found again."""
    from harpoon import service  # noqa: PLC0415 the other verbs do without it
    from harpoon.agent.settings import AgentSettings  # noqa: PLC0415

    called = name or instance_name(socket.gethostname())
    host, port = told(lambda: parse_listen(listen))
    settings = told(
        lambda: AgentSettings(
            name=called,
            state_dir=directory_of("--state-dir", state_dir or DATA / called),
            host=host,
            port=port,
            servers=tuple(server or ()),
            token=token_of(token_file),
            cpu=None if cpu is None else parse_cpu(cpu),
            memory=None if memory is None else parse_size(memory),
            ports=_ports(ports),
            tags=mapping_of("--tag", tag or ()),
            address=address,
        )
    )
    raise typer.Exit(service.run_agent(settings))


def told(make: Callable[[], T]) -> T:
    """Make something of what the command line says.

    Raises:
        Invalid: It cannot be made of that.
    """
    try:
        return make()
    except ValueError as error:
        raise Invalid(str(error)) from error


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


def _ports(text: str) -> PortRange:
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal()):
        raise ValueError(f"--ports: write LOW-HIGH, such as 20000-29999; got {text!r}")
    return PortRange(low=int(low), high=int(high))

"""Verbs that start something and stay: server, agent. What they start is imported when they run."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from harpoon.cli.options import directory_of, token_of
from harpoon.cli.verb import verb
from harpoon.config import DEFAULT_LISTEN, Listen, ServerSettings, instance_name, parse_listen
from harpoon.kit.errors import Invalid
from harpoon.model.agent import PortRange
from harpoon.model.units import parse_cpu, parse_duration, parse_size
from harpoon.store.url import SqliteUrl, parse_url

T = TypeVar("T")

#: Where state is kept unless told otherwise.
DATA: Final = Path("harpoon-data")
DATABASE: Final = "harpoon.db"

TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HARPOON_TOKEN_FILE", help="The token that everyone must show; needed beyond loopback.", metavar="FILE"
    ),
]


@verb(
    "server",
    examples=(
        "harpoon server",
        "harpoon server --listen 10.0.0.1:4450 --data /var/lib/harpoon --token-file /etc/harpoon/token",
        "harpoon server --store etcd://10.0.0.1,10.0.0.2,10.0.0.3 --token-file /etc/harpoon/token",
        "harpoon server --store memory --agent a1=http://127.0.0.1:4451",
    ),
)
def server(  # noqa: PLR0913, PLR0917 one parameter an option
    data: Annotated[
        Path | None, typer.Option(help="Directory of the state.", metavar="DIR", show_default=str(DATA))
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Instead of --data: etcd://HOST:PORT,…, sqlite:///FILE, or memory.", metavar="URL"),
    ] = None,
    listen: Annotated[str, typer.Option(help="Where to listen.", metavar="HOST:PORT")] = (
        f"{DEFAULT_LISTEN.host}:{DEFAULT_LISTEN.port}"
    ),
    token_file: TokenFile = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(help="An agent that does not register itself; may be repeated.", metavar="NAME=URL"),
    ] = None,
    instance: Annotated[
        str | None, typer.Option(help="What this server calls itself.", show_default="the host's name")
    ] = None,
    lost_after: Annotated[
        str,
        typer.Option(help="An agent not reached for so long is lost, and its tasks are replaced.", metavar="DURATION"),
    ] = "30s",
    resync: Annotated[
        str, typer.Option(help="Everything is looked at again so often, woken or not.", metavar="DURATION")
    ] = "30s",
    keep_history: Annotated[
        str, typer.Option(help="A watcher may be away for so long, and resume; not with memory.", metavar="DURATION")
    ] = "10m",
) -> None:
    """Run a server until SIGTERM or Ctrl-C. Tasks run on without it."""
    if data is not None and store is not None:
        raise Invalid("give --data or --store, not both")
    settings = told(
        lambda: ServerSettings(
            listen=parse_listen(listen),
            store=parse_url(store) if store else SqliteUrl(directory_of("--data", data or DATA) / DATABASE),
            token=token_of(token_file),
            instance=instance or instance_name(socket.gethostname()),
            agents=mapping_of("--agent", agent or ()),
            lost_after=parse_duration(lost_after),
            resync=parse_duration(resync),
            keep_history=parse_duration(keep_history),
        )
    )
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

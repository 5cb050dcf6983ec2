"""Verbs that start something and stay: server, agent. What they start is imported when they run."""

import socket
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli.options import directory_of, token_of
from harpoon.cli.server_options import DATA, OFF, ServerOptions, TokenFile
from harpoon.cli.values import amounts_of, existing, host_path, mapping_of, ports_of, told
from harpoon.cli.verb import verb
from harpoon.config import instance_name, parse_listen
from harpoon.model.units import parse_cpu, parse_size

#: Where an engine listens, as a rule.
SOCKET: Final = "unix:///var/run/docker.sock"
#: Server processes behind one port: more than a host has processors are of no use.
INSTANCES_MAX: Final = 64


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
    from harpoon.service import process  # noqa: PLC0415 the other verbs do without it

    raise typer.Exit(process.run_server(settings))


@verb(
    "agent",
    examples=(
        "harpoon agent --name a1 --server http://127.0.0.1:4450 --state-dir /var/lib/harpoon-agent",
        "harpoon agent --server http://10.0.0.1:4450 --listen 10.0.0.2:4451 --tag zone=b --token-file token",
        "harpoon agent --server http://10.0.0.1:4450 --cpu 4 --memory 8Gi --resource gpu=2 --ports 20000-29999",
        "harpoon agent --server http://10.0.0.1:4450 --allow-host-path /srv --allow-host-path /etc/ssl:ro",
        "harpoon agent --server http://10.0.0.1:4450 --allow-capability NET_BIND_SERVICE --docker-config auth.json",
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
    secrets_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where tasks' secrets are kept while they run.",
            metavar="DIR",
            show_default="in memory: /run or /dev/shm",
        ),
    ] = None,
    cpu: Annotated[str | None, typer.Option(help="What tasks may reserve.", show_default="all of it")] = None,
    memory: Annotated[str | None, typer.Option(help="What tasks may reserve.", show_default="all of it")] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="What tasks may reserve of something else; may be repeated.", metavar="NAME=COUNT"),
    ] = None,
    ports: Annotated[str, typer.Option(help="Ports for tasks that ask for any.", metavar="LOW-HIGH")] = "20000-29999",
    address: Annotated[
        str | None,
        typer.Option(help="Where its tasks are reached.", metavar="HOST", show_default="where it listens"),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="For placement rules; may be repeated.", metavar="K=V")] = None,
    allow_host_path: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks may have it and all below, with :ro for reading only; may be repeated.", metavar="DIR[:ro]"
        ),
    ] = None,
    artifact_max: Annotated[str, typer.Option(help="Largest file to be fetched for a task.", metavar="SIZE")] = "1Gi",
    artifact_cache: Annotated[str, typer.Option(help="Fetched files are kept in so much.", metavar="SIZE")] = "10Gi",
    artifact_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Files are fetched from it only, .NAME for all below; may be repeated.",
            metavar="NAME",
            show_default="any",
        ),
    ] = None,
    docker: Annotated[
        str, typer.Option(help="The socket of the engine that runs containers, or off.", metavar="URL")
    ] = SOCKET,
    docker_config: Annotated[
        Path | None,
        typer.Option(
            help="What docker login wrote, for registries.", metavar="FILE", show_default="~/.docker/config.json"
        ),
    ] = None,
    allow_capability: Annotated[
        list[str] | None,
        typer.Option(help="What containers may be given that ask for it; may be repeated.", metavar="NAME"),
    ] = None,
    allow_host_network: Annotated[  # noqa: FBT002 an option
        bool, typer.Option("--allow-host-network", help="Containers may use the host's own network.")
    ] = False,
    token_file: TokenFile = None,
) -> None:
    """Run the agent of this host until SIGTERM or Ctrl-C. Its tasks run on, and are found again."""
    from harpoon.agent.drivers.docker_rules import DockerRules  # noqa: PLC0415
    from harpoon.agent.settings import AgentSettings  # noqa: PLC0415
    from harpoon.service import process  # noqa: PLC0415 the other verbs do without it

    called = name or instance_name(socket.gethostname())
    host, port = told(lambda: parse_listen(listen))
    settings = told(
        lambda: AgentSettings(
            name=called,
            state_dir=directory_of("--state-dir", state_dir or DATA / called),
            secrets_dir=None if secrets_dir is None else existing("--secrets-dir", secrets_dir),
            host=host,
            port=port,
            servers=tuple(server or ()),
            token=token_of(token_file),
            cpu=None if cpu is None else parse_cpu(cpu),
            memory=None if memory is None else parse_size(memory),
            ports=ports_of(ports),
            tags=mapping_of("--tag", tag or ()),
            named=amounts_of(resource or ()),
            host_paths=tuple(host_path(one) for one in allow_host_path or ()),
            artifact_bytes_max=parse_size(artifact_max),
            artifact_cache_bytes=parse_size(artifact_cache),
            artifact_hosts=tuple(artifact_host or ()),
            address=address,
            docker=DockerRules(
                url=None if docker == OFF else docker,
                config=docker_config,
                capabilities=frozenset(allow_capability or ()),
                has_host_network=allow_host_network,
            ),
        )
    )
    raise typer.Exit(process.run_agent(settings))

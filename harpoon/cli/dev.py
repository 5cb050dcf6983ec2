"""The verb ``dev``: a server and some agents on this machine, to try things with.

Each part is a process of its own, started by the very commands that are used elsewhere, so that killing one shows
what killing one does; like a supervisor in production, ``dev`` starts it again.
"""

import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli import terminal
from harpoon.cli.children import Child, Vigil, ending, stop_groups
from harpoon.cli.run import DATA, listen_of
from harpoon.cli.verb import verb
from harpoon.client import Client
from harpoon.config import DEFAULT_LISTEN, Listen
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Unavailable

#: More agents than this on one machine show nothing new, and share its task ports.
AGENTS_MAX: Final = 10
#: Task ports: the first, and how many each agent has.
TASK_PORTS: Final = (20_000, 1_000)
#: A server and its agents are up within so long, or something is wrong.
UP_WITHIN: Final = timedelta(seconds=30)


@verb("dev", examples=("harpoon dev", "harpoon dev --agents 3 --keep-tasks", "harpoon dev --listen 127.0.0.1:5000"))
def dev(
    *,
    agents: Annotated[int, typer.Option(help="How many agents.", min=1, max=AGENTS_MAX)] = 2,
    data: Annotated[Path, typer.Option(help="Directory of all state and logs.", metavar="DIR")] = DATA,
    listen: Annotated[str, typer.Option(help="Where the server listens.", metavar="HOST:PORT")] = (
        f"{DEFAULT_LISTEN.host}:{DEFAULT_LISTEN.port}"
    ),
    keep_tasks: Annotated[bool, typer.Option("--keep-tasks", help="Leave tasks running at the end.")] = False,
) -> None:
    """Run a server and agents on this machine until Ctrl-C, then stop them and their tasks.

    Jobs stay declared in the data directory: the next run starts their tasks again.
    """
    where = listen_of(listen)
    if not where.is_loopback:
        raise Invalid(f"dev is for this machine alone and has no token; {where.host} can be reached from others")
    if not _is_free(where):
        raise Conflict(
            f"{where.host}:{where.port} is taken; is another harpoon running? "
            f"Ask it with: harpoon status, or choose another address with --listen"
        )
    data.mkdir(parents=True, exist_ok=True)
    server, agent_ports = _children(where, agents, data)
    children = [server, *agent_ports]
    with _stopped_by_signals():
        try:
            for child in children:
                child.start()
            _wait_until_up(Client(where.url), children, agents)
            _tell(where, agents, data, is_keeping=keep_tasks)
            _keep(children)
        except KeyboardInterrupt:
            pass
        finally:
            _stop(server, agent_ports, is_keeping=keep_tasks)


def _children(where: Listen, agents: int, data: Path) -> tuple[Child, dict[Child, int]]:
    """Return the server, and each agent with the port it listens at."""
    raise Unavailable("x")

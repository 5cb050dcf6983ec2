"""The verb ``dev``: a server and some agents on this machine, to try things with.

Each part is a process of its own, started by the very commands that are used elsewhere, so that killing one shows
what killing one does; like a supervisor in production, ``dev`` starts it again.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from harpoon.cli import terminal
from harpoon.cli.children import Child, ending, harpoon, stop_groups, wait_for_end
from harpoon.cli.etcd_child import EtcdChild, lay_etcd
from harpoon.cli.options import directory_of
from harpoon.cli.server_options import DATA
from harpoon.cli.session import Session
from harpoon.cli.values import host_path, listen_of, told
from harpoon.cli.verb import verb
from harpoon.config import DEFAULT_LISTEN, Listen
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, Unavailable

#: More agents than this on one machine show nothing new.
AGENTS_MAX: Final = 10
#: What agents are called, before their number.
AGENT: Final = "agent-"
#: Task ports: the first, and how many each agent has.
TASK_PORTS: Final = (20_000, 1_000)
#: A server and its agents are up within so long, or something is wrong.
UP_WITHIN: Final = timedelta(seconds=30)
#: Enough of the past to try looking back.
HISTORY_BUDGET: Final = "1d,64Mi"
#: Pause between two looks while they come up; there is nothing to watch before.
LOOK_EVERY: Final = timedelta(milliseconds=50)
#: Operations may call what else runs on this machine: it is all one user's.
_OPENED: Final = ("--http-allow", "127.0.0.0/8", "--http-allow", "::1", "--http-allow", "localhost")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DevStore(StrEnum):
    """What the registry is kept in."""

    SQLITE = "sqlite"
    #: A server of its own, started beside the others.
    ETCD = "etcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What runs."""

    where: Listen
    server: Child
    #: Each with the URL it listens at.
    agents: Sequence[tuple[Child, str]]
    #: Where each agent keeps its state.
    homes: Sequence[Path]
    etcd: EtcdChild | None

    @property
    def children(self) -> list[Child]:
        below = [] if self.etcd is None else [self.etcd.child]
        return [*below, self.server, *(agent for agent, _ in self.agents)]


@verb(
    "dev",
    examples=(
        "harpoon dev",
        "harpoon dev --agents 3 --keep-tasks",
        "harpoon dev --store etcd",
        "harpoon dev --allow-host-path /srv",
    ),
)
def dev(
    *,
    agents: Annotated[int, typer.Option(help="How many agents.", min=1, max=AGENTS_MAX)] = 2,
    data: Annotated[Path, typer.Option(help="Directory of all state and logs.", metavar="DIR")] = DATA,
    listen: Annotated[str, typer.Option(help="Where the server listens.", metavar="HOST:PORT")] = (
        f"{DEFAULT_LISTEN.host}:{DEFAULT_LISTEN.port}"
    ),
    store: Annotated[
        DevStore, typer.Option(help="What the registry is kept in; etcd is started, too.")
    ] = DevStore.SQLITE,
    allow_host_path: Annotated[
        list[str] | None,
        typer.Option(help="As of each agent: tasks may have it and all below; may be repeated.", metavar="DIR[:ro]"),
    ] = None,
    keep_tasks: Annotated[bool, typer.Option("--keep-tasks", help="Leave tasks running at the end.")] = False,
) -> None:
    """Run a server and agents on this machine until Ctrl-C, then stop them and their tasks.

    Jobs stay declared in the data directory: the next run on the same store starts their tasks again.
    """
    paths = allow_host_path or []
    told(lambda: [host_path(one) for one in paths])
    ground = _lay(listen_of(listen), agents, data, store, paths)
    with _interrupted_by_signals():
        try:
            _start(ground)
            _wait_until_up(ground)
            _tell(ground, data, is_keeping=keep_tasks)
            while True:
                for child in wait_for_end(ground.children):
                    child.start_again()
        except KeyboardInterrupt:
            terminal.say("")
        finally:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # stopping is short and bounded; it is not to be cut in half
            _stop(ground, is_keeping=keep_tasks)


def _lay(where: Listen, agents: int, data: Path, store: DevStore, paths: Sequence[str]) -> _Ground:
    """Choose addresses and directories.

    Raises:
        Invalid: The address is not for this machine alone, or there is no etcd.
        Conflict: The address is taken.
    """
    if not where.is_loopback:
        raise Invalid(f"dev is for this machine alone and has no token; {where.host} can be reached from others")
    if not _is_free(where):
        raise Conflict(
            f"{where.host}:{where.port} is taken; is another harpoon running there? Ask it with: harpoon status, "
            "or choose another address with --listen"
        )
    etcd = lay_etcd(data, is_free=_is_free) if store is DevStore.ETCD else None
    try:
        directory_of("--data", data).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(f"--data {data}: {error.strerror}") from error
    keys = data / "secrets.keys"
    _make_keys(keys)
    kept = ("--data", str(data / "server")) if etcd is None else ("--store", etcd.store)
    past = ("--history", str(data / f"{store}-history"), "--history-budget", HISTORY_BUDGET)
    server = Child(
        "server",
        harpoon("server", "--listen", _text(where), "--secrets-key-file", str(keys), *_OPENED, *kept, *past),
        data / "server.log",
    )
    # An agent obeys the registry with the highest token it has seen: one on another store would not be heard.
    prefix = "" if store is DevStore.SQLITE else f"{store}-"
    homes = [data / f"{prefix}{AGENT}{number}" for number in range(1, agents + 1)]
    return _Ground(where=where, server=server, agents=_lay_agents(where, data, homes, paths), homes=homes, etcd=etcd)


def _make_keys(file: Path) -> None:
    """Make the keys that secrets are encrypted with, if there are none yet."""
    from harpoon.control import keyring  # noqa: PLC0415 loading it takes longer than looking whether it is needed

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(f"{keyring.new_key('dev')}\n")


def _lay_agents(where: Listen, data: Path, homes: Sequence[Path], paths: Sequence[str]) -> list[tuple[Child, str]]:
    laid: list[tuple[Child, str]] = []
    allowed = [word for path in paths for word in ("--allow-host-path", path)]
    port = where.port
    for number, home in enumerate(homes, start=1):
        port = next(free for free in range(port + 1, 65536) if _is_free(Listen(where.host, free)))
        at, name = Listen(where.host, port), f"{AGENT}{number}"
        low = TASK_PORTS[0] + (number - 1) * TASK_PORTS[1]
        command = harpoon("agent", "--name", name, "--server", where.url, "--listen", _text(at))
        command += ("--state-dir", str(home), "--ports", f"{low}-{low + TASK_PORTS[1] - 1}", *allowed)
        laid.append((Child(name, command, data / f"{name}.log"), at.url))
    return laid


def _start(ground: _Ground) -> None:
    """Start everything; the store first, for the server does not start without it.

    Raises:
        HarpoonError: The store does not start; with the end of its log.
    """
    for child in ground.children:
        child.start()
        if ground.etcd is not None and child is ground.etcd.child:
            deadline = SystemClock().now().elapsed + UP_WITHIN
            while not ground.etcd.is_well():
                _check_alive(child)
                if SystemClock().now().elapsed > deadline:
                    raise HarpoonError(f"{child.name} is not there after {UP_WITHIN.seconds} s. {child.last_words()}")
                time.sleep(LOOK_EVERY.total_seconds())


def _check_alive(child: Child) -> None:
    if child.returncode is not None:
        raise HarpoonError(f"{child.name} did not start ({ending(child.returncode)}). {child.last_words()}")


def _wait_until_up(ground: _Ground) -> None:
    """Wait until the server answers and every agent is connected.

    Raises:
        HarpoonError: One of them ended, or it takes too long; with the end of its log.
    """
    names = {agent.name for agent, _ in ground.agents}
    deadline = SystemClock().now().elapsed + UP_WITHIN
    missing = {ground.server.name}
    while SystemClock().now().elapsed < deadline:
        for child in ground.children:
            _check_alive(child)
        try:
            with Session(ground.where.url) as session:
                told = session.get("agents").body["items"]
        except Unavailable:
            told = []
        else:
            missing = names - {agent["name"] for agent in told if agent["link"]["state"] == "connected"}
        if not missing:
            return
        time.sleep(LOOK_EVERY.total_seconds())
    late = next(child for child in ground.children if child.name in missing)
    raise HarpoonError(f"{late.name} is not there after {UP_WITHIN.seconds} s. {late.last_words()}")


def _tell(ground: _Ground, data: Path, *, is_keeping: bool) -> None:
    server = "" if ground.where == DEFAULT_LISTEN else f" --server {ground.where.url}"
    names = ", ".join(f"{agent.name} (pid {agent.pid})" for agent, _ in ground.agents)
    end = "stops the server and the agents; tasks run on" if is_keeping else "stops everything, tasks too"
    store = "" if ground.etcd is None else f", etcd {ground.etcd.where.url} (pid {ground.etcd.child.pid})"
    terminal.say(
        f"harpoon runs: server {ground.where.url} (pid {ground.server.pid}), {names}{store}\n"
        f"state and logs: {data}\n\n"
        "In another terminal:\n"
        f"  harpoon schedule FILE{server}     (examples/web.yaml of the source, or any manifest of yours)\n"
        f"  harpoon get tasks{server}\n"
        f"  harpoon watch{server}\n\n"
        f"Ctrl-C {end}."
    )


def _stop(ground: _Ground, *, is_keeping: bool) -> None:
    """Stop the server first, so that nothing is started in place of what ends; the store last."""
    terminal.say("stopping the server and the agents")
    ground.server.stop()
    groups = [] if is_keeping else [group for agent, url in ground.agents for group in _groups(agent, url)]
    for agent, _ in ground.agents:
        agent.stop()
    if is_keeping:
        terminal.say("tasks run on; the next harpoon dev on the same data finds them again")
    elif groups:
        count = stop_groups(groups)
        _clear_groups(ground)
        terminal.say(f"stopped {count} task{'' if count == 1 else 's'}; their jobs stay declared")
    if ground.etcd is not None:
        ground.etcd.child.stop()


def _clear_groups(ground: _Ground) -> None:
    """Kill what tasks have left in their control groups, and remove those."""
    from harpoon.agent.drivers.groups import clear_groups  # noqa: PLC0415 the other verbs do without it

    for home in ground.homes:
        clear_groups(home)


def _groups(agent: Child, url: str) -> list[int]:
    """Return the process groups of the tasks that an agent runs: each has one of its own."""
    try:
        with Session(url) as session:
            tasks = session.get("tasks").body["tasks"]
    except HarpoonError as error:
        terminal.say(f"tasks of {agent.name} may run on: {error}")
        return []
    groups = []
    for task in tasks:
        if task.get("pid") and task["state"] in ("starting", "running", "stopping"):
            with suppress(ProcessLookupError):
                groups.append(os.getpgid(task["pid"]))
    return groups


def _is_free(where: Listen) -> bool:
    """Whether one may listen there; an address in TIME_WAIT counts as free, as it does for the server."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.host, where.port))
        except OSError:
            return False
    return True


def _text(where: Listen) -> str:
    return f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and the terminal's end do what Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

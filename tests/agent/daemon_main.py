"""A real agent's daemon as a process of its own: settings as JSON on the command line, the port on stdout."""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from pathlib import Path

import structlog

from harpoon.agent.daemon import serve
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.agent.settings import AgentSettings
from harpoon.kit.clock import SystemClock, system_random
from harpoon.model.agent import PortRange
from harpoon.model.volumes import HostPath

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def main(told: dict) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    told |= {"state_dir": Path(told["state_dir"]), "servers": tuple(told.get("servers", ()))}
    told["ports"] = PortRange(low=told["ports"][0], high=told["ports"][1])
    told["host_paths"] = tuple(HostPath(**one) for one in told.get("host_paths", ()))
    if "docker" in told:
        told["docker"] = DockerRules(url=told["docker"])
    if "register_after" in told:
        told["register_after"] = timedelta(seconds=told["register_after"])
    if "secrets_dir" in told:
        told["secrets_dir"] = Path(told["secrets_dir"])
    settings = AgentSettings(**told)
    await serve(
        settings, clock=SystemClock(), rng=system_random(), stop=stop, ready=lambda port: print(port, flush=True)
    )


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))

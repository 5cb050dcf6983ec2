"""From a launch to the container that the engine is told to make, which gets nothing that it did not ask for."""

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, Final

from harpoon.agent.drivers.box import Box, Mount
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.agent.drivers.handle import Launch
from harpoon.agent.drivers.limits import share
from harpoon.kit.errors import Invalid
from harpoon.model.container import HOST

#: Processes and threads of a container that says nothing of them: one that forks without end takes no more.
PIDS: Final = 4096
#: What the engine keeps of a container's output until the agent has read it. It replaces bytes that are no text; but
#: ``local``, which keeps them, loses ends of lines with engine 20.10.
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}}
_AGENT: Final = "harpoon.agent"
LAUNCH: Final = "harpoon.launch"


def label_of(agent: str) -> str:
    """Return what all containers of an agent are labelled with; anybody else may label theirs so too."""
    return f"{_AGENT}={agent}"


def config_of(launch: Launch, rules: DockerRules, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the container of a launch.

    Args:
        launch: One that has a box.
        rules: What may be.
        labels: Told of the container besides.

    Raises:
        Invalid: It asks for what must not be here.
    """
    box = launch.container
    assert box is not None, "it is a container's"
    _check(box, rules)
    config: dict[str, Any] = {
        "Image": box.image,
        "Env": [f"{name}={value}" for name, value in launch.environment.items()],
        "Labels": dict(labels),
        "ExposedPorts": {f"{port}/tcp": {} for port in box.ports},
        "HostConfig": _host(launch, box),
    }
    if launch.arguments:
        config |= {"Entrypoint": list(launch.arguments), "Cmd": []}
    if launch.directory:
        config["WorkingDir"] = launch.directory
    if box.user is not None:
        config["User"] = box.user
    return config


def labels_of(box: Box, agent: str, nonce: str) -> dict[str, str]:
    """Return the labels of a container."""
    return {"harpoon.cluster": box.cluster, "harpoon.task": box.task, _AGENT: agent, LAUNCH: nonce}


def _host(launch: Launch, box: Box) -> dict[str, Any]:
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "CapAdd": sorted(box.capabilities),
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": box.read_only_root,
        "PidsLimit": launch.resources.pids or PIDS,
        # As for processes: a task that reserves none gets what others leave.
        "CpuShares": int(share(launch.resources.cpu, is_unified=False).value),
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _LOG,
        # A program that is no init does not end by TERM as the first process; an image's own command is left as it is.
        "Init": bool(launch.arguments),
    }
    if memory := launch.resources.memory:
        host |= {"Memory": memory, "MemorySwap": memory}
    if box.network is not None:
        host["NetworkMode"] = box.network
    if box.ports and box.network != HOST:
        at = _published_at(box.address)
        host["PortBindings"] = {f"{port}/tcp": [{"HostIp": at, "HostPort": str(port)}] for port in box.ports}
    if box.mounts:
        host["Mounts"] = [_mount(one) for one in box.mounts]
    return host


def _mount(mount: Mount) -> dict[str, Any]:
    """Return a mount without those below it: one that is for reading only would not keep them from being written."""
    alone = {"NonRecursive": True, "Propagation": "rprivate"}
    return {
        "Type": "bind",
        "Source": mount.host,
        "Target": mount.at,
        "ReadOnly": mount.read_only,
        "BindOptions": alone,
    }


def _check(box: Box, rules: DockerRules) -> None:
    if refused := sorted({*box.capabilities} - rules.capabilities):
        names = ", ".join(refused)
        raise Invalid(f"capabilities: this agent allows no {names}; its operator may, with --allow-capability")
    if box.network == HOST and not rules.has_host_network:
        raise Invalid("network: this agent allows no host network; its operator may, with --allow-host-network")


def _published_at(address: str) -> str:
    """Return the address of this host to publish at: the agent's own, or all where that is no address of this host."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError):
        return ""
    return address

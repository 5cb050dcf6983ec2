"""What a task in a container may ask for: the words of its fields."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

CAPABILITIES_MAX: Final = 32
IMAGE_MAX: Final = 512
IMAGE_PATTERN: Final = (
    r"^((localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)(:[0-9]{1,5})?/|[A-Za-z0-9-]+:[0-9]{1,5}/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
CAPABILITY_PATTERN: Final = "^[A-Z][A-Z_]{2,40}$"
NETWORK_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"

#: The network of the agent's own host.
HOST: Final = "host"
#: No network but the container's own loopback.
NONE: Final = "none"

_IMAGE: Final = re.compile(IMAGE_PATTERN, re.ASCII)
_CAPABILITY: Final = re.compile(CAPABILITY_PATTERN, re.ASCII)
_NETWORK: Final = re.compile(NETWORK_PATTERN, re.ASCII)


class Pull(StrEnum):
    """When an image is fetched from its registry."""

    #: When the engine does not have it.
    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


def check(image: str, network: str | None, capabilities: Sequence[str]) -> None:
    """Refuse what says nothing that an engine understands.

    Raises:
        ValueError: It does not; the message says what would be right.
    """
    if len(image) > IMAGE_MAX or _IMAGE.fullmatch(image) is None:
        raise ValueError("image is a name such as nginx:1.25, registry.example/team/web:2 or …@sha256:<64 digits>")
    if network is not None and _NETWORK.fullmatch(network) is None:
        raise ValueError(f"network is the name of one of the engine's networks, {HOST} or {NONE}")
    if len(capabilities) > CAPABILITIES_MAX:
        raise ValueError(f"capabilities holds at most {CAPABILITIES_MAX}")
    for name in capabilities:
        if name == "ALL" or name.startswith("CAP_") or _CAPABILITY.fullmatch(name) is None:
            raise ValueError("a capability is a single one, without CAP_, such as NET_BIND_SERVICE")

"""Which engine an agent runs containers with, and what its operator lets them do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harpoon.model import container

#: Where an engine of this host listens, as a rule.
SOCKET: Final = "unix:///var/run/docker.sock"
_SCHEME: Final = "unix://"


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRules:
    """What the operator of one agent decided.

    Raises:
        ValueError: It says nothing; the message says what would be right.
    """

    #: The engine's socket; None: no containers here.
    url: str | None = SOCKET
    #: Where ``docker login`` keeps what registries want to see; None: where it does for the agent's own user.
    config: Path | None = None
    #: What containers may be given that ask for it.
    capabilities: frozenset[str] = frozenset()
    #: Whether containers may use the host's own network.
    has_host_network: bool = False

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(f"{_SCHEME}/"):
            raise ValueError(f"an engine is asked at its socket, such as {SOCKET}; got {self.url!r}")
        container.check("x", None, sorted(self.capabilities))

    @property
    def socket(self) -> str | None:
        """The path of the engine's socket."""
        return None if self.url is None else self.url.removeprefix(_SCHEME)

"""What a container is to be made of, as its task asks for it; whether it may be is for the driver to say."""

from dataclasses import dataclass

from harpoon.model.container import Pull


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory or file of the host that is seen in the container; that it may be, is decided."""

    #: Without links.
    host: str
    at: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The container of one launch, beside what every launch has: its arguments and its environment."""

    task: str
    cluster: str
    image: str
    pull: Pull = Pull.MISSING
    #: None: as the image says.
    user: str | None = None
    read_only_root: bool = False
    capabilities: tuple[str, ...] = ()
    #: None: the engine's bridge.
    network: str | None = None
    #: Published as they are: the same number inside as outside.
    ports: tuple[int, ...] = ()
    #: Where they are published.
    address: str = ""
    mounts: tuple[Mount, ...] = ()

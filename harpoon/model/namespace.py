"""A namespace: a name that jobs share, and how much they may reserve together.

Any job may name any namespace, declared or not. A declared one has a record, and perhaps a quota; one without a limit
is unlimited in that.
"""

from dataclasses import dataclass
from typing import Literal

from harpoon.model.name import check_name
from harpoon.model.units import Cpu, Size

#: Of tasks and of jobs: more than there can ever be.
COUNT_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What the jobs of a namespace may reserve together at full scale; left out: as much as they like."""

    #: Of all slots together, likewise memory.
    cpu: Cpu | None = None
    memory: Size | None = None
    #: Slots, of all jobs together.
    tasks: int | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        if any(count is not None and not 0 <= count <= COUNT_MAX for count in (self.tasks, self.jobs)):
            raise ValueError(f"tasks and jobs are 0 to {COUNT_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the jobs of a namespace reserve at full scale; those that are being unscheduled do not count."""

    cpu: Cpu = 0
    memory: Size = 0
    #: Slots, of all jobs together.
    tasks: int = 0
    jobs: int = 0


#: Nothing is limited.
UNLIMITED = Quota()
#: Nothing is used.
UNUSED = Use()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSpec:
    """All that an operator declares about a namespace beside its name."""

    quota: Quota = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceMetadata:
    """What identifies a namespace."""

    name: str

    def __post_init__(self) -> None:
        check_name("name", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceManifest:
    """A namespace as an operator writes it."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Namespace"]
    metadata: NamespaceMetadata
    spec: NamespaceSpec = NamespaceSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace as declared: the record in the registry.

    It is written anew with whatever makes its jobs reserve more: of two such commits at once, one fails, and is decided
    again on what the other has left.
    """

    name: str
    quota: Quota
    created_ms: int
    #: When its quota was changed last.
    updated_ms: int
    #: Of what made its jobs reserve more last: another for each.
    seal: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """One limit of a quota that would be passed."""

    namespace: str
    #: ``cpu``, ``memory``, ``tasks`` or ``jobs``.
    field: str
    #: What is reserved now, as it is written in a manifest.
    used: str
    #: What would be.
    wanted: str
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceStatus:
    """How much of its quota a namespace uses."""

    used: Use
    #: One sentence for each limit that is passed, as when it was lowered: nothing is stopped, and nothing more fits.
    over: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceInfo:
    """What identifies a namespace, and the registry knows of it."""

    name: str
    #: Null: it was never declared, but jobs name it.
    created_ms: int | None
    #: When its quota was changed last.
    updated_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceObject:
    """A namespace as it is shown: its manifest with defaults, and what its jobs use of it."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Namespace"]
    metadata: NamespaceInfo
    spec: NamespaceSpec
    status: NamespaceStatus

"""A job's versions as they are shown, and the order to bring one back."""

from collections.abc import Mapping
from dataclasses import dataclass

from harpoon.model.job import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVersion:
    """One version of a job that is kept."""

    version: int
    generation: str
    #: When it was declared, UTC milliseconds.
    at_ms: int
    tags: Mapping[str, str]
    #: With defaults filled in.
    spec: Spec
    #: Whether the job stands like this now.
    is_current: bool
    #: The version that this one brought back.
    reverted_from: int | None
    #: How many placements were made for it and still stand.
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionList:
    """The versions of a job that are kept, newest first."""

    revision: str
    items: tuple[ShownVersion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The order to bring an earlier version back."""

    #: Which; absent: the newest earlier one whose spec is another than the present.
    version: int | None = None

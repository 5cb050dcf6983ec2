"""The events of streams, as nouns: what a watch tells, and what the stream of a job's endpoints tells."""

from dataclasses import dataclass
from typing import Literal

from harpoon.model.shown import AgentObject, Endpoint, JobObject
from harpoon.model.status import TaskObject
from harpoon.model.task import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class JobItem:
    """A job in a watch."""

    kind: Literal["job"]
    #: ``<namespace>/<job>``.
    key: str
    #: Absent in a snapshot.
    type: Literal["put", "delete"] | None = None
    #: Absent when it is deleted.
    object: JobObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementItem:
    """A placement in a watch."""

    kind: Literal["placement"]
    #: ``<agent>/<task>``.
    key: str
    #: Absent in a snapshot.
    type: Literal["put", "delete"] | None = None
    #: Absent when it is deleted.
    object: Placement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskItem:
    """A task in a watch."""

    kind: Literal["task"]
    #: ``<agent>/<task>``.
    key: str
    #: Absent in a snapshot.
    type: Literal["put", "delete"] | None = None
    #: Absent when it is deleted.
    object: TaskObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentItem:
    """An agent in a watch."""

    kind: Literal["agent"]
    #: Its name.
    key: str
    #: Absent in a snapshot.
    type: Literal["put", "delete"] | None = None
    #: Absent when it is deleted.
    object: AgentObject | None = None


Item = JobItem | PlacementItem | TaskItem | AgentItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that was selected, as it stood at one revision: the first event of a watch without ``after``."""

    type: Literal["snapshot"]
    revision: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The snapshot is complete; from here on changes are told."""

    type: Literal["synced"]
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that one revision changed of what was selected, in its order."""

    type: Literal["change"]
    revision: str
    changes: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Nothing is missing up to this revision."""

    type: Literal["bookmark"]
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamError:
    """Why the stream ends; the last event."""

    type: Literal["error"]
    #: ``slow_reader``, ``gone`` or ``unavailable``.
    code: str
    detail: str = ""
    #: The oldest revision that can be resumed from, when the history asked for is gone.
    oldest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """The instance stops: come back at once, to another or to this one. As server-sent events, a comment."""

    type: Literal["bye"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsEvent:
    """The whole list of a job's endpoints: first as it is, then again each time that it differs."""

    type: Literal["endpoints"]
    revision: str
    endpoints: tuple[Endpoint, ...]


WatchEvent = Snapshot | Synced | Changes | Bookmark | StreamError | Bye
EndpointsStreamEvent = EndpointsEvent | Bookmark | StreamError | Bye

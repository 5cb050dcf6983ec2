"""A watch's messages as nouns.

Each object is decoded as what its ``kind`` says it is: trying one kind after another would take six times as long, and
a busy registry tells tens of thousands of changes a second.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from harpoon.client.caller import noun_of
from harpoon.client.watch import Told
from harpoon.kit.errors import HarpoonError
from harpoon.model.run_watched import (
    RunBookmark,
    RunChange,
    RunOver,
    RunsChange,
    RunSnapshot,
    RunsSnapshot,
    RunSynced,
)
from harpoon.model.watched import (
    AgentItem,
    Bookmark,
    Changes,
    Item,
    JobItem,
    PlacementItem,
    Snapshot,
    Synced,
    TaskItem,
)

#: What a watch yields; how it ends is told by errors.
Message = (
    Snapshot | Synced | Changes | Bookmark
    | RunsSnapshot | RunsChange
    | RunSnapshot | RunSynced | RunChange | RunBookmark | RunOver
)  # fmt: skip

_KINDS: Final[Mapping[str, Any]] = {
    "job": JobItem,
    "placement": PlacementItem,
    "task": TaskItem,
    "agent": AgentItem,
}
_RUN_ITEMS: Final = frozenset({"run", "workflow"})
#: Of a watch of many runs: they have members of their own.
_OF_RUNS: Final[Mapping[str, Any]] = {"snapshot": RunsSnapshot, "change": RunsChange}
#: Of a watch of one run, which is told by the numbers of its events.
_OF_ONE_RUN: Final[Mapping[str, Any]] = {
    "snapshot": RunSnapshot,
    "synced": RunSynced,
    "change": RunChange,
    "bookmark": RunBookmark,
    "over": RunOver,
}


def message_of(told: Told, url: str) -> Message | None:
    """Read a message; None for one of a type that is not known here.

    Raises:
        HarpoonError: It is of a known type, but not like that.
    """
    message = told.message
    try:
        match message.get("type"):
            case str() as type_ if "seq" in message:
                return (
                    None if (kind := _OF_ONE_RUN.get(type_)) is None else cast("Message", noun_of(kind, told.data, url))
                )
            case "change" | "snapshot" as type_ if _is_of_runs(message):
                return cast("Message", noun_of(_OF_RUNS[type_], told.data, url))
            case "change":
                changes = _items(message["changes"], url)
                return Changes(type="change", revision=str(message["revision"]), changes=changes)
            case "snapshot":
                return Snapshot(type="snapshot", revision=str(message["revision"]), items=_items(message["items"], url))
            case "synced":
                return Synced(type="synced", revision=str(message["revision"]))
            case "bookmark":
                return Bookmark(type="bookmark", revision=str(message["revision"]))
            case _:
                return None
    except (KeyError, TypeError) as error:
        raise HarpoonError(f"{url} tells a message that lacks something: {error}") from error


def _is_of_runs(message: Mapping[str, Any]) -> bool:
    items = message.get("items") or message.get("changes") or ()
    return "events" in message or any(item["kind"] in _RUN_ITEMS for item in items[:1])


def _items(items: Sequence[Mapping[str, Any]], url: str) -> tuple[Item, ...]:
    return tuple(noun_of(_KINDS[item["kind"]], orjson.dumps(item), url) for item in items)

"""A watch's messages as nouns.

Each object is decoded as what its ``kind`` says it is: trying one kind after another would take six times as long, and
a busy registry tells tens of thousands of changes a second.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from harpoon.client.caller import noun_of
from harpoon.client.watch import Told
from harpoon.kit.errors import HarpoonError
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
Message = Snapshot | Synced | Changes | Bookmark

_KINDS: Final[Mapping[str, Any]] = {
    "job": JobItem,
    "placement": PlacementItem,
    "task": TaskItem,
    "agent": AgentItem,
}


def message_of(told: Told, url: str) -> Message | None:
    """Read a message; None for one of a type that is not known here.

    Raises:
        HarpoonError: It is of a known type, but not like that.
    """
    message = told.message
    try:
        match message.get("type"):
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


def _items(items: Sequence[Mapping[str, Any]], url: str) -> tuple[Item, ...]:
    return tuple(noun_of(_KINDS[item["kind"]], orjson.dumps(item), url) for item in items)

"""Which cluster a store belongs to, and in which life: the record that a server reads before all others.

The incarnation counts the lives of a registry. It rises when the registry goes on in another store, whose revisions
are others, so that tokens and revisions of both can be told apart and the older ones be refused.
"""

from typing import Any, Final, NamedTuple

import orjson

from harpoon.kit.errors import Conflict, HarpoonError
from harpoon.store.port import Compare, Put, Store

#: Everything of a registry; whatever else lies in a store is somebody else's.
REGISTRY: Final = "/h/1/"
CLUSTER: Final = "/h/1/ctl/meta/cluster"
#: Stands while a registry is being copied or restored into this store.
COPYING: Final = "/h/1/ctl/meta/copying"


class Cluster(NamedTuple):
    """What the record says."""

    id: str
    incarnation: int


async def found(store: Store, fresh: str) -> Cluster:
    """Return the cluster that a store belongs to; a new store is made that of the cluster ``fresh``.

    Raises:
        Conflict: The store holds an unfinished copy.
        HarpoonError: Its record cannot be read.
        StoreUnavailable: The store could not answer.
    """
    # A store that takes no more writes may still be read.
    if await store.get(CLUSTER) is None:
        record = orjson.dumps({"cluster": fresh, "incarnation": 1})
        await store.commit((Compare(CLUSTER, mod=0), Compare(COPYING, mod=0)), (Put(CLUSTER, record),))
    if await store.get(COPYING) is not None:
        raise Conflict(
            "a registry was being brought into this store, and that was not finished: run the same harpoon store copy "
            "or harpoon restore again, which begins anew; or, after a copy, start the server on the store it came from"
        )
    entry = await store.get(CLUSTER)
    assert entry is not None, "it is there unless the store is being copied into, and never deleted"
    return read(entry.value)


def read(value: bytes) -> Cluster:
    """Read the record.

    Raises:
        HarpoonError: It is none.
    """
    record = _record(value)
    return Cluster(record["cluster"], record["incarnation"])


def risen(value: bytes, now_ms: int) -> bytes:
    """Return the record of the cluster's next life, which begins now; what else it says stays.

    The clock makes it higher than that of a copy made earlier from the same store.

    Raises:
        HarpoonError: It is no such record.
    """
    record = _record(value)
    return orjson.dumps({**record, "incarnation": max(record["incarnation"] + 1, now_ms // 1000)})


def _record(value: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(value)
        is_one = isinstance(record["cluster"], str) and isinstance(record["incarnation"], int)
    except (ValueError, TypeError, KeyError):
        is_one = False
        record = None
    if not is_one:
        raise HarpoonError(f"{CLUSTER} cannot be read: it names no cluster and incarnation")
    assert isinstance(record, dict)
    return record

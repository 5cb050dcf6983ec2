"""The keys and records of the ledger: how runs stand in the store.

=============================================  ======================================================================
key, after ``/h/1/run/``                       value
=============================================  ======================================================================
``runs/<shard>/<ns>/<run>``                    the header: what the run was started with, its first event, how it stands
``log/<shard>/<ns>/<run>/<seq>``               the events of one commit from number ``seq`` on, in a JSON array
``log/<shard>/<ns>/<run>/<name>.<n>``          a part of a record that is too large for one commit
``gone/<shard>/<ns>/<run>``                    what is left of a run that is not kept any more
=============================================  ======================================================================

A record that is too large is cut into parts, which are written first, one commit after the other; the record itself
then says only how many they are, and is written last. So it is there as a whole or not at all: parts that no record
names mean nothing, and are written over or deleted with the run.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, NamedTuple
from zlib import crc32

import orjson

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.header import Header
from harpoon.model.sub_run import family_of
from harpoon.model.tombstone import Tombstone
from harpoon.store.port import Put

ROOT: Final = "/h/1/run/"
RUNS: Final = ROOT + "runs/"
LOG: Final = ROOT + "log/"
GONE: Final = ROOT + "gone/"
#: Fixed when a registry is made: it says which keys a run has.
SHARDS: Final = 64
#: Of one part of a record; it is a commit of its own.
PART_BYTES: Final = 896 << 10
#: No JSON begins with it.
_CUT: Final = b"~"
#: Where begins what changes of a header. In that of an open run it is the last of these: quotes in text are escaped.
_STANDING: Final = b',"status":'
#: In every header of an open run, and in few others.
OPEN: Final = b',"status":"running"'


def shard_of(key: str) -> int:
    """Return the shard of a run, given ``<namespace>/<run>``; sub-runs have that of the run that began their family."""
    return crc32(family_of(key).encode()) % SHARDS


def run_key(namespace: str, run: str) -> str:
    """Return what a run is called in all keys."""
    return f"{namespace}/{run}"


def prefix_of(root: str, shard: int) -> str:
    """Return where one kind of record of a shard stands."""
    return f"{root}{shard:02d}/"


class Place(NamedTuple):
    """Where the records of one shard stand."""

    runs: str
    log: str
    gone: str

    @classmethod
    def of(cls, shard: int) -> "Place":
        """Return the place of a shard."""
        return cls(prefix_of(RUNS, shard), prefix_of(LOG, shard), prefix_of(GONE, shard))


def fixed_part(header: Header) -> bytes:
    """Return the part of a header that never changes, as it is stored; `header_record` adds the rest."""
    told: dict[str, object] = {
        "namespace": header.namespace,
        "run": header.run,
        "workflow": header.workflow,
        "generation": header.generation,
        "body_hash": header.body_hash,
        "created_ms": header.created_ms,
        "deadline_ms": header.deadline_ms,
        "started": header.started,
    }
    if header.inputs:
        told["inputs"] = header.inputs
    if header.tags:
        told["tags"] = header.tags
    if header.origin:
        told |= {"origin": header.origin, "forked_ms": header.forked_ms}
    if header.caller is not None:
        told["caller"] = asdict(header.caller)
    if header.forms:
        told["forms"] = header.forms
    if header.secret:
        told["secret"] = header.secret
    return orjson.dumps(told)[:-1]


def header_record(fixed: bytes, standing: Mapping[str, object]) -> bytes:
    """Return a header as it is stored.

    Args:
        fixed: The part that never changes.
        standing: The fields that do; ``status`` first, and those at their defaults left out.
    """
    return b"%b,%b" % (fixed, orjson.dumps(standing)[1:])


def fixed_of(record: bytes) -> bytes:
    """Return the part that never changes of an open run's header."""
    return record[: record.rindex(_STANDING)]


def fixed_of_ended(record: bytes) -> bytes:
    """Return the part that never changes of the header of a run that is over, whose outputs may say anything.

    Raises:
        Invalid: It has none.
    """
    at = record.find(_STANDING)
    while at >= 0:
        # Inside of anything, what stands before it is not whole.
        with suppress(orjson.JSONDecodeError):
            orjson.loads(record[:at] + b"}")
            return record[:at]
        at = record.find(_STANDING, at + 1)
    raise Invalid("the header does not tell how the run stands")


def load_header(record: bytes) -> Header:
    """Return a header, given its whole record.

    Raises:
        Invalid: It is none.
    """
    return codec.load(Header, record)


def load_events(record: bytes) -> list[list[Any]]:
    """Return the events of one record of a log, as they are written.

    Raises:
        Invalid: It is none.
    """
    try:
        events = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"not a record of a log: {error}") from error
    if not isinstance(events, list):
        raise Invalid("not a record of a log: it is no array")
    return events


def load_tombstone(record: bytes) -> Tombstone:
    """Return what is left of a run.

    Raises:
        Invalid: It is not that.
    """
    return codec.load(Tombstone, record)


def log_name(seq: int) -> str:
    """Return the name of the record that begins with an event, given the event's number; they sort by it."""
    return f"{seq:08d}"


def cut(stem: str, name: str, record: bytes) -> tuple[bytes, list[Put]]:
    """Cut a record that is too large for one commit.

    Args:
        stem: Of the run's log; ends with a slash.
        name: Names the parts; no two records of a run have the same.
        record: What is to be stored.

    Returns:
        What is to be stored in its place, and the parts that are to be written before.
    """
    parts = [record[at : at + PART_BYTES] for at in range(0, len(record), PART_BYTES)]
    puts = [Put(f"{stem}{name}.{number:03d}", part) for number, part in enumerate(parts)]
    return b"%b%d %b" % (_CUT, len(parts), name.encode()), puts


def is_cut(record: bytes) -> bool:
    """Whether the record was cut; see `whole`."""
    return record.startswith(_CUT)


def parts_of(record: bytes) -> list[str]:
    """Return the names of the parts of a record that was cut."""
    count, _, name = record[1:].decode().partition(" ")
    return [f"{name}.{number:03d}" for number in range(int(count))]


def whole(record: bytes, parts: Mapping[str, bytes]) -> bytes:
    """Return a record as it was before it was cut, if it was.

    Args:
        record: As it stands.
        parts: Name → part, at least those that it names.
    """
    return b"".join([parts[name] for name in parts_of(record)]) if is_cut(record) else record

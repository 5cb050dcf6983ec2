"""Between the contract's nouns and etcd's messages: pure, nothing is sent here.

Keys are text here and UTF-8 bytes there; both are ordered alike.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from harpoon.store.commit import prefix_end
from harpoon.store.etcd import rpc_pb2 as pb
from harpoon.store.port import Change, Compare, Entry, Put, Write

#: etcd counts what a transaction may put, in order to refuse it when there is no space left, but does not look into
#: transactions within it. So a batch has a put in the branch that is never taken.
_COUNTED = pb.RequestOp(request_put=pb.PutRequest(key=b"/h/"))
#: As the end of a range: every key from its beginning on. As a key: lower than any.
_OPEN = b"\0"
_mod_revision = attrgetter("kv.mod_revision")


def span(prefix: str) -> tuple[bytes, bytes]:
    """Return the first key of all keys under a prefix, and the first one above them."""
    end = prefix_end(prefix)
    return prefix.encode() or _OPEN, _OPEN if end is None else end.encode()


def entries(kvs: Sequence[pb.KeyValue]) -> tuple[Entry, ...]:
    """Return keys as etcd tells them; one that is no text is somebody else's, and left out."""
    try:
        return tuple([_entry(kv) for kv in kvs])
    except UnicodeDecodeError:
        return tuple([_entry(kv) for kv in kvs if _is_text(kv.key)])


def transaction(compares: Iterable[Compare], writes: Iterable[Write], leases: dict[str, int]) -> pb.TxnRequest:
    """Return a commit as a transaction; ``leases`` are the ids of those that keys are put under."""
    return pb.TxnRequest(
        compare=[_compare(compare) for compare in compares], success=[_operation(write, leases) for write in writes]
    )


def nested(commits: Iterable[pb.TxnRequest], *, is_put: bool) -> pb.TxnRequest:
    """Return one transaction that does each of several, or not, by its own compares.

    Args:
        commits: None writes a key that another one names.
        is_put: Whether any of them puts a key, which etcd refuses when it has no space left.
    """
    success = [pb.RequestOp(request_txn=commit) for commit in commits]
    return pb.TxnRequest(success=success, failure=[_COUNTED] if is_put else [])


def outcome(response: pb.TxnResponse) -> int | None:
    """Return what became of a transaction."""
    return response.header.revision if response.succeeded else None


def outcomes(response: pb.TxnResponse) -> list[int | None]:
    """Return what became of each transaction within one."""
    revision = response.header.revision
    return [revision if each.response_txn.succeeded else None for each in response.responses]


def revisions(events: Sequence[pb.Event]) -> Iterable[tuple[int, tuple[Change, ...]]]:
    """Return the changes that a watch tells, by revision; all of one revision are told at once."""
    for revision, group in groupby(events, _mod_revision):
        told = list(group)
        try:
            changes = [_change(event) for event in told]
        except UnicodeDecodeError:
            changes = [_change(event) for event in told if _is_text(event.kv.key)]
        yield revision, tuple(changes)


def _entry(kv: pb.KeyValue) -> Entry:
    return Entry(kv.key.decode(), kv.value, kv.create_revision, kv.mod_revision)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _compare(compare: Compare) -> pb.Compare:
    key = compare.key.encode()
    if compare.mod is not None:
        return pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=compare.mod)
    assert compare.create is not None, "a compare is on one of the two"
    return pb.Compare(key=key, target=pb.Compare.CREATE, create_revision=compare.create)


def _operation(write: Write, leases: dict[str, int]) -> pb.RequestOp:
    key = write.key.encode()
    if isinstance(write, Put):
        return pb.RequestOp(request_put=pb.PutRequest(key=key, value=write.value, lease=leases.get(write.key, 0)))
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))


def _change(event: pb.Event) -> Change:
    kv = event.kv
    key = kv.key.decode()
    if event.type == pb.Event.DELETE:
        return Change(key, None)
    return Change(key, Entry(key, kv.value, kv.create_revision, kv.mod_revision))

"""What an error of etcd means for whoever asked: pure, a table of etcd's own words.

A status code alone does not tell: etcd answers UNAVAILABLE both before it has tried anything (no leader) and when
nobody knows any more (the leader changed). What is not in the table is taken at its worst.
"""

from dataclasses import dataclass
from typing import Final

import grpc

from harpoon.store.port import StoreUnavailable, Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to make of an error."""

    trouble: Trouble
    #: Whether a write may have happened all the same.
    maybe_applied: bool
    #: Whether another member may do better.
    is_members: bool = False
    #: What mends it, for a person.
    fix: str = ""
    #: Whether it tells anything of the store.
    is_trouble: bool = True


_FULL = (
    "the etcd database is out of space: compact, run `etcdctl defrag` on one member after the other, then "
    "`etcdctl alarm disarm`; a larger --quota-backend-bytes keeps it from coming back"
)
#: The token ran out, or users and roles have changed since it was made.
_LOGIN_OVER: Final = ("invalid auth token", "revision of auth store is old")
_LOGIN = "etcd does not accept the user or the password: see user and password_file of the store's URL"

#: What all that etcd says itself begins with.
_BY_ETCD: Final = "etcdserver:"
#: Words of etcd's errors (api/v3rpc/rpctypes/error.go), and what they mean. The first that occurs counts.
_WORDS: Final[tuple[tuple[str, Verdict], ...]] = (
    # Answered, too, to the transaction that was carried out and took the last space.
    ("database space exceeded", Verdict(trouble=Trouble.FULL, maybe_applied=True, fix=_FULL)),
    ("no leader", Verdict(trouble=Trouble.NO_LEADER, maybe_applied=False, is_members=True)),
    ("has been compacted", Verdict(trouble=Trouble.BROKEN, maybe_applied=False, is_trouble=False)),
    ("requested lease not found", Verdict(trouble=Trouble.LEASE_OVER, maybe_applied=False)),
    ("too many requests", Verdict(trouble=Trouble.OVERLOADED, maybe_applied=False, is_members=True)),
    ("not supported for learner", Verdict(trouble=Trouble.UNFIT, maybe_applied=False, is_members=True)),
    ("member not found", Verdict(trouble=Trouble.UNFIT, maybe_applied=False, is_members=True)),
    ("authentication failed", Verdict(trouble=Trouble.DENIED, maybe_applied=False, fix=_LOGIN)),
    ("revision of auth store is old", Verdict(trouble=Trouble.DENIED, maybe_applied=False, fix=_LOGIN)),
    ("user name is empty", Verdict(trouble=Trouble.DENIED, maybe_applied=False, fix=_LOGIN)),
    ("user name not found", Verdict(trouble=Trouble.DENIED, maybe_applied=False, fix=_LOGIN)),
    (
        "permission denied",
        Verdict(
            trouble=Trouble.DENIED,
            maybe_applied=False,
            fix="the etcd user needs a role that reads and writes the prefix /h/: `etcdctl role grant-permission "
            "ROLE --prefix=true readwrite /h/`",
        ),
    ),
    (
        "corrupt cluster",
        Verdict(
            trouble=Trouble.BROKEN,
            maybe_applied=False,
            is_members=True,
            fix="etcd has raised the CORRUPT alarm: a member's data differs from the others'; replace that member",
        ),
    ),
)
_CODES: Final[dict[grpc.StatusCode, Verdict]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict(trouble=Trouble.TIMEOUT, maybe_applied=True, is_members=True),
    grpc.StatusCode.UNAVAILABLE: Verdict(trouble=Trouble.UNREACHABLE, maybe_applied=True, is_members=True),
    # What a connection that breaks may end a call with.
    grpc.StatusCode.CANCELLED: Verdict(trouble=Trouble.UNREACHABLE, maybe_applied=True, is_members=True),
    grpc.StatusCode.INTERNAL: Verdict(trouble=Trouble.UNREACHABLE, maybe_applied=True, is_members=True),
    grpc.StatusCode.UNAUTHENTICATED: Verdict(trouble=Trouble.DENIED, maybe_applied=False, fix=_LOGIN),
    grpc.StatusCode.PERMISSION_DENIED: Verdict(trouble=Trouble.DENIED, maybe_applied=False),
    grpc.StatusCode.INVALID_ARGUMENT: Verdict(trouble=Trouble.BROKEN, maybe_applied=False),
    grpc.StatusCode.NOT_FOUND: Verdict(trouble=Trouble.BROKEN, maybe_applied=False),
    grpc.StatusCode.FAILED_PRECONDITION: Verdict(trouble=Trouble.BROKEN, maybe_applied=False),
    grpc.StatusCode.OUT_OF_RANGE: Verdict(trouble=Trouble.BROKEN, maybe_applied=False),
    grpc.StatusCode.UNIMPLEMENTED: Verdict(trouble=Trouble.UNFIT, maybe_applied=False),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict(trouble=Trouble.OVERLOADED, maybe_applied=True),
}
#: What a connection that cannot be made safe does not fail with; what it does fail with says little.
_NOT_TLS: Final = ("refused", "timed out", "deadline", "no leader", "unreachable", "no route", "dns")
_TLS: Final = (
    "no TLS connection comes about: see ca, cert, key and server_name of the store's URL, and the member's certificate"
)
_UNKNOWN = Verdict(trouble=Trouble.BROKEN, maybe_applied=True, is_members=True)


def judge(code: grpc.StatusCode, details: str) -> Verdict:
    """Return what an error means, given its code and its words."""
    words = details.lower()
    # The network has words of its own, and some are the same.
    found = next((verdict for told, verdict in _WORDS if told in words), None) if _BY_ETCD in words else None
    if found is not None:
        return found
    if code is grpc.StatusCode.UNAVAILABLE and "timed out" in words and _BY_ETCD in words:
        return _CODES[grpc.StatusCode.DEADLINE_EXCEEDED]
    return _CODES.get(code, _UNKNOWN)


def unreachable(endpoint: str, code: grpc.StatusCode, details: str, *, is_tls: bool) -> StoreUnavailable:
    """Return what to tell of a member that cannot be connected to; nothing was asked of it yet."""
    words = details or code.name.lower().replace("_", " ")
    verdict = judge(code, words)
    told = f"etcd at {endpoint} cannot be reached: {words}"
    fix = _TLS if is_tls and not any(word in words.lower() for word in _NOT_TLS) else verdict.fix
    return StoreUnavailable(f"{fix} ({told})" if fix else told, maybe_applied=False, trouble=verdict.trouble)


def refusal(endpoint: str, code: grpc.StatusCode, details: str) -> StoreUnavailable:
    """Return what to tell whoever asked, and got an error."""
    verdict = judge(code, details)
    told = f"etcd at {endpoint}: {details or code.name.lower().replace('_', ' ')}"
    if verdict.trouble is Trouble.TIMEOUT:
        told = f"etcd at {endpoint} does not answer in time: {details or 'nothing is heard of it'}"
    told = f"{verdict.fix} ({told})" if verdict.fix else told
    return StoreUnavailable(told, maybe_applied=verdict.maybe_applied, trouble=verdict.trouble)


def is_login_over(code: grpc.StatusCode, details: str) -> bool:
    """Whether a token has run out: logging in again helps."""
    words = details.lower()
    return code is grpc.StatusCode.UNAUTHENTICATED or any(told in words for told in _LOGIN_OVER)


def is_refused(details: str) -> bool:
    """Whether the user's role does not allow it."""
    return "etcdserver: permission denied" in details.lower()


def is_compacted(details: str) -> bool:
    """Whether the history asked for is gone."""
    return "has been compacted" in details.lower()

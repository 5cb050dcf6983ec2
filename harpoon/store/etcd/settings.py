"""What an etcd server is checked for when a store on it is opened: its version, its quota, its flags, its alarms.

1. `judge` is pure: facts in, sentences out; `inspection` and the client gather the facts.
2. Each sentence names the setting, what was found, and what to do.
3. What is not known is not judged: a server that does not tell is used all the same.
4. Refused is only what loses data or cannot hold a commit; whatever else is wrong is a warning.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Final, NamedTuple

from harpoon.model.units import format_duration, format_size
from harpoon.store.retention import KEPT_REVISIONS

#: Operations of one transaction that commits need: etcd's default.
TXN_OPERATIONS: Final = 128
#: Bytes of one request that commits need: etcd's default.
REQUEST_BYTES: Final = 1_572_864
#: A quota below it is filled by a bad day.
QUOTA_MIN: Final = 1 << 30
#: Of the quota: what is used beyond it is told.
FILLED: Final = 0.8
_BEST: Final = "3.5.28 or later, or 3.6.9 or later, is best"
_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a server; None or empty: it is not."""

    version: str = ""
    #: Of the members that were asked, by their endpoints.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: Size of its file, and of what in it is not free.
    db_bytes: int | None = None
    used_bytes: int | None = None
    quota_bytes: int | None = None
    #: ``NOSPACE``, ``CORRUPT``.
    alarms: tuple[str, ...] = ()
    #: Whether our user may drop history.
    may_compact: bool = True
    #: Given on its command line, without dashes; those of a file or of the environment are not seen.
    flags: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """Sentences for an operator."""

    #: Why this server cannot be used.
    refusals: tuple[str, ...]
    #: What will be trouble.
    warnings: tuple[str, ...]


Rule = Callable[[Facts, timedelta], str]


def judge(facts: Facts, kept_for: timedelta) -> Verdict:
    """Judge a server by what is known of it; ``kept_for`` is how long history is to be kept."""
    return Verdict(
        tuple(sentence for rule in _REFUSALS if (sentence := rule(facts, kept_for))),
        tuple(sentence for rule in _WARNINGS if (sentence := rule(facts, kept_for))),
    )


def _too_old(facts: Facts, _: timedelta) -> str:
    if not () < _numbers(facts.version) < (3, 4, 0):
        return ""
    return f"etcd {facts.version} is not supported: upgrade it to 3.4.22 or later; {_BEST}"


def _corrupting(facts: Facts, _: timedelta) -> str:
    if not (3, 5, 0) <= _numbers(facts.version) <= (3, 5, 2):
        return ""
    return (
        f"etcd {facts.version} can lose or corrupt committed data when it is killed (fixed in 3.5.3): "
        "upgrade it to 3.5.28 or later, then compare its members with: etcdctl endpoint hashkv --cluster"
    )


def _few_operations(facts: Facts, _: timedelta) -> str:
    found = _whole(facts.flags.get("max-txn-ops"))
    if found is None or found >= TXN_OPERATIONS:
        return ""
    return (
        f"etcd runs with --max-txn-ops={found}, and commits need {TXN_OPERATIONS}: "
        f"start it with --max-txn-ops={TXN_OPERATIONS}, or without the flag"
    )


def _small_requests(facts: Facts, _: timedelta) -> str:
    found = _whole(facts.flags.get("max-request-bytes"))
    if found is None or found >= REQUEST_BYTES:
        return ""
    return (
        f"etcd runs with --max-request-bytes={found}, and commits need {REQUEST_BYTES}: "
        f"start it with --max-request-bytes={REQUEST_BYTES}, or without the flag"
    )


def _not_durable(facts: Facts, _: timedelta) -> str:
    version = _numbers(facts.version)
    if (3, 4, 0) <= version < (3, 4, 22):
        fixed = "3.4.22"
    elif (3, 5, 3) <= version < (3, 5, 6):
        fixed = "3.5.6"
    else:
        return ""
    return (
        f"etcd {facts.version} may lose acknowledged writes or let members differ after a crash: "
        f"upgrade it to {fixed} or later; {_BEST}"
    )


def _unknown_version(facts: Facts, _: timedelta) -> str:
    if _numbers(facts.version):
        return ""
    return f"etcd's version is not known ({facts.version or 'not told'}); 3.5.0, 3.5.1 and 3.5.2 must not be used"


def _mixed(facts: Facts, _: timedelta) -> str:
    if len(set(facts.versions.values())) <= 1:
        return ""
    told = ", ".join(f"{endpoint} {version}" for endpoint, version in sorted(facts.versions.items()))
    return f"members of etcd run different versions ({told}): finish the upgrade"


def _full(facts: Facts, _: timedelta) -> str:
    if "NOSPACE" not in facts.alarms:
        return ""
    return (
        "etcd has raised the alarm NOSPACE and takes no writes: compact it, defragment each member with "
        "ETCDCTL_ENDPOINTS=MEMBER etcdctl defrag, then run: etcdctl alarm disarm"
    )


def _corrupt(facts: Facts, _: timedelta) -> str:
    if "CORRUPT" not in facts.alarms:
        return ""
    return (
        "etcd has raised the alarm CORRUPT, as its members differ: find the odd one with "
        "etcdctl endpoint hashkv --cluster, remove it and add it again empty, then run: etcdctl alarm disarm"
    )


def _filling(facts: Facts, _: timedelta) -> str:
    if not facts.quota_bytes or "NOSPACE" in facts.alarms:
        return ""
    used, size = facts.used_bytes or 0, facts.db_bytes or 0
    if used > FILLED * facts.quota_bytes:
        return (
            f"etcd's data take {used / facts.quota_bytes:.0%} of its quota of {_size(facts.quota_bytes)}: start it "
            f"with --quota-backend-bytes={max(2 * facts.quota_bytes, 8 << 30)}, or keep less history (--keep-history)"
        )
    if size > FILLED * facts.quota_bytes:
        return (
            f"etcd's file takes {size / facts.quota_bytes:.0%} of its quota of {_size(facts.quota_bytes)}, and only "
            f"{_size(used)} of it are in use: give back the rest, one member at a time, with "
            "ETCDCTL_ENDPOINTS=MEMBER etcdctl defrag"
        )
    return ""


def _small_quota(facts: Facts, _: timedelta) -> str:
    found = facts.quota_bytes or _whole(facts.flags.get("quota-backend-bytes"))
    if not found or not 0 < found < QUOTA_MIN:
        return ""
    return (
        f"etcd's quota is {_size(found)}, and beyond it nothing can be written: start etcd with "
        f"--quota-backend-bytes={8 << 30}, or without the flag (2Gi)"
    )


def _short_history(facts: Facts, kept_for: timedelta) -> str:
    text = facts.flags.get("auto-compaction-retention", "0")
    if facts.flags.get("auto-compaction-mode", "periodic") == "revision":
        revisions = _whole(text)
        if not revisions or revisions >= KEPT_REVISIONS:
            return ""
        found, wanted = f"{revisions} revisions", str(KEPT_REVISIONS)
    else:
        kept = _retention(text)
        if not kept or kept >= kept_for:
            return ""
        found, wanted = format_duration(kept), format_duration(kept_for)
    return (
        f"etcd runs with --auto-compaction-retention={text} and drops history after {found}; watchers are promised "
        f"{format_duration(kept_for)} (--keep-history) and will have to list again: start it without the flag, as "
        f"harpoon compacts by itself, or with at least {wanted}"
    )


def _growing_history(facts: Facts, kept_for: timedelta) -> str:
    if facts.may_compact or facts.flags.get("auto-compaction-retention", "0") != "0":
        return ""
    return (
        "etcd does not let our user compact, so its history grows up to the quota: start it with "
        f"--auto-compaction-mode=periodic --auto-compaction-retention={ceil(kept_for.total_seconds())}s, "
        "or give the user the role root: etcdctl user grant-role USER root"
    )


_REFUSALS: Final[tuple[Rule, ...]] = (_too_old, _corrupting, _few_operations, _small_requests)
_WARNINGS: Final[tuple[Rule, ...]] = (
    _corrupt,
    _full,
    _filling,
    _unknown_version,
    _not_durable,
    _mixed,
    _small_quota,
    _short_history,
    _growing_history,
)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def _retention(text: str) -> timedelta | None:
    """Read a span as etcd does: a bare number is hours."""
    hours = _whole(text)
    if hours is not None:
        return timedelta(hours=hours)
    parts = _PARTS.findall(text)
    if "".join(map("".join, parts)) != text:
        return None
    seconds = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return timedelta(seconds=sum(float(number) * seconds[unit] for number, unit in parts))


def _size(size: int) -> str:
    """Write a size for a person: exactly where it is round, else in whole mebibytes."""
    exact = format_size(size)
    return exact if not exact.isdecimal() else f"{size / (1 << 20):.0f}Mi"

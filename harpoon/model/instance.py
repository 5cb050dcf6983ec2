"""Instances: the running server processes of one cluster, and what each of them holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running server process; its record is leased, so it goes with the process."""

    #: Unique among all processes that ever were: that of the server, and a mark of the process.
    name: str
    #: Where the other instances reach it, and no other one; empty: nowhere.
    url: str
    version: str
    #: When its lease began, UTC milliseconds by its own clock.
    since_ms: int
    #: Why it takes no holds; empty: it does.
    unfit: str = ""
    v: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a hold. The record's ``create_revision`` is the token's."""

    instance: str
    v: int = 1

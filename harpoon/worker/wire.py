"""What goes between a worker and a server, as the work exchange has it.

A request says who asks (``worker``, ``session``, ``seq``), what it can do (``handlers``, ``want``, ``wait``), what it
has finished (``closings``) and what it still works on (``heartbeats``). The answer has what became of the closings,
new claims, and what the worker has lost. Fields of newer servers are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from harpoon.worker.outcome import FAIL, Result


class Ref(NamedTuple):
    """Which attempt."""

    run: str
    op: str
    visit: int
    attempt: int


class _Named:
    """Bears the name of an attempt."""

    run: str
    op: str
    visit: int
    attempt: int

    @property
    def ref(self) -> Ref:
        """Which attempt is meant."""
        return Ref(self.run, self.op, self.visit, self.attempt)


@dataclass(frozen=True, kw_only=True)
class Claim(_Named):
    """An attempt that this worker is to carry out, as long as it holds the token."""

    run: str
    workflow: str
    op: str
    visit: int
    attempt: int
    token: str
    handler: str
    input: Any = None
    #: The same for all attempts of a visit.
    key: str
    #: From the claim on.
    timeout_ms: int
    #: Silent for longer than this, the worker loses it.
    heartbeat_ms: int
    #: How long it waited to be claimed.
    queued_ms: int = 0
    #: What it may be closed with; empty: not told.
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Told(_Named):
    """What became of a closing; ``status`` is that of HTTP."""

    run: str
    op: str
    visit: int
    attempt: int
    status: int
    title: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Lost(_Named):
    """An attempt that is this worker's no longer."""

    run: str
    op: str
    visit: int
    attempt: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkAnswer:
    """What a server answers."""

    seq: int
    results: tuple[Told, ...] = ()
    claims: tuple[Claim, ...] = ()
    lost: tuple[Lost, ...] = ()
    #: A later process of the same name is heard: this one is given nothing more.
    superseded: bool = False


class Closing(NamedTuple):
    """A finished attempt on its way back."""

    claim: Claim
    result: Result
    #: When the server will have closed it as timed out, by the worker's clock.
    until_s: float
    #: Whether it stands for one that the server did not take.
    is_substitute: bool = False

    @property
    def size(self) -> int:
        """About how many bytes it takes in a request."""
        return len(self.result.output) + 3 * len(self.result.error) + len(self.claim.run) + 256


def closing_of(closing: Closing) -> Mapping[str, object]:
    """Return a closing as it is sent."""
    claim, result = closing.claim, closing.result
    sent: dict[str, object] = {**named(claim), "label": result.label}
    if result.output:
        sent["output"] = orjson.Fragment(result.output)
    if result.label == FAIL:
        sent["error"] = result.error
        sent["retryable"] = result.retryable
    return sent


def named(claim: Claim) -> dict[str, object]:
    """Return which claim is meant, as it is sent."""
    return {**claim.ref._asdict(), "token": claim.token}

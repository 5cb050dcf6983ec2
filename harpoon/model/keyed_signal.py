"""Signals that name no run but a key: kept until a run that waits with that key has one."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedSignal:
    """A signal for whatever run waits for it with its key."""

    namespace: str
    name: str
    key: str
    #: Its sender's: the same again is not another one.
    id: str
    label: str
    payload: Any = None
    sent_ms: int
    #: The run that is to have it, and no other; None: no run was found that waits.
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredSignal:
    """What is left of a signal that a run has: so that the same again is not another one."""

    run: str
    at_ms: int

"""Signals to runs that are conducted here, and what is told where a run cannot be told anything."""

import asyncio
from collections.abc import Iterable
from typing import Final

from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.core.step import Refused, Signal
from harpoon.kit.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from harpoon.model.header import Header

#: Characters of a signal's id.
SIGNAL_ID_MAX: Final = 128
#: Code of a refusal → the field that it is about.
_FIELDS: Final = {"label": "/label", "payload": "/payload", "output": "/payload", "signal": ""}
#: Runs looked at before others get their turn.
_SLICE: Final = 5_000


def check_signal_id(id_: str) -> str:
    """Return an id if a signal may have it.

    Raises:
        Invalid: It may not.
    """
    if not 1 <= len(id_) <= SIGNAL_ID_MAX:
        detail = f"1 to {SIGNAL_ID_MAX} characters"
        raise Invalid(f"id: {detail}", [Problem(pointer="/id", detail=detail)])
    return id_


async def deliver(conductor: Conductor, key: str, signal: Signal) -> None:
    """Have a run take a signal, durably.

    Raises:
        NotFound: The run is not open here.
        Invalid: The run would never take it.
        Conflict: It does not take it now.
    """
    try:
        await conductor.signal(key, signal)
    except Refused as error:
        raise refusal(error) from error


async def deliver_by_key(conductors: Iterable[Conductor], namespace: str, signal: Signal) -> list[str]:
    """Send a signal to the runs that wait for it with its key; return their ids."""
    reached: list[str] = []
    for conductor in conductors:
        for run in await _waiting(conductor, namespace, signal):
            try:
                await deliver(conductor, run_key(namespace, run), signal)
            except NotFound:
                continue  # it has ended meanwhile
            reached.append(run)
    return reached


def refusal(error: Refused) -> Invalid | Conflict:
    """Return what is told when a run refuses something."""
    if error.is_mistake:
        return Invalid(error.message, [Problem(pointer=_FIELDS.get(error.code, ""), detail=error.message)])
    return Conflict(error.message)


def not_open(header: Header) -> Conflict | Unavailable:
    """Return what is told of a run that nobody conducts."""
    if header.status.is_over:
        return Conflict(f"run {header.run} is over: {header.status.value}")
    return Unavailable(f"run {header.run} is not conducted at the moment; ask again")


async def _waiting(conductor: Conductor, namespace: str, signal: Signal) -> list[str]:
    """Return the ids of a shard's open runs that wait for a signal with its key."""
    place = (signal.name, signal.key)
    found: list[str] = []
    keys = tuple(conductor.runs)
    for start in range(0, len(keys), _SLICE):
        for key in keys[start : start + _SLICE]:
            conducted = conductor.runs.get(key)
            if conducted is not None and conducted.run.namespace == namespace and conducted.run.waiting.get(place):
                found.append(conducted.run.id)
        await asyncio.sleep(0)
    return found

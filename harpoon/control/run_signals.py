"""Signals to runs that are named, and what is told where a run cannot be told anything."""

from typing import Final

from harpoon.control.conductor import Conductor
from harpoon.core.step import Refused, Signal
from harpoon.kit.errors import Conflict, Invalid, Problem, Unavailable
from harpoon.model.header import Header

#: Characters of a signal's id.
SIGNAL_ID_MAX: Final = 128
#: Code of a refusal → the field that it is about.
_FIELDS: Final = {"label": "/label", "payload": "/payload", "output": "/output", "signal": ""}


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

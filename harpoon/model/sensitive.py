"""What nobody but its user is to see: bytes that do not show themselves, however they are written out.

They are taken out by `Sensitive.reveal` alone, so that whoever looks for the places where that happens finds all of
them. The annotated types tell ``kit.codec`` how to read them. Only one of them can be written: what is sent to the
agent that runs a task.
"""

import base64
import binascii
import hmac
from typing import Annotated, Final, NoReturn

from harpoon.model.units import Unit

#: What is shown instead.
HIDDEN: Final = "***"


class Sensitive:
    """Bytes that are not shown."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return them: to encrypt them, or to hand them to the task that they are for."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash tells of what is hashed

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is sensitive is not copied out of the process")


def parse_text(text: object) -> Sensitive:
    """Take text for something sensitive.

    Raises:
        ValueError: It is no text; it is not quoted.
    """
    if not isinstance(text, str):
        raise ValueError("expected text; put it in quotes")  # noqa: TRY004 the codec passes these on
    return Sensitive(text.encode())


def parse_base64(text: object) -> Sensitive:
    """Take text in base64 for something sensitive.

    Raises:
        ValueError: It is none; it is not quoted.
    """
    if not isinstance(text, str):
        raise ValueError("expected text in base64")  # noqa: TRY004 as above
    try:
        return Sensitive(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("expected text in base64, with its padding and without blanks") from None


def format_base64(value: Sensitive) -> str:
    """Write it for the agent that runs the task which it is for."""
    return base64.b64encode(value.reveal()).decode()


def _refuse(_value: Sensitive) -> str:
    return HIDDEN


#: As people send it. It is never written.
SensitiveText = Annotated[Sensitive, Unit(parse_text, _refuse, Sensitive, "sensitive text", {"type": "string"})]
#: Likewise, for what is no text.
SensitiveBase64 = Annotated[
    Sensitive,
    Unit(parse_base64, _refuse, Sensitive, "sensitive base64", {"type": "string", "contentEncoding": "base64"}),
]
#: As a server sends it to an agent.
Delivered = Annotated[
    Sensitive,
    Unit(parse_base64, format_base64, Sensitive, "delivered base64", {"type": "string", "contentEncoding": "base64"}),
]

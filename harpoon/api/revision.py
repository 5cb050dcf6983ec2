"""Revisions as they are shown outside: ``<incarnation>.<revision>``, alone or quoted as an entity tag.

A revision of another incarnation is of a store that was since restored or copied: its numbers mean nothing here.
"""

import re
from typing import NamedTuple

from aiohttp import web

from harpoon.control.view import View
from harpoon.kit.errors import Invalid, PreconditionFailed, Problem

_REVISION = re.compile(r"(\d{1,18})\.(\d{1,18})", re.ASCII)
_ETAG = re.compile(r'"(\d{1,18}\.\d{1,18})"', re.ASCII)


class Revision(NamedTuple):
    """A revision and the incarnation of the store that it is of."""

    incarnation: int
    number: int


def parse_revision(text: str) -> Revision:
    """Read ``<incarnation>.<revision>``.

    Raises:
        ValueError: It is not one.
    """
    match = _REVISION.fullmatch(text)
    if match is None:
        raise ValueError(f"a revision is given back as it was shown, such as 1.42; got {text[:80]!r}")
    return Revision(int(match[1]), int(match[2]))


def etag(view: View, revision: int) -> str:
    """Return the entity tag of an object last written at ``revision``."""
    return f'"{view.external(revision)}"'


def read_if_match(request: web.Request, view: View) -> int | None:
    """Return the revision that an object must have, or None when the request does not say.

    Raises:
        Invalid: ``If-Match`` is not one entity tag as an answer carried it; a weak one, ``*`` and lists are not.
        PreconditionFailed: It is of another incarnation.
    """
    text = single_header(request, "If-Match")
    if text is None:
        return None
    match = _ETAG.fullmatch(text)
    if match is None:
        raise bad_header("If-Match", 'give back one ETag as it was shown, such as "1.42" with its quotes')
    revision = parse_revision(match[1])
    if revision.incarnation != view.incarnation:
        other = f"{text} is of incarnation {revision.incarnation} of the store, which is at {view.incarnation}"
        raise PreconditionFailed(f"{other}; read the object again")
    return revision.number


def read_is_new(request: web.Request) -> bool:
    """Return whether the object must not exist yet.

    Raises:
        Invalid: ``If-None-Match`` is anything but ``*``.
    """
    text = single_header(request, "If-None-Match")
    if text not in (None, "*"):
        raise bad_header("If-None-Match", "only * is possible here: the object must not exist")
    return text == "*"


def single_header(request: web.Request, header: str) -> str | None:
    """Return the value of a header that may be given once, or None.

    Raises:
        Invalid: It is given more often.
    """
    values = request.headers.getall(header, ())
    if len(values) > 1:
        raise bad_header(header, "give it once")
    return values[0].strip(" \t") if values else None


def bad_header(header: str, detail: str) -> Invalid:
    """Make the error that tells what is wrong with one header."""
    return Invalid(f"{header}: {detail}", [Problem(pointer=header, detail=detail)])

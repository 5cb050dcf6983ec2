"""From where a watch goes on: what its client names, and whether all is kept that came after."""

from aiohttp import web

from harpoon.api.query import Query, bad_parameter
from harpoon.api.revision import parse_revision
from harpoon.control.view import View
from harpoon.kit.errors import Gone


def asked_position(request: web.Request) -> str | None:
    """Return what the client names as the last it had: by the header, which counts, or by the parameter."""
    return request.headers.get("Last-Event-ID") or Query(request).one("after")


def asked_revision(request: web.Request, view: View, oldest: int) -> int | None:
    """Return the revision after which a watch begins, if the client named one.

    Args:
        request: Asks for the watch.
        view: Tells the incarnation.
        oldest: Can be resumed from; for whoever cannot.

    Raises:
        Invalid: It is no revision.
        Gone: It is of another incarnation.
    """
    text = asked_position(request)
    if text is None:
        return None
    try:
        asked = parse_revision(text)
    except ValueError as error:
        raise bad_parameter("after", str(error)) from error
    if asked.incarnation != view.incarnation:
        other = f"{text} is of incarnation {asked.incarnation} of the store, which is at {view.incarnation}"
        raise Gone(f"{other}; start afresh, with a snapshot", oldest=view.external(oldest))
    return asked.number


def ahead(view: View, revision: int, oldest: int) -> Gone:
    """Make the error that tells that a revision is one that the store has not come to."""
    text = f"{view.external(revision)} is ahead of the store, which was perhaps rolled back; start afresh"
    return Gone(text, oldest=view.external(oldest))

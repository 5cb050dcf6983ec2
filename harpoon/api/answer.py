"""Answers: JSON bytes made by the codec, with the revision they are of."""

from aiohttp import web

from harpoon.api.revision import etag
from harpoon.api.sight import headers_at, view_of


def answer(
    request: web.Request, body: bytes, *, status: int = 200, revision: int | None = None, tag: int | None = None
) -> web.Response:
    """Answer with JSON.

    Args:
        request: What is answered.
        body: JSON.
        status: Of HTTP.
        revision: The answer is of this one; that of what is looked at when absent.
        tag: The revision at which the single object shown was last written.
    """
    view = view_of(request)
    headers = {
        "Harpoon-Revision": view.external(view.revision if revision is None else revision),
        **headers_at(),
    }
    if tag is not None:
        headers["ETag"] = etag(view, tag)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)

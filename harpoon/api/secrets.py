"""Secrets: what may be seen of them, and how their values are set. No answer holds a value."""

from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.objects import joined
from harpoon.api.operation import AT, FLAG, IF_MATCH, IF_NEW, Answer, Operation, Parameter
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, path_name
from harpoon.api.revision import read_if_match, read_is_new
from harpoon.api.sight import view_of, was
from harpoon.control.secrets import shown
from harpoon.control.view import View, job_key
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.secret import KeysRotated, Secret, SecretChange, SecretList, SecretObject, SecretSet
from harpoon.model.shown import Empty, Revised


async def list_secrets(request: web.Request) -> web.Response:
    """Show the secrets of a namespace, or of all: their names, keys and versions, and what refers to them."""
    view = view_of(request)
    namespace = path_name(request, "ns") if "ns" in request.match_info else None

    async def gather() -> Listed:
        items = [
            shown(view, row.value, row.mod_revision)
            for _, row in sorted(view.secrets.rows.items())
            if namespace is None or row.value.namespace == namespace
        ]
        return Listed(revision=view.revision, items=items, encode=codec.dump_full)

    return await answer_pages(request, gather)


async def get_secret(request: web.Request) -> web.Response:
    """Show a secret: its keys and their versions, and what refers to it; never its values."""
    view = view_of(request)
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    row = view.secrets.rows.get(job_key(namespace, name))
    if row is None:
        raise NotFound(f"there {was()} no secret {name} in namespace {namespace}")
    return answer(request, _json(view, row.value, row.mod_revision), tag=row.mod_revision)


async def put_secret(request: web.Request) -> web.Response:
    """Set values of a secret. They are encrypted, and never sent back.

    Tasks that refer to a value that is another one now are replaced, unless they say that they keep theirs.
    """
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match, is_new = read_if_match(request, doors.view), read_is_new(request)
    if if_match is not None and is_new:
        raise Invalid("If-Match and If-None-Match: * contradict each other; send one of them")
    change = await decode(request, SecretChange, await read_json(request))
    done = await doors.registry.secrets.put(namespace, name, change, if_match=if_match, is_new=is_new)
    head = orjson.dumps({"revision": doors.view.external(done.revision), "outcome": done.outcome.value})
    body = joined(head, secret=_json(doors.view, done.secret, done.revision))
    return answer(request, body, revision=done.revision, tag=done.revision)


async def delete_secret(request: web.Request) -> web.Response:
    """Delete a secret; refused while jobs, workflows or open runs refer to it, unless it is forced.

    Tasks that run then have what they have, and run on; none is started in their place.
    """
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match = read_if_match(request, doors.view)
    is_forced = Query(request).flag("force")
    revision = await doors.registry.secrets.delete(namespace, name, if_match=if_match, is_forced=is_forced)
    return answer(request, orjson.dumps({"revision": doors.view.external(revision)}), revision=revision)


async def rotate_keys(request: web.Request) -> web.Response:
    """Encrypt every secret with the newest key; what is so already is left alone, and no task is replaced for it."""
    doors = request.app[DOORS]
    await decode(request, Empty, await read_json(request))
    revision, key_id, count = await doors.registry.secrets.rotate()
    told = KeysRotated(revision=doors.view.external(revision), key_id=key_id, rotated=count)
    return answer(request, codec.dump_full(told), revision=revision)


def _json(view: View, secret: Secret, revision: int) -> bytes:
    return codec.dump_full(shown(view, secret, revision))


_FORCE: Final = Parameter("force", FLAG, "Also while something refers to it.")
_SECRET: Final = "/v1/namespaces/{ns}/secrets/{name}"  # noqa: S105 a path
ROUTES = (
    Operation(
        "GET",
        "/v1/secrets",
        list_secrets,
        tag="secrets",
        query=(*PAGING, AT),
        answers={200: SecretList},
        id="list_all_secrets",
    ),
    Operation(
        "GET",
        "/v1/namespaces/{ns}/secrets",
        list_secrets,
        tag="secrets",
        query=(*PAGING, AT),
        answers={200: SecretList},
    ),
    Operation(
        "GET", _SECRET, get_secret, tag="secrets", query=(AT,), answers={200: Answer(json=SecretObject, has_tag=True)}
    ),
    Operation(
        "PUT",
        _SECRET,
        put_secret,
        tag="secrets",
        headers=(IF_MATCH, IF_NEW),
        body=SecretChange,
        answers={200: Answer(json=SecretSet, has_tag=True)},
        refuses=(409,),
    ),
    Operation(
        "DELETE",
        _SECRET,
        delete_secret,
        tag="secrets",
        query=(_FORCE,),
        headers=(IF_MATCH,),
        answers={200: Revised},
        refuses=(409,),
    ),
    Operation(
        "PUT",
        "/v1/secrets/encryption",
        rotate_keys,
        tag="secrets",
        body=Empty,
        answers={200: KeysRotated},
        refuses=(409,),
    ),
)

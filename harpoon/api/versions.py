"""Versions of a job: which are kept, how they differ, and bringing one back."""

from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.idempotency import once
from harpoon.api.jobs import DECLARED, answer_accepted, existing
from harpoon.api.operation import AT, IF_MATCH, Answer, Operation, Parameter, whole
from harpoon.api.query import Query, bad_parameter, path_name
from harpoon.api.revision import read_if_match
from harpoon.api.sight import view_of
from harpoon.control.registry import Accepted, Extra
from harpoon.control.versions import shown_version, shown_versions, version_diff
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem
from harpoon.model.edit import Diff
from harpoon.model.versions import Rollback, ShownVersion, VersionList

#: No job is ever changed so often.
_NUMBER_MAX: Final = 999_999_999
_VERSION: Final = whole(1, _NUMBER_MAX)


async def list_versions(request: web.Request) -> web.Response:
    """Show the versions of a job that are kept, newest first: the last ten, and those that tasks still run."""
    view, row = view_of(request), existing(request)
    return answer(request, codec.dump_full(shown_versions(view, row.value)), tag=row.mod_revision)


async def get_version(request: web.Request) -> web.Response:
    """Show one version of a job."""
    view, row, text = view_of(request), existing(request), request.match_info["n"]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_NUMBER_MAX))):
        raise Invalid(f"a version is a whole number, 1 to {_NUMBER_MAX}")
    return answer(request, codec.dump_full(shown_version(view, row.value, int(text))), tag=row.mod_revision)


async def get_diff(request: web.Request) -> web.Response:
    """Show how two versions of a job differ, with defaults filled in; without ``to``, how the present one does."""
    view, row, query = view_of(request), existing(request), Query(request)
    old = query.count("from")
    if old is None:
        raise bad_parameter("from", "say which version to start from; /versions shows those that are kept")
    return answer(request, codec.dump_full(version_diff(view, row.value, old, query.count("to"))), tag=row.mod_revision)


async def rollback_job(request: web.Request) -> web.Response:
    """Bring an earlier version of a job back, as a new version; without ``version``, the last with another spec."""
    doors = request.app[DOORS]
    namespace, name = path_name(request, "ns"), path_name(request, "name")
    if_match = read_if_match(request, doors.view)
    body = await read_json(request)
    order = await decode(request, Rollback, body)
    if order.version is not None and not 1 <= order.version <= _NUMBER_MAX:
        detail = f"write a whole number, 1 to {_NUMBER_MAX}"
        raise Invalid(f"version: {detail}", [Problem(pointer="/version", detail=detail)])

    async def rollback(extra: Extra | None) -> Accepted:
        return await doors.registry.rollback(namespace, name, order.version, if_match=if_match, extra=extra)

    return await once(request, body, rollback, lambda told: answer_accepted(request, told[0]))


_JOB: Final = "/v1/namespaces/{ns}/jobs/{name}"
ROUTES = (
    Operation(
        "GET",
        f"{_JOB}/versions",
        list_versions,
        tag="jobs",
        query=(AT,),
        answers={200: Answer(json=VersionList, has_tag=True)},
    ),
    Operation(
        "GET",
        f"{_JOB}/versions/{{n}}",
        get_version,
        tag="jobs",
        query=(AT,),
        answers={200: Answer(json=ShownVersion, has_tag=True)},
    ),
    Operation(
        "GET",
        f"{_JOB}/diff",
        get_diff,
        tag="jobs",
        query=(
            Parameter("from", _VERSION, "The version to start from.", is_required=True),
            Parameter("to", _VERSION, "The version to end at; the present one when absent."),
            AT,
        ),
        answers={200: Answer(json=Diff, has_tag=True)},
    ),
    Operation(
        "POST",
        f"{_JOB}/rollback",
        rollback_job,
        tag="jobs",
        headers=(IF_MATCH,),
        body=Rollback,
        answers=DECLARED,
        refuses=(409,),
    ),
)

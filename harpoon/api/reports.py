"""Reports: what many runs came to together, and how all work stands now."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.asking import others
from harpoon.api.doors import DOORS
from harpoon.api.holders import runs_of
from harpoon.api.operation import DURATION, TAG, TEXT, Operation, Parameter, choice
from harpoon.api.pages import PASSED_ON
from harpoon.api.query import Query, bad_parameter, path_name
from harpoon.api.run_selection import WORKFLOW
from harpoon.api.runs import SINCE, UNTIL
from harpoon.api.sight import read_span
from harpoon.control import reports
from harpoon.control.run_lists import RunChoice
from harpoon.kit import codec
from harpoon.kit.errors import Unavailable
from harpoon.model.report_shown import By, RunReport, WorkStats
from harpoon.model.units import parse_duration

_WITHIN: Final = timedelta(seconds=5)
_WITHIN_MAX: Final = timedelta(seconds=20)


async def report_runs(request: web.Request) -> web.Response:
    """Say what many runs came to together: how they ended, how long they took, what was tried again, why they failed.

    There is a group for each workflow, operation, or value of the tag `key`. All runs that match are counted, up to
    20,000, the latest first; their attempts are looked at, the latest first again, for no longer than `within`. How far
    that came is told: `looked_into` of `counted` of `runs`, and when the earliest of each began.
    """
    doors, query = request.app[DOORS], Query(request)
    by = query.one("by") or By.WORKFLOW.value
    if by not in set(By):
        raise bad_parameter("by", f"one of {', '.join(By)}; got {by[:80]!r}")
    key = query.one("key") or ""
    if bool(key) is not (by == By.TAG):
        raise bad_parameter("key", "by=tag says by which tag: by=tag&key=team" if not key else "it goes with by=tag")
    since_ms, until_ms = read_span(request)
    wanted = reports.Wanted(
        choice=RunChoice(
            namespace=path_name(request, "ns") if "ns" in request.match_info else None,
            workflow=query.name("workflow"),
            tags=query.tags(),
            since_ms=since_ms,
            until_ms=until_ms,
            # They have the tags of what has called them: counted by those, one thing done would be several.
            has_sub_runs=by != By.TAG.value,
        ),
        by=By(by),
        key=key,
        within=_within(query),
    )
    revision = await doors.store.revision()
    told = await reports.report(runs_of(request).reader, wanted, doors.clock, doors.view.external(revision))
    return answer(request, codec.dump_full(told), revision=revision)


async def get_stats(request: web.Request) -> web.Response:
    """Count all runs by status, their open operations by state, and the workers by what they offer.

    Each instance knows how those operations stand that it conducts; all are asked, and those that do not answer at once
    are named in `unanswered`.
    """
    doors, runs = request.app[DOORS], runs_of(request)
    if doors.work is None:
        raise Unavailable("no runs are conducted here now; ask another instance, or again later")
    own = await reports.conducted(runs, doors.work)
    if PASSED_ON in request.headers:
        return answer(request, codec.dump_full(own))
    told = await others(request, WorkStats)
    revision = await doors.store.revision()
    whole = replace(
        reports.united([own, *(one for one in told.values() if one is not None)]),
        revision=doors.view.external(revision),
        runs=await reports.statuses(runs.reader),
        unanswered=tuple(name for name, one in told.items() if one is None),
    )
    return answer(request, codec.dump_full(whole), revision=revision)


def _within(query: Query) -> timedelta:
    text = query.one("within")
    if text is None:
        return _WITHIN
    try:
        within = parse_duration(text)
    except ValueError as error:
        raise bad_parameter("within", str(error)) from error
    if within > _WITHIN_MAX:
        raise bad_parameter("within", f"at most {_WITHIN_MAX.seconds}s")
    return within


_QUERY: Final = (
    WORKFLOW,
    TAG,
    SINCE,
    UNTIL,
    Parameter("by", choice(*(by.value for by in By)), "What there is a group for each of."),
    Parameter("key", TEXT, "With `by=tag`: which tag."),
    Parameter("within", DURATION, "How long attempts are looked at; 5s when absent, at most 20s."),
)
ROUTES = (
    Operation(
        "GET", "/v1/reports/runs", report_runs, tag="runs", query=_QUERY, answers={200: RunReport}, id="report_all_runs"
    ),
    Operation(
        "GET", "/v1/namespaces/{ns}/reports/runs", report_runs, tag="runs", query=_QUERY, answers={200: RunReport}
    ),
    Operation("GET", "/v1/stats", get_stats, tag="runs", answers={200: WorkStats}),
)

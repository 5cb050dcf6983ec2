"""Why a run stands as it does: for each open visit what it waits for, and for each join what it lacks.

Whether anybody could do the work is not in the log: it is what the exchange of the run's holder knows of its workers,
and is handed in.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from harpoon.core.chronicle import Chronicle, Visit
from harpoon.core.crew import Wait, Waiting
from harpoon.core.homes import Standing
from harpoon.core.offers import Limit
from harpoon.core.outlook import Join
from harpoon.core.run_groups import Plot, counted, items_said, place_of
from harpoon.core.run_picture import EACH, after, is_claimed, joined, kind_of, moment, open_visits, sub_run_of
from harpoon.core.visit import Incident
from harpoon.model.operation import OF_ENGINE, Operation
from harpoon.model.run import Status
from harpoon.model.sub_run import parent_of
from harpoon.model.visit_shown import ItemCounts
from harpoon.model.why import Evidence, Reason, ReasonCode

#: Visits that one answer explains, and joins.
EXPLAINED_MAX: Final = 200
#: Items of one visit.
ITEMS_MAX: Final = 10
_CODES: Final = {
    Wait.LIMIT: ReasonCode.LIMIT,
    Wait.NO_WORKER: ReasonCode.NO_WORKER,
    Wait.UNREACHABLE: ReasonCode.WORKERS_UNREACHABLE,
    Wait.BUSY: ReasonCode.WORKERS_BUSY,
    Wait.SHARE: ReasonCode.WORKFLOW_SHARE,
}
_SENTENCES: Final = {
    ReasonCode.LIMIT: "waits for its turn: {limit}",
    ReasonCode.NO_WORKER: "waits for a worker: none offers {handler}; start one that does",
    ReasonCode.WORKERS_UNREACHABLE: "waits for a worker: {silent} offered {handler}, and not one was heard of{heard}",
    ReasonCode.WORKERS_BUSY: "waits for a worker: {offering} {handler}, {busy} with {held}",
    ReasonCode.WORKERS_FREE: "is about to be claimed: {offering} {handler}, and one takes it in its turn",
}
#: Of what the engine carries out itself.
_OWN_SENTENCES: Final = {
    **_SENTENCES,
    ReasonCode.NO_WORKER: "waits for a server that carries out {handler}",
    ReasonCode.WORKERS_UNREACHABLE: "waits for a server that carries out {handler}",
    ReasonCode.WORKERS_BUSY: "waits for its turn: the server is at {held}, as many as it carries out at once",
    ReasonCode.WORKERS_FREE: "is about to be taken up by the server, in its turn",
    ReasonCode.WORKFLOW_SHARE: "waits for others of its workflow to end, which has its share: the server is at {held}, "
    "and keeps room for other workflows",
}


#: What the exchange knows of attempts that may be claimed: (operation, visit) → what it waits for there.
Floor = Mapping[tuple[str, int], Waiting]


def why(  # noqa: PLR0913, PLR0917 all that decides it
    told: Chronicle,
    plot: Plot,
    joins: Iterable[Join],
    floor: Floor | None,
    now_ms: int,
    run: str = "",
    incidents: Sequence[Incident] = (),
) -> tuple[Reason, ...]:
    """Return what decides how a run stands, the decisive first.

    Args:
        told: What happened in it.
        plot: Its workflow.
        joins: Triggers that have some of their members and not all.
        floor: What is known of workers; None: it cannot be asked now.
        now_ms: UTC milliseconds.
        run: Its id.
        incidents: Failures that are parked.
    """
    if told.status is not Status.RUNNING:
        return (_over(told),)
    reasons = [_paused(told, run)] if told.is_paused else []
    reasons += map(_why_parked, incidents[:EXPLAINED_MAX])
    visits = open_visits(told)
    groups = counted(told, plot)
    shown = list(_few_items(visits, plot))
    for visit in shown[:EXPLAINED_MAX]:
        group = groups.get((visit.op, visit.visit))
        reasons.append(_why_visit(visit, plot, floor, now_ms, run) if group is None else _why_items(visit, group))
    left = len(visits) - len(shown[:EXPLAINED_MAX])
    if left:
        reasons.append(_reason(ReasonCode.WAITING, f"and {left} more open visits", left=left))
    return (*reasons, *map(_why_join, islice(joins, EXPLAINED_MAX)))


def _few_items(visits: Iterable[Visit], plot: Plot) -> Iterator[Visit]:
    """Yield visits, but of the items of each only the first: what keeps them keeps the others as a rule."""
    told: Counter[tuple[str, int]] = Counter()
    for visit in visits:
        place = place_of(visit, plot)
        if place is not None:
            told[place[0]] += 1
            if told[place[0]] > ITEMS_MAX:
                continue
        yield visit


def summary(told: Chronicle, plot: Plot, incidents: int = 0) -> str:
    """Say in a few words how a run stands."""
    if told.status is not Status.RUNNING:
        return told.reason
    visits = [visit for visit in open_visits(told) if kind_of(plot.doing(visit.op)) != EACH]
    claimed = sum(visit.latest.claimed_ms is not None for visit in visits)
    counts = {"parked": incidents, "with workers": claimed, "waiting": len(visits) - claimed}
    return ", ".join(f"{count} {how}" for how, count in counts.items() if count) or "nothing is open"


def _over(told: Chronicle) -> Reason:
    because = f": {told.reason}" if told.reason else ""
    how = {Status.CANCELLED: "was cancelled", Status.TIMED_OUT: "timed out"}.get(told.status, told.status.value)
    ended = f"it {how} at {moment(told.now_ms)}{because}"
    return _reason(ReasonCode.RUN_OVER, ended, status=told.status.value, ended_ms=told.now_ms)


def _paused(told: Chronicle, run: str) -> Reason:
    parent = parent_of(run) if told.is_held else None
    if parent is None:
        paused, until = "it is paused", "it is resumed"
    elif told.is_stopped:
        paused, until = f"it is paused, and run {parent}, which called it, is, too", "both are resumed"
    else:
        paused, until = f"run {parent}, which called it, is paused, and so it is itself", "that one is resumed"
    return _reason(
        ReasonCode.RUN_PAUSED,
        f"{paused}: nothing is claimed, fired or consumed until {until}; its clocks run on",
        open=len(open_visits(told)),
        **({} if parent is None else {"parent": parent}),
    )


def _why_parked(incident: Incident) -> Reason:
    sentence = f"{incident.told}; it is parked since {moment(incident.since_ms)}: retry from it, skip it or set it"
    return _reason(
        ReasonCode.INCIDENT,
        sentence,
        op=incident.op,
        visit=incident.visit,
        label=incident.label,
        error=incident.error,
        since_ms=incident.since_ms,
    )


def _why_items(visit: Visit, group: ItemCounts) -> Reason:
    sentence = f"{visit.op} (visit {visit.visit}) has {items_said(group)}"
    evidence = {"items": group.count, "pending": group.pending, "open": group.open, "done": group.done}
    return _reason(ReasonCode.ITEMS, sentence, op=visit.op, visit=visit.visit, **evidence, failed=group.failed)


def _why_visit(visit: Visit, plot: Plot, floor: Floor | None, now_ms: int, run: str) -> Reason:
    operation, place = plot.doing(visit.op), place_of(visit, plot)
    name = f"{visit.op} (visit {visit.visit})"
    if place is not None:
        name = f"item {place[1]} of {place[0][0]} (visit {place[0][1]})"
    where: dict[str, str | int] = {"op": visit.op, "visit": visit.visit, "attempt": visit.latest.attempt}
    if visit.latest.claimed_ms is not None:
        worker = visit.latest.worker or ""
        since = moment(visit.latest.claimed_ms)
        called = sub_run_of(run, visit, visit.latest, operation)
        if called is not None:
            return _reason(
                ReasonCode.SUB_RUN,
                f"{name} waits for sub-run {called} since {since}; harpoon why run/{called} tells what that waits for",
                **where,
                run=called,
                since_ms=visit.latest.claimed_ms,
            )
        is_own = operation is not None and operation.carried is not None
        return _reason(
            ReasonCode.CLAIMED,
            f"{name} is {'carried out by the server' if is_own else f'with worker {worker}'} since {since}",
            **where,
            worker=worker,
            since_ms=visit.latest.claimed_ms,
        )
    if operation is not None and not is_claimed(operation):
        return _why_wait(name, where, visit, operation)
    if visit.condition is not None and visit.latest.ready_ms > now_ms:
        ready_ms, before = visit.latest.ready_ms, visit.tries[-2]
        told = f"{name} waits for its attempt {visit.latest.attempt}, at {moment(ready_ms)}, {after(visit)}"
        evidence = {"condition": before.label or "", "error": before.error}
        return _reason(ReasonCode.RETRY, told, **where, ready_ms=ready_ms, **evidence)
    return _why_queued(name, where, operation, None if floor is None else floor.get((visit.op, visit.visit)))


def _why_wait(name: str, where: Mapping[str, str | int], visit: Visit, operation: Operation) -> Reason:
    opened, wait = visit.opened, operation.wait
    end_ms = visit.opened_ms + operation.timeout_ms
    if wait is not None and wait.callback:
        told = f"{name} waits for its callback, until {moment(end_ms)}"
        return _reason(ReasonCode.CALLBACK, told, **where, due_ms=end_ms)
    if wait is None or wait.signal is None:
        due_ms = end_ms if opened.due_ms is None else opened.due_ms
        return _reason(ReasonCode.TIME, f"{name} waits until {moment(due_ms)}", **where, due_ms=due_ms)
    key = "" if opened.key is None else f" with key {opened.key}"
    told = f"{name} waits for signal {wait.signal}{key}, until {moment(end_ms)}"
    return _reason(ReasonCode.SIGNAL, told, **where, signal=wait.signal, key=opened.key or "", due_ms=end_ms)


def _why_queued(
    name: str, where: Mapping[str, str | int], operation: Operation | None, waiting: Waiting | None
) -> Reason:
    handler = "" if operation is None else operation.handler or ""
    code = ReasonCode.WORKERS_UNKNOWN if waiting is None else _CODES.get(waiting.wait, ReasonCode.WORKERS_FREE)
    evidence: dict[str, str | int | tuple[str, ...]] = {**where, "handler": handler}
    is_own = handler.startswith(OF_ENGINE)
    if waiting is None and is_own:
        return _reason(code, f"{name} waits for the server that conducts the run", **evidence)
    if waiting is None:
        return _reason(code, f"{name} waits for a worker{f' that offers {handler}' if handler else ''}", **evidence)
    crew, limit, standing = waiting.crew, waiting.offer.limit, waiting.standing
    evidence |= {"workers": crew.workers, "busy": crew.busy, "silent": crew.quiet, "draining": crew.draining}
    if limit is not None and standing is not None:
        evidence |= {"key": limit.key, "limit": limit.most, "claimed": standing.held, "runs": standing.runs}
        if standing.home:
            evidence |= {"home": standing.home, "unheard": standing.lacks}
    if crew.quiet_heard_ms is not None:
        evidence["heard_ms"] = crew.quiet_heard_ms
    told = (_OWN_SENTENCES if is_own else _SENTENCES)[code].format(
        handler=handler,
        offering=f"{_counted(crew.workers, 'worker')} {'offers' if crew.workers == 1 else 'offer'}",
        busy="busy" if crew.workers == 1 else "all busy",
        held=_counted(crew.held, "attempt"),
        silent=_counted(crew.quiet, "worker"),
        heard="" if crew.quiet_heard_ms is None else f" since {moment(crew.quiet_heard_ms)}",
        limit="" if limit is None or standing is None else _why_limited(limit, standing),
    )
    more = " more" if crew.workers else " that did"
    leaving = f"{crew.draining}{more} {'is' if crew.draining == 1 else 'are'} leaving"
    draining = f"; {leaving}" if crew.draining else ""
    return _reason(code, f"{name} {told}{draining}", **evidence)


def _why_limited(limit: Limit, standing: Standing) -> str:
    """Say what keeps an attempt by its limit."""
    if standing.is_silent:
        return f"{standing.home}, which keeps the limit with key {limit.key}, does not answer"
    if standing.is_closed and standing.lacks:
        keeper, lacks = f"{standing.home}, which keeps the limit with key {limit.key}", " and ".join(standing.lacks)
        return f"{keeper}, does not know yet what is claimed of the runs of {lacks}"
    if standing.is_closed:
        return f"some runs are conducted by nobody now, so what is claimed with key {limit.key} is not known"
    by = f", by {', '.join(standing.runs)}" if standing.runs else ""
    more = " and others" if standing.runs and standing.held > len(standing.runs) else ""
    left = "" if standing.held >= limit.most else "; what is left is given out in turn"
    return f"{standing.held} of at most {limit.most} with key {limit.key} are claimed{by}{more}{left}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _why_join(join: Join) -> Reason:
    has = f"; it has {joined(join.occurred)}" if join.occurred else ""
    lacks = f"{join.op} waits for {joined(join.missing)}{has}"
    if join.impossible:
        lacks = f"{join.op} can never be opened: {joined(join.impossible)} cannot occur any more{has}"
    return _reason(
        ReasonCode.JOIN,
        lacks,
        op=join.op,
        has=tuple(map(str, join.occurred)),
        missing=tuple(map(str, join.missing)),
        impossible=tuple(map(str, join.impossible)),
    )


def _reason(code: ReasonCode, sentence: str, **evidence: str | int | tuple[str, ...]) -> Reason:
    told: Evidence = evidence
    return Reason(code=code, sentence=sentence, evidence=told)

"""What many runs came to together: how they ended, how long they took, what was tried again, and why they failed."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from harpoon.core.chronicle import Chronicle, Visit
from harpoon.model.header import Header
from harpoon.model.label import FAILURES
from harpoon.model.report_shown import By, Durations, FailureReason, ReportGroup
from harpoon.model.run import Status

#: Reasons that are told of each group, kept for each while it is made, and how much is read of one.
FAILURES_SHOWN: Final = 5
_REASONS_MAX: Final = 200
_REASON_MAX: Final = 200
#: A visit that is not closed is counted under this.
OPEN: Final = "open"
#: What tells apart reasons that are the same: numbers, and ids that have digits.
_OWN: Final = re.compile(r"[A-Za-z0-9_.-]*\d[A-Za-z0-9_.-]*")


@dataclass(slots=True)
class _Group:
    """One group, as it is made."""

    runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    took: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    work: list[int] = field(default_factory=list)
    visits: int = 0
    attempts: int = 0
    #: Reason without what is its own → the same in words, how often, and the first run that was told.
    reasons: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def fail(self, reason: str, run: str) -> None:
        reason = reason[:_REASON_MAX] or "no reason was told"
        key = _OWN.sub("#", reason)
        if key in self.reasons or len(self.reasons) < _REASONS_MAX:
            self.reasons.setdefault(key, []).append((reason, run))

    def tried(self, visit: Visit) -> None:
        self.visits += 1
        self.attempts += len(visit.tries)
        for one in visit.tries:
            if one.claimed_ms is not None:
                self.queue.append(max(0, one.claimed_ms - one.ready_ms))
                if one.ended_ms is not None:
                    self.work.append(max(0, one.ended_ms - one.claimed_ms))

    def shown(self, key: str) -> ReportGroup:
        frequent = sorted(self.reasons.values(), key=lambda told: (-len(told), told[0]))[:FAILURES_SHOWN]
        return ReportGroup(
            key=key,
            runs=self.runs,
            counts=dict(sorted(self.counts.items())),
            took=spread(self.took),
            queue=spread(self.queue),
            work=spread(self.work),
            visits=self.visits,
            attempts=self.attempts,
            retries=self.attempts - self.visits,
            failures=tuple([FailureReason(reason=told[0][0], count=len(told), run=told[0][1]) for told in frequent]),
        )


class Report:
    """Takes in runs, the latest first, and tells what they came to.

    Args:
        by: What there is a group for each of.
        key: Of `By.TAG`: which tag.
    """

    def __init__(self, by: By, key: str = "") -> None:
        self._by = by
        self._key = key
        self._groups: dict[str, _Group] = {}

    def count(self, header: Header) -> None:
        """Take in how a run stands."""
        name = header.workflow if self._by is By.WORKFLOW else header.tags.get(self._key)
        if self._by is By.OPERATION or name is None:
            return
        group = self._of(name)
        group.runs += 1
        group.counts[header.status.value] += 1
        if header.ended_ms is not None:
            group.took.append(max(0, header.ended_ms - header.begun_ms))
        if header.status in (Status.FAILED, Status.TIMED_OUT):
            group.fail(header.reason, header.run)

    def look_into(self, header: Header, told: Chronicle) -> None:
        """Take in what happened in a run that was counted; of a fork, what it did not begin with."""
        visits = [one for one in told.visits.values() if not _is_copied(one, header.forked_ms)]
        if self._by is By.OPERATION:
            seen = set()
            for visit in visits:
                group = self._of(f"{header.workflow}/{visit.op}")
                group.runs += visit.op not in seen
                seen.add(visit.op)
                self._visited(group, visit, header.run)
            return
        name = header.workflow if self._by is By.WORKFLOW else header.tags.get(self._key)
        if name is not None:
            for visit in visits:
                self._of(name).tried(visit)

    def groups(self, most: int) -> tuple[tuple[ReportGroup, ...], int]:
        """Return the groups of the most runs, and how many there are beyond."""
        ordered = sorted(self._groups.items(), key=lambda item: (-item[1].runs, item[0]))
        return tuple([group.shown(key) for key, group in ordered[:most]]), max(0, len(ordered) - most)

    def _visited(self, group: _Group, visit: Visit, run: str) -> None:
        group.tried(visit)
        latest = visit.latest
        if latest.ended_ms is None or latest.label is None:
            group.counts[OPEN] += 1
            return
        group.counts[latest.label] += 1
        group.took.append(max(0, latest.ended_ms - visit.opened_ms))
        if latest.label in FAILURES:
            group.fail(latest.error or latest.label, run)

    def _of(self, key: str) -> _Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
        return group


def _is_copied(visit: Visit, forked_ms: int | None) -> bool:
    """Whether a visit was over when its run was forked: then it is another run's."""
    ended_ms = visit.latest.ended_ms
    return forked_ms is not None and ended_ms is not None and ended_ms <= forked_ms


def spread(values: Sequence[int]) -> Durations | None:
    """Return how some spans lie; None: there is none. A share is the least span that so many do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return Durations(
        count=len(ordered),
        p50_ms=ordered[-(-len(ordered) * 50 // 100) - 1],
        p95_ms=ordered[-(-len(ordered) * 95 // 100) - 1],
        max_ms=ordered[-1],
    )

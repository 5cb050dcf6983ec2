"""What follows in a run from what has just happened in it, down to where it waits for the world again.

An event completes triggers; these fire, which opens visits; some of those close by themselves, which are further
events. That goes on as a loop over what was opened and not by recursion, and ends since the visits of every operation
are bounded; should a graph get here that has no end, a run fails after `EVENTS_MAX` events of one step.
"""

from collections import deque
from heapq import merge
from typing import Final, TypeVar

from harpoon.core.event import Closed, Ended, Event, Fired, Moved, Opened, Resumed, RetriedFrom, SetTo, Started
from harpoon.core.fold import SIGNAL_KEPT_MS, fold
from harpoon.core.graph import Kind, Node
from harpoon.core.items import verdict
from harpoon.core.opening import open_item, open_next
from harpoon.core.run import Kept, Run
from harpoon.core.visit import Attempt, VisitKey
from harpoon.core.visiting import open_visits
from harpoon.kit.expression import Failed
from harpoon.model.label import DONE, EXHAUSTED, FAIL
from harpoon.model.operation import CALLBACK
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed

#: Bytes of inputs beyond which what an event opens is continued in further events.
OPENED_BYTES_MAX: Final = 256 << 10
#: What an opened visit takes in a log beside its input, about.
_OVERHEAD: Final = 64
#: Characters of an error that are kept.
ERROR_MAX: Final = 4096
#: Of one step.
EVENTS_MAX: Final = 100_000

_Opening = TypeVar("_Opening", Started, Closed, Fired, Resumed, RetriedFrom, SetTo, Moved)


class Step:
    """The events of one step of a run, as they are decided; each is folded at once."""

    __slots__ = ("events", "fresh", "now_ms", "run")

    def __init__(self, run: Run, now_ms: int) -> None:
        self.run = run
        #: Never earlier than the last event: a clock that was set back stands still.
        self.now_ms = max(now_ms, run.now_ms)
        self.events: list[Event] = []
        #: Opened in this step, and not looked at.
        self.fresh: deque[VisitKey] = deque()

    @property
    def seq(self) -> int:
        """The number of the next event."""
        return self.run.seq + 1

    def happen(self, event: Event) -> None:
        """Take in an event that opens nothing."""
        fold(self.run, event)
        self.events.append(event)

    def advance(self, event: _Opening) -> None:
        """Take in an event, and let fire what it completes; it holds what that opens."""
        fold(self.run, event)
        run = self.run
        if not (run.pending or run.roomy) or not _may_fire(run):
            self.events.append(event)
            return
        self.events.append(event._replace(opened=self._fire()))
        while run.pending or run.roomy:
            more = Fired(self.seq, self.now_ms)
            fold(run, more)
            self.events.append(more._replace(opened=self._fire()))

    def _fire(self) -> tuple[Opened, ...]:
        """Open what is pending, and the items that there is room for, as far as they go into one event."""
        run = self.run
        # The run counts what they are given, which takes long where that is much, and need not be done twice.
        before, told = run.bytes_total, list[Opened]()
        while (run.pending or run.roomy) and run.bytes_total - before + len(told) * _OVERHEAD < OPENED_BYTES_MAX:
            opened = open_next(run, self.now_ms) if run.pending else open_item(run, self.now_ms)
            open_visits(run, (opened,), self.now_ms)
            told.append(opened)
            if run.graph.nodes[opened.op].handler is None or (opened.op, opened.visit) not in run.ready:
                self.fresh.append((opened.op, opened.visit))
        return tuple(told)

    def settle(self) -> None:
        """Do what follows by itself, until the run waits for the world, or is over."""
        run = self.run
        while run.status is Status.RUNNING:
            if run.unhandled and run.graph.spec.on_failure is OnFailed.CANCEL:
                self.end(Status.FAILED, run.failure or "")
            elif len(self.events) > EVENTS_MAX:
                self.end(Status.FAILED, f"it did not come to rest within {EVENTS_MAX} events of one step")
            elif self.fresh:
                self._look(self.fresh.popleft())
            elif run.open or run.pending or run.incidents:
                return
            elif run.failure is not None:
                self.end(Status.FAILED, run.failure)
            else:
                self._succeed()

    def close(
        self, attempt: Attempt, label: str, output: object = None, error: str = "", signal: str | None = None
    ) -> None:
        """Close a visit for good, and with it those of its items that are under way."""
        run, (op, visit, number) = self.run, attempt.ref
        token = "" if attempt.claim is None else attempt.claim.token
        group = run.groups.get((op, visit))
        cancelled = () if group is None else tuple([run.open[key].ref for key in group.open.values()])
        event = Closed(
            self.seq, self.now_ms, op, visit, number, token, label, output, error[:ERROR_MAX], (), None, signal
        )
        self.advance(event._replace(cancelled=cancelled) if cancelled else event)
        node = run.graph.nodes[op]
        if node.home is not None:
            # The others of its group are not looked at any more if this one decides.
            self.fresh.appendleft(node.group_of(visit)[0])

    def try_again(self, attempt: Attempt, label: str, output: object, error: str, retry_ms: int) -> None:
        """Close an attempt, but not its visit: the next one may be claimed from ``retry_ms`` on."""
        op, visit, number = attempt.ref
        token = "" if attempt.claim is None else attempt.claim.token
        self.happen(
            Closed(self.seq, self.now_ms, op, visit, number, token, label, output, error[:ERROR_MAX], (), retry_ms)
        )

    def go_on(self) -> None:
        """Let fire what is complete and has not fired."""
        if (self.run.pending or self.run.roomy) and _may_fire(self.run):
            self.advance(Fired(self.seq, self.now_ms))

    def end(self, status: Status, reason: str, outputs: object = None) -> None:
        """End the run."""
        self.happen(Ended(self.seq, self.now_ms, status, outputs, reason))

    def _succeed(self) -> None:
        template = self.run.graph.outputs
        if template is None:
            self.end(Status.SUCCEEDED, "")
            return
        try:
            outputs = template.value(self.run.scope)
        except Failed as error:
            self.end(Status.FAILED, f"outputs: {error}"[:ERROR_MAX])
            return
        self.end(Status.SUCCEEDED, "", outputs)

    def _look(self, key: VisitKey) -> None:
        """Close what was opened, if it closes by itself."""
        run = self.run
        attempt = run.open.get(key)
        if attempt is None:
            # An item, or what it is one of, that was closed meanwhile.
            return
        node = run.graph.nodes[attempt.ref.op]
        if attempt.is_beyond:
            self.close(attempt, EXHAUSTED, error=f"{node.name} was fired more than {node.visits} times")
        elif attempt.error is not None:
            self.close(attempt, FAIL, error=attempt.error)
        elif node.each is not None:
            if (told := verdict(node.each, run.groups[key])) is not None:
                self.close(attempt, told[0], error=told[1])
        elif node.kind is Kind.CHOOSE:
            label, error = choose(node, run)
            self.close(attempt, label, error=error)
        elif attempt.due_ms is not None and attempt.due_ms <= self.now_ms:
            self.close(attempt, DONE)
        elif (kept := self._kept_for(node, attempt)) is not None:
            self.close(attempt, kept.label, signal=kept.id)

    def _kept_for(self, node: Node, attempt: Attempt) -> Kept | None:
        """Return the signal that came first of those kept that a wait may consume."""
        run, wait = self.run, node.spec.wait
        if not run.kept or wait is None or wait.awaited is None or run.is_paused:
            return None
        names = {(wait.awaited, attempt.key), (wait.awaited, None)}
        own = [[run.kept[id_] for id_ in run.kept_by.get(name, ())] for name in names]
        for kept in merge(*own, key=lambda kept: kept.seq):
            if self.suits(node, kept):
                return kept
        return None

    def suits(self, node: Node, kept: Kept) -> bool:
        """Whether a wait may be closed by a signal of its name and key."""
        is_fresh = kept.at_ms > self.now_ms - SIGNAL_KEPT_MS
        return (is_fresh or kept.name == CALLBACK) and kept.label in node.offered and kept.bytes <= node.spec.output_max


def choose(node: Node, run: Run) -> tuple[str, str]:
    """Return the label of the first choice that holds, and an error if there is none."""
    for number, choice in enumerate(node.choices, 1):
        if choice.when is None:
            return choice.label, ""
        try:
            holds = choice.when.value(run.scope)
        except Failed as error:
            return FAIL, f"choice {number}: {error}"
        if holds is True:
            return choice.label, ""
        if holds is not False:
            return FAIL, f"choice {number} came to neither true nor false"
    return FAIL, "no choice holds, and there is no else"


def _may_fire(run: Run) -> bool:
    """Whether triggers fire now."""
    return not (run.is_paused or (run.unhandled and run.graph.spec.on_failure is OnFailed.CANCEL))

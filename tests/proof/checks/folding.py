"""That a run is what its log says, whoever reads it, and that a fork begins with what the other run has: S29."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from harpoon.core.event import load
from harpoon.core.fold import fold
from harpoon.core.graph import compile_graph
from harpoon.core.run import Run, begin
from harpoon.kit import codec
from harpoon.model.workflow import WorkflowSpec
from tests.proof.checks.reading import OfRuns, RunKnown, Written
from tests.proof.history import Committed
from tests.proof.judge import Terms
from tests.proof.state import State

#: What a header tells of how a run stands → the same by its log.
_STANDING: Final[Mapping[str, Callable[[Run], object]]] = {
    "status": lambda run: run.status.value,
    "is_paused": lambda run: run.is_paused or None,
    "repairs": lambda run: run.repairs or None,
    "until_ms": lambda run: run.deadline_ms if run.repairs else None,
    "incidents": lambda run: len(run.incidents) or None,
    "ended_ms": lambda run: run.ended_ms,
    "outputs": lambda run: run.outputs,
    "reason": lambda run: run.reason or None,
    "cancel_reason": lambda run: run.cancel_reason,
}
#: What a fork adds to what it has copied: an end, where the other run went on; and the retry.
_ENDS, _RETRY = "ae", "t"


class RunsFold(OfRuns):
    """S29. Folded is by the shipped fold, and by nothing but what the store has: as by whoever takes a run over.

    Of real runs it is not judged, since of large records parts are stored.
    """

    name = "S29"
    says = "A run, folded from its log by the forms that it was on, stands as its header tells."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._folded: dict[str, Run] = {}

    def on_committed(self, event: Committed) -> None:
        super().on_committed(event)
        for change in self.state.changed if self.terms.is_exact else ():
            run = self._folded.get(change.key)
            if change.table == "runs" and change.new is not None and run is not None:
                self._judge_standing(run, change.key, change.new.value, event)

    def _judge_standing(self, run: Run, key: str, header: Mapping[str, Any], event: Committed) -> None:
        amiss = [name for name, by_log in _STANDING.items() if header.get(name) != by_log(run)]
        moved = header.get("moved") or [header["generation"]]
        if amiss or moved[-1] != run.generation:
            raise self.refute(f"run {key} stands otherwise than its log says: {amiss or 'generation'}", event)

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if not self.terms.is_exact:
            return
        if not run.seq:
            self._folded[key] = self._begun(run)
        folded = self._folded.get(key)
        if folded is None:
            return
        try:
            if written[0] == "m":
                spec = self.spec_of(run, written[3])
                folded.graphs[written[3]] = compile_graph(codec.load(WorkflowSpec, codec.dump(spec)))
            fold(folded, load(written))
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise self.refute(f"event {written[1]} of run {key} cannot be folded: {error!r}", event) from None

    def _begun(self, run: RunKnown) -> Run:
        header = run.header
        return begin(
            namespace=header["namespace"],
            id=header["run"],
            workflow=header["workflow"],
            generation=header["generation"],
            graph=compile_graph(codec.load(WorkflowSpec, codec.dump(self.spec_of(run, header["generation"])))),
            inputs=header.get("inputs") or {},
            created_ms=header["created_ms"],
            deadline_ms=header["deadline_ms"],
            tags=header.get("tags") or {},
        )


class ForksBegin(OfRuns):
    """S29 of forks: what is copied is all that the other run had at some moment, and then the fork goes its own way."""

    name = "S29"
    says = "A fork begins with just what the run that it is of had at some moment, and with nothing that others are at."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: ``<namespace>/<run>`` → its log; and how long that was after each commit.
        self._logs: dict[str, list[Written]] = {}
        self._lengths: dict[str, set[int]] = {}

    def on_committed(self, event: Committed) -> None:
        super().on_committed(event)
        for change in self.state.changed:
            if change.table in ("runs", "log") and change.new is not None:
                parts = change.key.split("/")
                name = "/".join(parts[1:3])
                self._lengths.setdefault(name, set()).add(len(self._logs.get(name, ())))
                if change.table == "runs" and change.old is None and change.new.value.get("origin"):
                    self._judge_fork(change.key, change.new.value, event)

    def _judge(self, key: str, run: RunKnown, written: Written, event: Committed) -> None:
        if not run.seq:
            self._logs[key.partition("/")[2]] = []
        self._logs.setdefault(key.partition("/")[2], []).append(written)

    def _judge_fork(self, key: str, header: Mapping[str, Any], event: Committed) -> None:
        namespace, _, run = key.partition("/")[2].partition("/")
        own, other = self._logs[f"{namespace}/{run}"], self._logs.get(f"{namespace}/{header['origin']}", [])
        lengths = {n for n in self._lengths.get(f"{namespace}/{header['origin']}", ()) if n <= len(own)}
        copied = max((n for n in lengths if own[:n] == other[:n]), default=0)
        rest = "".join(written[0] for written in own[copied:])
        ended = [written[0] for written in own[:copied] if written[0] in "etu"][-1:]
        if not copied or not rest.startswith(_RETRY if ended == ["e"] else _ENDS + _RETRY):
            raise self.refute(f"fork {run} does not begin as run {header['origin']} does", event)

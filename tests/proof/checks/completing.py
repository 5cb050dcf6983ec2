"""What batch jobs do and come to: S23, S24 and S25."""

from collections.abc import Mapping
from typing import Any

from tests.proof.checks.placing import Words
from tests.proof.history import Committed, Fault, Started
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State, is_over, job_of, number_of
from tests.proof.wanted import (
    clock_ms,
    deadline_ms_of,
    is_batch,
    is_busy,
    is_kept,
    is_noted,
    is_wanted,
    parallel_of,
    record_of,
    results_of,
)


class _OfBatches(Check):
    """Sees what is noted of batch jobs, and what is placed for them."""

    tables = ("batches", "placements")

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            return
        for change in self.state.changed:
            if change.table == "batches":
                self._judge_noted(change, event)
        for change in self.state.changed:
            if change.table == "placements" and change.old is None and change.new is not None:
                task, placement = change.key.partition("/")[2], change.new.value
                job = self.state.value("jobs", job_of(task))
                # What was adopted of a former life of the registry was not decided here.
                is_ours = placement["incarnation"] == self.state.incarnation
                if is_ours and job is not None and is_batch(job) and placement["version"] >= job["run"]["version"]:
                    self._judge_placed(task, placement, job, event)

    def _judge_noted(self, change: Change, event: Committed) -> None:
        """Judge a record that was written, or deleted."""

    def _judge_placed(self, task: str, placement: Mapping[str, Any], job: Mapping[str, Any], event: Committed) -> None:
        """Judge a placement of a job's present run."""


class CompleteForGood(_OfBatches):
    """S23. A slot is complete from the commit that notes it, until its job is unscheduled or another run begins.

    That its task's process starts once more is judged in simulated runs only, where it is known what came first; and
    not on a host that lost power, which may have lost that the task had finished. A task that had been placed before,
    was lost, and was replaced by the one that finished may run on or be started yet, where nobody reaches its agent.
    """

    name = "S23"
    says = "A slot of a batch job that was noted as complete stays so, and is neither placed nor run again in that run."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._powerless: set[str] = set()

    def on_fault(self, event: Fault) -> None:
        if "power" in event.what:
            self._powerless.add(event.target)

    def on_started(self, event: Started) -> None:
        job = self.state.value("jobs", job_of(event.task))
        if not self.terms.is_exact or event.node in self._powerless or job is None or not is_batch(job):
            return
        for result in record_of(self.state, job_of(event.task), job).get("results", ()):
            if result["task"] == event.task and result["is_complete"]:
                raise self.refute(f"{event.task} starts again on {event.node}, and its slot is complete", event)

    def _judge_noted(self, change: Change, event: Committed) -> None:
        if change.old is None:
            return
        job = self.state.value("jobs", change.key)
        if change.new is None:
            if job is not None and not job.get("is_terminating"):
                raise self.refute(f"what came of job {change.key} is forgotten", event)
            return
        if change.new.value["version"] != change.old.value["version"]:
            return
        after = results_of(change.new.value)
        for slot, result in results_of(change.old.value).items():
            if result["is_complete"] and after.get(slot) != result:
                raise self.refute(f"slot {slot} of job {change.key} was complete, and is not what it was", event)

    def _judge_placed(self, task: str, placement: Mapping[str, Any], job: Mapping[str, Any], event: Committed) -> None:
        result = results_of(record_of(self.state, job_of(task), job)).get(placement["slot"])
        if result is not None and result["is_complete"]:
            raise self.refute(f"{task} is placed, and {result['task']} had completed its slot", event)


class FewAtOnce(_OfBatches):
    """S24. Asked whenever one is placed, of what the store showed by the revision that this was decided on.

    Counted are tasks that are placed and not over, and those that are placed no more and still run or stop. Not
    counted are lost ones, of jobs that do not wait for them, from when they are lost until after they are reported anew:
    those may run on, beside the ones that replaced them. Nor is a start that was on its way when its placement was
    withdrawn, until its agent reports it.
    """

    name = "S24"
    tables = ("placements", "actual")
    says = "No task of a batch job is placed while as many run or stop as may at once; lost ones are not counted."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Task → from which revision on it has counted.
        self._since: dict[tuple[str, str], int] = {}

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._since = {}
            return
        for change in self.state.changed:
            if change.table in self.tables:
                agent, _, task = change.key.partition("/")
                if self._counts(agent, task):
                    self._since.setdefault((agent, task), event.revision)
                else:
                    self._since.pop((agent, task), None)
        super().on_committed(event)

    def _counts(self, agent: str, task: str) -> bool:
        job, report = self.state.value("jobs", job_of(task)), self.state.reported(agent, task)
        if job is None or not is_batch(job) or not is_busy(self.state, agent, task):
            return False
        return report is None or report["state"] != "lost" or is_kept(job)

    def _judge_placed(self, task: str, placement: Mapping[str, Any], job: Mapping[str, Any], event: Committed) -> None:
        key, decided = job_of(task), number_of(task)[1]
        counted = [
            one
            for (agent, one), since in self._since.items()
            if job_of(one) == key and self._is_known(agent, one, decided)
        ]
        parallel = parallel_of(job)
        if len(counted) > parallel:
            told = f"{task} is placed, and then {len(counted)} tasks of job {key} run or stop"
            raise self.refute(f"{told}, of which {parallel} may at once: {', '.join(sorted(counted))}", event)

    def _is_known(self, agent: str, task: str, decided: int) -> bool:
        """Whether who decided on a revision could know of a task, or decided it himself."""
        placed = self.state.row("placements", f"{agent}/{task}")
        is_new = placed is not None and placed.create > decided
        return is_new or self._since[agent, task] <= decided


class EndsRightly(_OfBatches):
    """S25. A job's end is judged by its own record: that all is complete, that nothing is left to try, or the time.

    The time is that of the clock of whoever decides, so it is not judged once a clock was off. Fewer attempts may be
    allowed while a task runs: then it is one of those that were when it was placed. That a task has ended may not be
    known yet to who withdraws it for another reason: since its job goes or starts over, or its agent is drained or
    dead, or for a more urgent job.
    """

    name = "S25"
    says = (
        "What has ended is noted before it is withdrawn, no more attempts of a slot than it has; a batch job ends by what "
        "was noted, and a failed one has nothing more placed."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._words = Words(self.state)
        self._is_clock_off = False

    def on_fault(self, event: Fault) -> None:
        self._words.hear(event)
        self._is_clock_off |= "clock" in event.what

    def on_committed(self, event: Committed) -> None:
        super().on_committed(event)
        for change in () if self.state.is_anew else self.state.changed:
            if change.table != "placements" or change.old is None or change.old.value.get("is_revoked"):
                continue
            if change.new is None or change.new.value.get("is_revoked"):
                self._judge_withdrawn(change, change.old.value, event)

    def _judge_withdrawn(self, change: Change, placement: Mapping[str, Any], event: Committed) -> None:
        agent, _, task = change.key.partition("/")
        job, report = self.state.value("jobs", job_of(task)), self.state.reported(agent, task)
        if job is None or not is_batch(job) or report is None or not is_over(report) or report["state"] == "unclaimed":
            return
        is_cordoned = self.state.row("cordons", agent) is not None
        if is_cordoned or self._words.is_dead(agent) or self.state.is_preempted(task) or is_noted(self.state, task):
            return
        if is_wanted(self.state, job_of(task), job, placement, task):
            raise self.refute(f"{task} on {agent} is {report['state']}, and is withdrawn before that is noted", event)

    def _judge_noted(self, change: Change, event: Committed) -> None:
        if change.new is None:
            return
        record, job = change.new.value, self.state.value("jobs", change.key)
        if job is None or not is_batch(job) or record["version"] != job["run"]["version"]:
            raise self.refute(f"something is noted of a run that job {change.key} is not in", event)
        is_same_run = change.old is not None and change.old.value["version"] == record["version"]
        before = change.old.value if change.old is not None and is_same_run else {}
        self._judge_attempts(change.key, job, before, record, event)
        self._judge_outcome(change.key, job, before, record, event)

    def _judge_attempts(
        self, key: str, job: Mapping[str, Any], before: Mapping[str, Any], record: Mapping[str, Any], event: Committed
    ) -> None:
        known = results_of(before)
        for slot, result in results_of(record).items():
            former = known.get(slot)
            if former is not None and former["task"] == result["task"]:
                if former["attempts"] != result["attempts"]:
                    raise self.refute(f"{result['task']} of job {key} counts as more than one attempt", event)
                continue
            placed = self.state.placed.get((result["agent"], result["task"]))
            if placed is None:
                raise self.refute(f"{result['task']} is noted of job {key}, and was never placed", event)
            if result["attempts"] != (0 if former is None else former["attempts"]) + 1:
                raise self.refute(f"attempts of slot {slot} of job {key} are not counted one by one", event)
            then = self.state.job_at(key, number_of(result["task"])[1]) or job
            allowed = max(_attempts(job), _attempts(then))
            if result["attempts"] > allowed:
                raise self.refute(f"{result['task']} is attempt {result['attempts']} of {allowed}", event)

    def _judge_outcome(
        self, key: str, job: Mapping[str, Any], before: Mapping[str, Any], record: Mapping[str, Any], event: Committed
    ) -> None:
        was, now = before.get("outcome"), record.get("outcome")
        if was == "failed" and now != "failed":
            raise self.refute(f"job {key} had failed, and goes on", event)
        if was is None and now == "failed" and not self._is_spent(job, record) and not self._is_late(job, event):
            raise self.refute(f"job {key} fails, with attempts and time left: {record.get('reason', '')}", event)
        if now == "succeeded":
            results = results_of(record)
            open_ = [n for n in range(job["spec"].get("scale", 1)) if not results.get(n, {}).get("is_complete")]
            if open_:
                raise self.refute(f"job {key} has succeeded, and slot {open_[0]} is not complete", event)

    def _is_spent(self, job: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
        results = record.get("results", ())
        return any(not one["is_complete"] and one["attempts"] >= _attempts(job) for one in results)

    def _is_late(self, job: Mapping[str, Any], event: Committed) -> bool:
        deadline_ms = deadline_ms_of(job)
        slack_ms = 1000 * (self.terms.skew_s + self.terms.grace_s)
        is_known = self.terms.is_exact and not self._is_clock_off
        return deadline_ms is not None and (not is_known or deadline_ms <= clock_ms(event.t) + slack_ms)

    def _judge_placed(self, task: str, placement: Mapping[str, Any], job: Mapping[str, Any], event: Committed) -> None:
        record = record_of(self.state, job_of(task), job)
        if record.get("outcome"):
            raise self.refute(f"{task} is placed, and its job has {record['outcome']}", event)
        result = results_of(record).get(placement["slot"])
        if result is not None and not result["is_complete"] and result["attempts"] >= _attempts(job):
            raise self.refute(f"{task} is placed, and its slot has no attempts left", event)


def _attempts(job: Mapping[str, Any]) -> int:
    return int(job["spec"].get("attempts") or 1)

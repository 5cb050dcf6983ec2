"""What clients are told: S5, S6 and S12."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.job import Spec
from tests.proof.checks.watching import WATCH_GAP
from tests.proof.history import Answered, Committed, Fault, Invoked
from tests.proof.judge import Check, Terms
from tests.proof.state import State


def canonical(spec: Any) -> bytes:
    """Return what a job's spec is known by, however it is spelled."""
    try:
        return codec.canonical(codec.load(Spec, codec.dump(spec)))
    except Invalid:
        return b"unreadable: " + codec.dump(spec)


def revision_in(value: Any) -> int | None:
    """Return the revision that an argument names, with its incarnation or without; None: it names none."""
    return None if value in (None, "") else int(str(value).rpartition(".")[2])


class DurableAnswers(Check):
    """S5. A put or delete that was acknowledged with a revision stands in the store at that revision, and for ever.

    What is read must be what the store had at the revision that the answer tells; at which one that has to be is said
    by ``min_revision`` among the arguments, or the session (S12): instances may be behind each other. An answer without
    a revision cannot be judged; nor what is read once the store has left something out of a watch (see S11). What a
    registry had before it was restored is lost with its store, which is no lie.

    A put that tells of an older revision changed nothing, for the job stood as it asks: at some moment since it was
    asked, that is. Nor is there no job to change while one was there all the time. Both need times that are exact.
    """

    name = "S5"
    says = "What was acknowledged is in the store at the revision told, and what is read is what the store had."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._ops: dict[str, Invoked] = {}
        #: Operation → the store's revision when it was asked for; with an idempotency key, for the first time.
        self._asked_at: dict[str, int] = {}
        self._keyed_at: dict[str, int] = {}
        self._early: list[Answered] = []
        self._has_gap = False

    def on_fault(self, event: Fault) -> None:
        self._has_gap |= event.what == WATCH_GAP

    def on_invoked(self, event: Invoked) -> None:
        self._ops[event.op] = event
        key = event.args.get("idempotency_key")
        revision = self.state.revision
        self._asked_at[event.op] = revision if key is None else self._keyed_at.setdefault(key, revision)

    def on_answered(self, event: Answered) -> None:
        if self.terms.is_exact and not self._has_gap:
            self._judge_meanwhile(event)
        if not event.revision or event.outcome == "unknown":
            return
        if event.revision <= self.state.revision:
            self._judge(event)
        elif self.terms.is_exact:
            raise self._ahead(event)
        else:
            self._early.append(event)

    def on_committed(self, event: Committed) -> None:
        if self.state.went_back:
            raise self.refute("the store has gone back behind what it had committed", event)
        if self._early:
            due = [one for one in self._early if one.revision <= self.state.revision]
            self._early = [one for one in self._early if one.revision > self.state.revision]
            for one in due:
                self._judge(one)

    def end(self) -> None:
        if self._early:
            raise self._ahead(self._early[0])

    def _ahead(self, event: Answered) -> Exception:
        return self.refute(f"an answer tells revision {event.revision}, which the store never had", event)

    def _judge(self, event: Answered) -> None:
        asked = self._ops[event.op]
        job = self.state.job_at(asked.job, event.revision)
        amiss = ""
        if asked.verb == "get":
            amiss = self._amiss_in_read(asked, event, job)
        elif event.outcome == "done" and asked.verb == "put":
            amiss = self._amiss_in_put(asked, job)
        elif event.outcome == "done" and job is not None and not job.get("is_terminating"):
            amiss = "it was unscheduled, and still stands"
        if amiss:
            raise self.refute(f"job {asked.job} at revision {event.revision}: {amiss}", asked, event)

    def _judge_meanwhile(self, event: Answered) -> None:
        """Judge what is told without anything having been written, by how the job stood since it was asked for."""
        asked, since = self._ops[event.op], self._asked_at[event.op]
        past = [value for at, value in self.state.jobs_past.get(asked.job, ()) if at > since]
        stood = [self.state.job_at(asked.job, since), *past]
        if event.outcome == "done" and asked.verb == "put" and 0 < event.revision <= since:
            if all(self._amiss_in_put(asked, job) for job in stood):
                raise self.refute(f"job {asked.job} was said to stand as asked, and never did since", asked, event)
        elif (
            event.outcome == "refused" and event.code == "not_found" and asked.verb != "get" and all(map(_stays, stood))
        ):
            raise self.refute(f"job {asked.job} was not found, and was there all the time", asked, event)

    def _amiss_in_read(self, asked: Invoked, event: Answered, job: Any) -> str:
        least = revision_in(asked.args.get("min_revision"))
        if least is not None and event.outcome == "done" and event.revision < least:
            return f"it was read before revision {least}, which was asked for"
        if self._has_gap:
            return ""
        if event.outcome != "done":
            return "it was not found, and is there" if event.code == "not_found" and job is not None else ""
        if event.found is None or job is None:
            return "" if event.found is None and job is None else "it was read where there is none, or the other way"
        if "spec" in event.found and canonical(event.found["spec"]) != canonical(job["spec"]):
            return "another spec was read"
        other = [k for k in ("generation", "version") if k in event.found and event.found[k] != job[k]]
        return f"another {other[0]} was read" if other else ""

    def _amiss_in_put(self, asked: Invoked, job: Any) -> str:
        if job is None or job.get("is_terminating"):
            return "it was put, and is not there"
        if "spec" in asked.args and canonical(asked.args["spec"]) != canonical(job["spec"]):
            return "it was put, and is another"
        if "scale" in asked.args and job["spec"].get("scale", 1) != asked.args["scale"]:
            return f"it was scaled to {asked.args['scale']}, and its scale is {job['spec'].get('scale', 1)}"
        return ""


@dataclass(slots=True)
class _Form:
    """One form of a job: who asked for it, and when it was committed."""

    ops: list[Invoked] = field(default_factory=list)
    #: Created, version → commit at which it first stood.
    versions: dict[tuple[int, int], int] = field(default_factory=dict)


class ComparedAndOnce(Check):
    """S6. Who asked for a change is told by its spec: operations that a check is to tell apart ask for different ones.

    A job of which some put names no whole spec (a scale, say) is judged by ``if_match`` and the revisions told alone.
    That a condition that holds is not refused is not judged: somebody else may have been faster and gone back.
    """

    name = "S6"
    tables = ("jobs",)
    says = "A put whose condition does not hold, or that is refused, changes nothing; one idempotency key, one change."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._ops: dict[str, tuple[Invoked, int]] = {}
        self._outcomes: dict[str, Answered] = {}
        self._forms: dict[tuple[str, bytes], _Form] = {}
        #: Jobs of which not every change can be told by its spec.
        self._vague: set[str] = set()
        self._keys: dict[str, tuple[Invoked, Answered]] = {}
        self._early: list[Answered] = []

    def on_invoked(self, event: Invoked) -> None:
        self._ops[event.op] = event, self.state.count
        if event.verb == "put":
            if "spec" in event.args:
                self._forms.setdefault((event.job, canonical(event.args["spec"])), _Form()).ops.append(event)
            else:
                self._vague.add(event.job)

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.table == "jobs" and change.new is not None and not self.state.is_anew:
                if change.old is not None and change.old.value["version"] >= change.new.value["version"]:
                    if self._is_written_over(change.old.value, change.new.value):
                        raise self.refute(f"a change of job {change.key} was written over, unseen", event)
                    continue
                if change.new.value.get("is_terminating") or self._is_revert(change.key, change.new.value["version"]):
                    # A delete leaves the spec as it was, and a rollout that fails brings one back; nobody asks for that.
                    continue
                key = change.key, canonical(change.new.value["spec"])
                form = self._forms.get(key)
                if form is not None:
                    form.versions.setdefault((change.new.create, change.new.value["version"]), self.state.count)
                    self._judge_form(change.key, form)
        if self._early:
            due = [one for one in self._early if one.revision <= self.state.revision]
            self._early = [one for one in self._early if one.revision > self.state.revision]
            for one in due:
                self._judge_condition(one)

    def on_answered(self, event: Answered) -> None:
        asked, _ = self._ops[event.op]
        self._outcomes[event.op] = event
        if asked.verb == "get" or event.outcome == "unknown":
            return
        if event.outcome == "done" and event.revision:
            self._judge_key(asked, event)
            if event.revision <= self.state.revision:
                self._judge_condition(event)
            else:
                self._early.append(event)
        elif event.outcome == "refused" and "spec" in asked.args:
            self._judge_form(asked.job, self._forms[asked.job, canonical(asked.args["spec"])])

    def _is_revert(self, job: str, version: int) -> bool:
        """Whether a version of a job was written by its rollout, which has failed."""
        record = self.state.value("rollouts", job)
        return record is not None and (record.get("failure") or {}).get("reverted_by") == version

    def _is_written_over(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether a job's record was written by one who had not seen the former: its version did not rise."""
        return bool(old["version"] > new["version"] or canonical(old["spec"]) != canonical(new["spec"]))

    def _judge_condition(self, event: Answered) -> None:
        asked, _ = self._ops[event.op]
        wanted = revision_in(asked.args.get("if_match"))
        if wanted is None or event.revision == wanted:
            return
        past = self.state.jobs_past.get(asked.job, ())
        before = next((since for since, _ in reversed(past) if since < event.revision), 0)
        if before != wanted:
            text = f"job {asked.job} was changed though it was of revision {before}, and not {wanted}"
            raise self.refute(text, asked, event)

    def _judge_key(self, asked: Invoked, event: Answered) -> None:
        key = asked.args.get("idempotency_key")
        if not key:
            return
        first, answered = self._keys.setdefault(key, (asked, event))
        if answered.revision != event.revision or first.job != asked.job:
            text = f"idempotency key {key} made a change at {answered.revision} and at {event.revision}"
            raise self.refute(text, first, answered, asked, event)

    def _judge_form(self, job: str, form: _Form) -> None:
        if job in self._vague:
            return
        since = min(self._ops[one.op][1] for one in form.ops)
        made = [version for version, count in form.versions.items() if count > since]
        if not made:
            return
        outcomes = [self._outcomes.get(one.op) for one in form.ops]
        if all(outcome is not None and outcome.outcome == "refused" for outcome in outcomes):
            raise self.refute(f"job {job} was changed by what was refused", *form.ops, *outcomes)
        keys = {one.args.get("idempotency_key") for one in form.ops}
        if len(made) > 1 and len(keys) == 1 and None not in keys:
            raise self.refute(f"job {job} was changed {len(made)} times by one idempotency key", *form.ops)


class MonotoneSessions(Check):
    """S12. A put may tell of an older revision: that at which the job came to stand as it asks. Reads may not.

    It is for whoever writes the history to say by ``session`` which requests were asked to follow each other (with
    ``min_revision``, or of one instance): instances are not in step by themselves.
    """

    name = "S12"
    tables = ("meta",)
    says = "What a session reads is never older than what it has read or written before."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._ops: dict[str, tuple[Invoked, Answered | None]] = {}
        self._latest: dict[str, Answered] = {}

    def on_invoked(self, event: Invoked) -> None:
        if event.session:
            self._ops[event.op] = event, self._latest.get(event.session)

    def on_answered(self, event: Answered) -> None:
        asked, before = self._ops.get(event.op, (None, None))
        if asked is None or not event.revision:
            return
        if asked.verb == "get" and before is not None and event.revision < before.revision:
            text = f"session {asked.session} sees revision {event.revision} after {before.revision}"
            raise self.refute(text, before, asked, event)
        latest = self._latest.get(asked.session)
        if latest is None or event.revision > latest.revision:
            self._latest[asked.session] = event

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._latest.clear()
            self._ops = {op: (asked, None) for op, (asked, _) in self._ops.items()}


def _stays(job: Any) -> bool:
    """Whether there is a job to be changed: one that is being unscheduled is none."""
    return job is not None and not job.get("is_terminating")

"""Why something stands as it does, as it is told: with both values of whatever failed, and the nearest way out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from harpoon.model.name import TaskId
from harpoon.model.task import CheckResult


class ReasonCode(StrEnum):
    """What decides, for machines: codes are added, never changed; `docs/why.md` tells the evidence of each."""

    # Of slots without the task they should have.
    FITS_NOWHERE = "fits_nowhere"
    #: It fits once the task before it has gone, which has been told to.
    MAKES_ROOM = "makes_room"
    #: A job that this one depends on is not as it needs it.
    DEPENDENCY = "dependency"
    #: A value of a secret that it refers to is not set.
    NO_SECRET = "no_secret"  # noqa: S105 a word
    #: ``update`` lets no more change at once.
    TURN = "turn"
    #: Batch: as many tasks run as may at once.
    PARALLEL = "parallel"
    #: Batch: the slot is complete, and never runs again.
    COMPLETE = "complete"
    #: Batch: the slot has used up its attempts, and is not tried again.
    SPENT = "spent"
    #: What failed again and again is replaced later each time.
    BACKOFF = "backoff"
    #: Endpoints of other jobs have just changed; they are followed in few steps.
    SETTLING = "settling"
    #: Lost, and replacing has halted, for too many agents are.
    EVICTION_HALTED = "eviction_halted"
    #: Lost, and only so many are replaced a second.
    EVICTION_LIMITED = "eviction_limited"
    #: Lost, and its job waits for the agent.
    WAITS_FOR_AGENT = "waits_for_agent"
    #: The rollout is paused, by an operator or since it failed.
    ROLLOUT_PAUSED = "rollout_paused"
    #: The rollout waits to be promoted beyond its canaries.
    ON_TRIAL = "on_trial"
    #: Exclusive: the task before is being stopped.
    ENDING = "ending"
    #: Exclusive: the agent has not confirmed that it forgot the task before.
    UNDENIED = "undenied"
    #: The record of the task before cannot be read by this release.
    UNREADABLE = "unreadable"
    #: System: the job is not for this agent.
    NO_MEMBER = "no_member"
    #: Nothing keeps it: it is about to be placed.
    IMMINENT = "imminent"

    # Of tasks.
    READY = "ready"
    FINISHED = "finished"
    #: Its agent has not reported it yet.
    UNREPORTED = "unreported"
    STARTING = "starting"
    #: Its process ended, and its agent waits before it starts it again.
    RESTARTING = "restarting"
    CHECK_FAILING = "check_failing"
    #: How its last process ended.
    EXITED = "exited"
    #: Batch: its agent is drained of it once it has ended.
    RUNS_TO_END = "runs_to_end"
    #: System: its agent is drained of it once nothing else is left there.
    GOES_LAST = "goes_last"
    #: It runs, and is not ready.
    NOT_READY = "not_ready"
    FAILED = "failed"
    LOST = "lost"
    STOPPING = "stopping"
    UNCLAIMED = "unclaimed"
    #: Batch: it has ended, and is kept for what it wrote.
    NOTED = "noted"
    #: It is to stop: its placement is gone, or revoked.
    WITHDRAWN = "withdrawn"
    #: It is of an older version, and is to be replaced.
    OUTDATED = "outdated"
    #: It is to be replaced elsewhere: tasks are being rebalanced.
    MOVING = "moving"
    #: Its agent is being drained.
    DRAINING = "draining"
    #: Why it is where it is.
    PLACED = "placed"

    # Of agents, and of tasks for the sake of theirs.
    AGENT_UNKNOWN = "agent_unknown"
    AGENT_INTERRUPTED = "agent_interrupted"
    AGENT_LOST = "agent_lost"
    #: What becomes of the tasks of an agent that is lost.
    LOST_TASKS = "lost_tasks"
    CORDONED = "cordoned"
    #: A task that keeps a drain from being done.
    DRAIN_WAITS = "drain_waits"
    RESERVED = "reserved"
    EMPTY = "empty"
    #: A job that fits nowhere lacks something here.
    REFUSES = "refuses"

    # Of jobs.
    #: Batch: it has failed.
    BATCH_FAILED = "batch_failed"
    #: Batch: every slot is complete.
    SUCCEEDED = "succeeded"
    #: A cron job runs nothing itself: when a child is made of it next.
    CRON_DUE = "cron_due"
    #: No due of it is fired until it is resumed.
    CRON_PAUSED = "cron_paused"
    #: A child of it is not over.
    CRON_RUNS = "cron_runs"
    #: The latest due that was not fired.
    CRON_SKIPPED = "cron_skipped"
    TERMINATING = "terminating"
    SETTLED = "settled"

    # Of runs.
    #: It is over.
    RUN_OVER = "run_over"
    #: Nothing of it is claimed, fired or consumed until it is resumed.
    RUN_PAUSED = "run_paused"
    #: An operation failed, no edge takes that, and it is parked until somebody repairs it.
    INCIDENT = "incident"
    #: A worker is at it.
    CLAIMED = "claimed"
    #: The run that it has called goes on.
    SUB_RUN = "sub_run"
    #: A job is to do what the operation ordered: a task to end, or a change to be done.
    JOB = "job"
    #: No worker offers the handler.
    NO_WORKER = "no_worker"
    #: Workers that offer it have as much to do as they take.
    WORKERS_BUSY = "workers_busy"
    #: Its workflow has its share of what the server carries out at once; the rest is kept for others.
    WORKFLOW_SHARE = "workflow_share"
    #: Workers that offered it have not been heard of lately.
    WORKERS_UNREACHABLE = "workers_unreachable"
    #: A worker is to have it in a moment.
    WORKERS_FREE = "workers_free"
    #: It is not known here which workers there are.
    WORKERS_UNKNOWN = "workers_unknown"
    SIGNAL = "signal"
    #: Somebody outside is to call its URL.
    CALLBACK = "callback"
    TIME = "time"
    #: An attempt failed, and the next one is not due.
    RETRY = "retry"
    #: As many of its key are claimed as may be at once.
    LIMIT = "limit"
    #: So many items of an operation are done, under way, and not begun; the operation closes when all are closed.
    ITEMS = "items"
    #: A join has some of what it needs, and not all.
    JOIN = "join"

    #: Something else that its status waits for.
    WAITING = "waiting"


#: What a reason is told with; moments are UTC milliseconds and end in ``_ms``.
Evidence = Mapping[str, str | int | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that decides: in a word, in a sentence, and with the values that it rests on."""

    code: ReasonCode
    sentence: str
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPredicate:
    """One test that an agent failed."""

    #: What was tested: ``cpu``, ``memory``, ``port 8080``, ``tag zone``, ``link``, ``distinct agent``.
    predicate: str
    #: What the slot needs.
    wanted: str
    #: What the agent has.
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentGroup:
    """Agents that fail exactly the same tests with the same values."""

    #: Sorted; at most eight, ``agents_count`` says how many there are.
    agents: tuple[str, ...]
    agents_count: int
    failed: tuple[FailedPredicate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """The smallest change that would do."""

    #: Where; null: nowhere in particular.
    agent: str | None
    #: What is missing.
    sentence: str
    #: All of them are needed; within one, each alternative does.
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsWhy:
    """Slots of a job that are not placed for the same reason."""

    slots: tuple[int, ...]
    code: ReasonCode
    #: One sentence.
    reason: str
    evidence: Evidence = field(default_factory=dict)
    #: All agents, nearest first; empty where no agent is the reason.
    groups: tuple[AgentGroup, ...] = ()
    #: Agents in groups beyond the hundred that are told.
    agents_left: int = 0
    fix: Fix | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWhy:
    """A task that is not as it should be."""

    id: TaskId
    agent: str
    state: str
    ready: bool
    reason: str
    since_ms: int
    #: How often its agent started it again.
    restarts: int
    checks: tuple[CheckResult, ...]
    #: What keeps it, the decisive first.
    causes: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyWhy:
    """A dependency on another job or on a run, and how that one stands."""

    #: Empty: it is on a run.
    job: str
    wanted: str
    found: str
    is_met: bool
    #: The id of the run; empty: it is on a job.
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a job, a task or an agent stands as it does."""

    revision: str
    #: ``job/<name>``, ``task/<id>`` or ``agent/<name>``.
    subject: str
    state: str
    summary: str
    #: Whether there is nothing to explain.
    is_fine: bool
    #: One sentence each, the decisive ones first.
    reasons: tuple[str, ...]
    #: The same, each with its code and the values it rests on.
    causes: tuple[Reason, ...] = ()
    slots: tuple[SlotsWhy, ...] = ()
    tasks: tuple[TaskWhy, ...] = ()
    dependencies: tuple[DependencyWhy, ...] = ()

    def because(self, causes: Iterable[Reason]) -> "Why":
        """Return the same with these causes, each sentence once."""
        once = {one.sentence: one for one in reversed((*causes,))}
        ordered = tuple(reversed(once.values()))
        return replace(self, causes=ordered, reasons=tuple(one.sentence for one in ordered))

"""A batch job in a small world whose tasks end, fail and are lost, and whose scheduler is replaced at any moment."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.batch import judge, note
from harpoon.core.batch_roll import roll_batch
from harpoon.core.standing import Standing
from harpoon.model.batch import BatchRecord, Ending
from harpoon.model.job import Job, OnLost
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState
from tests.builders import a_batch, a_placement, a_task, at

AGENTS = ("a1", "a2", "a3")


@dataclass
class World:
    """What the store has, what agents run, and what came of it as they saw it."""

    job: Job
    record: BatchRecord | None = None
    placements: dict[TaskId, Placement] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    #: Really runs: told by agents that are reached, or not.
    running: dict[TaskId, str] = field(default_factory=dict)
    unreached: set[str] = field(default_factory=set)
    now_s: float = 0
    revision: int = 0
    #: Slots that the record has said to be complete.
    complete: set[int] = field(default_factory=set)
    #: Of the largest form that the job has had.
    parallel_max: int = 0

    def __post_init__(self) -> None:
        self.parallel_max = self.job.spec.batch.parallel

    def standings(self) -> list[Standing]:
        return [Standing(one, self.tasks.get(task)) for task, one in self.placements.items()]

    def schedule(self) -> None:
        """One pass: what is noted is written, and else what is decided."""
        self.revision += 1
        now = at(self.now_s)
        record = judge(self.job, note(self.job, self.record, self.standings(), now), now)
        if record != self.record:
            self.write(record)
            return
        lingering = sum(task not in self.placements and not self.is_lost(task) for task in self.running)
        rolled = roll_batch(self.job, record, self.standings(), now, lingering=lingering, leaving={}).rolled
        for drop in rolled.drops:
            del self.placements[drop.task]
        for want in rolled.wants:
            assert want.slot not in self.complete, "a complete slot is never placed again"
            for task in want.replaces:
                del self.placements[task]
            agents = [one for one in AGENTS if one not in want.avoid] or [*AGENTS]
            agent = agents[self.revision % len(agents)]
            placement = a_placement(slot=want.slot, revision=self.revision, agent=agent, decided_ms=now.wall)
            self.placements[placement.task] = placement
        live = [task for task in self.placements if task not in self.tasks or not self.tasks[task].is_over]
        assert len({self.placements[task].slot for task in live}) == len(live), "a slot has one live placement"

    def write(self, record: BatchRecord) -> None:
        old = {one.slot: one for one in self.record.results} if self.record else {}
        for one in record.results:
            known = old.get(one.slot)
            assert known is None or known == one or not known.is_complete, "a slot is complete once, and for good"
            assert one.attempts <= self.job.spec.batch.attempts
        self.record = record
        self.complete = {one.slot for one in record.results if one.is_complete}

    def is_lost(self, task: TaskId) -> bool:
        told = self.tasks.get(task)
        return told is not None and told.state is TaskState.LOST

    def command(self) -> None:
        """Agents that are reached start what is placed, and stop what is not."""
        for task, placement in self.placements.items():
            if task not in self.tasks and placement.agent not in self.unreached:
                assert placement.slot not in self.complete, "a complete slot never runs again"
                self.running[task] = placement.agent
                self.tasks[task] = a_task(placement, since_ms=at(self.now_s).wall)
        for task, agent in list(self.running.items()):
            if task not in self.placements and agent not in self.unreached:
                del self.running[task]
                self.tasks.pop(task, None)
        seen = [task for task in self.running if not self.is_lost(task)]
        # What was cut down stops no task that runs.
        assert len(seen) <= self.parallel_max, "no more run at once than may"

    def end(self, number: int, state: TaskState) -> None:
        tasks = [task for task, agent in self.running.items() if agent not in self.unreached]
        if tasks:
            task = tasks[number % len(tasks)]
            del self.running[task]
            if task in self.placements:
                told = replace(self.tasks[task], state=state, ready=False, since_ms=at(self.now_s).wall)
                self.tasks[task] = told

    def lose(self, number: int) -> None:
        agent = AGENTS[number % len(AGENTS)]
        self.unreached.add(agent)
        for task, told in self.tasks.items():
            if told.agent == agent and not told.is_over:
                self.tasks[task] = replace(told, state=TaskState.LOST, ready=False)

    def find(self) -> None:
        self.unreached.clear()
        for task, told in list(self.tasks.items()):
            if told.state is TaskState.LOST:
                self.tasks[task] = replace(told, state=TaskState.RUNNING, ready=True)


JOBS = st.builds(
    lambda completions, parallel, attempts, waits: a_batch(
        completions=completions, parallel=parallel, attempts=attempts, on_lost=OnLost.WAIT if waits else None
    ),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("schedule", "schedule", "command", "command", "finish", "fail", "lose", "find", "wait", "grow")
        ),
        st.integers(0, 9),
    ),
    max_size=60,
)


def step(world: World, what: str, number: int) -> None:
    match what:
        case "schedule":
            world.schedule()
        case "command":
            world.command()
        case "finish":
            world.end(number, TaskState.FINISHED)
        case "fail":
            world.end(number, TaskState.FAILED)
        case "lose":
            world.lose(number)
        case "find":
            world.find()
        case "grow":
            size = world.job.spec.batch.completions
            grown = replace(world.job.spec, scale=1, completions=min(8, max(1, size + number - 5)))
            world.job = replace(world.job, spec=grown, version=world.job.version + 1)
            world.parallel_max = max(world.parallel_max, grown.batch.parallel)
        case _:
            world.now_s += number


@settings(max_examples=150, deadline=None)
@given(job=JOBS, steps=STEPS)
def test_a_complete_slot_never_runs_again_and_all_comes_to_an_end(job: Job, steps: list[tuple[str, int]]) -> None:
    world = World(job)
    for what, number in steps:
        step(world, what, number)
    world.find()
    for _ in range(80):
        world.now_s += 30
        world.schedule()
        world.command()
        world.end(0, TaskState.FINISHED)
    assert world.record is not None
    assert world.record.outcome in (Ending.SUCCEEDED, Ending.FAILED)
    world.command()
    assert not (world.placements or world.running)
    if world.record.outcome is Ending.SUCCEEDED:
        assert world.complete >= set(range(world.job.spec.batch.completions))

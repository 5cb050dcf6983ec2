"""An exclusive job among agents whose commands get lost, doubled and late, and holders that do not know they are former.

The scheduler, the transformer and what records a denial are the real, pure ones; the agents do as `harpoon.agent` does.
The wrong variants, each of which leaves one thing out, show that this world is bad enough to find it missing.
"""

from dataclasses import dataclass, field, replace
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harpoon.core.exclusive import revoked
from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.core.transform import Desired, transform
from harpoon.model.command import Command, ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import Placement, Task, TaskState, parse_task_id
from tests.builders import CLUSTER, a_job, a_placement, a_task, a_template, at

AGENTS = ("a1", "a2", "a3")
TEMPLATE = a_template()
Records = dict[TaskId, Placement]


@dataclass
class Host:
    """An agent: all of it is on disk, so that killing it changes nothing but that it may restart."""

    name: str
    wrong: str
    mark: int = 0
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    denials: dict[str, tuple] = field(default_factory=dict)

    def admit(self, token: int) -> bool:
        if token < self.mark and self.wrong != "no fence":
            return False
        if token > self.mark:
            self.mark, self.denials = token, {}
        return True

    def obey(self, command: Command) -> bool:
        """Return whether it was done."""
        task, (slot, number) = self.tasks.get(command.task), at_slot(command.task)
        match command:
            case StartTask() if task is None:
                if number <= self.denials.get(slot, (0, 0)) and self.wrong != "denials are not kept":
                    return False
                if any(self.runs(other) for other in self.tasks if at_slot(other)[0] == slot):
                    return False
                self.tasks[command.task] = a_task(id=command.task, agent=self.name, state=TaskState.STARTING)
            case StopTask() if task is not None and not task.state.is_over:
                self.tasks[command.task] = replace(task, state=TaskState.STOPPING, ready=False)
            case ForgetTask():
                self.denials[slot] = max(number, self.denials.get(slot, number))
                if self.runs(command.task):
                    return False
                self.tasks.pop(command.task, None)
        return True

    def runs(self, task: TaskId) -> bool:
        return task in self.tasks and not self.tasks[task].state.is_over

    def live(self, random: Random) -> None:
        for task_id, task in list(self.tasks.items()):
            if task.state is TaskState.STOPPING:
                self.tasks[task_id] = replace(task, state=TaskState.FINISHED, ready=False)
            elif self.runs(task_id):
                state = TaskState.FAILED if random.random() < 0.1 else TaskState.RUNNING
                self.tasks[task_id] = replace(task, state=state, ready=state is TaskState.RUNNING)


def at_slot(task: TaskId) -> tuple[str, tuple]:
    return task.rpartition(".")[0], parse_task_id(task).number


@dataclass
class Holder:
    """Whoever commands an agent, or believes so: it sees the store as it was at some revision since it took the hold."""

    host: Host
    token: int
    seen: int
    heard: dict[TaskId, Task] | None = None


class World:
    def __init__(self, random: Random, wrong: str = "") -> None:
        self.random = random
        self.wrong = wrong
        self.job = a_job(scale=2, exclusive=True)
        #: What the store had at each revision.
        self.history: list[Records] = [{}]
        self.wrote = 0
        self.seconds = 0.0
        self.hosts = {name: Host(name, wrong) for name in AGENTS}
        self.holders = [Holder(host, 0, 0) for host in self.hosts.values()]
        self.holds = dict.fromkeys(AGENTS, 0)
        self.flying: list[tuple[Holder, Command]] = []
        self.published: dict[TaskId, Task] = {}
        self.answers: list[tuple[Holder, TaskId]] = []

    @property
    def records(self) -> Records:
        return self.history[-1]

    def commit(self, **changes: Placement | None) -> None:
        after = {task: one for task, one in ({**self.records, **changes}).items() if one is not None}
        self.history.append(after)

    def take_over(self, name: str) -> None:
        """Another instance takes the hold of an agent; the former one goes on, for it does not know."""
        self.history.append(self.records)
        self.holds[name] = len(self.history) - 1
        self.holders.append(Holder(self.hosts[name], self.holds[name], self.holds[name]))

    def adopt(self, holder: Holder) -> None:
        if holder.host.admit(holder.token):
            holder.heard = dict(holder.host.tasks)

    def hear(self, holder: Holder) -> None:
        """Be told what the agent has; publish it, if the hold still is."""
        if holder.heard is None:
            return
        holder.heard = dict(holder.host.tasks)
        if self.holds[holder.host.name] == holder.token:
            others = {task: told for task, told in self.published.items() if told.agent != holder.host.name}
            self.published = others | holder.heard

    def lose(self, name: str) -> None:
        for task, told in self.published.items():
            if told.agent == name and not told.state.is_over:
                self.published[task] = replace(told, state=TaskState.LOST, ready=False)

    def command(self, holder: Holder) -> None:
        """Have the transformer compare; its view is of any revision from the hold on, and does not go back."""
        if holder.heard is None:
            return
        holder.seen = self.random.randint(holder.seen, len(self.history) - 1)
        placed = {task: one for task, one in self.history[holder.seen].items() if one.agent == holder.host.name}
        desired = {t: Desired(placement=p, template=TEMPLATE) for t, p in placed.items() if not p.is_revoked}
        awaited = {task for task, one in placed.items() if one.is_revoked and not one.is_denied}
        if self.wrong == "not in the report is proof":
            for task in awaited - holder.heard.keys():
                self.answers.append((holder, task))
        commands = transform(desired, holder.heard, at(), cluster=CLUSTER, revoked=awaited)
        self.flying += [(holder, command) for command in commands]

    def deliver(self, index: int, *, is_kept: bool = False) -> None:
        holder, command = self.flying[index] if is_kept else self.flying.pop(index)
        if not holder.host.admit(holder.token):
            return
        done = holder.host.obey(command)
        if done and isinstance(command, ForgetTask) and command.is_denied and self.random.random() < 0.7:
            self.answers.append((holder, command.task))
        self.check()

    def record(self, index: int) -> None:
        """Record a denial, as `control.denial` does."""
        holder, task = self.answers.pop(index)
        seen, now = self.history[holder.seen].get(task), self.records.get(task)
        is_held = self.holds[holder.host.name] == holder.token or self.wrong == "whoever may record denials"
        if seen is not None and seen.is_revoked and not seen.is_denied and is_held and now is seen:
            self.commit(**{task: replace(seen, is_denied=True)})

    def schedule(self) -> None:
        seen = self.random.randint(self.wrote, len(self.history) - 1)
        view = self.history[seen]
        rolled = rollout(
            self.job, [Standing(one, self.published.get(task)) for task, one in view.items()], at(self.seconds)
        )
        for drop in rolled.drops:
            if view[drop.task].is_denied:
                self.commit(**{drop.task: None})
            elif self.records.get(drop.task) is view[drop.task]:
                self.commit(**{drop.task: revoked(view[drop.task], drop, at(self.seconds))})
        for want in rolled.wants:
            if self.random.random() < 0.8:
                number = len(self.history)
                placement = a_placement(
                    slot=want.slot,
                    revision=number,
                    agent=self.random.choice(AGENTS),
                    generation=self.job.generation,
                    is_exclusive=True,
                    failures=want.failures,
                    decided_ms=at(self.seconds).wall,
                )
                self.commit(**{**dict.fromkeys(want.replaces), placement.task: placement})
        self.wrote = len(self.history) - 1

    def declare(self) -> None:
        """A user changes the job."""
        spec = replace(self.job.spec, scale=self.random.randint(0, 2))
        self.job = replace(self.job, spec=spec, generation=f"g{self.random.randint(1, 3)}")

    def check(self) -> None:
        running = [at_slot(task)[0] for host in self.hosts.values() for task in host.tasks if host.runs(task)]
        assert len(running) == len(set(running)), f"a slot runs twice: {running}"

    def step(self) -> None:
        random = self.random
        self.seconds += random.choice((0, 0.1, 5))
        holder = random.choice(self.holders[-6:])
        # Who flies, lands in any order, twice, or never.
        match random.randrange(12):
            case 0 if random.random() < 0.2:
                self.take_over(random.choice(AGENTS))
            case 1:
                self.adopt(holder)
            case 2:
                self.hear(holder)
            case 3 if random.random() < 0.1:
                self.lose(random.choice(AGENTS))
            case 4 | 5:
                self.command(holder)
            case 6 | 7 if self.flying:
                # Mostly the latest, but anything may still come.
                late = random.random() < 0.3
                self.deliver(random.randrange(len(self.flying)) if late else -1, is_kept=random.random() < 0.3)
            case 8 if self.answers:
                self.record(random.randrange(len(self.answers)))
            case 9:
                self.schedule()
            case 10:
                random.choice(list(self.hosts.values())).live(random)
            case 11 if random.random() < 0.5:
                self.declare()

    def heal(self) -> None:
        """Let everything arrive, then only good things happen, until every slot runs as it should."""
        while self.flying:
            self.deliver(0)
        for name in AGENTS:
            self.take_over(name)
        self.holders = self.holders[-len(AGENTS) :]
        for holder in self.holders:
            self.adopt(holder)
        for _ in range(400):
            self.seconds += 5
            for holder in self.holders:
                holder.seen = len(self.history) - 1
                self.hear(holder)
                self.command(holder)
            while self.flying:
                self.deliver(0)
            while self.answers:
                self.record(0)
            self.wrote = len(self.history) - 1
            self.schedule()
            for host in self.hosts.values():
                host.tasks = {
                    t: replace(k, state=TaskState.RUNNING, ready=True)
                    if host.runs(t) and k.state is not TaskState.STOPPING
                    else k
                    for t, k in host.tasks.items()
                }
                host.tasks = {
                    t: replace(k, state=TaskState.FINISHED, ready=False) if k.state is TaskState.STOPPING else k
                    for t, k in host.tasks.items()
                }
            if self.is_settled():
                return
        raise AssertionError(f"it did not come to rest: {self.records} {self.hosts}")

    def is_settled(self) -> bool:
        wanted = {(slot, self.job.generation) for slot in range(self.job.spec.scale)}
        known = {(one.slot, one.generation) for one in self.records.values()}
        running = {task for host in self.hosts.values() for task in host.tasks}
        return wanted == known and len(self.records) == len(wanted) and running == self.records.keys()


def run(random: Random, steps: int, wrong: str = "") -> World:
    world = World(random, wrong)
    for _ in range(steps):
        world.step()
    return world


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_slot_never_runs_twice_and_all_come_to_rest_once_things_go_well(seed):
    run(Random(seed), 600).heal()


@pytest.mark.parametrize(
    "wrong", ["no fence", "denials are not kept", "not in the report is proof", "whoever may record denials"]
)
def test_what_is_left_out_is_found_missing(wrong):
    with pytest.raises(AssertionError, match="a slot runs twice"):
        for seed in range(2000):
            run(Random(seed), 1500, wrong)


def test_this_world_moves_many_slots():
    worlds = [run(Random(seed), 1500) for seed in range(30)]
    placed = sum(len({t for records in w.history for t in records}) for w in worlds)
    denied = sum(len({t for records in w.history for t, one in records.items() if one.is_denied}) for w in worlds)
    assert placed > 200
    assert denied > 150

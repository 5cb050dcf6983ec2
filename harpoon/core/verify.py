"""Whether a plan document holds together: an independent check, from the document alone.

It shares no code with what makes plans. It goes through the waves as they are told, counts for itself, and tells every
fault with a pointer to it. What it cannot know: whether the document tells the truth of agents and tasks, how the jobs
differ from what stands, and which of several agents that could take a task is best; applying asks the scheduler for
that again. Reasons are for people, and not read.

Rules, for each wave.

1. What is placed goes to an agent that is connected, not cordoned, has its driver, meets every requirement, shares it
   with no other slot where slots are to be on distinct agents, and has room for it and all that is there. What was
   withdrawn is there until the next wave if it runs; a lost task stays for ever.
2. Nothing is placed in a slot that has what it wants, or whose job waits for another. Nothing is withdrawn that is as
   it should be. What is withdrawn exists, once.
3. Over all slots no more than ``update.surge`` tasks are beyond one. Where a slot loses its last ready task, no more
   than ``update.unavailable`` slots are without one. A slot of an exclusive job is empty before it is placed.
4. At the end of a wave nothing is left undone that could be done. At the end of all, the slots that are not as they
   should be are just those that are told to be pending, and the blockers are those found here.
"""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from harpoon.core.blockers import Refusal
from harpoon.core.ledger import Look, Record
from harpoon.core.seen import Room, amounts, blockers_of, rooms_of, surplus, wanted_by
from harpoon.core.tally import Line, lines_of
from harpoon.model.name import TaskId
from harpoon.model.plan import PlanAction, PlannedPlacement
from harpoon.model.promise import SCHEMA, PlanDocument, UnmetSeen
from harpoon.model.rules import Distinct
from harpoon.model.shown import Fault

#: No plan that this project makes is longer.
WAVES_MAX: Final = 200


def verify(plan: PlanDocument) -> tuple[Fault, ...]:
    """Return everything that is wrong with a plan; nothing if it holds together."""
    faults = list(_shape(plan))
    if not faults:
        walk = _Walk(plan)
        walk.run()
        faults += walk.faults
    return tuple(faults)


def _shape(plan: PlanDocument) -> Iterator[Fault]:
    """Yield what is wrong with the document before any wave is gone through."""
    if plan.v != SCHEMA:
        yield Fault(pointer="/v", detail=f"schema {plan.v} is not known here; {SCHEMA} is")
    if len(plan.documents) != len(plan.jobs):
        yield Fault(pointer="/jobs", detail=f"{len(plan.documents)} documents, but {len(plan.jobs)} jobs")
        return
    names = [name for group in plan.agents for name in group.names]
    if len(names) != len(set(names)):
        yield Fault(pointer="/agents", detail="an agent is told twice")
    for index in range(len(plan.jobs)):
        yield from _shape_of(plan, index)


def _shape_of(plan: PlanDocument, index: int) -> Iterator[Fault]:
    document, job, at = plan.documents[index], plan.jobs[index], f"/jobs/{index}"
    told = job.plan
    if (document.metadata.namespace, document.metadata.name) != (told.namespace, told.job):
        yield Fault(pointer=f"{at}/plan/job", detail=f"the document is of job {document.metadata.name}")
    if job.reserve != wanted_by(document.spec.task):
        yield Fault(pointer=f"{at}/reserve", detail="the document asks for something else")
    if job.brake is not None and job.brake.reserve != wanted_by(job.brake.spec.task):
        yield Fault(pointer=f"{at}/brake/reserve", detail="the version that served before asks for something else")
    waves = [*(one.wave for one in told.placements), *(one.wave for one in told.drops)]
    if told.waves != max(waves, default=0) or not all(1 <= wave <= WAVES_MAX for wave in waves):
        yield Fault(pointer=f"{at}/plan/waves", detail=f"waves are 1 to {WAVES_MAX}, and the last is told here")
    if job.base is None and told.action is not PlanAction.CREATE:
        yield Fault(pointer=f"{at}/base", detail="only a job that is there can be changed or left as it is")
    known = set()
    for place, task in enumerate(job.tasks):
        if task.id in known or not task.id.startswith(f"{told.namespace}.{told.job}.{task.slot}."):
            yield Fault(pointer=f"{at}/tasks/{place}/id", detail="it is told twice, or is of another slot")
        known.add(task.id)


class _Walk:
    """Goes through the waves."""

    def __init__(self, plan: PlanDocument) -> None:
        self.faults: list[Fault] = []
        self._plan = plan
        self._rooms = rooms_of(plan.agents)
        self._lines = lines_of(plan)
        #: What was placed in this wave, by agent.
        self._placed: dict[str, list[tuple[Line, str, PlannedPlacement]]] = {}

    def run(self) -> None:
        for agent in surplus(self._rooms, _taken(self._lines)):
            self._fault("/agents", f"less is reserved on {agent} than the tasks take that are told to be there")
        last = max((line.told.waves for line in self._lines), default=0)
        for wave in range(1, last + 1):
            clean = self._clean()
            self._withdraw(wave)
            self._place(wave, clean)
            self._check_room()
            for line in self._lines:
                if line.told.is_whole or wave < last:
                    self._rest(line, is_end=False)
            self._pass_on()
        self._pass_on()
        for line in self._lines:
            if line.told.is_whole:
                self._end(line)

    def _fault(self, pointer: str, detail: str) -> None:
        self.faults.append(Fault(pointer=pointer, detail=detail))

    def _withdraw(self, wave: int) -> None:
        """Take back what goes in a wave (rule 2)."""
        for line in self._lines:
            line.aim()
            for at, task, agent in line.going(wave):
                record = line.records.get(task)
                # What has been denied goes for good when its slot is placed.
                is_known = record is not None and record.is_placed and agent in (record.agent, None)
                if record is None or not is_known or (record.is_withdrawn and not (record.is_denied and not agent)):
                    self._fault(at, f"there is no {task} to withdraw there in wave {wave}")
                    continue
                if record is line.wanted(record.slot):
                    self._fault(at, f"{task} is as it should be, and has no cause to go")
                if line.is_beside(record):
                    self._fault(at, f"{task} is to stay beside the canary of its slot")
                line.withdraw(record)
                if record.is_gone:
                    self._leave(record)

    def _place(self, wave: int, clean: Container[str]) -> None:
        """Place what comes in a wave (rules 1 and 2, but for room)."""
        self._placed = {}
        for line in self._lines:
            for at, one in line.coming(wave):
                room = self._rooms.get(one.agent)
                if not 0 <= one.slot < line.scale or room is None:
                    self._fault(at, f"there is no slot {one.slot}, or no agent {one.agent}")
                    continue
                if line.is_taken(one.slot):
                    self._fault(at, f"slot {one.slot} has a task already that is not to be replaced")
                if line.was_absent(one.slot) and (waits := self._unmet(line, clean)):
                    self._fault(at, f"{waits[0][0]} does not hold in wave {wave}")
                form = line.form(one.slot)
                for refusal in (*room.closed(form.spec.placement), *room.bars(form.reserve)):
                    self._fault(at, f"{one.agent}: {refusal.predicate} is {refusal.found}, not {refusal.wanted}")
                record = line.add(one)
                room.add(record.id, record.reserve, 1)
                self._placed.setdefault(one.agent, []).append((line, at, one))

    def _check_room(self) -> None:
        """Check what was placed in a wave against all that is there (rule 1)."""
        for agent, placed in self._placed.items():
            needs = [(TaskId(""), line.form(one.slot).reserve) for line, _, one in placed]
            for told in self._rooms[agent].overfull(needs):
                self._fault(placed[-1][1], f"{agent} has no room for it in wave {placed[-1][2].wave}: {told}")
            for line, at, one in placed:
                other = line.other(agent, one.slot, one.wave)
                if line.form(one.slot).spec.placement.distinct is Distinct.AGENT and other is not None:
                    self._fault(at, f"slot {other} of the job is on {agent} too, and they are to be on distinct agents")

    def _clean(self) -> frozenset[str]:
        """Return the planned jobs that are ready now, of those that others wait for."""
        awaited = (other for other in self._lines if any(line.depends_on(other) for line in self._lines))
        return frozenset(other.at for other in awaited if other.is_clean())

    def _unmet(self, line: Line, clean: Container[str] = ()) -> list[tuple[str, str]]:
        """Return what a job waits for, with how it stands: jobs neither ready when the wave began, nor now; secrets."""
        planned = (other for other in self._lines if line.depends_on(other))
        late = [
            (f"depends_on {other.told.job}", other.standing())
            for other in planned
            if other.at not in clean and not other.is_clean()
        ]
        seen = ((_awaited(one), one.found) for one in line.job.unmet)
        return sorted([*seen, *late])

    def _rest(self, line: Line, *, is_end: bool) -> Look:
        """Check that nothing is left undone (rules 3 and 4); return what cannot be placed, or waits."""
        at = f"{line.at}/plan"
        look = line.look(is_held=bool(self._unmet(line)), is_end=is_end)
        for slot, detail in look.untidy:
            self._fault(f"{at}/drops", f"slot {slot}: {detail}")
        for detail in line.count(look):
            self._fault(at, detail)
        for slot in look.open:
            free = self._fitting(line, slot)
            if free is not None:
                self._fault(at, f"slot {slot} could have been placed on {free}, and is not")
        return look

    def _end(self, line: Line) -> None:
        """Compare what is left at the end with what is told to be pending (rule 4)."""
        look, pending = self._rest(line, is_end=True), line.told.pending
        found, at = sorted((*look.open, *look.held)), f"{line.at}/plan/pending"
        if found != list(pending.slots if pending is not None else ()):
            self._fault(f"{at}/slots", f"slots {found or 'none'} have no place at the end")
        elif pending is not None:
            waits = dict(self._unmet(line)) if look.held else {}
            depends = [one for one in pending.blockers if one.predicate in waits]
            if {one.predicate: one.found for one in depends} != waits:
                self._fault(f"{at}/blockers", f"it waits for what stands as {waits}")
            rest = tuple(one for one in pending.blockers if one not in depends)
            # Of each form the first slot that fits nowhere tells what stands in the way; the new form first.
            firsts = (
                next((slot for slot in look.open if line.is_held_back(slot) is one), None) for one in (False, True)
            )
            told = [blockers_of(self._refusals(line, slot)) for slot in firsts if slot is not None]
            if rest != tuple(dict.fromkeys(blocker for blockers in told for blocker in blockers)):
                self._fault(f"{at}/blockers", "they are not what the agents refuse")

    def _refusals(self, line: Line, slot: int) -> dict[str, tuple[Refusal, ...]]:
        with self._without_ended(line, slot):
            return {name: tuple(self._refused(line, slot, room)) for name, room in sorted(self._rooms.items())}

    def _refused(self, line: Line, slot: int, room: Room) -> Iterator[Refusal]:
        form = line.form(slot)
        rules = form.spec.placement
        yield from room.closed(rules)
        other = line.other(room.name, slot) if rules.distinct is Distinct.AGENT else None
        if other is not None:
            told = f"slot {other} is there"
            yield Refusal(predicate="distinct agent", wanted="no other slot of this job", found=told)
        yield from room.short(form.reserve)
        yield from room.bars(form.reserve)

    def _fitting(self, line: Line, slot: int) -> str | None:
        """Return an agent that could take a slot, once what has ended of it is gone."""
        with self._without_ended(line, slot):
            rooms = self._rooms.items()
            return next((name for name, room in rooms if next(self._refused(line, slot, room), None) is None), None)

    @contextmanager
    def _without_ended(self, line: Line, slot: int) -> Iterator[None]:
        """Take what has ended of a slot for gone, within."""
        ended = [one for one in line.ended(slot) if one.is_counted and one.agent in self._rooms]
        for one in ended:
            self._rooms[one.agent].add(one.id, one.reserve, -1)
        yield
        for one in ended:
            self._rooms[one.agent].add(one.id, one.reserve, 1)

    def _pass_on(self) -> None:
        """Let come what is awaited between two waves."""
        for line in self._lines:
            for record in line.pass_on():
                self._leave(record)

    def _leave(self, record: Record) -> None:
        room = self._rooms.get(record.agent)
        if room is not None and record.is_counted:
            room.add(record.id, record.reserve, -1)
        record.is_counted = False


def _taken(lines: Iterable[Line]) -> dict[str, dict[str, int]]:
    """Return what the tasks that are told take in all, by agent and resource."""
    sums: dict[str, dict[str, int]] = {}
    for record in (one for line in lines for one in line.records.values() if one.is_counted):
        taken = sums.setdefault(record.agent, {})
        for name, amount in amounts(record.reserve).items():
            taken[name] = taken.get(name, 0) + amount
    return sums


def _awaited(one: UnmetSeen) -> str:
    """Return what is tested of that which is not planned."""
    if one.secret:
        return f"secret {one.secret}"
    return f"depends_on run/{one.run}" if one.run else f"depends_on {one.job}"

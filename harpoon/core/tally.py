"""The tasks of one planned job as a plan document is gone through, slot by slot: the checker's own picture.

It says what of a slot is as it should be, and what is left to do. `core.verify` says what is wrong with that.
"""

from collections.abc import Iterator

from harpoon.core.ledger import Form, Look, Record
from harpoon.model.job import Spec
from harpoon.model.name import TaskId
from harpoon.model.plan import PlannedPlacement
from harpoon.model.promise import PlanDocument, PromisedJob, TaskSeen
from harpoon.model.task import TaskState

#: States of tasks that nobody can stop: they are where they are.
_BEYOND = (TaskState.LOST, TaskState.UNCLAIMED)


class Line:
    """One job on its way."""

    def __init__(self, index: int, plan: PlanDocument, leaving: frozenset[str]) -> None:
        self.job: PromisedJob = plan.jobs[index]
        self.told = self.job.plan
        self.at = f"/jobs/{index}"
        self._spec: Spec = plan.documents[index].spec
        self.scale = self._spec.scale
        brake = self.job.brake
        self._brake = brake
        is_on_trial = brake is not None and brake.canaries is not None
        self._ahead = Form(self.job.generation, self._spec, self.job.reserve, is_on_trial)
        self._behind = self._ahead if brake is None else Form(brake.generation, brake.spec, brake.reserve)
        #: Slots that stay with what served before, or go back to it.
        self._held_back: frozenset[int] = frozenset()
        self._leaving = leaving
        self._is_halted = plan.is_halted
        self.records = {one.id: self._record(one) for one in self.job.tasks}
        self._slots: dict[int, list[Record]] = {}
        self._agents: dict[str, list[Record]] = {}
        for record in self.records.values():
            self._slots.setdefault(record.slot, []).append(record)
            self._agents.setdefault(record.agent, []).append(record)
        self._comings: dict[int, list[tuple[str, PlannedPlacement]]] = {}
        for place, one in enumerate(self.told.placements):
            self._comings.setdefault(one.wave, []).append((f"{self.at}/plan/placements/{place}", one))
        self._goings: dict[int, list[tuple[str, TaskId, str]]] = {}
        for place, drop in enumerate(self.told.drops):
            at = f"{self.at}/plan/drops/{place}"
            self._goings.setdefault(drop.wave, []).append((at, drop.task, drop.agent))
        going = {drop.task for drop in self.told.drops}
        going |= {task for one in self.told.placements for task in one.replaces}
        placed = {one.slot for one in self.told.placements}
        for record in self.records.values():
            # A move that comes to nothing is given up, or waits for ever.
            is_told = self._spec.exclusive or record.id in going or record.slot in placed
            record.may_stay, record.is_moving = record.is_moving and not is_told, record.is_moving and is_told
        #: Slots that lost the last task that was ready in this wave, and such as lost a present one.
        self._unserved: set[int] = set()
        self._replaced: set[int] = set()
        #: What may change between two waves.
        self._restless = list(self.records.values())
        self.aim()
        self._extra = self._count_extra()

    def _record(self, seen: TaskSeen) -> Record:
        return Record(
            id=seen.id,
            agent=seen.agent,
            slot=seen.slot,
            reserve=seen.reserve,
            state=seen.state,
            ready=seen.ready,
            is_placed=seen.is_placed,
            is_counted=seen.is_counted,
            generation=seen.generation,
            is_outdated=seen.is_outdated,
            is_unproven=seen.is_unproven,
            is_moving=seen.is_moving,
            is_revoked=seen.is_revoked,
            is_denied=seen.is_denied,
            failures=seen.failures,
        )

    # What slots are to become.

    def aim(self) -> None:
        """Find out anew which slots stay with what served before.

        Those that have a task of the new generation which may serve keep it. Of the others, the first ones get one, as
        long as there are fewer than canaries.
        """
        brake = self._brake
        if brake is None:
            return
        there = {slot for slot in range(self.scale) if any(self._is_ahead(one) for one in self.placed(slot))}
        room = 0 if brake.is_paused else (brake.canaries or 0) - len(there)
        others = [slot for slot in range(self.scale) if slot not in there]
        self._held_back = frozenset(others[max(0, room) :])

    def _is_ahead(self, record: Record) -> bool:
        is_kept = record.state is not TaskState.LOST or self._spec.waits_for_lost
        is_well = is_kept and not self._ahead.has_failed(record) and not record.is_revoked
        return is_well and self._is_of(record, self._ahead)

    def form(self, slot: int) -> Form:
        """Return what a slot is to become."""
        return self._behind if self.is_held_back(slot) else self._ahead

    def is_held_back(self, slot: int) -> bool:
        """Whether a slot stays with what served before, or goes back to it."""
        return slot in self._held_back

    def is_beside(self, record: Record) -> bool:
        """Whether it is the task of before that stays beside a canary."""
        form, slot = self.form(record.slot), record.slot
        if not form.is_canary or not record.is_ready or slot >= self.scale:
            return False
        there = self.placed(slot)
        current = self._current(there)
        olds = [one for one in there if one is not current and one.is_ready]
        return olds[-1:] == [record]

    # What is told of a wave.

    def going(self, wave: int) -> Iterator[tuple[str, TaskId, str | None]]:
        """Yield the tasks that go: where that is told, and the agent, if that is told too."""
        yield from self._goings.get(wave, ())
        for at, one in self._comings.get(wave, ()):
            for number, task in enumerate(one.replaces):
                record = self.records.get(task)
                is_of_slot = record is not None and record.slot == one.slot
                yield f"{at}/replaces/{number}", task if is_of_slot else TaskId(f"{task} of slot {one.slot}"), None

    def coming(self, wave: int) -> list[tuple[str, PlannedPlacement]]:
        """Return the placements of a wave, with where they are told."""
        return self._comings.get(wave, [])

    # What the scheduler is held to.

    def placed(self, slot: int) -> list[Record]:
        """Return what is placed of a slot, oldest first."""
        return [one for one in self._slots.get(slot, ()) if one.is_placed and not one.is_withdrawn]

    def wanted(self, slot: int) -> Record | None:
        """Return the task that the slot is to have, if it is there and well."""
        there = [one for one in self.placed(slot) if not one.is_revoked] if slot < self.scale else []
        current = self._current(there)
        return None if current is None or self._is_dead(current) else current

    def is_taken(self, slot: int) -> bool:
        """Whether the slot has a task that stays, or of an exclusive job any that may still run."""
        if self._spec.exclusive:
            return any(not (one.is_denied or one.is_gone) for one in self._slots.get(slot, ()) if one.is_placed)
        return self.wanted(slot) is not None or any(self._is_held(one) for one in self.placed(slot))

    def was_absent(self, slot: int) -> bool:
        """Whether the slot had no task of the wanted generation when the wave began, be it a dead one."""
        return slot not in self._replaced and not any(self._is_present(one) for one in self.placed(slot))

    def withdraw(self, record: Record) -> None:
        """Take a task back; one that does not run is gone at once, and a lost one never."""
        if record.is_ready and record is self._server(record.slot):
            self._unserved.add(record.slot)
        if self._is_present(record):
            self._replaced.add(record.slot)
        record.is_withdrawn = True
        self._restless.append(record)
        is_idle = record.state is None or record.is_over
        record.is_gone = record.is_denied or (is_idle and not self._spec.exclusive)

    def _server(self, slot: int) -> Record | None:
        """Return the only ready task of a slot; of an exclusive job, the one that may stay."""
        live = [one for one in self.placed(slot) if not one.is_revoked]
        if self._spec.exclusive:
            return self._current(live) or next(reversed(live), None)
        ready = [one for one in live if one.is_ready]
        return ready[0] if len(ready) == 1 else None

    def add(self, placed: PlannedPlacement) -> Record:
        """Count a task that is placed."""
        name = TaskId(f"{self.told.namespace}.{self.told.job}.{placed.slot}.new-{len(self.records)}")
        form = self.form(placed.slot)
        record = Record(
            id=name,
            agent=placed.agent,
            slot=placed.slot,
            reserve=form.reserve,
            generation=form.generation,
            wave=placed.wave,
        )
        self.records[name] = record
        self._restless.append(record)
        self._slots.setdefault(placed.slot, []).append(record)
        self._agents.setdefault(placed.agent, []).append(record)
        return record

    def other(self, agent: str, slot: int, wave: int = 0) -> int | None:
        """Return the first other slot that has a task on an agent, if any has.

        What is held back is placed after what is not: of a slot that is not, it does not count in the same wave.
        """
        there = [one for one in self._agents.get(agent, ()) if one.is_counted and not one.is_gone]
        if not self.is_held_back(slot):
            there = [one for one in there if not (wave and one.wave == wave and self.is_held_back(one.slot))]
        return min((one.slot for one in there if one.slot != slot), default=None)

    def ended(self, slot: int) -> list[Record]:
        """Return what does not run any more of a slot, and goes when it is placed."""
        return [one for one in self.placed(slot) if one.is_over]

    def depends_on(self, other: "Line") -> bool:
        """Whether this job is to wait for another that is planned."""
        is_near = other.told.namespace == self.told.namespace
        return is_near and other.told.job in {one.job for one in self._spec.depends_on}

    def is_clean(self) -> bool:
        """Whether every slot has a ready task of the wanted generation, and nothing else is left."""
        here = [one for one in self.records.values() if not self._is_nobodys(one)]
        return len(here) == len(self._ready()) == self.scale

    def standing(self) -> str:
        """Say how many slots have a ready task of the wanted generation."""
        return f"{len(self._ready())}/{self.scale} ready"

    def _ready(self) -> set[int]:
        known = (one for one in self.records.values() if one.is_ready and one.generation == self.job.generation)
        return {one.slot for one in known if one.is_placed and not (one.is_withdrawn or one.is_denied)}

    def _is_nobodys(self, record: Record) -> bool:
        """Whether nobody waits for a task to go, or to come."""
        if record.is_gone or record.is_denied:
            return True
        if not record.is_placed:
            return record.state in _BEYOND
        return record.is_withdrawn and record.state is TaskState.LOST and not self._spec.exclusive

    def pass_on(self) -> Iterator[Record]:
        """Let come what is awaited; yield what is gone by that."""
        self._unserved, self._replaced = set(), set()
        restless, self._restless = self._restless, []
        for record in restless:
            is_leaving = record.is_withdrawn or record.is_revoked or not record.is_placed
            if record.is_gone or record.is_denied:
                continue
            if not is_leaving:
                if not record.is_over and record.state is not TaskState.LOST:
                    record.state, record.ready = TaskState.RUNNING, True
            elif record.state is not TaskState.LOST and not self._waits_for_word(record):
                record.is_denied = self._spec.exclusive and record.is_placed
                record.is_gone = not record.is_denied or record.is_withdrawn
                yield record

    def _waits_for_word(self, record: Record) -> bool:
        """Whether only an operator says what becomes of a task that is to go."""
        return record.state is TaskState.UNCLAIMED and (self._spec.exclusive or not record.is_placed)

    # What is left to do.

    def look(self, *, is_held: bool, is_end: bool) -> Look:
        """Return what is left of the job; only the end lets pass what time alone brings."""
        found = Look()
        self.aim()
        for slot in sorted(slot for slot in self._slots if slot >= self.scale):
            if any(not (one.is_revoked or one.is_denied) for one in self.placed(slot)):
                found.untidy.append((slot, "it is not wanted any more, and what is there is to go"))
        there = [one for one in self.records.values() if one.is_placed and not one.is_withdrawn]
        # When one that is ready comes to count, is told nowhere: until then the others may wait for it.
        is_unproven = not is_end and any(one.is_unproven for one in there)
        for slot in range(self.scale):
            records = self.placed(slot)
            waits = not is_end and any(one.is_outdated or self._is_failed(one) for one in records)
            waits = waits or is_unproven or any(one.may_stay and self._is_present(one) for one in records)
            if self._spec.exclusive:
                self._look_exclusively(found, slot, records, is_held=is_held, waits=waits)
            else:
                self._look_at(found, slot, records, is_held=is_held, waits=waits)
        least = 1 if self._spec.exclusive else 0
        allowed = max(0, max(least, self._spec.update.unavailable) - found.unserved)
        if self._spec.exclusive:
            found.untidy += [(slot, "its older task is to go first") for slot in found.beside[:allowed]]
        else:
            allowed += max(0, self._spec.update.surge - found.extra)
            found.open = sorted([*found.open, *found.beside[:allowed]])
        return found

    def count(self, found: Look) -> Iterator[str]:
        """Yield in which way there are too many tasks, or too few that serve, at the end of a wave."""
        surge, unavailable = self._spec.update.surge, self._spec.update.unavailable
        if not self._spec.exclusive and found.extra > max(surge, self._extra):
            yield f"{found.extra} tasks are beyond one a slot; update.surge is {surge}"
        self._extra = found.extra
        allowed = max(1, unavailable) if self._spec.exclusive else unavailable
        lost = [slot for slot in self._unserved if slot < self.scale and not self._serves(self.placed(slot))]
        if lost and found.unserved > allowed:
            told = f"slot {lost[0]} loses its last ready task"
            yield f"{told}, and {found.unserved} slots are without one; update.unavailable is {unavailable}"

    def _look_at(self, found: Look, slot: int, records: list[Record], *, is_held: bool, waits: bool) -> None:
        current = self._current(records)
        form = self.form(slot)
        found.extra += max(0, len(records) - 1 - form.is_canary)
        found.unserved += not self._serves(records)
        has_current = current is not None and not self._is_dead(current)
        if waits:
            return
        olds = [one for one in records if one is not current]
        ends = [one for one in olds if not (form.is_canary and one.is_ready)]
        if current is not None and form.has_arrived(current) and ends:
            found.untidy.append((slot, f"{current.id} has arrived, and what is older is to go"))
        if sum(one.is_ready for one in olds) > 1:
            found.untidy.append((slot, "of several older ones that are ready only the newest is to stay"))
        if current is not None and has_current and not (form.has_arrived(current) or self._is_held(current)):
            stays = [one for one in olds if not (one.is_ready or self._is_held(one))]
            found.untidy += [(slot, f"{one.id} is to go, for it never became ready") for one in stays]
        if has_current or any(self._is_held(one) for one in records):
            return
        if is_held and current is None:
            found.held.append(slot)
        elif records and all(one.is_ready for one in records) and not form.is_canary:
            found.beside.append(slot)
        else:
            found.open.append(slot)

    def _look_exclusively(self, found: Look, slot: int, records: list[Record], *, is_held: bool, waits: bool) -> None:
        live = [one for one in records if not one.is_revoked]
        denied = [one for one in self._slots.get(slot, ()) if one.is_placed and one.is_denied]
        has_awaited = any(
            one.is_placed and (one.is_revoked or one.is_withdrawn) and not (one.is_denied or one.is_gone)
            for one in self._slots.get(slot, ())
        )
        kept = self._server(slot)
        is_present = kept is not None and self._is_present(kept)
        found.unserved += not (kept is not None and (kept.is_ready or (is_present and self._has_arrived(kept))))
        if waits:
            return
        if len(live) > 1:
            found.untidy.append((slot, "a slot of an exclusive job runs once"))
        if kept is None:
            counted = (one for one in denied if one.failures or (one.is_withdrawn and self._is_failed(one)))
            counts = any(self._is_present(one) for one in counted)
            if not has_awaited:
                (found.held if is_held and not counts else found.open).append(slot)
        elif is_present:
            if self._is_failed(kept):
                found.untidy.append((slot, f"{kept.id} has failed, and is to go"))
        elif is_held:
            found.held += [] if self._is_held(kept) else [slot]
        elif kept.is_ready:
            found.beside.append(slot)
        else:
            found.untidy.append((slot, f"{kept.id} is to go"))

    # What one task is good for.

    def _current(self, records: list[Record]) -> Record | None:
        present = [one for one in records if self._is_present(one)]
        well = [one for one in present if not self._is_dead(one)]
        return next(reversed(well or present), None)

    def _is_present(self, record: Record) -> bool:
        return self._is_of(record, self.form(record.slot))

    def _is_of(self, record: Record, form: Form) -> bool:
        lives = not record.is_over and record.state is not TaskState.LOST
        leaves = lives and (record.is_moving or record.agent in self._leaving)
        return record.generation == form.generation and not record.is_outdated and not leaves

    def _is_failed(self, record: Record) -> bool:
        return self.form(record.slot).has_failed(record)

    def _is_held(self, record: Record) -> bool:
        waits = self.form(record.slot).spec.waits_for_lost
        return record.state is TaskState.LOST and (self._is_halted or waits)

    def _is_dead(self, record: Record) -> bool:
        return self._is_failed(record) or (record.state is TaskState.LOST and not self._is_held(record))

    def _has_arrived(self, record: Record) -> bool:
        return self.form(record.slot).has_arrived(record)

    def _serves(self, records: list[Record]) -> bool:
        current = self._current(records)
        return any(one.is_ready for one in records) or (current is not None and self._has_arrived(current))

    def _count_extra(self) -> int:
        slots = [slot for slot in self._slots if slot < self.scale]
        return sum(max(0, len(self.placed(slot)) - 1 - self.form(slot).is_canary) for slot in slots)


def lines_of(plan: PlanDocument) -> list[Line]:
    """Return the jobs of a plan, in their order."""
    leaving = frozenset(name for group in plan.agents if group.cordon == "draining" for name in group.names)
    return [Line(index, plan, leaving) for index in range(len(plan.jobs))]

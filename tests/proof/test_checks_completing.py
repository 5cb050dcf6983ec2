"""S23 to S26 and L9: what batch jobs do and come to, and system jobs; and what the other checks make of both."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.job import Job, JobType, Run, Update
from harpoon.model.rules import PlacementRules, Requirement
from harpoon.model.task import Placement, TaskState
from tests.builders import T0, a_batch, a_cordon, a_job, a_placement
from tests.proof.checks.completing import CompleteForGood, EndsRightly, FewAtOnce
from tests.proof.checks.converging import Converges, CoreConverges
from tests.proof.checks.ending import BatchesEnd
from tests.proof.checks.everywhere import OncePerAgent
from tests.proof.checks.failing import FailStatic
from tests.proof.checks.placing import ClaimFirst
from tests.proof.checks.rolling import MakesBeforeItBreaks
from tests.proof.checks.waiting import NoStarvation
from tests.proof.history import Settled
from tests.proof.judge import Check
from tests.proof.told import REAL, Told, a_house, refuted

SECOND = timedelta(seconds=1)
FAILS = {"completions": 3, "attempts": 2}


class Runs:
    """A batch job, told of slot by slot."""

    def __init__(self, *checks: type[Check], told: Told | None = None, **spec: Any) -> None:
        self.told = a_house(None, *checks) if told is None else told
        self.job = a_batch(**({"completions": 3} | spec))
        self.results: dict[int, SlotResult] = {}
        self.told.job(self.job)

    def change(self, job: Job) -> None:
        self.job = job
        self.told.job(job)

    def place(self, slot: int = 0, agent: str = "a1", **fields: Any) -> Placement:
        generation = {"generation": self.job.generation, "version": self.job.version}
        return self.told.placed(agent, slot=slot, **(generation | fields))

    def run(self, slot: int = 0, agent: str = "a1", **fields: Any) -> Placement:
        one = self.place(slot, agent, **fields)
        self.told.report(one)
        return one

    def end(self, one: Placement, *, code: int = 0) -> None:
        self.told.report(one, TaskState.FAILED if code else TaskState.FINISHED, ready=False, exit_code=code)

    def note(self, *ones: Placement, is_complete: bool = True, attempts: int = 0, **record: Any) -> None:
        """Note that these have ended, and what else is said."""
        for one in ones:
            before = self.results.get(one.slot)
            count = attempts or (0 if before is None else before.attempts) + 1
            self.results[one.slot] = SlotResult(
                slot=one.slot, is_complete=is_complete, attempts=count, task=one.task, agent=one.agent
            )
        self.write(tuple(result for _, result in sorted(self.results.items())), **record)

    def write(self, results: tuple[SlotResult, ...] = (), *, run: int = 0, **record: Any) -> None:
        assert self.job.run is not None
        known = BatchRecord(namespace="default", job="web", version=run or self.job.run.version, results=results)
        self.told.commit({"batches/default/web": replace(known, **record)})

    def done(self, *ones: Placement) -> None:
        """Have these finish, noted and withdrawn."""
        for one in ones:
            self.end(one)
            self.note(one)
            self.told.place(drop=[one])


def settled(told: Told) -> None:
    told.calm("a1", "a2")
    told.say(Settled(t=0, node="nemesis"))


# S23


def test_slots_that_are_complete_and_placed_no_more_are_right():
    runs = Runs(CompleteForGood, EndsRightly, FewAtOnce)
    runs.done(runs.run(0), runs.run(1), runs.run(2))
    runs.write(tuple(runs.results.values()), outcome=Ending.SUCCEEDED, ended_ms=T0)
    # More is added to it, and then it starts over.
    more = replace(runs.job, version=2, spec=replace(runs.job.spec, completions=4, scale=4))
    runs.change(more)
    runs.write(tuple(runs.results.values()))
    runs.done(runs.run(3))
    runs.change(replace(more, version=3, generation="g3", run=Run(version=3, since_ms=T0)))
    runs.run(0)
    runs.told.job(replace(runs.job, version=4, is_terminating=True))
    runs.told.commit({"batches/default/web": None})
    runs.told.end()


def test_a_complete_slot_that_is_placed_again_is_refuted():
    runs = Runs(CompleteForGood)
    runs.done(runs.run(0))
    with refuted("S23"):
        runs.place(0)


def test_what_was_placed_in_an_earlier_life_of_the_registry_was_not_decided_here():
    runs = Runs(CompleteForGood, EndsRightly, FewAtOnce)
    runs.done(runs.run(0))
    runs.told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 2}})
    runs.place(0, incarnation=1)
    runs.told.end()


@pytest.mark.parametrize("record", [None, "without it", "failed"])
def test_a_complete_slot_that_is_taken_back_is_refuted(record):
    runs = Runs(CompleteForGood)
    one = runs.run(0)
    runs.note(one)
    with refuted("S23"):
        if record is None:
            runs.told.commit({"batches/default/web": None})
        elif record == "failed":
            runs.note(one, is_complete=False)
        else:
            runs.write()


def test_the_process_of_a_task_that_completed_its_slot_does_not_start_again_unless_its_host_lost_power():
    def started(agent: str, **fields: Any) -> Told:
        runs = Runs(CompleteForGood, **fields)
        one, other = runs.run(0, agent), runs.run(1, agent)
        runs.told.start(agent, one.task)
        runs.end(one)
        runs.note(one)
        # Those that are not complete may start.
        runs.told.start(agent, other.task)
        runs.told.fault("power_cut", "a2")
        runs.told.start(agent, one.task)
        return runs.told

    started("a2")
    started("a1", told=a_house(REAL, CompleteForGood))
    with refuted("S23"):
        started("a1")


def test_starts_of_other_jobs_are_not_judged_by_what_batch_jobs_came_to():
    told = a_house(None, CompleteForGood)
    told.start("a1", "default.gone.0.1-1")
    told.job()
    one = told.placed("a1")
    told.start("a1", one.task)
    told.end()


# S24


def test_as_many_as_may_run_at_once_are_right_and_one_more_is_refuted():
    runs = Runs(FewAtOnce, completions=4, parallel=2)
    one = runs.run(0)
    runs.run(1)
    runs.end(one)
    two = runs.run(2)
    runs.told.place(drop=[two])
    with refuted("S24"):
        # What is to stop still runs.
        runs.run(3)


def test_two_that_are_placed_at_once_are_both_counted():
    runs = Runs(FewAtOnce, completions=4, parallel=1)
    ones = [a_placement(slot=n, revision=runs.told.revision, generation=runs.job.generation) for n in (0, 1)]
    with refuted("S24"):
        runs.told.place(*ones)


def test_what_stops_and_is_unclaimed_or_of_another_job_takes_no_turn():
    runs = Runs(FewAtOnce, completions=4, parallel=1)
    one = runs.run(0)
    runs.told.place(drop=[one])
    runs.told.report(one, TaskState.UNCLAIMED, ready=False, reported=TaskState.RUNNING)
    runs.told.job(a_job(name="other"))
    runs.told.report(runs.told.placed("a2", job="other"))
    runs.run(1)
    runs.told.end()


def lost(**spec: Any) -> tuple[Runs, Placement]:
    runs = Runs(FewAtOnce, parallel=1, **spec)
    one = runs.run(0, **({"is_exclusive": True} if spec else {}))
    runs.told.report(one, TaskState.LOST, ready=False)
    return runs, one


def test_lost_tasks_of_a_job_that_does_not_wait_for_them_take_no_turn():
    runs, one = lost()
    two = a_placement(slot=0, agent="a2", revision=runs.told.revision, generation=runs.job.generation)
    runs.told.place(two, drop=[one])
    runs.told.report(two)
    # It is back, and nobody who decided then could know.
    decided = runs.told.revision
    runs.end(two)
    runs.told.report(one)
    runs.place(1, revision=decided)
    runs.told.forget(one)
    runs.told.end()


def test_one_that_is_back_takes_a_turn_again():
    runs, one = lost()
    runs.told.place(drop=[one])
    runs.told.report(one)
    with refuted("S24"):
        runs.place(1)


def test_a_lost_task_of_a_job_that_waits_takes_a_turn():
    runs, _ = lost(exclusive=True)
    with refuted("S24"):
        runs.place(1, is_exclusive=True)


def test_a_denied_one_takes_none():
    runs, one = lost(exclusive=True)
    runs.told.place(replace(one, is_revoked=True, is_denied=True))
    runs.told.forget(one)
    runs.place(1, is_exclusive=True)
    runs.told.end()


def test_a_restored_registry_begins_anew_with_what_it_counts():
    runs = Runs(FewAtOnce, parallel=1)
    runs.run(0)
    runs.told.revision = 0
    runs.told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 1}}, is_anew=True)
    runs.told.job(runs.job)
    runs.run(1)
    runs.told.end()


# S25


def test_attempts_that_are_counted_one_by_one_and_end_a_job_are_right():
    runs = Runs(EndsRightly, **FAILS)
    for _ in range(2):
        one = runs.run(0)
        runs.end(one, code=3)
        runs.note(one, is_complete=False)
        runs.told.place(drop=[one])
    runs.write(tuple(runs.results.values()), outcome=Ending.FAILED, ended_ms=T0, reason="no attempts left")
    runs.told.end()


def test_an_attempt_that_was_allowed_when_it_was_placed_is_right():
    runs = Runs(EndsRightly, completions=1, attempts=2)
    one = runs.run(0)
    runs.end(one, code=1)
    runs.note(one, is_complete=False)
    runs.told.place(drop=[one])
    two = runs.run(0)
    runs.change(replace(runs.job, version=2, spec=replace(runs.job.spec, attempts=1)))
    runs.end(two, code=1)
    runs.note(two, is_complete=False)
    runs.told.end()


def test_a_placement_of_a_slot_without_attempts_is_refuted():
    runs = Runs(EndsRightly)
    one = runs.run(0)
    runs.end(one, code=1)
    runs.note(one, is_complete=False)
    with refuted("S25"):
        runs.place(0)


def test_an_attempt_too_many_is_refuted():
    runs = Runs(EndsRightly)
    one, other = runs.run(0), runs.run(0, "a2")
    runs.note(one, is_complete=False)
    with refuted("S25"):
        runs.note(other, is_complete=False)


@pytest.mark.parametrize("wrong", ["twice", "by two", "unplaced", "of another run", "of a service"])
def test_what_is_noted_wrongly_is_refuted(wrong):
    runs = Runs(EndsRightly, **FAILS)
    one = runs.run(0)
    with refuted("S25"):
        match wrong:
            case "twice":
                runs.note(one, is_complete=False)
                runs.note(one, is_complete=False)
            case "by two":
                runs.note(one, is_complete=False, attempts=2)
            case "unplaced":
                runs.note(replace(one, revision=99), is_complete=False)
            case "of another run":
                runs.write(run=7)
            case "of a service":
                runs.told.job(a_job())
                runs.write()


def withdrawn(then: Callable[[Runs, Placement], None], told: Told | None = None, **fields: Any) -> None:
    runs = Runs(EndsRightly, told=told)
    one = runs.run(0, **fields)
    then(runs, one)
    runs.told.place(*([replace(one, is_revoked=True)] if fields else []), drop=[] if fields else [one])
    runs.told.end()


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_what_has_ended_and_is_withdrawn_before_that_is_noted_is_refuted(is_exclusive):
    with refuted("S25"):
        withdrawn(lambda runs, one: runs.end(one), **({"is_exclusive": True} if is_exclusive else {}))


def test_what_is_withdrawn_for_another_reason_need_not_have_been_known_to_have_ended():
    withdrawn(lambda runs, one: None)
    withdrawn(lambda runs, one: (runs.end(one), runs.note(one))[0])
    withdrawn(lambda runs, one: (runs.end(one), runs.told.commit({"cordons/a1": a_cordon(is_draining=True)}))[0])
    withdrawn(lambda runs, one: (runs.end(one), runs.told.fault("declare_dead", "a1"))[0])
    withdrawn(lambda runs, one: (runs.end(one), runs.change(replace(runs.job, is_terminating=True)))[0])


def failed(runs: Runs, **fields: Any) -> None:
    runs.write(tuple(runs.results.values()), outcome=Ending.FAILED, ended_ms=T0, **fields)


def test_a_job_that_fails_by_its_deadline_is_right_and_too_early_it_is_refuted():
    for waits, clock, is_right in ((9, "", True), (5, "", False), (5, "clock_jump", True)):
        runs = Runs(EndsRightly, deadline=10 * SECOND)
        runs.told.fault(clock or "kill_agent", "s1")
        runs.told.wait(waits)
        if is_right:
            failed(runs)
        else:
            with refuted("S25"):
                failed(runs)


def test_a_job_that_fails_for_nothing_is_refuted():
    runs = Runs(EndsRightly, **FAILS)
    runs.note(runs.run(0), is_complete=False)
    with refuted("S25"):
        failed(runs)


def test_a_failed_job_that_goes_on_or_places_something_is_refuted():
    for goes_on in (True, False):
        runs = Runs(EndsRightly)
        runs.note(runs.run(0), is_complete=False)
        failed(runs)
        with refuted("S25"):
            if goes_on:
                runs.write(tuple(runs.results.values()))
            else:
                runs.place(1)


def test_a_job_that_succeeds_with_a_slot_open_is_refuted():
    runs = Runs(EndsRightly)
    runs.note(runs.run(0), runs.run(1))
    with refuted("S25"):
        runs.write(tuple(runs.results.values()), outcome=Ending.SUCCEEDED, ended_ms=T0)


# L9


def test_a_job_that_has_ended_runs_on_or_waits_has_come_to_what_it_can():
    told = a_house(None, BatchesEnd)
    told.job()
    settled(told)
    runs = Runs(BatchesEnd, deadline=60 * SECOND)
    one = runs.run(0)
    settled(runs.told)
    runs.end(one)
    pending = {"namespace": "default", "job": "web", "generation": "g1", "slots": [1], "reason": "no room"}
    runs.told.commit({"pending/default/web": pending})
    runs.done(one)
    settled(runs.told)
    runs.told.commit({"pending/default/web": None})
    failed(runs)
    runs.told.wait(1000)
    settled(runs.told)
    runs.told.end()


def test_a_job_of_which_nothing_runs_and_nobody_says_why_is_refuted_where_all_is_well():
    runs = Runs(BatchesEnd)
    runs.told.calm("a1", whole=False)
    runs.told.say(Settled(t=0, node="nemesis"))
    with refuted("L9"):
        settled(runs.told)


def test_a_task_that_has_ended_unnoted_is_refuted():
    runs = Runs(BatchesEnd)
    runs.run(1)
    runs.end(runs.run(0))
    with refuted("L9"):
        settled(runs.told)


@pytest.mark.parametrize("has_ended", [True, False])
def test_what_time_brings_about_is_refuted_when_it_does_not_unless_a_clock_was_off(has_ended):
    for fault, is_right in (("clock_jump", True), ("kill_agent", False)):
        runs = Runs(BatchesEnd, deadline=10 * SECOND, keep=10 * SECOND)
        runs.told.fault(fault, "s1")
        runs.run(0)
        if has_ended:
            failed(runs)
        runs.told.wait(50)
        if is_right:
            settled(runs.told)
        else:
            with refuted("L9"):
                settled(runs.told)


# S26


def a_shipper(version: int = 1, *, only: str = "", **update: Any) -> Job:
    rules = PlacementRules(require=(Requirement(tag="name", equals=only),) if only else ())
    job = a_job(version=version, generation=f"g{version}", update=Update(**update))
    return replace(job, spec=replace(job.spec, type=JobType.SYSTEM, placement=rules))


def its(told: Told, agent: str = "a1", *, version: int = 1, **fields: Any) -> Placement:
    given = {"generation": f"g{version}", "version": version, "revision": told.revision}
    return a_placement(agent=agent, is_system=True, **(given | fields))


def a_fleet(*checks: type[Check], **fields: Any) -> Told:
    told = a_house(None, *checks)
    for name in ("a1", "a2"):
        told.agent(name, facts={"name": name})
    told.job(a_shipper(**fields))
    return told


def serving(told: Told, agent: str = "a1", **fields: Any) -> Placement:
    one = its(told, agent, **fields)
    told.place(one)
    told.report(one)
    return one


def test_one_task_on_each_agent_and_what_replaces_it_is_right():
    told = a_fleet(OncePerAgent, ClaimFirst)
    one, _ = serving(told, "a1"), serving(told, "a2")
    told.job(a_shipper(2))
    two = serving(told, version=2)
    told.place(drop=[one])
    told.report(two, TaskState.FAILED, ready=False)
    told.commit({"cordons/a1": a_cordon("a1")})
    three = its(told, version=2)
    told.place(three, drop=[two])
    told.end()


def test_a_second_task_of_the_same_form_is_refuted():
    told = a_fleet(OncePerAgent)
    serving(told)
    with refuted("S26"):
        told.place(its(told))


def test_one_more_than_updates_allow_is_refuted():
    for update, many in (({}, 2), ({"surge": 0, "unavailable": 1}, 1)):
        told = a_fleet(OncePerAgent, **update)
        for version in range(1, many + 1):
            told.job(a_shipper(version, **update))
            serving(told, version=version)
        with refuted("S26"):
            told.place(its(told, version=many + 1))


def test_a_task_on_an_agent_that_is_not_for_it_is_refuted():
    told = a_fleet(OncePerAgent, only="a2")
    told.place(its(told, "a2"))
    with refuted("S26"):
        told.place(its(told, "a1"))
    told = a_fleet(OncePerAgent)
    told.commit({"cordons/a1": a_cordon("a1")})
    with refuted("S26"):
        told.place(its(told, "a1"))


def test_a_task_whose_slot_is_another_agents_is_refuted():
    told = a_fleet(OncePerAgent)
    one = its(told, "a2")
    with refuted("S26"):
        told.commit({f"placements/a1/{one.task}": replace(one, agent="a1")})


# What the other checks make of them.


def test_the_numbers_of_an_agents_own_slot_rise():
    told = a_fleet(ClaimFirst)
    one = serving(told)
    told.place(drop=[one])
    with refuted("S4"):
        told.place(replace(one, revision=one.revision - 1))


def test_a_task_that_a_batch_job_wants_no_more_is_withdrawn_for_a_reason():
    runs = Runs(FailStatic)
    one, other = runs.run(0), runs.run(1)
    runs.note(one)
    runs.told.place(drop=[one])
    failed(runs)
    runs.told.place(drop=[other])
    runs.told.end()
    runs = Runs(FailStatic)
    one = runs.run(0)
    with refuted("S18"):
        runs.told.place(drop=[one])


def test_a_system_job_wants_its_task_on_each_agent_that_it_is_for():
    for only, is_right in (("a2", True), ("", False)):
        told = a_fleet(FailStatic, only=only)
        one = serving(told)
        if is_right:
            told.place(drop=[one])
        else:
            with refuted("S18"):
                told.place(drop=[one])


def test_what_goes_last_from_an_agent_that_is_drained_or_starts_over_is_no_rollout():
    told = a_fleet(MakesBeforeItBreaks)
    one, other = serving(told), serving(told, "a2")
    told.wait(20)
    told.commit({"cordons/a1": a_cordon("a1", is_draining=True)})
    told.place(drop=[one])
    with refuted("S19"):
        told.place(drop=[other])
    runs = Runs(MakesBeforeItBreaks)
    one = runs.run(0)
    runs.told.wait(20)
    runs.told.place(drop=[one])
    runs.told.end()


def converged(told: Told, *, whole: bool = True) -> None:
    told.calm("a1", "a2", whole=whole)
    told.settle()


def test_a_batch_job_has_converged_when_as_many_run_as_may_and_what_has_ended_is_noted():
    runs = Runs(Converges, CoreConverges, completions=3, parallel=1)
    runs.done(runs.run(0))
    two = runs.run(1)
    converged(runs.told)
    runs = Runs(Converges, completions=3, parallel=1)
    runs.done(runs.run(0))
    with refuted("L1"):
        converged(runs.told)
    runs = Runs(Converges, completions=3, parallel=2)
    two = runs.run(1)
    runs.end(two)
    runs.told.place(drop=[two])
    with refuted("L1"):
        converged(runs.told)


def test_what_is_still_placed_of_a_batch_job_that_has_ended_is_refuted():
    runs = Runs(Converges)
    runs.run(0)
    failed(runs)
    with refuted("L1"):
        converged(runs.told)


def test_a_system_job_has_converged_with_one_task_on_each_agent_that_is_for_it():
    told = a_fleet(Converges, only="a2")
    serving(told, "a2")
    converged(told)
    told = a_fleet(Converges)
    told.commit({"cordons/a1": a_cordon("a1")})
    serving(told, "a2")
    converged(told)


@pytest.mark.parametrize("whole", [True, False])
def test_a_system_job_that_lacks_a_task_or_has_one_elsewhere_is_refuted(whole):
    name = "L1" if whole else "L5"
    told = a_fleet(Converges, CoreConverges)
    serving(told, "a2")
    with refuted(name):
        converged(told, whole=whole)
    pending = {"namespace": "default", "job": "web", "generation": "g1", "slots": [0], "reason": "no room"}
    told = a_fleet(Converges, CoreConverges)
    serving(told, "a2")
    told.commit({"pending/default/web": pending | {"members": ["a1"]}})
    with refuted(name):
        converged(told, whole=whole)
    told = a_fleet(Converges, CoreConverges, only="a2")
    serving(told, "a2")
    serving(told, "a1")
    with refuted(name):
        converged(told, whole=whole)


def test_a_system_job_may_wait_for_an_agent_that_is_away():
    told = a_fleet(CoreConverges)
    told.commit(
        {"rollouts/default/web": {"namespace": "default", "job": "web", "generation": "g1", "is_promoted": True}}
    )
    serving(told, "a1")
    told.link("a2", LinkState.LOST)
    told.calm("a1", whole=False)
    told.settle()


def test_jobs_of_each_type_that_nobody_looks_at_are_refuted():
    for job in (a_batch(completions=2), a_shipper()):
        told = a_house(None, NoStarvation)
        told.wait(30)
        told.job(job)
        told.wait(20)
        with refuted("L6"):
            told.say(Settled(t=0, node="nemesis"))


def test_jobs_of_each_type_that_have_begun_or_have_all_wait_for_nobody():
    runs = Runs(NoStarvation, parallel=1)
    runs.run(0)
    runs.change(replace(runs.job, version=2, spec=replace(runs.job.spec, priority=70)))
    runs.told.wait(60)
    runs.told.say(Settled(t=0, node="nemesis"))
    told = a_fleet(NoStarvation)
    serving(told, "a1")
    serving(told, "a2")
    told.job(replace(a_shipper(), version=2))
    told.wait(60)
    told.say(Settled(t=0, node="nemesis"))

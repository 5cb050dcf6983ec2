"""What is told of a batch job: why slots wait, what a quota counts of it, and what a plan foretells."""

from datetime import timedelta

from harpoon.core.batch_waits import batched
from harpoon.core.case import Case
from harpoon.core.held import Unmet
from harpoon.core.plan import Outset, foretell
from harpoon.core.quota import room, use_of
from harpoon.core.standing import Standing
from harpoon.core.why import explain, explain_on
from harpoon.model.batch import BatchRecord, Ending, SlotResult
from harpoon.model.dependency import Dependency
from harpoon.model.job import Job, OnLost
from harpoon.model.namespace import Quota, Use
from harpoon.model.plan import Course
from harpoon.model.task import TaskState
from harpoon.model.why import ReasonCode, SlotsWhy
from tests.builders import T0, a_batch, a_job, a_placement, a_task, a_task_id, an_agent, at
from tests.core.placing import a_fleet

NOW = at(10)
EMPTY = BatchRecord(namespace="default", job="web", version=1)


def standing(slot: int = 0, state: TaskState = TaskState.RUNNING, **fields: object) -> Standing:
    placement = a_placement(slot=slot, **fields)
    return Standing(placement, a_task(placement, state=state))


def failed(slot: int, attempts: int) -> SlotResult:
    task = a_task_id(slot=slot)
    return SlotResult(slot=slot, is_complete=False, attempts=attempts, task=task, agent="a1", at_ms=T0 + 9000)


def a_case(job: Job, *standings: Standing, record: BatchRecord = EMPTY, **more: object) -> Case:
    return Case(job=job, standings=standings, links={}, now=NOW, replacing={}, batch=record, **more)


def ask(job: Job, *standings: Standing, agents: int = 2, **more: object) -> list[SlotsWhy]:
    fleet = a_fleet(*(an_agent(f"a{number}") for number in range(1, agents + 1)))
    return list(explain(a_case(job, *standings, **more), fleet))


def test_slots_wait_for_their_turn_and_are_told_for_whom() -> None:
    [told] = ask(a_batch(completions=6, parallel=4), *(standing(slot) for slot in range(4)))
    assert (told.slots, told.code) == ((4, 5), ReasonCode.PARALLEL)
    assert told.reason == (
        "parallel 4 lets no more tasks run at once; it waits for default.web.0.1-1 and default.web.1.1-1 and "
        "default.web.2.1-1 (and 1 more) to end"
    )
    assert told.evidence["parallel"] == 4
    assert told.fix is not None
    assert told.fix.steps == ("raise parallel above 4",)


def test_what_still_stops_is_waited_for_too_and_so_is_what_is_about_to_be_placed() -> None:
    lingering = (a_task_id(slot=9),)
    [told] = ask(a_batch(completions=2, parallel=1), lingering=lingering)
    assert "it waits for default.web.9.1-1 to end" in told.reason
    [told] = ask(a_batch(completions=2, parallel=1))
    assert "those that are about to be placed" in told.reason
    [told] = ask(a_batch(completions=2, parallel=1), standing(0, TaskState.FINISHED, is_denied=True))
    assert "those that are about to be placed" in told.reason


def test_a_slot_that_is_tried_again_later_says_when() -> None:
    record = BatchRecord(namespace="default", job="web", version=1, results=(failed(0, 4),))
    [told] = ask(a_batch(attempts=9), record=record)
    assert (told.slots, told.code) == ((0,), ReasonCode.BACKOFF)
    assert told.reason.startswith("it is tried again in 3 s, attempt 5 of 9: default.web.0.1-1 on a1 failed")
    assert told.evidence == {"due_ms": NOW.wall + 3000, "failures": 4, "tasks": ("default.web.0.1-1",)}


def test_a_slot_that_waits_for_another_job_says_for_which() -> None:
    missing = Unmet(dependency=Dependency(job="db"), found="0/1 ready")
    [told] = ask(a_batch(depends_on=(missing.dependency,)), unmet=(missing,))
    assert (told.slots, told.code) == ((0,), ReasonCode.DEPENDENCY)


def test_a_lost_task_that_is_kept_says_why_and_one_that_is_replaced_nothing() -> None:
    lost = standing(0, TaskState.LOST)
    [told] = ask(a_batch(on_lost=OnLost.WAIT), lost)
    assert (told.slots, told.code) == ((0,), ReasonCode.WAITS_FOR_AGENT)
    [told] = ask(a_batch(), lost, evictable=0)
    assert told.code is ReasonCode.EVICTION_LIMITED
    assert ask(a_batch(), lost) == []
    ended = BatchRecord(namespace="default", job="web", version=1, outcome=Ending.FAILED)
    assert ask(a_batch(on_lost=OnLost.WAIT), lost, record=ended) == []


def test_an_exclusive_slot_waits_for_its_agents_word() -> None:
    revoked = standing(0, TaskState.FAILED, is_exclusive=True, is_revoked=True)
    [told] = ask(a_batch(attempts=2, exclusive=True), revoked)
    assert (told.slots, told.code) == ((0,), ReasonCode.UNDENIED)


def test_a_slot_that_fits_nowhere_says_so_of_every_agent() -> None:
    job = a_batch(cpu=9000)
    [told] = ask(job)
    assert told.code is ReasonCode.FITS_NOWHERE
    assert told.reason.startswith("1 of 1 wanted slots cannot be placed")
    fleet = a_fleet(an_agent("a1"), an_agent("a2"))
    assert explain_on(a_case(job), fleet, "a2")[0].groups[0].agents == ("a2",)
    assert batched(a_case(job), EMPTY).rolled.wants


# Quotas.


def test_a_quota_counts_as_many_tasks_as_run_at_once_and_none_of_one_that_has_ended() -> None:
    job = a_batch(completions=10, parallel=3, cpu=500)
    assert use_of(job) == Use(cpu=1500, tasks=3, jobs=1)
    assert use_of(job, is_over=True) == Use(jobs=1)
    assert room(Quota(tasks=2), Use(), job) == 2


# Plans.


def tell(job: Job, *standings: Standing, agents: int = 2, **fields: object) -> Course:
    fleet = a_fleet(
        *(an_agent(f"a{number}") for number in range(1, agents + 1)), placements=[one.placement for one in standings]
    )
    outset = Outset(job=job, standings=standings, **({"batch": EMPTY} | fields))
    (course,) = foretell([outset], fleet, NOW, incarnation=1, revision=50)
    return course


def placed(course: Course) -> list[tuple[int, int]]:
    return [(one.wave, one.slot) for one in course.placements]


def test_a_batch_job_is_foretold_to_its_end_as_many_at_once_as_may_be() -> None:
    course = tell(a_batch(completions=5, parallel=2))
    assert placed(course) == [(1, 0), (1, 1), (2, 2), (2, 3), (3, 4)]
    assert (course.drops, course.pending, course.is_whole) == ((), None, True)


def test_what_runs_is_taken_to_finish_and_what_is_lost_for_ever_not() -> None:
    course = tell(a_batch(completions=2, parallel=1, on_lost=OnLost.WAIT), standing(0))
    assert placed(course) == [(2, 1)]
    course = tell(a_batch(completions=2, parallel=1, on_lost=OnLost.WAIT), standing(0, TaskState.LOST))
    assert placed(course) == []


def test_another_run_begins_once_what_is_left_of_the_one_before_is_gone() -> None:
    fresh = BatchRecord(namespace="default", job="web", version=2)
    course = tell(a_batch(version=2, run=2), standing(0), batch=fresh)
    assert [(one.wave, one.reason) for one in course.drops] == [(1, "version 2 starts over")]
    assert placed(course) == [(2, 0)]


def test_a_job_that_waits_for_a_batch_job_comes_after_it() -> None:
    fleet = a_fleet(an_agent())
    outsets = [Outset(job=a_job(name="api", depends_on=["web"])), Outset(job=a_batch(), batch=EMPTY)]
    api, web = foretell(outsets, fleet, NOW, incarnation=1, revision=50)
    assert (placed(web), placed(api)) == ([(1, 0)], [(2, 0)])


def test_a_deadline_that_passes_meanwhile_is_no_matter_of_a_plan() -> None:
    assert len(placed(tell(a_batch(completions=3, parallel=1, deadline=timedelta(hours=1))))) == 3

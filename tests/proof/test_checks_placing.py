"""S4, S16, S17 and S18: each takes what is right, and refutes what is wrong by its own name."""

from dataclasses import replace

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.job import OnLost
from harpoon.model.task import TaskState
from tests.builders import a_cordon, a_placement
from tests.proof.checks.failing import FailStatic
from tests.proof.checks.placing import ClaimFirst
from tests.proof.told import REAL, Told, a_house, refuted

#: Of placements that are to be replaced.
OLD = "g0"


def moved(told: Told, *, is_told: bool = True, is_recorded: bool = True, drops: bool = True) -> Told:
    """Tell how an exclusive slot moves from a1 to a2, with each step or without."""
    told.job(exclusive=True)
    token = told.hold("a1", "i1")
    one = told.placed("a1", is_exclusive=True, generation=OLD)
    run = told.start("a1", one.task)
    one = told.revoke(one)
    told.apply("a1", token, "i1", "stop", one.task)
    told.exit("a1", one.task, run)
    if is_told:
        told.apply("a1", token, "i1", "forget", one.task, denied=True)
    if is_recorded:
        told.place(replace(one, is_denied=True))
    two = a_placement(agent="a2", revision=told.revision, is_exclusive=True)
    told.place(two, drop=[one] if drops else [])
    told.start("a2", two.task)
    return told


# S4


def test_an_exclusive_slot_that_moves_step_by_step_is_right():
    moved(a_house()).end()
    moved(a_house(), drops=False).end()


def test_a_denial_that_was_recorded_and_never_given_is_refuted():
    with refuted("S4"):
        moved(a_house(), is_told=False)


def test_a_denial_by_virtue_of_another_token_does_not_count():
    told = a_house(None, ClaimFirst)
    told.job(exclusive=True)
    token = told.hold("a1", "i1")
    one = told.revoke(told.placed("a1", is_exclusive=True, generation=OLD))
    told.apply("a1", token, "i1", "forget", one.task, denied=True)
    told.release("a1")
    told.hold("a1", "i2")
    with refuted("S4"):
        told.place(replace(one, is_denied=True))


def test_a_denial_that_is_recorded_while_nobody_holds_the_agent_is_refuted():
    told = a_house()
    told.job(exclusive=True)
    one = told.revoke(told.placed("a1", is_exclusive=True, generation=OLD))
    with refuted("S4"):
        told.place(replace(one, is_denied=True))


@pytest.mark.parametrize("drops", [True, False])
def test_an_exclusive_slot_that_is_placed_before_it_was_denied_is_refuted(drops):
    with refuted("S4"):
        moved(a_house(), is_recorded=False, drops=drops)


def test_an_exclusive_slot_of_a_lost_agent_that_is_freed_by_time_alone_is_refuted():
    told = a_house(None, ClaimFirst)
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True, generation=OLD)
    told.link("a1", LinkState.LOST)
    told.place(a_placement(agent="a2", revision=told.revision, is_exclusive=True), drop=[one])
    with refuted("S4"):
        told.end()


def test_an_operator_may_free_it():
    told = a_house()
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True, generation=OLD)
    told.link("a1", LinkState.INTERRUPTED)
    told.fault("declare-dead", "a1")
    told.place(drop=[one])
    told.placed("a2", is_exclusive=True)
    told.dead("a1")
    told.end()


def test_two_placements_of_an_exclusive_slot_in_one_commit_are_refuted():
    told = a_house()
    told.job(exclusive=True)
    one = a_placement(agent="a1", revision=told.revision, is_exclusive=True)
    two = a_placement(agent="a2", revision=told.revision - 1, is_exclusive=True)
    with refuted("S4"):
        told.place(two, one)


def test_a_denied_placement_that_comes_back_is_refuted():
    told = a_house()
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True, generation=OLD)
    told.revoke(one)
    with refuted("S4"):
        told.place(one)


def test_a_start_of_what_was_denied_is_refuted():
    told = a_house()
    told.job(exclusive=True)
    token = told.hold("a1", "i1")
    one = told.revoke(told.placed("a1", is_exclusive=True, generation=OLD))
    told.apply("a1", token, "i1", "forget", one.task, denied=True)
    with refuted("S4"):
        told.start("a1", one.task)


def test_another_agent_of_that_name_has_denied_nothing():
    told = a_house(None, ClaimFirst)
    told.job(exclusive=True)
    told.boot("a1", "u1")
    token = told.hold("a1", "i1")
    one = told.revoke(told.placed("a1", is_exclusive=True, generation=OLD))
    told.apply("a1", token, "i1", "forget", one.task, denied=True)
    told.boot("a1", "u2")
    told.start("a1", one.task)
    told.end()


def test_a_start_of_what_was_never_placed_there_is_refuted():
    told = a_house()
    told.job()
    one = told.placed("a1")
    with refuted("S4"):
        told.start("a2", one.task)


def test_a_real_start_may_be_heard_of_before_its_placement():
    for is_placed in (True, False):
        told = a_house(REAL)
        told.job()
        told.start("a1", a_placement(revision=told.revision).task)
        if is_placed:
            told.placed("a1")
            told.end()
        else:
            with refuted("S4"):
                told.end()


def test_a_number_that_does_not_rise_is_refuted():
    told = a_house(None, ClaimFirst)
    told.job()
    one = told.placed("a1")
    told.place(drop=[one])
    with refuted("S4"):
        told.place(replace(one, agent="a2"))


def test_a_number_of_the_future_is_refuted():
    told = a_house()
    told.job()
    with refuted("S4"):
        told.place(a_placement(revision=99))


def test_an_adopted_task_has_an_older_number():
    told = a_house()
    told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 2}})
    told.job(scale=2)
    told.placed("a2", incarnation=2)
    old = a_placement()
    told.report(old, TaskState.UNCLAIMED, ready=False, reported=TaskState.RUNNING)
    told.place(old)
    told.end()


def test_a_restored_registry_is_taken_as_it_is():
    told = a_house()
    told.job()
    one = told.placed("a1")
    told.revision = 0
    told.commit(
        {
            "meta/cluster": {"cluster": "c1", "incarnation": 2},
            f"placements/a1/{one.task}": a_placement(revision=one.revision),
            "jobs/default/web": told.events[-2].changes["/h/1/ctl/jobs/default/web"],
        },
        is_anew=True,
    )
    told.agent("a1")
    told.start("a1", one.task)
    told.end()


def test_a_registry_that_is_restored_commit_by_commit_is_taken_as_it_is():
    told = Told()
    told.commit({"meta/copying": {"by": "restore"}})
    old = a_placement(revision=50)
    told.place(old, a_placement(slot=1, revision=40))
    told.commit({"meta/copying": None, "meta/cluster": {"cluster": "c1", "incarnation": 2}})
    told.agent("a1")
    told.job()
    told.start("a1", old.task)
    new = told.placed("a1", incarnation=2)
    told.place(drop=[old])
    with refuted("S4"):
        told.placed("a2", incarnation=2, revision=new.revision)


# S16


def lost(told: Told, count: int, *, agents: int = 3) -> list:
    """Tell of a job of which so many tasks are lost with their agent."""
    for number in range(3, agents + 1):
        told.agent(f"a{number}")
    told.job(scale=count)
    placements = [told.placed("a1", slot=slot) for slot in range(count)]
    told.link("a1", LinkState.INTERRUPTED)
    told.wait(30)
    told.link("a1", LinkState.LOST)
    for one in placements:
        told.report(one, TaskState.LOST, ready=False)
    return placements


def replaced(told: Told, old, *, revision: int | None = None) -> None:
    """Replace a lost placement, decided on a revision."""
    number = told.revision if revision is None else revision
    told.place(a_placement(agent="a2", slot=old.slot, revision=number), drop=[old])


def test_lost_tasks_are_replaced_at_a_bounded_rate():
    told = a_house()
    olds = lost(told, 300)
    for number, old in enumerate(olds):
        if number >= 200:
            told.wait(1 / 20)
        replaced(told, old)
    told.end()


def test_a_stampede_is_refuted():
    told = a_house()
    olds = lost(told, 330)
    with refuted("S16"):
        for old in olds:
            replaced(told, old)


def test_a_lost_task_that_is_to_wait_for_its_agent_is_not_to_be_replaced():
    told = a_house()
    (old,) = lost(told, 1)
    told.job(on_lost=OnLost.WAIT, version=2)
    with refuted("S16"):
        replaced(told, old)


def test_another_scheduler_begins_with_a_full_bucket():
    told = a_house()
    olds = lost(told, 330)
    for number, old in enumerate(olds):
        if number == 180:
            told.release("scheduler")
            told.hold("scheduler", "i2")
        replaced(told, old)
    told.end()


def test_replacing_while_most_agents_are_lost_is_refuted():
    told = a_house()
    olds = lost(told, 2)
    replaced(told, olds[0])
    told.link("a3", LinkState.INTERRUPTED)
    told.wait(30)
    before = told.revision
    told.link("a3", LinkState.LOST)
    told.wait(0.01)
    with refuted("S16"):
        replaced(told, olds[1])
    told = a_house()
    olds = lost(told, 2)
    told.link("a3", LinkState.INTERRUPTED)
    told.wait(30)
    before = told.revision
    told.link("a3", LinkState.LOST)
    # Decided just before that was known.
    replaced(told, olds[1], revision=before)


# S17


def test_what_fits_is_placed():
    told = a_house()
    told.job(scale=4)
    for slot in range(4):
        told.placed("a1", slot=slot, cpu=1000, memory=1 << 30, ports=[80 + slot])
    told.end()


@pytest.mark.parametrize(
    ("field", "each"), [("cpu", 2001), ("memory", (2 << 30) + 1), ("ports", [80])], ids=["cpu", "memory", "ports"]
)
def test_what_does_not_fit_any_more_is_refuted(field, each):
    told = a_house()
    told.job(scale=2)
    told.placed("a1", slot=0, **{field: each})
    with refuted("S17"):
        told.placed("a1", slot=1, **{field: each})


def test_named_resources_are_reserved_like_any_other():
    told = a_house()
    told.agent("a1", named={"gpu": 2})
    told.job(scale=4)
    told.placed("a1", slot=0, named={"gpu": 2})
    told.placed("a1", slot=1)
    with refuted("S17"):
        told.placed("a1", slot=2, named={"gpu": 1})
    told = a_house()
    told.job(scale=1)
    with refuted("S17"):
        told.placed("a1", slot=0, named={"licence": 1})


def test_a_task_reserves_until_it_is_over_whatever_became_of_its_placement():
    for state, is_wrong in ((TaskState.STOPPING, True), (TaskState.FINISHED, False)):
        told = a_house()
        told.job(scale=2)
        old = told.placed("a1", slot=1, cpu=3000)
        told.placed("a1", slot=0)
        told.report(old)
        told.job(scale=1, version=2)
        told.place(drop=[old])
        told.report(old, state, ready=False)
        told.job(scale=2, version=3)
        if is_wrong:
            with refuted("S17"):
                told.placed("a1", slot=1, cpu=3000)
        else:
            told.placed("a1", slot=1, cpu=3000)


def test_an_agent_that_registers_with_less_was_not_over_committed():
    told = a_house()
    told.job(scale=2)
    told.placed("a1", slot=0, cpu=3000)
    decided = told.revision
    told.agent("a1", cpu=2000)
    told.place(a_placement(slot=1, revision=decided, cpu=1000))
    told.end()


def test_a_stray_that_is_reported_after_the_decision_was_not_foreseen():
    told = a_house()
    told.job(scale=2)
    stray = told.placed("a1", slot=0, cpu=3000)
    told.job(scale=0, version=2)
    told.place(drop=[stray])
    told.job(scale=2, version=3)
    decided = told.revision
    told.report(stray)
    told.place(a_placement(slot=1, revision=decided, cpu=3000))
    with refuted("S17"):
        told.placed("a1", slot=0, cpu=3000)


# S18


def test_a_task_is_ended_once_its_placement_is_gone():
    told = a_house()
    told.job()
    token, one = told.hold("a1", "i1"), told.placed("a1")
    told.job(scale=0, version=2)
    told.place(drop=[one])
    told.send("a1", token, ("stop", one.task))
    told.apply("a1", token, "i1", "stop", one.task)
    told.end()


@pytest.mark.parametrize("command", ["stop", "forget"])
def test_ending_a_task_that_is_placed_is_refuted(command):
    told = a_house()
    told.job()
    token, one = told.hold("a1", "i1"), told.placed("a1")
    # A former holder whose view is old asks in vain, and so does one that asks for too much.
    told.send("a1", token, (command, one.task))
    told.apply("a1", token, "i1", command, one.task, ok=False)
    with refuted("S18"):
        told.apply("a1", token, "i1", command, one.task)


def test_a_real_command_may_be_heard_of_before_the_store():
    for late, is_wrong in ((0.1, False), (1.0, True)):
        told = a_house(REAL)
        told.job()
        token, one = told.hold("a1", "i1"), told.placed("a1")
        told.apply("a1", token, "i1", "stop", one.task)
        told.wait(late)
        if is_wrong:
            with refuted("S18"):
                told.live("i2")
        else:
            told.job(scale=0, version=2)
            told.place(drop=[one])
            told.end()


def test_a_wanted_slot_that_loses_its_only_placement_is_refuted():
    told = a_house()
    told.job()
    one = told.placed("a1")
    with refuted("S18"):
        told.place(drop=[one])


@pytest.mark.parametrize("state", [TaskState.LOST, TaskState.STARTING, TaskState.RUNNING])
def test_a_task_that_cannot_be_told_to_be_over_is_not_given_up(state):
    told = a_house(None, FailStatic)
    told.job()
    one = told.placed("a1")
    told.report(one, state, ready=state is TaskState.RUNNING)
    with refuted("S18"):
        told.place(drop=[one])


def test_what_is_old_or_has_failed_may_make_room_for_its_successor():
    told = a_house()
    told.job()
    one = told.placed("a1")
    told.report(one, TaskState.FAILED, ready=False)
    told.place(drop=[one])
    two = told.placed("a1")
    told.report(two)
    told.job(generation="g2", version=2, unavailable=1)
    told.place(drop=[two])
    told.end()


def test_what_replaces_it_or_an_operator_who_ends_it_are_reasons():
    told = a_house()
    told.job()
    one = told.placed("a1")
    two = a_placement(agent="a2", revision=told.revision)
    told.place(two, drop=[one])
    told.commit({"cordons/a2": a_cordon("a2", is_draining=True, deadline_ms=1)})
    told.place(drop=[two])
    three = told.placed("a1")
    told.link("a1", LinkState.INTERRUPTED)
    told.place(drop=[three])
    told.dead("a1")
    told.job(is_terminating=True, version=2)
    told.end()


def test_that_an_operator_has_it_moved_is_a_reason():
    for is_moved in (True, False):
        told = a_house(None, FailStatic)
        told.job(exclusive=True)
        one = told.placed("a1", is_exclusive=True)
        if is_moved:
            told.commit({f"moves/a1/{one.task}": {"move": {"task": one.task, "agent": "a1"}, "at_ms": 0}})
            told.revoke(one)
            told.commit({f"moves/a1/{one.task}": None, f"placements/a1/{one.task}": None})
            told.end()
        else:
            with refuted("S18"):
                told.revoke(one)


def test_that_a_more_urgent_job_takes_its_room_is_a_reason():
    told = a_house(None, FailStatic)
    told.job(priority=10)
    one = told.placed("a1")
    pending = {"namespace": "default", "job": "urgent", "generation": "g1", "slots": [0], "awaited": [one.task]}
    told.commit({f"placements/a1/{one.task}": None, "pending/default/urgent": pending})
    told.end()


def test_a_slot_of_a_lost_agent_that_is_emptied_for_nothing_is_refuted():
    told = a_house(None, FailStatic)
    told.job()
    one = told.placed("a1")
    told.link("a1", LinkState.INTERRUPTED)
    told.place(drop=[one])
    with refuted("S18"):
        told.settle()


def test_an_exclusive_task_that_is_as_wanted_is_not_revoked():
    told = a_house()
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True)
    told.report(one)
    with refuted("S18"):
        told.revoke(one)
    told = a_house()
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True)
    told.report(one)
    told.commit({"cordons/a1": a_cordon("a1", is_draining=True)})
    told.revoke(one)
    told.end()

"""Fencing, what runs, and what converges: each check takes what is right, and refutes what is wrong by its own name."""

from dataclasses import replace

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.task import TaskState
from tests.builders import a_placement
from tests.proof.checks.converging import Converges, CoreConverges
from tests.proof.checks.running import NoDoubleRun
from tests.proof.told import REAL, Told, a_house, refuted

# S1


def test_tokens_may_rise_at_an_agent_and_differ_between_agents():
    told = a_house()
    first, other = told.hold("a1", "i1"), told.hold("a2", "i1")
    told.adopt("a2", other, "i1")
    told.adopt("a1", first, "i1")
    told.release("a1")
    second = told.hold("a1", "i2")
    told.adopt("a1", second, "i2")
    told.boot("a1")
    told.apply("a1", second, "i2", "stop", "default.web.0.1-1")
    told.end()


def test_an_agent_that_forgets_its_mark_when_it_starts_again_is_refuted():
    told = a_house()
    first = told.hold("a1", "i1")
    told.boot("a1")
    told.release("a1")
    told.adopt("a1", told.hold("a1", "i2"), "i2")
    told.boot("a1")
    with refuted("S1"):
        told.apply("a1", first, "i1", "stop", "default.web.0.1-1")


def test_another_agent_of_the_same_name_begins_anew():
    told = a_house()
    first = told.hold("a1", "i1")
    told.boot("a1", "u1")
    told.release("a1")
    told.adopt("a1", told.hold("a1", "i2"), "i2")
    told.boot("a1", "u2")
    told.adopt("a1", first, "i1")
    told.end()


# S2


def test_an_equal_token_of_another_instance_is_refuted():
    told = a_house()
    token = told.hold("a1", "i1")
    told.adopt("a1", token, "i1")
    with refuted("S2"):
        told.adopt("a1", token, "i2")


def test_a_token_that_the_store_gave_to_another_instance_is_refuted():
    told = a_house()
    with refuted("S2"):
        told.adopt("a1", told.hold("a1", "i1"), "i2")


def test_a_token_that_the_store_never_gave_is_refuted():
    told = a_house()
    with refuted("S2"):
        told.adopt("a1", (1, 77), "i1")


def test_a_hold_that_changes_hands_with_its_token_is_refuted():
    told = a_house()
    told.hold("a1", "i1")
    told.hold("a1", "i1")
    with refuted("S2"):
        told.hold("a1", "i2")


def test_a_real_agent_may_be_heard_before_the_store():
    told = a_house(REAL)
    told.adopt("a1", (1, told.revision + 1), "i1")
    told.hold("a1", "i1")
    told.end()


def test_what_the_store_never_tells_in_a_real_run_is_refuted():
    told = a_house(REAL)
    told.adopt("a1", (1, told.revision + 1), "i1")
    with refuted("S2"):
        told.end()


# S3


def test_a_slot_of_an_exclusive_job_on_two_agents_at_once_is_refuted():
    told = a_house(None, NoDoubleRun)
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True)
    two = told.placed("a2", is_exclusive=True)
    told.start("a1", one.task)
    with refuted("S3"):
        told.start("a2", two.task)


def test_what_runs_on_an_agent_that_was_declared_dead_does_not_count():
    told = a_house()
    told.job(exclusive=True)
    one = told.placed("a1", is_exclusive=True)
    told.start("a1", one.task)
    told.link("a1", LinkState.INTERRUPTED)
    told.dead("a1", drop=[one])
    two = told.placed("a2", is_exclusive=True)
    told.start("a2", two.task)
    told.end()


def test_two_processes_of_one_task_are_refuted():
    told = a_house()
    told.job()
    one = told.placed("a1")
    run = told.start("a1", one.task)
    told.exit("a1", one.task, run)
    told.start("a1", one.task)
    with refuted("S3"):
        told.start("a1", one.task)


def test_a_slot_that_is_not_exclusive_may_run_twice_while_it_moves():
    told = a_house()
    told.job()
    told.start("a1", told.placed("a1").task)
    told.start("a2", told.placed("a2").task)
    told.end()


def test_a_real_end_is_noted_late_by_the_grace_at_most():
    for late, is_wrong in ((0.4, False), (0.6, True)):
        told = a_house(REAL)
        told.job()
        one = told.placed("a1")
        run = told.start("a1", one.task)
        told.start("a1", one.task)
        told.wait(late)
        if is_wrong:
            with refuted("S3"):
                told.exit("a1", one.task, run)
        else:
            told.exit("a1", one.task, run)
            told.end()


# S15, L1, L5


def settled(told: Told) -> None:
    """Tell of a job that runs as it should, and of all that is to be there for that."""
    told.hold("a1", "i1")
    told.hold("a2", "i1")
    told.job()
    placed = told.placed("a1")
    told.start("a1", placed.task, "run")
    told.report(placed)
    told.calm("a1", "a2", "i1", "store")


def test_what_is_as_desired_and_silent_has_converged():
    told = a_house()
    settled(told)
    told.settle()
    told.live("i2")
    told.wait(60)
    told.finish()


def test_a_process_that_nothing_places_is_refuted():
    told = a_house()
    told.job(scale=0)
    placed = told.placed("a1")
    told.start("a1", placed.task)
    told.place(drop=[placed])
    told.calm("a1", "a2", "i1", "store")
    with refuted("S15"):
        told.settle()


def test_a_task_that_is_not_ready_when_all_has_settled_is_refuted():
    told = a_house()
    told.job()
    told.report(told.placed("a1"), TaskState.STARTING, ready=False)
    told.calm("a1", "a2", "i1", "store")
    with refuted("L1"):
        told.settle()


@pytest.mark.parametrize("whole", [True, False])
def test_a_slot_that_is_not_placed_though_there_is_room_is_refuted(whole):
    told = a_house(None, Converges, CoreConverges)
    told.job()
    told.calm("a1", "a2", "i1", "store", whole=whole)
    with refuted("L1" if whole else "L5"):
        told.settle()


def test_a_task_of_an_old_generation_is_refuted():
    told = a_house()
    settled(told)
    told.job(generation="g2", version=2)
    with refuted("L1"):
        told.settle()


def test_a_migrate_may_be_held_up_by_what_fits_nowhere_and_by_nothing_else():
    for cpu, is_wrong in ((1000, True), (4000, False)):
        told = a_house()
        told.hold("a1", "i1")
        told.hold("a2", "i1")
        told.job(cpu=cpu, scale=2)
        for slot, agent in enumerate(("a1", "a2")):
            placed = told.placed(agent, slot=slot, cpu=cpu)
            told.start(agent, placed.task)
            told.report(placed)
        told.job(cpu=cpu, scale=2, generation="g2", version=2)
        pending = {"namespace": "default", "job": "web", "generation": "g2", "slots": [0], "reason": "no room"}
        told.commit({"pending/default/web": pending})
        told.calm("a1", "a2", "i1", "store")
        if is_wrong:
            with refuted("L1"):
                told.settle()
        else:
            told.settle()


def test_a_task_that_is_said_to_run_and_does_not_is_refuted():
    told = a_house()
    settled(told)
    told.exit("a1", "default.web.0.1-8", "run")
    with refuted("L1"):
        told.settle()


def test_a_report_without_a_placement_is_refuted():
    told = a_house()
    settled(told)
    told.report(a_placement(job="old"))
    with refuted("L1"):
        told.settle()


def test_an_agent_of_the_core_that_is_not_reached_is_refuted():
    told = a_house()
    settled(told)
    told.link("a2", LinkState.INTERRUPTED)
    with refuted("L1"):
        told.settle()


def test_a_job_that_stays_unscheduled_for_ever_is_refuted():
    told = a_house()
    told.job(is_terminating=True)
    told.calm("a1", "a2", "i1", "store")
    with refuted("L1"):
        told.settle()


def test_a_command_after_all_has_settled_is_refuted():
    told = a_house()
    settled(told)
    told.settle()
    with refuted("L1"):
        told.send("a1", (1, 6), ("start", "default.web.0.1-8"))


def test_a_write_after_all_has_settled_is_refuted():
    told = a_house()
    settled(told)
    told.settle()
    told.live("i2")
    with refuted("L1"):
        told.report(replace(a_placement(), revision=8))


def test_what_is_placed_outside_the_core_is_not_for_the_core_to_judge():
    told = a_house()
    settled(told)
    told.job(name="other")
    told.placed("a2", job="other")
    told.calm("a1", "i1", "store", whole=False)
    told.settle()
    told.finish()

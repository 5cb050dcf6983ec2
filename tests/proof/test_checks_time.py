"""L2, L4, L6 and L7: each takes what is right, and refutes what is wrong by its own name."""

from dataclasses import replace

import pytest

from harpoon.model.agent import LinkState
from harpoon.model.lifecycle import Backoff, Restart, RestartPolicy
from tests.builders import T0, a_job, a_template
from tests.proof.checks.owning import OneLiveOwner
from tests.proof.checks.timing import TimersHold
from tests.proof.history import Down, Up
from tests.proof.told import Told, a_house, refuted

# L2


def held(whole: bool = True) -> Told:
    """A history that is calm, in which both agents are held."""
    told = a_house(None, OneLiveOwner)
    told.hold("a1", "i1")
    told.hold("a2", "i1")
    told.calm("a1", "a2", "i1", "store", whole=whole)
    return told


def test_agents_may_be_handed_over_for_a_while():
    told = held()
    told.live("i2")
    told.wait(6)
    told.release("a1")
    told.hold("a1", "i2")
    told.wait(60)
    told.settle()
    told.finish()


def test_an_agent_that_nobody_holds_is_refuted():
    for whole in (True, False):
        told = held(whole)
        told.release("a1")
        with refuted("L2"):
            told.settle()


def test_an_agent_that_is_held_by_who_is_not_live_is_refuted():
    told = held()
    told.commit({"instances/i1": None})
    with refuted("L2"):
        told.settle()


def test_an_agent_that_keeps_changing_hands_is_refuted():
    told = held()
    told.wait(60)
    with refuted("L2"):
        told.release("a1")


def test_who_was_left_out_may_have_it_back_once():
    told = held()
    told.wait(600)
    told.link("a1", LinkState.CONNECTED, failed_by=("i2",))
    told.release("a1")
    told.hold("a1", "i1")
    told.settle()


def test_beside_what_is_broken_an_agent_may_go_from_hand_to_hand():
    told = held(whole=False)
    told.wait(60)
    told.release("a1")
    told.hold("a1", "i1")
    told.settle()
    told.finish()


# L4


def test_an_agent_is_lost_when_its_time_is_over():
    told = a_house()
    told.wait(100)
    told.link("a1", LinkState.INTERRUPTED)
    told.wait(30)
    told.link("a1", LinkState.LOST)
    told.link("a1", LinkState.LOST, reason="still")
    told.end()


def test_an_agent_that_is_lost_early_is_refuted():
    told = a_house()
    told.wait(100)
    told.link("a1", LinkState.INTERRUPTED)
    told.wait(20)
    with refuted("L4"):
        told.link("a1", LinkState.LOST)


def test_an_agent_that_is_lost_without_having_been_reached_is_refuted():
    told = a_house()
    told.agent("a3", state=LinkState.UNKNOWN)
    told.wait(100)
    with refuted("L4"):
        told.link("a3", LinkState.LOST)


def test_of_clocks_that_jump_nothing_can_be_said():
    told = a_house()
    told.fault("clock jump", "i1")
    told.link("a1", LinkState.LOST, since_ms=T0 - 1)
    told.end()


def restarting(*waits: float, **policy) -> None:
    """Tell of a task that ends and is started again, so long after each time."""
    told = a_house()
    told.job(a_job(task=replace(a_template(), restart=Restart(**policy))))
    one = told.placed("a1")
    run = told.start("a1", one.task)
    for wait in waits:
        told.wait(1)
        told.exit("a1", one.task, run)
        told.wait(wait)
        run = told.start("a1", one.task)
    told.end()


def test_a_task_is_started_again_by_its_policy():
    restarting(0, 1, 2, 4, 8, backoff=Backoff(jitter=0))


@pytest.mark.parametrize("waits", [(0, 0.5), (0, 1, 1), (0, 1, 2, 3)])
def test_a_task_that_is_started_again_too_soon_is_refuted(waits):
    with refuted("L4"):
        restarting(*waits, backoff=Backoff(jitter=0))


def test_a_task_that_is_started_again_too_often_is_refuted():
    restarting(0, 60, 60, attempts=3)
    with refuted("L4"):
        restarting(0, 60, 60, 60, attempts=3)


def test_a_task_that_is_never_to_start_again_is_refuted_when_it_does():
    with refuted("L4"):
        restarting(600, policy=RestartPolicy.NEVER)


def test_what_an_agent_was_told_to_forget_starts_for_the_first_time_when_the_order_to_start_it_comes_again():
    told = a_house(None, TimersHold)
    token = told.hold("a1", "i1")
    told.job(a_job(task=replace(a_template(), restart=Restart(policy=RestartPolicy.NEVER))))
    one = told.placed("a1")
    told.exit("a1", one.task, told.start("a1", one.task))
    told.place(drop=[one])
    told.apply("a1", token, "i1", "forget", one.task)
    told.start("a1", one.task)
    told.end()


def test_on_another_agent_of_the_name_it_starts_for_the_first_time():
    told = a_house()
    told.boot("a1", "u1")
    told.job(a_job(task=replace(a_template(), restart=Restart(policy=RestartPolicy.NEVER))))
    one = told.placed("a1")
    told.exit("a1", one.task, told.start("a1", one.task))
    told.boot("a1", "u2")
    told.start("a1", one.task)
    told.end()


# L6


def test_jobs_that_are_looked_at_soon_do_not_starve():
    told = a_house()
    told.wait(100)
    told.job()
    told.wait(1)
    one = told.placed("a1")
    told.job(scale=0, version=2)
    told.place(drop=[one])
    told.job(name="big")
    told.commit({"pending/default/big": {"namespace": "default", "job": "big", "generation": "g1", "slots": [0]}})
    told.wait(60)
    told.job(name="big", version=2)
    told.wait(5)
    told.settle()
    told.end()


def test_a_job_that_starves_beside_others_is_refuted():
    told = a_house()
    told.wait(100)
    told.job()
    with refuted("L6"):
        for number in range(30):
            told.wait(1)
            told.job(name=f"hot{number}")
            told.placed("a1", job=f"hot{number}")


def test_a_job_that_is_looked_at_late_is_refuted():
    told = a_house()
    told.wait(100)
    told.job()
    told.wait(11)
    with refuted("L6"):
        told.placed("a1")


@pytest.mark.parametrize("disturb", ["fault", "healed", "up", "down", "link"])
def test_while_something_is_broken_or_has_just_been_jobs_may_wait(disturb):
    told = a_house()
    told.wait(100)
    told.job()
    match disturb:
        case "fault":
            told.fault("cut", "store")
        case "healed":
            told.fault("cut", "store")
            told.wait(30)
            told.heal("cut", "store")
        case "up":
            told.say(Up(t=0, node="i1", instance="i1"))
        case "down":
            told.say(Down(t=0, node="i1"))
        case "link":
            told.link("a2", LinkState.INTERRUPTED)
    told.wait(20)
    told.placed("a1")
    told.end()


def test_once_all_is_calm_what_was_never_healed_counts_no_more():
    told = a_house()
    told.fault("kill", "i1")
    told.calm("a1", "a2", "store")
    told.job()
    told.wait(60)
    with refuted("L6"):
        told.placed("a1")


# L7


def burst(after: float) -> Told:
    """Tell of a burst, and of a job that is looked at so long after it was changed, when the burst is long over."""
    told = a_house()
    told.job()
    told.wait(0.2)
    told.placed("a1")
    told.fault("burst")
    told.job(name="b1")
    told.wait(9)
    told.placed("a1", job="b1")
    told.heal("burst")
    told.wait(100)
    told.job(name="b2")
    told.wait(after)
    told.placed("a1", job="b2")
    return told


def test_after_a_burst_waits_are_short_again():
    burst(0.9).end()


def test_waits_that_stay_long_after_a_burst_are_refuted():
    with refuted("L7"):
        burst(1.1)

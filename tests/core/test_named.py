"""Named resources: reserved like processor and memory, never over-committed, told like them."""

import pytest

from harpoon.core.fleet import reservation
from harpoon.core.why import Case, explain
from harpoon.model.task import Reservation
from tests.builders import a_job, a_placement, a_template, a_want, an_agent, at
from tests.core.placing import a_fleet, agents_of, others, put


def test_a_task_reserves_what_it_names_and_nothing_of_what_it_wants_none():
    template = a_template(named={"gpu": 2, "fpga": 1, "licence": 0})
    assert reservation(template) == Reservation(named=(("fpga", 1), ("gpu", 2)))


def test_a_job_goes_where_what_it_names_is_offered_and_left():
    fleet = a_fleet(
        an_agent("a1"),
        an_agent("a2", named={"gpu": 2}),
        an_agent("a3", named={"gpu": 2}),
        placements=others("a2", 1, named={"gpu": 1}),
    )
    decision = put(a_job(scale=4, named={"gpu": 1}), fleet)
    assert agents_of(decision) == ["a2", "a3", "a3"]
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in decision.pending.blockers] == [
        ("resource gpu", "1 free", "0 free of 2", ("a2", "a3")),
        ("resource gpu", "1 free", "not offered", ("a1",)),
    ]


def test_every_named_resource_must_be_there():
    fleet = a_fleet(an_agent("a1", named={"gpu": 1}), an_agent("a2", named={"gpu": 1, "fpga": 1}))
    assert agents_of(put(a_job(scale=2, named={"gpu": 1, "fpga": 1}), fleet)) == ["a2"]
    assert agents_of(put(a_job(scale=3, named={"gpu": 0}), fleet)) == ["a1", "a2", "a1"]


def test_what_is_given_back_is_free_again():
    ended = a_placement(named={"gpu": 1})
    fleet = a_fleet(an_agent(named={"gpu": 1}), placements=[ended])
    job = a_job(named={"gpu": 1})
    assert agents_of(put(job, fleet)) == []
    assert agents_of(put(job, fleet, a_want(0, replaces=(ended.task,), ended=(ended.task,)))) == ["a1"]
    fleet.remove(ended.task)
    assert agents_of(put(job, fleet)) == ["a1"]
    assert fleet.host("a1").named == {}


def test_what_is_given_back_is_its_own_share_and_no_more():
    first, second = a_placement(slot=0, named={"gpu": 1}), a_placement(slot=1, named={"gpu": 2})
    fleet = a_fleet(an_agent(named={"gpu": 3}), placements=[first, second])
    fleet.remove(first.task)
    assert fleet.host("a1").named == {"gpu": 2}


def test_what_runs_is_dropped_first_where_only_its_share_could_hold_its_successor():
    running = a_placement(generation="g0", named={"gpu": 1})
    fleet = a_fleet(an_agent(named={"gpu": 1}), placements=[running])
    decision = put(a_job(scale=2, named={"gpu": 1}), fleet, a_want(0, replaces=(running.task,)), a_want(1))
    assert [drop.task for drop in decision.drops] == [running.task]
    assert decision.pending.slots == (0, 1)


@pytest.mark.parametrize(
    ("offers", "taken", "wants", "step"),
    [
        (None, 0, 1, "start an agent with --resource gpu=1 or more; a1 offers none"),
        (
            {"gpu": 2},
            0,
            4,
            "lower task.resources.named.gpu to 2, or start an agent with --resource gpu=4 or more; a1 has 2 in all",
        ),
        ({"gpu": 2}, 2, 3, "start an agent with --resource gpu=3 or more; a1 has 2 in all"),
        ({"gpu": 2}, 1, 2, "free 1 of gpu on a1, or lower task.resources.named.gpu to 1"),
        ({"gpu": 2}, 2, 1, "free 1 of gpu on a1"),
    ],
)
def test_what_is_short_says_how_it_could_be_had(offers, taken, wants, step):
    placed = others("a1", 1, named={"gpu": taken}) if taken else []
    fleet = a_fleet(an_agent(named=offers), placements=placed)
    case = Case(job=a_job(named={"gpu": wants}), standings=(), links={}, now=at(), replacing={})
    (told,) = explain(case, fleet)
    assert told.fix.steps == (step,)

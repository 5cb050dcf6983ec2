"""Views that lack what a store left out of a watch: no slot of an exclusive job is placed twice for that."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harpoon.control import occupancy
from tests.sim.plan import Plan
from tests.sim.run import Result, run, run_all
from tests.sim.scenarios import SCENARIOS, a_plan, fault, put

#: Every so many revisions are left out, one at a time; `make soak` leaves out each.
STRIDE = int(os.environ.get("HARPOON_SIM_STRIDE", "3"))
MOVES = SCENARIOS["an exclusive slot moves"]
#: Who leads leaves; what it placed may be what its successor has not heard of.
SUCCEEDS = a_plan(
    put(1, "db", exclusive=True, scale=2),
    fault(2, "stop_instance", "s2", 20.0),
    put(4, "db", exclusive=True, scale=2, version=2),
    chaos_s=10,
)


def gaps(plan: Plan, *instances: str) -> Iterator[Plan]:
    """Yield a plan for each of these revisions and each instance: its view is not told of that."""
    whole = run(plan)
    assert not whole.violated, whole.text
    for revision in range(STRIDE, whole.happened["revisions"] + 1, STRIDE):
        for instance in instances:
            yield replace(plan, point=("hide", revision, instance))


def violated(results: Iterator[Result]) -> list[str]:
    return [f"{result.plan.point}: {result.text}" for result in results if result.violated]


def test_an_exclusive_slot_that_moves_is_placed_once_whatever_a_view_lacks() -> None:
    assert violated(run_all(gaps(MOVES, *MOVES.instances))) == []


def test_a_successor_that_has_missed_a_placement_does_not_place_the_slot_again() -> None:
    plans = list(gaps(SUCCEEDS, "s1"))
    results = list(run_all(plans, log=True))
    assert violated(iter(results)) == []
    refused = [line for result in results for line in result.log if "job_waits_for_view" in line]
    assert any(" s1 " in line for line in refused), "no point was one at which the store had to refuse"


@pytest.mark.parametrize(("plan", "point"), [(MOVES, ("hide", 12, "s2")), (SUCCEEDS, ("hide", 12, "s1"))])
def test_without_occupants_it_would_be(plan: Plan, point: tuple[str, int, str]) -> None:
    def trust_the_view() -> None:
        occupancy._ended = lambda *_: ()

    assert run(replace(plan, point=point), patch=trust_the_view).violated == "S4"

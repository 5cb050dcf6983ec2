"""The product under simulation: many schedules, each drawn from an integer, judged by all checks, and the cases kept."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sim.plan import Plan, draw
from tests.sim.points import points
from tests.sim.run import Result, run, run_all, shrink
from tests.sim.scenarios import SCENARIOS
from tests.sim.sometimes import SOMETIMES

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))
#: Enough to see each rare path some times; `make soak` runs eighty times as many.
SEEDS = range(250)
#: One whose plan has runs of workflows.
RUNS_SEED = str(next(seed for seed in range(99) if draw(seed).hands))
#: Every so many points of a scenario; `make soak` tries all.
STRIDE = int(os.environ.get("HARPOON_SIM_STRIDE", "24"))


def check(result: Result) -> None:
    """Fail by what was violated, with the way to see it again."""
    plan = result.plan
    way = f"python -m tests.sim --seed {plan.seed} --log --history" if plan == draw(plan.seed) else plan.to_json()
    assert not result.violated, f"{result.text}\nsee it again: {way}"


@pytest.mark.timeout(900)
def test_many_schedules_violate_nothing_and_take_every_rare_path() -> None:
    happened: Counter[str] = Counter()
    for result in run_all(map(draw, SEEDS)):
        check(result)
        happened += result.happened
    rare = {name: (happened[name], least) for name, least in SOMETIMES.items() if happened[name] < least}
    assert not rare, f"too weak: {rare} (seen, wanted)"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_well_wherever_it_is_broken(name: str) -> None:
    for result in run_all(list(points(SCENARIOS[name]))[::STRIDE]):
        check(result)


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_what_once_went_wrong_goes_well(kept: Path) -> None:
    check(run(Plan.from_json(kept.read_text())))


@pytest.mark.timeout(300)
def test_an_integer_gives_the_same_history_byte_for_byte_in_any_process() -> None:
    def digests(hash_seed: str) -> list[str]:
        found = []
        for seed in ("3", "29", "77", RUNS_SEED):
            told = subprocess.run(
                [sys.executable, "-m", "tests.sim", "--seed", seed],
                env=os.environ | {"PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            (digest,) = re.findall(r"digest (\w+)", told)
            found.append(digest)
        return found

    assert digests("1") == digests("2")


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    for seed in range(50):
        plan = draw(seed)
        assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_is_made_smaller_to_what_still_goes_wrong() -> None:
    plan = next(plan for plan in map(draw, range(100)) if len(plan.faults) > 10 and not plan.core)
    guilty = {plan.faults[2], plan.faults[7]}
    small = shrink(plan, lambda tried: guilty <= set(tried.faults))
    assert (set(small.faults), small.ops) == (guilty, ())


def test_a_run_that_breaks_off_is_no_run_that_went_well() -> None:
    def patch() -> None:
        os._exit(3)

    assert run(replace(draw(1), faults=()), patch=patch).violated == "broken"

"""What the shipped code does under simulation is a behaviour of the specifications."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof.history import Event, from_line
from tests.sim.plan import Plan, draw
from tests.sim.run import run_all
from tests.specs.checker import TIMEOUT_S
from tests.specs.traces import Step, behave, moves_of, ownership_of

pytestmark = pytest.mark.timeout(TIMEOUT_S + 120)

SEEDS = range(2000, 2020)
#: What the specifications do not know: a host that crashes may go back to what its disk had confirmed.
UNKNOWN = {"reboot_host", "replace_host"}
#: What is told of fewer steps says little.
STEPS_MIN = 8


def a_plan(seed: int) -> Plan:
    plan = draw(seed)
    return replace(plan, faults=tuple(fault for fault in plan.faults if fault.what not in UNKNOWN))


def histories() -> dict[int, list[Event]]:
    found = {}
    for result in run_all(map(a_plan, SEEDS), keeps=True):
        assert not result.violated, result.text
        found[result.plan.seed] = list(map(from_line, result.lines))
    return dict(sorted(found.items()))


def test_what_is_simulated_is_a_behaviour_of_the_specifications(tmp_path: Path) -> None:
    owned: dict[str, list[Step]] = {}
    moved: dict[str, list[Step]] = {}
    for seed, events in histories().items():
        owned |= {f"{seed} {agent}": steps for agent, steps in ownership_of(events).items()}
        moved |= {f"{seed} {slot}": steps for slot, steps in moves_of(events).items() if len(steps) >= STEPS_MIN}
    assert (len(owned) >= len(SEEDS), len(moved) >= len(SEEDS)) == (True, True)
    for module, told in (("Ownership", owned), ("SlotMove", moved)):
        scratch = tmp_path / module
        scratch.mkdir()
        wrong = {
            name: (at, told[name][max(0, at - 3) : at + 1])
            for name, at in behave(module, told, scratch).items()
            if at is not None
        }
        assert not wrong, wrong

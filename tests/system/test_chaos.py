"""Real faults on real processes, each on a host of its own; what happened is judged as a simulation is."""

import asyncio
from pathlib import Path

import pytest

from tests.system.chaos.plan import KINDS, from_text, plan, to_text
from tests.system.chaos.run import Setting, round_of

pytestmark = pytest.mark.system

#: The shortest times that may be, as this is to be over in a minute.
SHORT = Setting(seed=1, count=16, every_s=1.0, ttl_s=2.0, lost_after_s=6.0, resync_s=3.0, silent_s=6.0)


def test_a_seed_makes_the_same_faults_each_time_of_every_kind_in_the_long_run() -> None:
    made = plan(7, 200, 1.5, 3.0)
    assert made == plan(7, 200, 1.5, 3.0) == from_text(to_text(made))
    assert made != plan(8, 200, 1.5, 3.0)
    assert {one.what for one in plan(7, 45, 1.5, 3.0)} == KINDS.keys()


@pytest.mark.timeout(180)
def test_whatever_is_broken_nothing_that_is_promised_is(tmp_path: Path) -> None:
    outcome = asyncio.run(round_of(SHORT, tmp_path))
    print(outcome.told())
    assert not outcome.wrong, outcome.told()
    # A run that does little shows little.
    assert outcome.faults.total() >= 12, outcome.told()
    assert outcome.events["started"] > 20
    assert outcome.events["exited"] > 10
    assert outcome.events["committed"] > 50

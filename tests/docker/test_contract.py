"""The contract of all drivers, on a real engine.

Two of its cases are put otherwise here: an engine does not tell KILL from a program's own 137, and a container has no
scratch directory.
"""

import pytest

from harpoon.model.template import Driver, Resources
from tests.agent import test_driver_contract as contract
from tests.agent.contract import EATS_MEMORY, Kind, processes_of
from tests.agent.rig import agent, connected, daemon
from tests.docker.engine import IMAGE

_OTHERWISE = {
    "test_the_exit_code_is_the_programs",
    "test_that_a_task_was_killed_for_memory_is_known_after_the_agent_was_killed",
}
CASES = {name: case for name, case in vars(contract).items() if name.startswith("test_") and name not in _OTHERWISE}
globals().update(CASES)


@pytest.fixture
def kind(engine):
    return Kind(
        "docker",
        template={"driver": Driver.DOCKER, "image": IMAGE},
        told={"docker": engine.url},
        enforced=frozenset({"memory", "cpu", "pids"}),
    )


def test_the_whole_contract_is_tried_here():
    assert len(CASES) >= 14


@pytest.mark.parametrize("code", [0, 1, 3])
async def test_the_exit_code_is_the_programs(tmp_path, kind, code):
    await contract.test_the_exit_code_is_the_programs(tmp_path, kind, code)


async def test_a_number_that_an_engine_gives_for_a_signal_is_taken_for_it(tmp_path, kind):
    async with agent(tmp_path, **kind.told) as rig:
        over = await rig.over(await contract.start(rig, kind, "exit 137"))
        assert (over.exit_code, over.reason.partition(";")[0]) == (-9, "was killed by KILL")


async def test_a_death_for_memory_is_known_after_the_agent_was_killed(tmp_path, kind):
    async with daemon(tmp_path, **kind.told) as first, connected(first.port) as rig:
        await rig.adopt()
        script = f"echo up; sleep 1; {EATS_MEMORY}"
        task = (await contract.up(rig, kind, script, resources=Resources(memory=32 << 20))).id
        await first.kill()
    await contract._until(lambda: processes_of(task) == [])
    async with daemon(tmp_path, **kind.told) as second, connected(second.port) as rig:
        assert (await rig.over(task)).reason.startswith("was killed for memory: it used more than 32Mi")

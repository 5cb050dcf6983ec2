"""What the first harpoon's own tests and demonstrations held of placing, asked of this one.

Its hosts offered volumes by name, and a task went where its volume was. Here a volume is a path of the host, and the
path that its operator allows picks the host; where only one task may have it, a named resource says so.
"""

import pytest

from harpoon.core.rollout import rollout
from harpoon.core.standing import Standing
from harpoon.model.task import TaskState
from harpoon.model.volumes import HostPath, Volume
from tests.builders import MIB, a_job, a_placement, a_task, an_agent, at
from tests.core.placing import a_fleet, agents_of, others, put

A, B = HostPath(path="/srv/a"), HostPath(path="/srv/b")
BEEFY = an_agent("beefy-net", memory=32000 * MIB, cpu=32000, host_paths=(A,), mounts=True)
WIMPY = an_agent("wimpy-net", memory=1024 * MIB, cpu=4000, host_paths=(B,), mounts=True)


def volume(name):
    return Volume(host=f"/srv/{name}", at=f"/mnt/{name}")


@pytest.mark.parametrize(
    ("memory", "volumes", "chosen"),
    [
        (2048, [], ["beefy-net"]),
        (99999, [], []),
        (512, ["a"], ["beefy-net"]),
        (512, ["b"], ["wimpy-net"]),
        (2048, ["b"], []),
        (512, ["a", "b"], []),
    ],
)
def test_memory_and_volumes_pick_the_host(memory, volumes, chosen):
    job = a_job(memory=memory * MIB, cpu=100, volumes=tuple(volume(name) for name in volumes))
    assert agents_of(put(job, a_fleet(BEEFY, WIMPY))) == chosen


def test_two_volumes_on_different_hosts_are_nowhere_and_both_hosts_say_what_they_lack():
    decision = put(a_job(volumes=(volume("a"), volume("b"))), a_fleet(BEEFY, WIMPY))
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in decision.pending.blockers] == [
        ("host path /srv/a", "allowed", "not allowed", ("wimpy-net",)),
        ("host path /srv/b", "allowed", "not allowed", ("beefy-net",)),
    ]


def test_a_volume_that_only_one_may_use_is_given_once():
    fleet = a_fleet(an_agent("a1", named={"volume-a": 1}), an_agent("a2", named={"volume-b": 1}))
    decision = put(a_job(scale=2, named={"volume-a": 1}), fleet)
    assert (agents_of(decision), decision.pending.slots) == (["a1"], (1,))


def test_what_is_placed_but_not_reported_yet_takes_its_room():
    # There, what was commanded and not seen yet was "pending", and reserved.
    fleet = a_fleet(BEEFY, placements=others("beefy-net", 1, cpu=30000))
    assert agents_of(put(a_job(cpu=2001), fleet)) == []
    assert agents_of(put(a_job(cpu=2000), fleet)) == ["beefy-net"]


def test_four_tasks_go_two_and_two_to_hosts_as_little_used():
    fleet = a_fleet(BEEFY, WIMPY)
    assert sorted(agents_of(put(a_job(scale=4, cpu=100), fleet))) == ["beefy-net"] * 2 + ["wimpy-net"] * 2


def test_a_host_is_filled_and_the_rest_waits():
    decision = put(a_job(scale=5, cpu=1000), a_fleet(an_agent("a1", cpu=3000)))
    assert [one.slot for one in decision.placements] == [0, 1, 2]
    assert decision.pending.slots == (3, 4)
    assert [(b.predicate, b.found) for b in decision.pending.blockers] == [("cpu", "0m free of 3000m")]


def test_a_second_job_starts_when_the_first_leaves():
    fleet = a_fleet(an_agent("a1", cpu=3000))
    (first,) = put(a_job(name="first", cpu=3000), fleet).placements
    fleet.add(first)
    second = a_job(name="second", cpu=3000)
    assert agents_of(put(second, fleet)) == []
    fleet.remove(first.task)
    assert agents_of(put(second, fleet)) == ["a1"]


def test_seven_independent_jobs_are_all_placed_whatever_their_order():
    jobs = [a_job(name=f"job-{number}", cpu=100 * number) for number in range(1, 8)]
    for ordered in (jobs, jobs[::-1], jobs[3:] + jobs[:3]):
        fleet = a_fleet(an_agent("a1", cpu=1800), an_agent("a2", cpu=1800))
        for job in ordered:
            decision = put(job, fleet)
            assert decision.pending is None
            fleet.add(decision.placements[0])


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.FINISHED, TaskState.LOST])
def test_a_task_that_goes_again_and_again_is_placed_again_each_time(state):
    job, fleet, moment = a_job(cpu=100), a_fleet(an_agent("a1"), an_agent("a2")), 0
    placement = a_placement(agent="a1", cpu=100)
    fleet.add(placement)
    for _ in range(12):
        # Later each time, but never not at all.
        moment += 3600
        task = a_task(placement, state=state, since_ms=at(moment).wall)
        moment += 3600
        (want,) = rollout(job, (Standing(placement=placement, task=task),), at(moment)).wants
        (successor,) = put(job, fleet, want).placements
        assert want.replaces == (placement.task,)
        for gone in want.replaces:
            fleet.remove(gone)
        placement = a_placement(agent=successor.agent, cpu=100, revision=moment, failures=successor.failures)
        fleet.add(placement)

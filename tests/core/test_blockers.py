"""What is said when slots go nowhere."""

import pytest

from harpoon.core.blockers import about_size
from harpoon.model.agent import LinkState
from harpoon.model.rules import Requirement
from tests.builders import MIB, T0, a_job, a_link, a_placement, an_agent
from tests.core.placing import a_fleet, put


def test_no_agents_at_all_is_told_with_a_way_out():
    pending = put(a_job(scale=2), a_fleet()).pending
    assert pending.reason == "2 of 2 wanted slots cannot be placed: there is no agent"
    (blocker,) = pending.blockers
    assert (blocker.predicate, blocker.agents_count) == ("agents", 0)
    assert "harpoon agent" in blocker.found


def test_every_failed_predicate_is_told_and_the_nearest_agent():
    job = a_job(scale=3, cpu=500, memory=64 * MIB, require=[Requirement(tag="zone", equals="a")])
    fleet = a_fleet(
        an_agent("a1", cpu=700, tags={"zone": "a"}),
        an_agent("a2", cpu=100, memory=MIB, tags={"zone": "b"}),
        an_agent("a3", cpu=300, tags={"zone": "a"}),
        an_agent("a4", cpu=200, tags={"zone": "a"}),
        links=[a_link("a4", LinkState.LOST)],
    )
    pending = put(job, fleet).pending
    assert pending.slots == (1, 2)
    assert pending.since_ms == T0 + 1000
    assert pending.reason == (
        "2 of 3 wanted slots cannot be placed: none of 4 agents can take one; "
        "the nearest is a3, which needs cpu 500m free (found 300m free of 300m)"
    )
    assert [(b.predicate, b.wanted, b.found, b.agents) for b in pending.blockers] == [
        ("cpu", "500m free", "100m free of 100m", ("a2",)),
        ("cpu", "500m free", "200m free of 200m", ("a4",)),
        ("cpu", "500m free", "200m free of 700m", ("a1",)),
        ("cpu", "500m free", "300m free of 300m", ("a3",)),
        ("link", "connected", "lost", ("a4",)),
        ("memory", "64Mi free", "1Mi free of 1Mi", ("a2",)),
        ("tag zone", "a", "b", ("a2",)),
    ]


def test_agents_that_fail_alike_are_told_together_and_only_some_are_named():
    fleet = a_fleet(*(an_agent(f"a{number:02}", cpu=100) for number in range(20)))
    (blocker,) = put(a_job(cpu=200), fleet).pending.blockers
    assert (blocker.agents_count, blocker.agents) == (20, tuple(f"a{number:02}" for number in range(8)))


def test_a_large_fleet_makes_no_large_record():
    agents = [an_agent(f"a{number:03}", cpu=100 + min(number, 80)) for number in range(100)]
    blockers = put(a_job(cpu=1000), a_fleet(*agents)).pending.blockers
    assert len(blockers) == 16
    assert sum(blocker.agents_count for blocker in blockers) == 100
    assert {b.agents_count for b in blockers if b.found == "180m free of 180m"} == {20}
    (rest,) = [b for b in blockers if b.found == "other values that do not do"]
    assert (rest.agents_count, len(rest.agents)) == (66, 8)


def test_a_migrate_without_room_says_what_would_make_room():
    old = a_placement(generation="g0", cpu=3000)
    fleet = a_fleet(an_agent(), placements=[old])
    hint = "unless update.unavailable is above 0"
    assert put(a_job(cpu=3000), fleet).pending.reason.endswith(hint)
    assert hint not in put(a_job(cpu=3000, unavailable=1), fleet).pending.reason
    assert hint not in put(a_job(name="new", cpu=3000), fleet).pending.reason


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (64 * MIB, "64Mi"),
        (1536 * MIB, "1536Mi"),
        (24684084 << 10, "23.54Gi"),
        (4096 * MIB - 1, "3.99Gi"),
        (MIB + 1, "1Mi"),
        (1_000_001, "976.56Ki"),
    ],
)
def test_sizes_are_told_as_people_read_them_and_never_as_more_than_they_are(size, text):
    assert about_size(size) == text

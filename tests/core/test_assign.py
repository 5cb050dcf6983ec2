"""Who minds which agent."""

import hypothesis.strategies as st
from hypothesis import given

from harpoon.core.assign import Verdict, decide, fit, owner
from harpoon.model.instance import Instance

AGENTS = [f"agent-{number}" for number in range(300)]
names = st.sets(st.text("abcdef-0123456789", min_size=1, max_size=12), min_size=1, max_size=6)


def an_instance(name: str, unfit: str = "") -> Instance:
    return Instance(name=name, url="", version="1", since_ms=0, unfit=unfit)


@given(names, st.text(min_size=1, max_size=12))
def test_when_one_joins_only_agents_that_are_its_own_move(instances: set[str], new: str) -> None:
    before = {agent: owner(agent, instances) for agent in AGENTS[:40]}
    after = {agent: owner(agent, instances | {new}) for agent in AGENTS[:40]}
    assert all(after[agent] in (before[agent], new) for agent in before)


@given(names)
def test_the_order_in_which_instances_are_known_does_not_matter(instances: set[str]) -> None:
    for agent in AGENTS[:20]:
        assert owner(agent, sorted(instances)) == owner(agent, sorted(instances, reverse=True)) in instances


def test_agents_are_shared_evenly() -> None:
    shares = [sum(owner(agent, ("s1", "s2", "s3")) == instance for agent in AGENTS) for instance in ("s1", "s2", "s3")]
    assert all(70 <= share <= 130 for share in shares)


def test_whoever_failed_is_passed_over_while_there_is_another() -> None:
    first = owner("a1", ("s1", "s2", "s3"))
    second = owner("a1", ("s1", "s2", "s3"), failed_by=(first,))
    assert second not in (first, None)
    assert owner("a1", ("s1", "s2", "s3"), failed_by=("s1", "s2", "s3")) == first
    assert owner("a1", ()) is None


def test_the_unfit_are_not_fit() -> None:
    assert fit({"s1": an_instance("s1"), "s2": an_instance("s2", unfit="its clock is off")}) == {"s1"}


def test_what_is_done_about_an_agent() -> None:
    assert decide("me", "me", "me") is Verdict.KEEP
    assert decide("me", "me", None) is Verdict.KEEP
    assert decide("me", "me", "other") is Verdict.HAND_OVER
    assert decide("me", None, "me") is Verdict.TAKE
    assert decide("me", None, "other") is Verdict.LEAVE
    assert decide("me", "other", "me") is Verdict.LEAVE

"""Lines: turns between workflows, then runs, whatever is in them."""

from collections.abc import Sequence
from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings

from harpoon.core.lines import Line
from harpoon.core.offers import Entry
from tests.core.exchanging import an_offer

WORKFLOWS = st.dictionaries(
    st.sampled_from(["ship", "bill", "mail", "pack"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    min_size=1,
)


def check_turns(order: Sequence[str]) -> None:
    """Between two turns of one, each other that had a turn before and has one after has exactly one."""
    for name in set(order):
        places = [place for place, one in enumerate(order) if one == name]
        for first, second in pairwise(places):
            between = order[first + 1 : second]
            lasting = set(order[second:]) - {name}
            assert all(between.count(other) == 1 for other in lasting), (name, between, lasting)
            assert len(between) == len(set(between))


@settings(max_examples=100, deadline=None)
@given(WORKFLOWS, st.data())
def test_turns_are_fair_between_workflows_then_between_runs(sizes: dict[str, list[int]], data: st.DataObject) -> None:
    line = Line()
    entries = [
        Entry(an_offer(f"{workflow}-{run}", f"o{number}", workflow=workflow))
        for workflow, runs in sizes.items()
        for run, size in enumerate(runs)
        for number in range(size)
    ]
    for entry in entries:
        line.put(entry)
    gone = data.draw(st.lists(st.sampled_from(entries), unique_by=id, max_size=len(entries)))
    for entry in gone:
        line.remove(entry)
    taken = [line.take().offer for _ in range(len(line))]
    assert len(line) == 0
    assert {offer.id for offer in taken} == {one.offer.id for one in entries} - {one.offer.id for one in gone}
    check_turns([offer.workflow for offer in taken])
    for workflow in sizes:
        check_turns([offer.id.run for offer in taken if offer.workflow == workflow])
    for run in {offer.id.run for offer in taken}:
        own = [offer.id.op for offer in taken if offer.id.run == run]
        assert own == sorted(own)


def test_one_that_is_put_back_is_the_first_of_its_run() -> None:
    line = Line()
    for name in "ab":
        line.put(Entry(an_offer(op=name)))
    line.put(Entry(an_offer(op="c")), is_first=True)
    assert [line.take().offer.id.op for _ in range(3)] == ["c", "a", "b"]

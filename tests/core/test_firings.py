"""How often operations may fire: worked out from the shape of a graph, and held against all runs of small ones."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings

from harpoon.core.components import components, way_round
from harpoon.core.firings import ENDLESS, Firings, firings
from harpoon.core.graph_flaws import Spread
from harpoon.model.workflow import WorkflowSpec
from tests.core.graphs import STATES_MAX, begins, ends, spec, specs, wiring


def reckoned(told: WorkflowSpec) -> Firings:
    found = wiring(told)
    spread = Spread(found)
    return firings(found, spread.live, spread.opened)


def counts(**operations: object) -> dict[str, int]:
    return dict(sorted(reckoned(spec(**operations)).counts.items()))


def test_a_chain_fires_each_once() -> None:
    assert counts(a={"next": {"done": "b"}}, b={"next": {"done": "c", "fail": "c"}}, c={}) == {"a": 1, "b": 1, "c": 1}


def test_labels_of_one_visit_exclude_one_another_and_targets_of_one_label_do_not() -> None:
    rest = {"b": {"next": {"done": "d"}}, "c": {"next": {"done": "d"}}, "d": {}}
    assert counts(a={"next": {"done": "b", "fail": "c"}}, **rest)["d"] == 1
    assert counts(a={"next": {"done": ["b", "c"]}}, **rest)["d"] == 2
    # One more choice elsewhere, so that not everything is certain.
    assert counts(a={"next": {"done": ["b", "c"], "fail": "x"}}, **rest, x={})["d"] == 2


def test_what_excludes_one_another_does_so_however_late_it_comes_together() -> None:
    shape = {
        "a": {"next": {"done": ["b", "c"]}},
        "b": {"next": {"done": "d", "fail": "e"}},
        "c": {},
        "d": {"next": {"done": "f"}},
        "e": {"next": {"done": "f", "lost": "f"}},
        "f": {},
    }
    assert counts(**shape)["f"] == 1
    assert counts(**shape | {"c": {"next": {"done": "f"}}})["f"] > 1


def test_needs_fire_as_often_as_the_rarest_of_them() -> None:
    often = {"a": {"next": {"done": ["b", "c"]}}, "b": {"next": {"done": "d"}}, "c": {"next": {"done": "d"}}}
    told = counts(**often, d={"visits": 3}, e={"needs": ["d", "b"]}, f={"needs": ["d", "d.fail"], "visits": 2})
    assert (told["d"], told["e"], told["f"]) == (2, 1, 2)


def test_a_run_that_begins_with_several_has_them_all() -> None:
    assert counts(a={"next": {"done": "c", "fail": "c"}}, b={"next": {"done": "c"}}, c={})["c"] == 3


def test_a_cycle_that_opens_no_more_than_it_closes_is_left_once() -> None:
    told = counts(
        a={"next": {"done": "b"}},
        b={"visits": 3, "next": {"done": "c", "fail": "x"}},
        c={"visits": 3, "next": {"fail": "b", "done": "x", "exhausted": "y"}},
        x={"next": {"done": "y"}},
        y={},
    )
    assert told == {"a": 1, "b": ENDLESS, "c": ENDLESS, "x": 1, "y": 1}


def test_a_cycle_that_opens_more_than_it_closes_is_left_without_end() -> None:
    told = counts(
        s={"next": {"done": "a"}},
        a={"visits": 3, "next": {"done": ["a", "b"]}},
        b={"visits": 5, "next": {"done": "c"}},
        c={},
    )
    # Three visits of a, each of which may be done.
    assert told == {"s": 1, "a": ENDLESS, "b": 3, "c": 3}


def test_visits_limit_what_follows_and_only_what_is_beyond_is_exhausted() -> None:
    often = {"a": {"next": {"done": ["b", "c"]}}, "b": {"next": {"done": "d"}}, "c": {"next": {"done": "d"}}}
    assert counts(**often, d={"visits": 2, "next": {"done": "e", "exhausted": "f"}}, e={"visits": 2}, f={})["f"] == 1
    told = counts(**often, d={"next": {"done": "e", "exhausted": "f"}}, e={}, f={})
    assert (told["d"], told["e"], told["f"]) == (2, 1, 1)


def test_why_something_fires_again_is_told() -> None:
    told = reckoned(
        spec(a={"next": {"done": ["b", "c"]}}, b={"next": {"done": "c"}}, c={"visits": 2, "next": {"done": "d"}}, d={})
    )
    assert [str(source.trigger.members[0]) for source in told.because["c"] if source.trigger] == ["a.done", "b.done"]
    [source] = told.because["d"]
    assert source.trigger is not None
    assert str(source.trigger.members[0]) == "c.done"


@pytest.mark.parametrize(
    ("operations", "is_excluded"),
    [
        ({"a": {"labels": ["x"]}, "b": {"needs": ["a", "a.x"]}}, True),
        ({"a": {"next": {"done": "b", "fail": "c"}}, "b": {}, "c": {}, "d": {"needs": ["b", "c"]}}, True),
        ({"a": {"next": {"done": ["b", "c"]}}, "b": {}, "c": {}, "d": {"needs": ["b", "c.fail"]}}, False),
        ({"a": {"next": {"done": ["b", "c"]}}, "b": {"next": {"done": "e", "fail": "f"}}, "c": {}, "d": {"needs": ["e", "c", "f"]}, "e": {}, "f": {}}, True),
        # c follows on b alone, or on a and b: it does not exclude that a fails.
        ({"a": {}, "b": {"next": {"fail": "c"}}, "c": {"needs": ["a", "b"]}, "d": {"needs": ["a.fail", "c"]}}, False),
        # Three labels of what has two visits.
        ({"s": {"next": {"done": ["a", "t"]}}, "t": {"next": {"done": "a"}}, "a": {"visits": 2, "labels": ["x"]}, "d": {"needs": ["a", "a.x", "a.fail"]}}, True),
        ({"s": {"next": {"done": ["a", "t"]}}, "t": {"next": {"done": "a"}}, "a": {"visits": 2, "labels": ["x"]}, "d": {"needs": ["a", "a.x"]}}, False),
        ({"s": {"next": {"done": ["a", "t"]}}, "t": {"next": {"done": "a"}}, "a": {"labels": ["x"]}, "d": {"needs": ["a.exhausted", "a.x"]}}, False),
    ],
)  # fmt: skip
def test_needs_that_exclude_one_another_are_found(operations: dict[str, object], is_excluded: bool) -> None:
    assert bool(reckoned(spec(**operations)).excluded) is is_excluded


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs().filter(begins))
def test_no_run_fires_anything_more_often_or_meets_what_never_is(told: WorkflowSpec) -> None:
    found = wiring(told)
    spread = Spread(found)
    reckoning = firings(found, spread.live, spread.opened)
    never = {excluded.trigger.index for excluded in reckoning.excluded}
    for run in ends(found, STATES_MAX):
        assert not run.met & never
        assert all(count <= reckoning.counts.get(name, 0) for name, count in run.fired.items())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs(size=5, is_acyclic=True).filter(begins))
def test_without_needs_what_may_fire_again_does_in_some_run(told: WorkflowSpec) -> None:
    has_needs = any(op.needs for op in told.operations.values())
    follows = any("exhausted" in op.next for op in told.operations.values())
    if has_needs or follows:
        return
    found = wiring(told)
    spread = Spread(found)
    reckoning = firings(found, spread.live, spread.opened)
    most: Counter[str] = Counter()
    states = 0
    for run in ends(found, STATES_MAX):
        states += 1
        most |= Counter(run.fired)
    if states < STATES_MAX:
        first = next((name for name, count in reckoning.counts.items() if count > 1), None)
        assert first is None or most[first] > 1


def test_components_are_found_in_order_and_by_definition() -> None:
    drawn = random.Random(5)
    for size in (1, 2, 5, 9) * 20:
        graph = [[drawn.randrange(size) for _ in range(drawn.randrange(3))] for _ in range(size)]
        reach = [{number} for number in range(size)]
        for _ in range(size):
            for number in range(size):
                reach[number] |= {far for near in graph[number] for far in reach[near]}
        found = components(graph)
        assert sorted(number for one in found for number in one) == list(range(size))
        for at, one in enumerate(found):
            assert {number for number in range(size) if one[0] in reach[number] and number in reach[one[0]]} == set(one)
            assert not any(later in reach[one[0]] for after in found[at + 1 :] for later in after)
            if len(one) > 1:
                round_ = way_round(one[0], graph, set(one))
                assert round_[0] == round_[-1] == one[0]
                assert all(after in graph[before] for before, after in pairwise(round_))


def test_a_way_round_is_the_shortest() -> None:
    assert way_round(0, [[1, 2], [2], [0]], {0, 1, 2}) == [0, 2, 0]
    assert way_round(0, [[0]], {0}) == [0, 0]
    assert way_round(0, [[3, 1], [0], [0], [2]], {0, 2, 3}) == [0, 3, 2, 0]

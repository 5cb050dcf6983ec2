"""That the simulation finds mistakes: each wrong variant of the product is killed by a check, and the product is not."""

import pytest

from tests.sim import gate
from tests.sim.variants import VARIANTS
from tests.sim.variants.doubles import HALVES
from tests.sim.variants.redundant import REDUNDANT
from tests.sim.variants.variant import Edit, Stale, Variant

KEPT = gate.read()


def test_there_are_many_variants_and_for_each_a_plan_is_kept_that_kills_it():
    assert len(VARIANTS) >= 160
    assert KEPT.keys() == VARIANTS.keys(), "run: python -m tests.sim.gate --search"


@pytest.mark.parametrize("name", sorted(KEPT))
def test_a_mistake_is_found_by_a_check_and_without_it_nothing_is(name):
    assert gate.replay(KEPT[name]) == ""


@pytest.mark.parametrize("name", sorted(HALVES))
def test_of_two_layers_each_holds_where_the_other_is_left_out(name):
    assert [gate.run(KEPT[name].plan, patch=half.apply).text for half in HALVES[name]] == ["", ""]


@pytest.mark.parametrize("name", sorted(REDUNDANT))
def test_a_layer_that_another_one_stands_behind_is_still_there_to_be_left_out(name):
    assert gate.run(gate.draw(1), patch=REDUNDANT[name].variant.apply).violated in ("", *REDUNDANT[name].variant.kills)


def test_a_variant_of_code_that_is_not_there_any_more_says_so():
    stale = Variant(name="stale", says="", kills=frozenset(), edits=(Edit(gate.replay, "no such text", ""),))
    with pytest.raises(Stale, match="replay has 0 times 'no such text'"):
        stale.apply()


def test_what_survives_is_told(monkeypatch):
    harmless = Variant(name="harmless", says="It is none.", kills=frozenset({"S1"}), edits=())
    monkeypatch.setitem(gate.VARIANTS, "harmless", harmless)
    kill = gate.Kill("harmless", "S1", gate.draw(1))
    assert gate.replay(kill) == "harmless survives its plan: nothing was violated"

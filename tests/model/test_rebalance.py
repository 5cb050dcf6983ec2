"""Rebalancing: what may be asked for."""

import pytest

from harpoon.model.rebalance import MOVES_MAX, Rebalancing


def test_an_order_has_its_bounds():
    assert Rebalancing(max_moves=MOVES_MAX, namespace="shop", job="web").job == "web"
    for wrong in (
        {"max_moves": 0},
        {"max_moves": MOVES_MAX + 1},
        {"max_moves": 1, "namespace": "No"},
        {"max_moves": 1, "namespace": "shop", "job": "No"},
        {"max_moves": 1, "job": "web"},
    ):
        with pytest.raises(ValueError, match=r"max_moves is|is 1 to 63|name that, too"):
            Rebalancing(**wrong)

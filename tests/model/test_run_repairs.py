"""What may be asked of a run that went wrong."""

import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.foreach import ITEMS_MAX
from harpoon.model.run_repairs import RunRetry


def test_as_many_items_may_be_named_as_there_may_be() -> None:
    body = b'{"from": "pack", "items": [%b]}'
    most = codec.decode(RunRetry, body % b",".join([b"1"] * ITEMS_MAX))
    assert len(most.items or ()) == ITEMS_MAX
    with pytest.raises(Invalid, match=f"items holds at most {ITEMS_MAX}"):
        codec.decode(RunRetry, body % b",".join([b"1"] * (ITEMS_MAX + 1)))

"""What runs may be called."""

import pytest

from harpoon.model.tombstone import check_run_id


@pytest.mark.parametrize("run", ["a", "0", "order-17", "A.b_c-9", "x" * 128])
def test_what_may_be_a_part_of_keys_and_urls_is_a_run(run: str) -> None:
    assert check_run_id(run) == run


@pytest.mark.parametrize("run", ["", "-a", ".a", "a/b", "a b", "a\n", "ä", "x" * 129])
def test_what_may_not_is_refused_with_what_would_be_right(run: str) -> None:
    with pytest.raises(ValueError, match="starting with a letter or digit; got"):
        check_run_id(run)

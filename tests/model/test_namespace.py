"""Namespaces: what a quota may say."""

import pytest

from harpoon.model.namespace import COUNT_MAX, NamespaceMetadata, Quota


@pytest.mark.parametrize("field", ["tasks", "jobs"])
def test_a_count_has_its_bounds(field):
    assert getattr(Quota(**{field: COUNT_MAX}), field) == COUNT_MAX
    assert getattr(Quota(**{field: 0}), field) == 0
    for count in (-1, COUNT_MAX + 1):
        with pytest.raises(ValueError, match="tasks and jobs are 0 to"):
            Quota(**{field: count})


def test_a_namespace_is_called_as_one_may_be():
    with pytest.raises(ValueError, match="name is 1 to 63"):
        NamespaceMetadata(name="Shop")

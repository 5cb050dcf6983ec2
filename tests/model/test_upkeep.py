"""What operators ask of agents."""

import pytest

from harpoon.model.upkeep import REASON_MAX, Cordoning, DeathNotice, Draining, Uncordoning

KINDS = [Cordoning, Draining, DeathNotice]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", [None, "", "disk errors", "x" * REASON_MAX, "schöne Grüße"])
def test_a_reason_is_a_line(kind, reason):
    assert kind(reason=reason).reason == reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", ["x" * (REASON_MAX + 1), "two\nlines", "\x1b[31m"])
def test_a_reason_that_is_no_line_is_refused(kind, reason):
    with pytest.raises(ValueError, match="reason is one line of at most 500 characters"):
        kind(reason=reason)


def test_putting_an_agent_to_use_again_needs_no_more_words():
    assert Uncordoning() == Uncordoning()

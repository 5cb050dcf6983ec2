"""What instances tell one another of permits."""

from datetime import timedelta

import pytest

from harpoon.model.permits import WAIT_MAX, PermitReport


def test_a_report_stays_open_for_so_long_at_most() -> None:
    assert PermitReport(instance="i1", number=1, wait=WAIT_MAX).keys == ()
    with pytest.raises(ValueError, match="at most 30s"):
        PermitReport(instance="i1", number=1, wait=WAIT_MAX + timedelta(seconds=1))

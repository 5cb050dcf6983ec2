"""What tests of the control loops share."""

from datetime import timedelta

import pytest


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that waits a while waits a moment."""
    for name in ("controller", "outbox", "shepherd", "leadership"):
        monkeypatch.setattr(f"harpoon.control.{name}.RETRY_S", 0.02)
    monkeypatch.setattr("harpoon.store.mirror._RETRY_S", 0.02)
    monkeypatch.setattr("harpoon.core.machine.TICK", timedelta(seconds=0.02))
    monkeypatch.setattr("harpoon.control.peers.ASK_EVERY_S", 0.05)
    monkeypatch.setattr("harpoon.control.shepherd.HAND_OVER_AGAIN_S", 0.02)

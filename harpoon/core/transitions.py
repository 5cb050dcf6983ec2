"""The table of the machine: where each event may lead from each phase of the conversation with an agent."""

from collections.abc import Mapping

from harpoon.core import signals
from harpoon.core.picture import Phase
from harpoon.core.signals import Event
from harpoon.model.agent import LinkState

_Row = Mapping[type[Event], frozenset[Phase]]


def _to(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


_FENCED: _Row = {signals.FencedOff: _to(Phase.FENCED)}
_REST = _to(Phase.IDLE, Phase.INTERRUPTED, Phase.LOST)
_RESTING: _Row = {signals.Dial: _to(Phase.CONNECTING), **_FENCED}
#: What is known of the link → the phase that waits for the next dial.
RESTS = {
    LinkState.UNKNOWN: Phase.IDLE,
    LinkState.CONNECTED: Phase.IDLE,
    LinkState.INTERRUPTED: Phase.INTERRUPTED,
    LinkState.LOST: Phase.LOST,
}
#: Phase → event → where it may lead.
TRANSITIONS: Mapping[Phase, _Row] = {
    Phase.IDLE: {**_RESTING, signals.Claimed: _to(Phase.IDLE), signals.Ticked: _to(Phase.IDLE, Phase.RESIGNED)},
    Phase.INTERRUPTED: {
        **_RESTING,
        signals.Claimed: _to(Phase.INTERRUPTED),
        signals.Ticked: _to(Phase.INTERRUPTED, Phase.LOST, Phase.RESIGNED),
    },
    Phase.LOST: {**_RESTING, signals.Claimed: _to(Phase.LOST), signals.Ticked: _to(Phase.LOST, Phase.RESIGNED)},
    Phase.CONNECTING: {
        signals.Claimed: _to(Phase.CONNECTING),
        signals.Opened: _to(Phase.ADOPTING) | _REST,
        signals.Broken: _REST,
        signals.Ticked: _to(Phase.CONNECTING, Phase.RESIGNED) | _REST,
        **_FENCED,
    },
    Phase.ADOPTING: {
        signals.Claimed: _to(Phase.ADOPTING),
        signals.Adopted: _to(Phase.CONNECTED) | _REST,
        signals.Changed: _to(Phase.ADOPTING) | _REST,
        signals.Heard: _to(Phase.ADOPTING),
        signals.Broken: _REST,
        signals.Ticked: _to(Phase.ADOPTING) | _REST,
        **_FENCED,
    },
    Phase.CONNECTED: {
        signals.Claimed: _to(Phase.CONNECTED),
        signals.Changed: _to(Phase.CONNECTED, Phase.INTERRUPTED),
        signals.Heard: _to(Phase.CONNECTED),
        signals.Sent: _to(Phase.CONNECTED),
        signals.Answered: _to(Phase.CONNECTED),
        signals.Ticked: _to(Phase.CONNECTED, Phase.INTERRUPTED),
        signals.Broken: _to(Phase.INTERRUPTED),
        **_FENCED,
    },
    Phase.FENCED: {},
    Phase.RESIGNED: {},
}

"""The live instances, as one of them sees them: what each holds tells the view, how it does it was asked lately."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from harpoon import __version__
from harpoon.api.doors import Doors
from harpoon.control.peers import Peer
from harpoon.control.view import AGENT_HOLDS, View
from harpoon.model.instance import Instance
from harpoon.model.instance_shown import LiveInstance
from harpoon.model.token import Token
from harpoon.store.hold import SCHEDULER

_NOT_ASKED: Final = Peer(reason="it was not asked yet")
_ASKS_NOBODY: Final = Peer(reason="this instance has no lease now, and asks nobody")
_NO_LEASE: Final = "it has no lease now"


def leader(view: View) -> str | None:
    """Return the instance that decides for all; None: none does."""
    row = view.holds.rows.get(SCHEDULER)
    return None if row is None else row.value.instance


def live_instances(doors: Doors) -> list[LiveInstance]:
    """Return all that are live, sorted by name; the one that is asked is among them also without a lease."""
    view, peers = doors.view, doors.peers()
    agents = Counter(row.value.instance for key, row in view.holds.rows.items() if key.startswith(AGENT_HOLDS))
    live = {name: row.value for name, row in view.instances.rows.items()}
    me = Instance(name=doors.instance, url=doors.url, version=__version__, since_ms=0, unfit=_NO_LEASE)
    live = {doors.instance: me} | live
    own = Peer(revision=view.external(view.revision), ahead_ms=0, lag=0)
    return [
        _live(doors, instance, own if name == doors.instance else _known(name, peers), agents[name])
        for name, instance in sorted(live.items())
    ]


def _known(name: str, peers: Mapping[str, Peer] | None) -> Peer:
    return _ASKS_NOBODY if peers is None else peers.get(name, _NOT_ASKED)


def _live(doors: Doors, instance: Instance, peer: Peer, agents: int) -> LiveInstance:
    view = doors.view
    hold = view.holds.rows.get(SCHEDULER)
    is_leader = hold is not None and hold.value.instance == instance.name
    token = Token(incarnation=view.incarnation, revision=hold.create_revision) if hold is not None else None
    return LiveInstance(
        name=instance.name,
        url=instance.url,
        version=instance.version,
        since_ms=instance.since_ms or None,
        is_self=instance.name == doors.instance,
        is_leader=is_leader,
        token=str(token) if is_leader else None,
        agents=agents,
        revision=peer.revision,
        lag=peer.lag,
        skew_ms=peer.ahead_ms,
        unfit=instance.unfit,
        reason=peer.reason,
    )

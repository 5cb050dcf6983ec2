"""Three members on hosts of their own, made of network namespaces; any way between them, or from us to them, can be cut."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.etcd.cluster import Cluster
from tests.etcd.members import Member
from tests.network import US, Network, Way

#: What everything is dropped for.
_CUT = "cut"


class NetworkCluster(Cluster):
    """A cluster whose members are reached from here, and can be cut off."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        super().__init__(folder, flags)
        self.network = Network([member.name for member in self.members])
        self._dropped: set[Way] = set()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.network.remove()

    def start(self) -> None:
        """Make the network, and start all members in it."""
        self.network.make()
        try:
            for member in self.members:
                settle(member, self.network)
            super().start()
        except BaseException:
            self.kill()
            self.network.remove()
            raise

    # What is cut stays so until it is healed; every way has two directions.

    def cut(self, member: Member) -> None:
        """Cut a member off from everybody, both ways."""
        self._cut(member, US, *self._others(member))

    def cut_peers(self, member: Member) -> None:
        """Cut a member off from the others, both ways; clients still reach it."""
        self._cut(member, *self._others(member))

    def cut_clients(self, member: Member) -> None:
        """Cut a member off from us, both ways; it stays with its peers."""
        self._cut(member, US)

    def one_way(self, source: Member | None, target: Member | None) -> None:
        """Drop what ``source`` sends to ``target``, and nothing of the other direction; None stands for us."""
        names = [US if member is None else member.name for member in (source, target)]
        self._drop((names[0], names[1]))

    def heal(self) -> None:
        """Let everything through again."""
        self._dropped.clear()
        self.network.heal()

    # Within.

    def _others(self, member: Member) -> list[str]:
        return [other.name for other in self.members if other is not member]

    def _cut(self, member: Member, *others: str) -> None:
        self._drop(*(way for other in others for way in ((member.name, other), (other, member.name))))

    def _drop(self, *ways: Way) -> None:
        self._dropped.update(ways)
        self.network.drop(_CUT, self._dropped)


def settle(member: Member, network: Network) -> None:
    """Give a member the host of its name."""
    member.address = network.address(member.name)
    member.ports = [2379, 2380, 2381]
    member.within = network.enter(member.name)
    member.asked_from = network.safe_address

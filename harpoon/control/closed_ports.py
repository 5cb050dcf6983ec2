"""The ports that no operation calls: of the store, of servers and of agents, as the view shows them now."""

from collections.abc import Collection
from urllib.parse import urlsplit

from harpoon.control.view import View
from harpoon.store.table import RowChange


class ClosedPorts:
    """A container of ports.

    Args:
        view: Shows which servers and agents there are, and where they are reached.
        own: What this server was told of itself and of its store.
    """

    def __init__(self, view: View, own: Collection[int]) -> None:
        self._view = view
        self._own = frozenset(own)
        #: None: it may have changed.
        self._ports: frozenset[int] | None = None
        view.mirror.listen(self._hear)

    def __contains__(self, port: object) -> bool:
        """Whether a port is closed."""
        if self._ports is None:
            view = self._view
            urls = [row.value.url for row in view.instances.rows.values()]
            urls += [row.value.endpoint for row in view.agents.rows.values()]
            found = (urlsplit(url).port for url in urls)
            self._ports = self._own.union(one for one in found if one is not None)
        return port in self._ports

    def _hear(self, _revision: int, changes: tuple[RowChange, ...]) -> None:
        tables = (self._view.instances, self._view.agents)
        if any(change.table in tables for change in changes):
            self._ports = None

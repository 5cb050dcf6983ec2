"""Lines of attempts that wait for a worker: one for each handler of a namespace, fair between workflows, then runs.

The engine's own handlers have one line each for all namespaces. A line takes turns. Each workflow that has anything in
it is served once a round, and within a workflow each run, so that a run with a hundred thousand attempts does not keep
one with a single attempt waiting. A run's own attempts are served in the order in which they came. Whatever is asked
of a line costs the same however long it is.
"""

from collections import OrderedDict

from harpoon.core.offers import AttemptId, Entry

_Runs = OrderedDict[str, OrderedDict[AttemptId, Entry]]
#: Namespace and name.
_Workflow = tuple[str, str]


class Line:
    """The attempts that may be claimed now, of one handler."""

    __slots__ = ("_size", "_workflows")

    def __init__(self) -> None:
        #: Whose turn it is stands first.
        self._workflows: OrderedDict[_Workflow, _Runs] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, entry: Entry, *, is_first: bool = False) -> None:
        """Let an attempt stand in line: behind those of its run, or before them."""
        offer = entry.offer
        workflow = (offer.id.namespace, offer.workflow)
        own = self._workflows.setdefault(workflow, OrderedDict()).setdefault(offer.id.run, OrderedDict())
        own[offer.id] = entry
        if is_first:
            own.move_to_end(offer.id, last=False)
        self._size += 1

    def take(self) -> Entry:
        """Take the one whose turn it is out of the line, which has one."""
        workflow, runs = self._workflows.popitem(last=False)
        run, own = runs.popitem(last=False)
        _, entry = own.popitem(last=False)
        if own:
            runs[run] = own
        if runs:
            self._workflows[workflow] = runs
        self._size -= 1
        return entry

    def remove(self, entry: Entry) -> None:
        """Take one out that stands in it; the turns of the others stay as they are."""
        offer = entry.offer
        workflow = (offer.id.namespace, offer.workflow)
        runs = self._workflows[workflow]
        own = runs[offer.id.run]
        del own[offer.id]
        if not own:
            del runs[offer.id.run]
        if not runs:
            del self._workflows[workflow]
        self._size -= 1

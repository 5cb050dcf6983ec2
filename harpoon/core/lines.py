"""Lines of attempts that wait for a worker: one for each handler of a namespace, fair between workflows, then runs.

The engine's own handlers have one line each for all namespaces. A line takes turns. Each workflow that has anything in
it is served once a round, and within a workflow each run, so that a run with a hundred thousand attempts does not keep
one with a single attempt waiting. A run's own attempts are served in the order in which they came. Whatever is asked
of a line costs the same however long it is.
"""

from collections import OrderedDict
from collections.abc import Callable

from harpoon.core.offers import AttemptId, Entry, Offer

_Runs = OrderedDict[str, OrderedDict[AttemptId, Entry]]
#: Namespace and name.
Workflow = tuple[str, str]


def workflow_of(offer: Offer) -> Workflow:
    """Return the workflow that an attempt is of."""
    return offer.id.namespace, offer.workflow


class Line:
    """The attempts that may be claimed now, of one handler."""

    __slots__ = ("_size", "_workflows")

    def __init__(self) -> None:
        #: Whose turn it is stands first.
        self._workflows: OrderedDict[Workflow, _Runs] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, entry: Entry, *, is_first: bool = False) -> None:
        """Let an attempt stand in line: behind those of its run, or before them."""
        offer = entry.offer
        workflow = workflow_of(offer)
        own = self._workflows.setdefault(workflow, OrderedDict()).setdefault(offer.id.run, OrderedDict())
        own[offer.id] = entry
        if is_first:
            own.move_to_end(offer.id, last=False)
        self._size += 1

    def whose(self, may: Callable[[Workflow], bool]) -> Workflow | None:
        """Return the workflow whose turn it is of those that may have one; None: nothing of such a workflow is here."""
        return next(filter(may, self._workflows), None)

    def take(self, workflow: Workflow | None = None) -> Entry:
        """Take the one whose turn it is out of the line, which has one: of all, or of one workflow."""
        if workflow is None:
            workflow = next(iter(self._workflows))
        runs = self._workflows.pop(workflow)
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
        workflow = workflow_of(offer)
        runs = self._workflows[workflow]
        own = runs[offer.id.run]
        del own[offer.id]
        if not own:
            del runs[offer.id.run]
        if not runs:
            del self._workflows[workflow]
        self._size -= 1

"""What a watcher of runs wants to be told of: which kinds, and of which runs and workflows.

Runs and workflows are watched by themselves: what is told of them has other records than jobs, tasks and agents, and
needs another watch of the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from harpoon.api.operation import Parameter
from harpoon.api.query import Query, Tags, bad_parameter, has_tags
from harpoon.model.header import Header
from harpoon.model.name import NAME_PATTERN
from harpoon.model.run import Status


class RunKind(StrEnum):
    """The kinds that can be watched of what runs are made of."""

    WORKFLOW = "workflow"
    #: What happens to runs as a whole, and to what they wait for: all that is no attempt's.
    RUN = "run"
    #: What happens to attempts: claimed, retried, closed, warned of their time.
    ATTEMPT = "attempt"


#: What they are called in a query.
RUN_PLURALS: Final = {f"{kind}s": kind for kind in RunKind}
#: Those that are told by events.
EVENTS: Final = frozenset({RunKind.RUN, RunKind.ATTEMPT})

STATUS: Final = Parameter(
    "status",
    {"type": "string", "enum": [one.value for one in Status]},
    "Only runs that stand so; any of these.",
    many=True,
)
WORKFLOW: Final = Parameter("workflow", {"type": "string", "pattern": NAME_PATTERN}, "Only runs of this workflow.")


class RunTraits(NamedTuple):
    """What a run is selected by that its events do not say."""

    workflow: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSelection:
    """Kinds, and what runs and workflows must be. Equal selections are told the same bytes."""

    kinds: frozenset[RunKind] = EVENTS
    namespace: str | None = None
    #: Of which runs are, and the only one of the workflows.
    workflow: str | None = None
    #: How runs stand after what is told; empty: in any way.
    statuses: frozenset[str] = frozenset()
    #: All of them must be there, of a run or of a workflow.
    tags: Tags = ()

    @property
    def has_events(self) -> bool:
        """Whether anything is told of runs."""
        return not self.kinds.isdisjoint(EVENTS)

    @property
    def has_workflows(self) -> bool:
        """Whether anything is told of workflows."""
        return RunKind.WORKFLOW in self.kinds

    @property
    def is_by_traits(self) -> bool:
        """Whether more than its events is to be known of a run."""
        return self.has_events and bool(self.workflow or self.tags)

    def takes_event(self, kind: RunKind, status: str) -> bool:
        """Whether an event is of a kind that is wanted, after which its run stands so."""
        return kind in self.kinds and (not self.statuses or status in self.statuses)

    def takes_run(self, key: str, traits: RunTraits | None) -> bool:
        """Whether a run is wanted, given ``<namespace>/<run>``; of one that is not kept any more, it may be any."""
        return self._takes_key(key) and (
            not self.is_by_traits
            or traits is None
            or ((self.workflow is None or traits.workflow == self.workflow) and has_tags(traits.tags, self.tags))
        )

    def takes_open(self, header: Header) -> bool:
        """Whether a run that is open is shown to begin with."""
        return (
            self.takes_event(RunKind.RUN, header.status.value)
            and (self.workflow is None or header.workflow == self.workflow)
            and has_tags(header.tags, self.tags)
        )

    def takes_workflow(self, key: str, tags: Mapping[str, str] | None) -> bool:
        """Whether a workflow is wanted, given ``<namespace>/<workflow>``; of tags that are not known, it may be any."""
        return (
            self.has_workflows
            and self._takes_key(key)
            and (self.workflow is None or key.endswith(f"/{self.workflow}"))
            and (tags is None or has_tags(tags, self.tags))
        )

    def _takes_key(self, key: str) -> bool:
        return self.namespace is None or key.startswith(f"{self.namespace}/")


def statuses_of(query: Query) -> frozenset[str]:
    """Return how the runs stand that are wanted; empty: in any way.

    Raises:
        Invalid: Runs do not stand so.
    """
    statuses = query.many("status")
    for status in statuses:
        if status not in {one.value for one in Status}:
            raise bad_parameter("status", f"one of {', '.join(one.value for one in Status)}; got {status[:80]!r}")
    return frozenset(statuses)


def asks_for_runs(query: Query) -> bool:
    """Whether some of ``kinds`` are those of runs; `read_run_selection` says if others are, too."""
    return not RUN_PLURALS.keys().isdisjoint((query.one("kinds") or "").split(","))


def read_run_selection(query: Query) -> RunSelection:
    """Read ``kinds``, ``namespace``, ``workflow``, ``status`` and ``tag``; a ``name`` that names a workflow, too.

    Raises:
        Invalid: A kind is none, or does not go with the others; a name or a status is none.
    """
    named = (query.one("kinds") or "").split(",")
    for kind in named:
        if kind not in RUN_PLURALS:
            alone = f"{', '.join(RUN_PLURALS)} are watched by themselves, without other kinds: open a watch for each"
            raise bad_parameter("kinds", f"{alone}; got {kind[:80]!r} beside them")
    kinds = frozenset(RUN_PLURALS[kind] for kind in named)
    workflow, statuses = query.name("workflow"), statuses_of(query)
    if RunKind.WORKFLOW in kinds and query.one("name") is not None:
        if kinds != {RunKind.WORKFLOW}:
            raise bad_parameter("name", "of a run it does not go with kinds=workflows; choose by workflow= instead")
        if workflow is not None:
            raise bad_parameter("name", "it is the workflow's, as workflow= is; leave one of them out")
        workflow = query.name("name")
    if statuses and kinds == {RunKind.WORKFLOW}:
        raise bad_parameter("status", "workflows have none; it goes with kinds=runs or attempts")
    return RunSelection(
        kinds=kinds, namespace=query.name("namespace"), workflow=workflow, statuses=statuses, tags=query.tags()
    )

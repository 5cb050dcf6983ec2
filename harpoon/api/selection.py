"""What a watcher wants to be told of."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from harpoon.api.query import Query, Tags, bad_parameter
from harpoon.api.run_selection import RUN_PLURALS, STATUS, WORKFLOW


class Kind(StrEnum):
    """The kinds of objects that can be watched."""

    JOB = "job"
    PLACEMENT = "placement"
    TASK = "task"
    AGENT = "agent"


#: What they are called in a query.
PLURALS: Final = {f"{kind}s": kind for kind in Kind}


class Traits(NamedTuple):
    """What objects are selected by."""

    #: None: of no namespace.
    namespace: str | None
    #: Of the job, or of the agent.
    name: str
    #: None: not known any more, so they may be any.
    tags: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Kinds of objects, and what their traits must be. Equal selections are told the same bytes."""

    kinds: frozenset[Kind]
    #: Agents are of no namespace, so it does not keep them out.
    namespace: str | None = None
    #: Of the job that jobs, placements and tasks belong to, or of the agent.
    name: str | None = None
    #: Of the job that jobs, placements and tasks belong to, or of the agent; all of them must be there.
    tags: Tags = ()

    def takes(self, traits: Traits) -> bool:
        """Return whether an object with these traits is among what is wanted."""
        namespace, name, tags = traits
        if self.name is not None and name != self.name:
            return False
        if self.namespace is not None and namespace is not None and namespace != self.namespace:
            return False
        return not self.tags or tags is None or all(tags.get(key) == value for key, value in self.tags)


def read_selection(query: Query) -> Selection:
    """Read ``kinds``, ``namespace``, ``name`` and ``tag``; all kinds when none is named.

    Raises:
        Invalid: There is no such kind, or a name is none.
    """
    names = query.one("kinds")
    kinds = list(PLURALS) if names is None else names.split(",")
    for kind in kinds:
        if kind not in PLURALS:
            these = f"{','.join(PLURALS)}, or of runs: {','.join(RUN_PLURALS)}"
            raise bad_parameter("kinds", f"these can be watched: {these}; got {kind[:80]!r}")
    for parameter in (WORKFLOW.name, STATUS.name):
        if query.many(parameter) if parameter == STATUS.name else query.one(parameter):
            raise bad_parameter(parameter, f"it goes with kinds={','.join(RUN_PLURALS)}, or some of them")
    return Selection(
        kinds=frozenset(PLURALS[kind] for kind in kinds),
        namespace=query.name("namespace"),
        name=query.name("name"),
        tags=query.tags(),
    )

"""What an operation has done with jobs: a task run to its end, or a job declared, changed or taken away.

Expressions may stand in most of it, so that here only is checked what can be known without them; the rest of what is
known is checked when the workflow is declared (`kit.ordered`), and all of it when the operation opens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from harpoon.model.job import PRIORITY, PRIORITY_MAX, OnLost
from harpoon.model.name import check_name
from harpoon.model.units import Duration

#: Any value that JSON has.
Json = Any

#: How long what a task wrote can be read once it has ended, unless it is told otherwise.
KEEP_TASK: Final = timedelta(hours=1)
KEEP_MAX: Final = timedelta(days=90)
#: What begins an expression.
_EXPRESSION: Final = "${"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOrder:
    """A task that runs to its end on some agent, once: a batch job of one task, which goes with its attempt."""

    #: As ``spec.task`` of a job, with ``${…}`` in its texts.
    task: Mapping[str, Json]
    #: As ``spec.placement`` of a job, likewise.
    placement: Mapping[str, Json] = field(default_factory=dict)
    #: As of a job: of what waits for room, what has a higher one is placed first.
    priority: int = PRIORITY
    #: As of a job: where nothing else makes room, tasks of jobs of lower priority are stopped for it.
    preempt: bool = False
    #: As of a job: whether it is run again elsewhere when its agent is lost, or waits for that.
    on_lost: OnLost | None = None
    #: As of a job: it never runs twice at once, at the price of waiting for a lost agent.
    exclusive: bool = False
    #: How long what it wrote can be read once it has ended.
    keep: Duration = KEEP_TASK

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise ValueError(f"priority is 0 to {PRIORITY_MAX}")
        if self.exclusive and self.on_lost is OnLost.REPLACE:
            raise ValueError("on_lost: replace would run it twice, and exclusive: true forbids that; leave one out")
        if "agents" in self.placement:
            raise ValueError("placement.agents is for jobs of many tasks; write placement.require")
        if not timedelta(0) <= self.keep <= KEEP_MAX:
            raise ValueError("keep is 0s to 90d")

    def template(self) -> Json:
        """Return what expressions may stand in, which is evaluated when the operation opens."""
        return {"task": dict(self.task), **({"placement": dict(self.placement)} if self.placement else {})}


class Until(StrEnum):
    """What an operation on a job waits for."""

    #: New tasks are ready, and old ones are gone.
    DONE = "done"
    #: The canaries are healthy, and wait to be promoted; or, without canaries, it is done.
    CANARIES = "canaries"
    #: It is accepted; what comes of it is not waited for.
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What is done with a job of the namespace; exactly one of the verbs names the job, which may be an expression."""

    #: Declare it, as ``spec`` says. One that is there must be just that.
    schedule: str | None = None
    #: Change it: to ``spec``, or by what ``set`` says.
    migrate: str | None = None
    #: Have it be of ``to`` tasks.
    scale: str | None = None
    #: Take it away. One that is not there is gone.
    unschedule: str | None = None
    #: Let a rollout go on beyond its canaries.
    promote: str | None = None
    #: Bring back the version before, or version ``to``.
    undo: str | None = None
    #: Of ``schedule`` and ``migrate``: all that a manifest has in ``spec``.
    spec: Mapping[str, Json] | None = None
    #: Of ``migrate``: what becomes otherwise of ``spec``, merged into it; null takes a field away.
    set_: Mapping[str, Json] | None = None
    #: Of ``scale``: tasks. Of ``undo``: a version. A number, or an expression.
    to: int | str | None = None
    until: Until = Until.DONE

    def __post_init__(self) -> None:
        verbs = [verb for verb in VERBS if getattr(self, verb) is not None]
        if len(verbs) != 1:
            raise ValueError(f"job sets exactly one of {', '.join(VERBS)}")
        told = {name for name in ("spec", "set", "to") if getattr(self, _FIELDS[name]) is not None}
        if told not in _TAKES[self.verb]:
            raise ValueError(f"{self.verb} {_WANTS[self.verb]}")
        if _EXPRESSION not in self.name:
            check_name(self.verb, self.name)
        if isinstance(self.to, str) and not self.to.startswith(_EXPRESSION):
            raise ValueError("to is a whole number, or an expression that comes to one")
        if self.until is Until.CANARIES and self.verb != "migrate":
            raise ValueError("until: canaries is for migrate; write done or accepted, or leave it out")

    @property
    def verb(self) -> str:
        """What is done."""
        return next(verb for verb in VERBS if getattr(self, verb) is not None)

    @property
    def name(self) -> str:
        """The job's name, as it is declared."""
        name: str = getattr(self, self.verb)
        return name

    def template(self) -> Json:
        """Return what expressions may stand in, which is evaluated when the operation opens."""
        told: dict[str, Json] = {self.verb: self.name}
        if self.spec is not None:
            told["spec"] = dict(self.spec)
        if self.set_ is not None:
            told["set"] = dict(self.set_)
        if self.to is not None:
            told["to"] = self.to
        return told


VERBS: Final = ("schedule", "migrate", "scale", "unschedule", "promote", "undo")
_FIELDS: Final[Mapping[str, str]] = {"spec": "spec", "set": "set_", "to": "to"}
_NOTHING: Final = (set[str](),)
#: Which fields stand beside each verb.
_TAKES: Final[Mapping[str, tuple[set[str], ...]]] = {
    "schedule": ({"spec"},),
    "migrate": ({"spec"}, {"set"}),
    "scale": ({"to"},),
    "unschedule": _NOTHING,
    "promote": _NOTHING,
    "undo": (set(), {"to"}),
}
_WANTS: Final[Mapping[str, str]] = {
    "schedule": "takes spec, and neither set nor to",
    "migrate": "takes either spec or set, and not to",
    "scale": "takes to, the number of tasks, and neither spec nor set",
    "unschedule": "takes none of spec, set, to",
    "promote": "takes none of spec, set, to",
    "undo": "takes to, a version, or nothing, and neither spec nor set",
}

"""The case of a job: what `core.why` asks the scheduler's verbs with, again and again with something changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harpoon.core.eviction import UNLIMITED
from harpoon.core.held import Missing
from harpoon.core.rollout import rollout
from harpoon.core.standing import Brake, Standing
from harpoon.model.agent import Link
from harpoon.model.batch import BatchRecord
from harpoon.model.decision import Rollout
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.name import TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job, with everything that its placing depends on."""

    job: Job
    standings: tuple[Standing, ...]
    links: Mapping[str, Link]
    now: Instant
    #: How many lost tasks may be replaced now.
    evictable: int = UNLIMITED
    #: Why none may be, where that is not for their number.
    halted: str | None = None
    #: Agents that are being drained → the deadline, if there is one.
    leaving: Mapping[str, int | None] = field(default_factory=dict)
    #: Dependencies that do not hold, and secrets that are not there.
    unmet: tuple[Missing, ...] = ()
    #: Endpoints of other jobs, and values of secrets, whose change replaces tasks.
    replacing: Mapping[str, str]
    #: What keeps its rollout from going on by itself.
    brake: Brake | None = None
    #: Of a batch job: what came of its tasks.
    batch: BatchRecord | None = None
    #: Of a batch job: tasks that still run, or stop, and have no placement any more.
    lingering: tuple[TaskId, ...] = ()

    def rolled(self) -> Rollout:
        """Return what the scheduler's verb says of it."""
        return rollout(
            self.job,
            self.standings,
            self.now,
            evictable=self.evictable,
            is_held=bool(self.unmet),
            bindings=self.replacing,
            leaving=self.leaving,
            brake=self.brake,
        )

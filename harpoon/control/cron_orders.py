"""What operators decide of cron jobs: paused, resumed, triggered. It is written to the record, and not to the job's."""

from collections.abc import Callable, Mapping

from harpoon.control.crontab import Crontab, child_of, running_children
from harpoon.control.quotas import Draft
from harpoon.control.registry import TRIES, Accepted, Extra, Registry
from harpoon.control.status import change_id
from harpoon.control.view import View, job_key
from harpoon.core.cron_due import pause, resume, trigger
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Invalid, Problem, Unavailable
from harpoon.model.cron import Cron, CronRecord, Firing
from harpoon.model.job import Job
from harpoon.model.parameters import Value
from harpoon.model.shown import Outcome
from harpoon.store.port import Compare, Store, Write
from harpoon.store.table import Row

#: What becomes of a cron job's record, given the job.
Order = Callable[[Job, Cron, CronRecord | None], CronRecord]


class CronOrders:
    """The operators' hand on cron jobs."""

    def __init__(self, store: Store, view: View, registry: Registry, clock: Clock) -> None:
        self._view = view
        self._registry = registry
        self._clock = clock
        self._crontab = Crontab(store, view, clock)

    async def pause(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted:
        """Have no due fired until it is resumed; children that run go on.

        Raises:
            Conflict: It is no cron job.
            NotFound: There is no such job, or it is being unscheduled.
        """
        return await self._order(namespace, name, lambda job, cron, known: pause(job, cron, known, self._now()), extra)

    async def resume(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted:
        """Have dues fired again; those that passed are not made up for.

        Raises:
            Conflict: It is no cron job.
            NotFound: There is no such job, or it is being unscheduled.
        """
        return await self._order(namespace, name, lambda job, cron, known: resume(job, cron, known, self._now()), extra)

    async def trigger(
        self,
        namespace: str,
        name: str,
        *,
        arguments: Mapping[str, Value] | None = None,
        extra: Extra | None = None,
    ) -> Accepted:
        """Make a child now, whether anything is due or not, and return it as it was accepted.

        Args:
            namespace: Of the job.
            name: Of the job.
            arguments: Values of its parameters, for this child alone.
            extra: To be written with it.

        Raises:
            Conflict: It is no cron job, or another child is not over.
            Exceeded: The child does not fit the quota of its namespace.
            Invalid: It has no such parameter, or a value is a wrong one.
            NotFound: There is no such job, or it is being unscheduled.
        """
        key = job_key(namespace, name)

        def order(job: Job, cron: Cron, known: CronRecord | None) -> CronRecord:
            return trigger(job, cron, known, running_children(self._view, key), self._now())

        return await self._order(namespace, name, order, extra, arguments or {})

    def _now(self) -> int:
        return self._clock.now().wall

    async def _order(
        self,
        namespace: str,
        name: str,
        order: Order,
        extra: Extra | None,
        arguments: Mapping[str, Value] | None = None,
    ) -> Accepted:
        for _ in range(TRIES):
            row = await self._registry.standing(namespace, name)
            accepted = await self._try(row, order, extra, arguments)
            if accepted is not None:
                return accepted
        raise Unavailable("others keep changing this job; try again")

    async def _try(
        self, row: Row[Job], order: Order, extra: Extra | None, arguments: Mapping[str, Value] | None
    ) -> Accepted | None:
        """Carry an order out on what the view shows, with a child if there are arguments; None: others were faster."""
        view, job = self._view, row.value
        key = job_key(job.namespace, job.name)
        if job.spec.cron is None:
            raise Conflict(f"job {job.name} is no cron job: its spec has no cron")
        if key in view.cron.unreadable:
            raise Unavailable(f"the record of cron job {job.name} cannot be read by this release; use a later one")
        kept = view.cron.rows.get(key)
        known = None if kept is None else kept.value
        try:
            after = order(job, job.spec.cron, known)
        except ValueError as error:
            raise Conflict(str(error)) from error
        drafts: list[Draft] = []
        if arguments is not None:
            assert after.triggered is not None, "a trigger is noted"
            drafts.append((_given(job, after.triggered, arguments), None))
            if job_key(job.namespace, after.triggered.job) in view.jobs.rows:
                raise Conflict(f"a child was triggered in this very second: {after.triggered.job}; try again")

        def accepted(at: int) -> Accepted:
            made, written = (drafts[0][0], at) if drafts else (job, row.mod_revision)
            change = change_id(view, made.namespace, made.name, written)
            outcome = Outcome.CREATED if drafts else Outcome.CHANGED if after != known else Outcome.UNCHANGED
            return Accepted(revision=at, written=written, change=change, job=made, outcome=outcome)

        compares: list[Compare] = []
        writes: list[Write] = []
        if extra is not None:
            conditions, others = extra(lambda at: (accepted(at),))
            compares, writes = [*conditions], [*others]
        elif after == known:
            return accepted(view.revision)
        revision = await self._crontab.write(key, after, drafts=drafts, compares=compares, writes=writes)
        return None if revision is None else accepted(revision)


def _given(job: Job, firing: Firing, arguments: Mapping[str, Value]) -> Job:
    try:
        return child_of(job, firing, arguments)
    except ValueError as error:
        raise Invalid(str(error), [Problem(pointer="/arguments", detail=str(error))]) from error

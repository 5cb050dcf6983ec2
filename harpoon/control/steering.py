"""What operators decide of a rollout: paused, resumed, promoted. It is written to its record, and not to the job's.

To undo a rollout is another version of the job: `control.registry.Registry.rollback`.
"""

from collections.abc import Callable

from harpoon.control.registry import TRIES, Accepted, Extra, Registry
from harpoon.control.status import change_id
from harpoon.control.view import JOBS, ROLLOUTS, View, job_key
from harpoon.core.progress import pause, promote, resume
from harpoon.kit import codec
from harpoon.kit.clock import Clock
from harpoon.kit.errors import Conflict, Unavailable
from harpoon.model.instant import Instant
from harpoon.model.job import Job
from harpoon.model.rollout import RolloutRecord
from harpoon.model.shown import Outcome
from harpoon.store import settle
from harpoon.store.port import Compare, Put, Store, Write
from harpoon.store.table import Row

#: What becomes of a rollout, given its job and the record it has, if any.
Order = Callable[[Job, RolloutRecord | None, Instant], RolloutRecord | None]


class Steering:
    """The operators' hand on rollouts."""

    def __init__(self, store: Store, view: View, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._registry = registry
        self._clock = clock

    async def pause(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted:
        """Have nothing more replaced for the sake of a rollout, this one or a later one, until it is resumed.

        Raises:
            NotFound: There is no such job, or it is being unscheduled.
        """
        return await self._steer(namespace, name, pause, extra)

    async def resume(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted:
        """Let a paused rollout go on; its deadline begins anew.

        Raises:
            NotFound: There is no such job, or it is being unscheduled.
        """
        return await self._steer(namespace, name, resume, extra)

    async def promote(self, namespace: str, name: str, *, extra: Extra | None = None) -> Accepted:
        """Let a rollout go on beyond its canaries.

        Raises:
            Conflict: It does not wait for that.
            NotFound: There is no such job, or it is being unscheduled.
        """
        return await self._steer(namespace, name, promote, extra)

    async def _steer(self, namespace: str, name: str, order: Order, extra: Extra | None) -> Accepted:
        for _ in range(TRIES):
            row = await self._registry.standing(namespace, name)
            accepted = await self._try(row, order, extra)
            if accepted is not None:
                return accepted
        raise Unavailable("others keep changing this job; try again")

    async def _try(self, row: Row[Job], order: Order, extra: Extra | None) -> Accepted | None:
        """Carry an order out on what the view shows; None: somebody else was faster."""
        view, job = self._view, row.value
        key = job_key(job.namespace, job.name)
        kept = view.rollouts.rows.get(key)
        known = None if kept is None else kept.value
        try:
            after = order(job, known, self._clock.now())
        except ValueError as error:
            raise Conflict(str(error)) from error
        is_changed = after is not None and after != known
        change = change_id(view, job.namespace, job.name, row.mod_revision)

        def accepted(at: int) -> Accepted:
            outcome = Outcome.CHANGED if is_changed else Outcome.UNCHANGED
            return Accepted(revision=at, written=row.mod_revision, change=change, job=job, outcome=outcome)

        compares = [
            Compare(JOBS + key, mod=row.mod_revision),
            Compare(ROLLOUTS + key, mod=0 if kept is None else kept.mod_revision),
        ]
        writes: list[Write] = [Put(ROLLOUTS + key, codec.dump(after))] if is_changed else []
        if extra is not None:
            conditions, others = extra(lambda at: (accepted(at),))
            compares += conditions
            writes += others
        if not writes:
            return accepted(view.revision)
        revision = await settle.commit(self._store, compares, writes)
        if revision is None:
            await settle.see_others(self._store, view.mirror, compares)
            return None
        await view.mirror.shows(revision)
        return accepted(revision)

"""Jobs that operations of workflows declare, change and take away, and whose changes they wait for.

Rules of this file:

1. What is ordered is done once for an attempt (`control.attempt_jobs`); whoever carries the attempt on waits for that.
2. A rollout that is taken back, or stopped, fails the attempt, with what the rollout's record tells. So does a change
   of somebody else's that overtakes this one.
3. When the attempt is over otherwise, nothing is undone: it is waited for no longer, and that is all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from harpoon.control.attempt_jobs import Done, Once, order_key, refusal_of
from harpoon.control.changes import change_status
from harpoon.control.connector_port import Order, Outcome, Report
from harpoon.control.means import Means
from harpoon.control.registry import TRIES, Accepted, Extra, Registry
from harpoon.control.rollout_status import rollout_progress
from harpoon.control.runs import Runs
from harpoon.control.steering import Steering
from harpoon.control.sweeping import Sweeper
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound, Problem, Unavailable
from harpoon.kit.ordered import merged, spec_of
from harpoon.model.job import Job, Metadata, Spec
from harpoon.model.label import DONE, FAIL
from harpoon.model.manifest import Manifest
from harpoon.model.name import check_name
from harpoon.model.orders import JobOrder, Until
from harpoon.model.rollout import RolloutPhase
from harpoon.model.status import ChangeState
from harpoon.store.table import Row

#: How a rollout stands when its canaries do.
_ON_TRIAL: Final = frozenset({RolloutPhase.AWAITING_PROMOTION, RolloutPhase.COMPLETE})

#: Carries a verb out, given the attempt's namespace, the job's name, the rest of the order, and what goes with it.
_Verb = Callable[[str, str, Mapping[str, Any], Extra], Awaitable[Accepted | None]]


class JobConnector:
    """Has jobs changed, and waits until they are; `control.connector_port.Connector`."""

    handler = ":job"
    #: Each is a change that is waited for.
    most = 10_000
    resumes = True

    def __init__(
        self, means: Means, view: View, registry: Registry, steering: Steering, runs: Runs, sweeper: Sweeper
    ) -> None:
        self._clock = means.clock
        self._view = view
        self._registry = registry
        self._steering = steering
        self._sweeper = sweeper
        self._once = Once(registry, view, means.store, runs)
        self._verbs: Mapping[str, _Verb] = {
            "schedule": self._schedule,
            "migrate": self._migrate,
            "scale": self._scale,
            "unschedule": self._unschedule,
            "promote": self._promote,
            "undo": self._undo,
        }

    async def carry_out(self, order: Order, report: Report) -> Outcome:
        """Have the job changed, and wait as long as the order says."""
        try:
            return await self._carry_out(order, report)
        finally:
            self._sweeper.soon(order_key(order))

    async def _carry_out(self, order: Order, report: Report) -> Outcome:
        spec = order.spec.job
        assert spec is not None, "it is an operation of that kind"
        told = cast("Mapping[str, Any]", order.input)
        try:
            name = check_name(spec.verb, told[spec.verb]) if isinstance(told[spec.verb], str) else ""
            if not name:
                raise Invalid(f"{spec.verb} came to no job's name: it is no text")
            verb = self._verbs[spec.verb]
            done = await self._once(order, name, lambda extra: verb(order.namespace, name, told, extra))
        except ValueError as error:
            return Outcome(FAIL, None, f"job.{error}", is_retryable=False)
        except HarpoonError as error:
            return refusal_of("job", error)
        if done is None:
            return Outcome(DONE, {"job": name, "version": None, "generation": None, "change": None})
        report({"job": name, "change": done.change})
        return await self._awaited(order, spec, done)

    async def abandon(self, order: Order, reason: str) -> None:
        """Do nothing: what was accepted goes on."""

    async def _awaited(self, order: Order, spec: JobOrder, done: Done) -> Outcome:
        """Wait until the change is what is waited for, or cannot be any more."""
        output = done._asdict()
        if spec.until is Until.ACCEPTED:
            return Outcome(DONE, output)
        view, key = self._view, job_key(order.namespace, done.job)
        while True:
            after = view.revision
            try:
                told = change_status(view, done.change)
            except (Invalid, NotFound) as error:
                # Of a registry that was restored since.
                return Outcome(FAIL, output, str(error), is_retryable=False)
            if told.state is ChangeState.DONE:
                return Outcome(DONE, output)
            if told.state in (ChangeState.FAILED, ChangeState.SUPERSEDED):
                is_own = told.state is ChangeState.FAILED
                return Outcome(FAIL, output | self._evidence(key), f"job {done.job}: {told.summary}", is_own)
            due = None
            row = view.jobs.rows.get(key)
            if spec.until is Until.CANARIES and row is not None:
                progress = rollout_progress(view, row, self._clock.now())
                if progress.phase in _ON_TRIAL:
                    return Outcome(DONE, output)
                # Of the very look that found them not healthy yet: by now they may be.
                due = progress.proven_in
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due.total_seconds()):
                    await self._registry.changed(key, after)

    def _evidence(self, key: str) -> dict[str, object]:
        """Return what the record of a job's rollout tells of its last failure, if there is one."""
        row = self._view.rollouts.rows.get(key)
        failure = None if row is None else row.value.failure
        if failure is None:
            return {}
        witness = failure.witness
        return {
            "reason": failure.reason,
            "reverted_by": failure.reverted_by,
            "task": None if witness is None else witness.task,
            "agent": None if witness is None else witness.agent,
            "exit_code": None if witness is None else witness.exit_code,
            "lines": [] if witness is None else list(witness.log),
        }

    # The verbs.

    async def _schedule(self, namespace: str, name: str, told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        spec = _read("spec", lambda: spec_of(_mapping("spec", told["spec"])))

        def declared(row: Row[Job] | None) -> Spec:
            if row is not None and not row.value.is_terminating and row.value.spec != spec:
                raise Conflict(f"job {name} exists already, and is not what is to be scheduled; migrate it")
            return spec

        return await self._declare(namespace, name, declared, extra)

    async def _migrate(self, namespace: str, name: str, told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        def declared(row: Row[Job] | None) -> Spec:
            if row is None or row.value.is_terminating:
                raise NotFound(f"there is no job {name} in namespace {namespace} to be migrated; schedule it")
            if "spec" in told:
                return _read("spec", lambda: spec_of(_mapping("spec", told["spec"])))
            return _read("set", lambda: merged(row.value.spec, _mapping("set", told["set"])))

        return await self._declare(namespace, name, declared, extra)

    async def _declare(
        self, namespace: str, name: str, declared: Callable[[Row[Job] | None], Spec], extra: Extra
    ) -> Accepted:
        """Declare a job, given what it is to be by how it stands."""
        key = job_key(namespace, name)
        for _ in range(TRIES):
            row = self._view.jobs.rows.get(key)
            tags = {} if row is None else row.value.tags
            metadata = Metadata(name=name, namespace=namespace, tags=tags)
            manifest = Manifest(apiVersion="harpoon/v1", kind="Job", metadata=metadata, spec=declared(row))
            drafts = self._registry.drafts([manifest])
            if drafts[0][1] is not row:
                continue
            accepted = await self._registry.commit_drafts(drafts, extra=extra)
            if accepted is not None:
                return accepted[0]
        raise Unavailable("others keep changing this job; try again")

    async def _scale(self, namespace: str, name: str, told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        return await self._registry.scale(namespace, name, _number(told["to"]), extra=extra)

    async def _unschedule(self, namespace: str, name: str, _told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        return await self._registry.unschedule(namespace, name, extra=extra)

    async def _promote(self, namespace: str, name: str, _told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        return await self._steering.promote(namespace, name, extra=extra)

    async def _undo(self, namespace: str, name: str, told: Mapping[str, Any], extra: Extra) -> Accepted | None:
        version = _number(told["to"]) if "to" in told else None
        return await self._registry.rollback(namespace, name, version, extra=extra)


def _read(within: str, read: Callable[[], Spec]) -> Spec:
    """Return a spec, or say of what in the order that it is none."""
    try:
        return read()
    except Invalid as error:
        problems = [Problem(pointer=f"/{within}{one.pointer}", detail=one.detail) for one in error.problems]
        raise Invalid(str(error), problems) from error


def _mapping(within: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid(f"{within} came to no mapping", [Problem(pointer="", detail="it came to no mapping")])
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        told = "it came to no whole number"
        raise Invalid(f"to: {told}", [Problem(pointer="/to", detail=told)])
    return value

"""The life of one task on this agent: from its order until it is over, with all its launches.

One coroutine sees a task through. Whatever happens to the task (its process is known, or ended; a check changed; it is
to stop) sets what can be read, and wakes the coroutine, which looks at all of it again.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final, assert_never

import structlog

from harpoon.agent.account import Account
from harpoon.agent.drivers.driver import Handle
from harpoon.agent.drivers.shimfile import Exit
from harpoon.agent.launch import explain_failure, prepare, prepare_check
from harpoon.agent.means import Means
from harpoon.agent.probes import Target
from harpoon.agent.record import Place, Record
from harpoon.agent.volumes import Mount
from harpoon.core.restart import Ended, LeaveEnded, StartAgain, kept_history, next_restart
from harpoon.kit.errors import Invalid, Unavailable
from harpoon.model.task import TaskState

#: A shim that has not told its task's process by then no longer keeps others from starting.
_HEARD_WITHIN: Final = timedelta(seconds=10)
#: How often what does not die of KILL is killed again: it may have been forking, or asleep in the kernel.
_KILL_AGAIN: Final = timedelta(seconds=1)
_RUNS: Final = "runs"

_log = structlog.get_logger(__name__)


class Life(Account):
    """One task, as long as the agent knows it."""

    def __init__(self, means: Means, place: Place, record: Record) -> None:
        super().__init__(means, place, record)
        self._driver = means.driver_of(record.template)
        self._process: Handle | None = None
        #: What its driver had to tell of it last.
        self._note = ""
        self._wake = asyncio.Event()
        #: Why it must not go on; empty: it may.
        self._overfull = ""

    def adopt(self) -> None:
        """Find what an earlier daemon left of this task. To be called before `run`, if at all.

        Raises:
            OSError: The host does not let it be found out.
            Invalid: Nothing here could.
        """
        means = self._means
        if self._driver is None:
            raise Invalid(
                f"task {self.record.id} is in a container, and this agent has no engine: start it with --docker"
            )
        means.ports.keep(self.record.id, self.record.ports)
        # The launch that was begun last, even where the disk did not take the record of it.
        last = self.place.last_launch()
        launch = max(self.record.launch, last)
        if self.record.boot == means.boot:
            self._process = self._driver.find(self.place.shim_file(launch), self._heard)
            self.record = replace(self.record, launch=launch)
        elif last >= self.record.launch:
            # What comes next is to have a higher number than all that was: the highest one is looked for.
            self.record = replace(self.record, launch=launch)
            self._follow_up(Exit(code=None, detail="ended when the host was restarted"), None)
        else:
            self._keep(boot=means.boot)
        if self._process is not None:
            self._take_limits(self._process)
        if self._process is not None and self._process.pid is not None and self._process.exit is None:
            self._begin_checks(is_ready=self.record.is_ready)
            since_ms = self._process.began_ms
            if not self._is_stopping:
                self._show(TaskState.RUNNING, _RUNS, pid=self._process.pid, since_ms=since_ms)

    def stop(self, reason: str) -> None:
        """Have the task end the way its template says."""
        if self.is_over or self._is_stopping:
            return
        self._keep(state=TaskState.STOPPING, reason=reason, since_ms=self._means.clock.now().wall)
        self._show(TaskState.STOPPING, reason, ready=False)
        self._wake.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """See the task through until it is over; ``group`` is for its checks."""
        while not self.is_over:
            if self._process is None:
                await self._start(group)
            else:
                await self._attend(self._process, group)

    async def _start(self, group: asyncio.TaskGroup) -> None:
        """Begin the next launch once it is due, unless the task is stopped before."""
        if self.record.due_ms is not None:
            left = timedelta(milliseconds=max(0, self.record.due_ms - self._means.clock.now().wall))
            # The clock may have been set back since.
            await self._until(lambda: self._is_stopping, min(left, self.record.template.restart.backoff.max * 2))
        found = await self._provide(group)
        if found is None:
            return
        async with self._means.places:
            if self._is_stopping:
                self._end(TaskState.FINISHED, f"{self.record.reason}; it was not running", self.record.exit_code)
                return
            try:
                self._keep_boot()
                launch = prepare(self.record, self.place, self._means.whereabouts, self._means.vault)
                launch = self._means.supplier.dress(launch, self.place, found)
                assert self._driver is not None, "no task is taken that nothing here runs"
                process = self._process = self._driver.start(launch, self._heard)
            except (Invalid, ValueError) as error:
                # ValueError: text that no program can be given.
                self._end(TaskState.FAILED, str(error), None)
                return
            except OSError as error:
                self._refused(error)
                return
            self._means.metrics.spawns.inc()
            self._take_limits(process)
            if self.record.restarts:
                self.place.forget(self.record.launch - 1)
            # One that tells why it does not run yet may take long.
            await self._until(
                lambda: process.pid is not None or process.exit is not None or bool(process.note), _HEARD_WITHIN
            )

    async def _provide(self, group: asyncio.TaskGroup) -> tuple[Mount, ...] | None:
        """See that all is there that the next launch needs, unless the task is stopped before; None: it is not."""
        template = self.record.template
        if self._is_stopping or not (template.volumes or template.artifacts):
            return ()
        providing = group.create_task(self._try_to_provide())
        providing.add_done_callback(lambda _: self._wake.set())
        try:
            await self._until(lambda: providing.done() or self._is_stopping)
        finally:
            if not providing.done():
                providing.cancel()
                await asyncio.wait([providing])
        return () if self._is_stopping else providing.result()

    async def _try_to_provide(self) -> tuple[Mount, ...] | None:
        try:
            found = await self._means.supplier.provide(self.record, self.place, self._tell_of)
        except Invalid as error:
            self._end(TaskState.FAILED, str(error), None)
            return None
        except Unavailable as error:
            self._after(Ended(is_failure=True, detail=str(error)), None)
            return None
        except OSError as error:
            reason = f"the agent's disk: {(error.strerror or str(error)).lower()}"
            self._after(Ended(is_failure=True, detail=reason), None)
            return None
        if not self.record.has_artifacts:
            self._keep(has_artifacts=True)
        return found

    def _tell_of(self, doing: str) -> None:
        if not self._is_stopping:
            self._show(TaskState.STARTING, doing)

    def _refused(self, error: OSError) -> None:
        reason, is_worth_trying = explain_failure(error)
        if is_worth_trying:
            self._after(Ended(is_failure=True, detail=reason), None)
        else:
            self._end(TaskState.FAILED, reason, None)

    async def _attend(self, process: Handle, group: asyncio.TaskGroup) -> None:
        """Stay with a process until it has ended, by itself or not, and decide what comes next."""
        await self._until(lambda: process.pid is not None or process.exit is not None or self._is_stopping)
        if process.exit is None and not self._is_stopping:
            await self._serve(process, group)
        failed = next((standing.reason() for standing in self._standings if standing.wants_restart), None)
        if process.exit is None:
            await self._bring_down(process)
        assert process.exit is not None
        if process.exit.is_for_memory:
            self._means.metrics.memory_kills.inc()
        # Before it starts again, its group must be gone, for it may hold the ports; before it is over, everything.
        assert self._driver is not None, "it has started it"
        await self._driver.sweep(process, is_thorough=self._is_stopping)
        self._process = None
        if process.exit.is_void and not self._is_stopping:
            self._keep(launch=self.record.launch + 1)
        elif self._overfull and not self._is_stopping:
            self._end(TaskState.FAILED, f"{self._overfull}; {process.exit.detail}", process.exit.code)
        else:
            self._follow_up(process.exit, failed)

    async def _serve(self, process: Handle, group: asyncio.TaskGroup) -> None:
        """Let it run and keep asking its checks, until it has ended, is to stop, or fails a check for good."""
        if self.task.state is not TaskState.RUNNING:
            self._begin_checks(is_ready=False)
            self._show(TaskState.RUNNING, _RUNS, pid=process.pid)
        whereabouts = self._means.whereabouts
        target = Target(
            address=whereabouts.address,
            ports=self.record.ports,
            program=lambda command: self._means.supplier.enter(
                prepare_check(command, self.record, self.place, whereabouts, self._means.vault),
                self.record,
                process.pid,
            ),
            beside=process.beside,
        )
        watches = [
            group.create_task(self._means.prober.watch(standing, target, self._check_changed))
            for standing in self._standings
        ]
        if any(volume.scratch is not None for volume in self.record.template.volumes):
            watches.append(group.create_task(self._watch_scratch()))
        try:
            await self._until(
                lambda: (
                    process.exit is not None
                    or self._is_stopping
                    or bool(self._overfull)
                    or any(standing.wants_restart for standing in self._standings)
                )
            )
        finally:
            for watch in watches:
                # Twice would cut short its cleaning up.
                if not watch.cancelling():
                    watch.cancel()
            # A check's program belongs to the task: it is gone before the task is ended, or its end told.
            if watches:
                await asyncio.wait(watches)

    async def _watch_scratch(self) -> None:
        self._overfull = await self._means.supplier.watch(self.record, self.place)
        self._wake.set()

    def _heard(self) -> None:
        """Take note that something is told of the process, or of why there is none."""
        process = self._process
        if process is not None and process.note != self._note:
            self._note = process.note
            is_running = self.task.state is TaskState.RUNNING
            if not self._is_stopping and (is_running or self._note):
                runs = f"{_RUNS}; {self._note}" if self._note else _RUNS
                self._show(self.task.state, runs if is_running else self._note)
        self._wake.set()

    def _check_changed(self) -> None:
        self._note_checks()
        self._wake.set()

    async def _bring_down(self, process: Handle) -> None:
        """End a process the way the template says; if an earlier daemon began to, go on with it."""
        stop = self.record.template.stop
        drain = spent = timedelta(0)
        if self._is_stopping:
            drain = stop.drain if self.record.ports else drain
            spent = timedelta(milliseconds=max(0, self._means.clock.now().wall - self.record.since_ms))
        else:
            reason = self._overfull or "is being restarted because a check keeps failing"
            self._show(self.task.state, reason, ready=False)
        if drain > spent and await self._until(lambda: process.exit is not None, drain - spent):
            return
        process.signal(signal.Signals[f"SIG{stop.signal}"])
        if await self._until(
            lambda: process.exit is not None, max(timedelta(0), drain + stop.grace - max(spent, drain))
        ):
            return
        process.kill()
        while not await self._until(lambda: process.exit is not None, _KILL_AGAIN):
            self._show(self.task.state, f"{self.record.reason}; KILL was sent, and it has not ended yet")
            process.kill()

    def _follow_up(self, ended: Exit, failed: str | None) -> None:
        """Decide what comes after the end of a process."""
        if self._is_stopping:
            self._end(TaskState.FINISHED, f"{self.record.reason}; {ended.detail}", ended.code)
            return
        detail = ended.detail if failed is None else f"{failed}; {ended.detail}"
        self._after(Ended(is_failure=failed is not None or ended.code != 0, detail=detail), ended.code)

    def _after(self, ended: Ended, code: int | None) -> None:
        now, record = self._means.clock.now(), self.record
        policy = record.template.restart
        decision = next_restart(policy, record.restarted_ms, ended, now, self._means.rng.random())
        match decision:
            case LeaveEnded():
                self._end(decision.state, decision.reason, code)
            case StartAgain():
                due = now.wall + decision.after // timedelta(milliseconds=1)
                self._keep(
                    launch=record.launch + 1,
                    boot=self._means.boot,
                    due_ms=due if decision.after else None,
                    restarts=record.restarts + 1,
                    restarted_ms=kept_history(policy, (*record.restarted_ms, due), now),
                    reason=decision.reason,
                    since_ms=now.wall,
                    exit_code=code,
                    is_ready=False,
                )
                self._means.metrics.restarts.inc()
                self._standings = ()
                self._show(
                    TaskState.STARTING,
                    decision.reason,
                    ready=False,
                    pid=None,
                    checks=(),
                    restarts=self.record.restarts,
                    exit_code=code,
                )
            case _:
                assert_never(decision)

    async def _until(self, condition: Callable[[], bool], span: timedelta | None = None) -> bool:
        """Wait until something is so, but no longer than ``span``; return whether it is."""
        deadline = None if span is None else asyncio.get_running_loop().time() + span.total_seconds()
        while not condition():
            self._wake.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wake.wait()
            except TimeoutError:
                return condition()
        return True

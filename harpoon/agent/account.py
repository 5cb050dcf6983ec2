"""What is known of one task on this agent: what its record on the disk says, and what is told of it.

How that is changed stands here; what happens to the task, and so when it is, is `harpoon.agent.life`.
"""

from dataclasses import replace

import structlog

from harpoon.agent.drivers.driver import Handle
from harpoon.agent.health import Standing
from harpoon.agent.logs import Log
from harpoon.agent.means import Means
from harpoon.agent.record import Place, Record
from harpoon.model.task import TaskState

_log = structlog.get_logger(__name__)


class Account:
    """What is known of a task.

    Args:
        means: Tells it, among others.
        place: Where its files are.
        record: What is on the disk.
    """

    def __init__(self, means: Means, place: Place, record: Record) -> None:
        self.record = record
        #: The boot that the record on disk tells.
        self._kept_boot = record.boot
        self.place = place
        self.logs = {stream: Log(place.log(stream)) for stream in ("stdout", "stderr")}
        #: As it is told.
        self.task = record.task(means.whereabouts.agent, means.whereabouts.address)
        self._means = means
        #: How its checks do.
        self._standings: tuple[Standing, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more, or will."""
        return self.record.state.is_over

    @property
    def _is_stopping(self) -> bool:
        return self.record.state is TaskState.STOPPING

    def _keep(self, **changes: object) -> None:
        """Change the record. A disk that cannot take it makes a later daemon decide anew, and nothing worse."""
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        try:
            self.place.save(self.record)
            self._kept_boot = self.record.boot
        except OSError as error:
            _log.warning("record_not_saved", task=self.record.id, reason=str(error))

    def _keep_boot(self) -> None:
        """See to it that a later daemon finds what is started now: of another boot it takes everything for ended.

        Raises:
            OSError: The disk cannot take it.
        """
        if self._kept_boot != self.record.boot:
            self.place.save(self.record)
            self._kept_boot = self.record.boot

    def _show(self, state: TaskState, reason: str, **changes: object) -> None:
        """Change what is told, if it is not told already."""
        if state is not self.task.state:
            changes.setdefault("since_ms", self._means.clock.now().wall)
        shown = replace(self.task, state=state, reason=reason, **changes)  # type: ignore[arg-type]
        if shown != self.task:
            self.task = shown
            self._means.tell(shown.id, shown)

    def _take_limits(self, process: Handle) -> None:
        """Take over which limits are enforced; it is told with what comes next."""
        self.record = replace(self.record, limits=process.limits)
        self.task = replace(self.task, limits=process.limits)

    def _begin_checks(self, *, is_ready: bool) -> None:
        checks, now_ms = self.record.template.checks, self._means.clock.now().wall
        self._standings = tuple(Standing(check, is_passing=is_ready, begun_ms=now_ms) for check in checks)
        self.task = replace(self.task, checks=tuple(standing.result for standing in self._standings))
        if not self._is_stopping:
            self.task = replace(self.task, ready=all(standing.is_passing for standing in self._standings))

    def _note_checks(self) -> None:
        """Keep and tell what a change of a check makes of readiness."""
        is_ready = all(standing.is_passing for standing in self._standings)
        if is_ready != self.record.is_ready:
            self._keep(is_ready=is_ready)
        self._show(
            self.task.state,
            self.task.reason,
            ready=is_ready and self.task.state is TaskState.RUNNING,
            checks=tuple(standing.result for standing in self._standings),
        )

    def _end(self, state: TaskState, reason: str, code: int | None) -> None:
        """Have it be over, and give back what it had."""
        now = self._means.clock.now()
        self._keep(state=state, reason=reason, since_ms=now.wall, exit_code=code, due_ms=None, is_ready=False)
        self._means.ports.give_back(self.record.ports)
        self._means.vault.drop(self.record.id)
        self._show(state, reason, ready=False, pid=None, checks=(), exit_code=code)
        _log.info("task_ended", task=self.record.id, state=state, reason=reason)

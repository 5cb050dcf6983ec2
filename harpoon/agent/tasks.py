"""All tasks of this agent: commands come in, lives are lived."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from harpoon.agent import users
from harpoon.agent.home import Home
from harpoon.agent.launch import check_env
from harpoon.agent.life import Life
from harpoon.agent.logs import Log
from harpoon.agent.means import Means
from harpoon.agent.record import Place, Record, check_task_id
from harpoon.kit.errors import Conflict, HarpoonError, Invalid
from harpoon.model.command import Command, CommandResult, ForgetTask, StartTask, StopTask
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState

#: Those who read a log whose task is forgotten get so long to read to its end.
_READERS_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Denied(Conflict):
    """A task that is never to be started here was to be."""


class Tasks:
    """The tasks of one agent. Commands take effect at once on what is told, and in time on processes."""

    def __init__(self, means: Means, home: Home, is_denied: Callable[[TaskId], bool]) -> None:
        self._means = means
        #: Whether a task is never to be started here.
        self._is_denied = is_denied
        self._home = home
        self._tasks = str(home.tasks)
        self._lives: dict[TaskId, Life] = {}
        self._group: asyncio.TaskGroup | None = None
        #: Logs of tasks that were just forgotten.
        self._leaving: list[Log] = []
        self._has_trash = asyncio.Event()
        self._has_trash.set()

    def __iter__(self) -> Iterator[Task]:
        """Go through all tasks as they are told."""
        return (life.task for life in self._lives.values())

    def look(self, task: TaskId) -> Task | None:
        """Return a task as it is told, if it is known."""
        life = self._lives.get(task)
        return None if life is None else life.task

    def log(self, task: TaskId, stream: str) -> Log | None:
        """Return a log of a task that is known."""
        life = self._lives.get(task)
        return None if life is None else life.logs[stream]

    def growing_logs(self) -> Iterable[Log]:
        """Return the logs of all tasks that are not over."""
        return [log for life in self._lives.values() if not life.is_over for log in life.logs.values()]

    def count(self) -> Counter[TaskState]:
        """Return how many tasks are in each state."""
        return Counter(task.state for task in self)

    def recover(self) -> None:
        """Find all tasks that an earlier daemon knew, and what runs of them. To be called before anything is served."""
        for path in sorted(self._home.tasks.iterdir()):
            place = Place(str(path))
            record = place.load()
            if record is None:
                # Its record was being made when the daemon was killed; nothing was started, nothing acknowledged.
                place.drop(self._home.trash)
                continue
            life = Life(self._means, place, record)
            self._lives[record.id] = life
            if not life.is_over:
                life.adopt()
                if self._is_denied(record.id):
                    # Or its record is an older one, which a crash of the machine brought back.
                    life.stop("its slot was denied at this placement")
        self._means.vault.sweep({task for task, life in self._lives.items() if not life.is_over})
        self._means.driver.clear_strays()
        # Tasks without such checks have left none.
        self._means.prober.kill_strays({life.place.path for life in self._lives.values() if life.record.has_programs})
        _log.info("tasks_found", **{str(state): number for state, number in sorted(self.count().items())})

    async def run(self) -> None:
        """Live all lives until cancelled. Processes run on."""
        async with asyncio.TaskGroup() as self._group:
            for life in self._lives.values():
                self._begin(life)
            while True:
                await self._has_trash.wait()
                self._has_trash.clear()
                leaving, self._leaving = self._leaving, []
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_READERS_S):
                        for log in leaving:
                            await log.unread()
                await asyncio.to_thread(_empty, self._home.trash)

    def obey(self, command: Command, cluster: str) -> CommandResult:
        """Carry out a command, or say why not. Repeating one changes nothing."""
        self._means.metrics.commands.labels(command.kind).inc()
        try:
            match command:
                case StartTask():
                    self._start(command, cluster)
                case StopTask():
                    self._stop(command)
                case ForgetTask():
                    self._forget(command)
        except HarpoonError as error:
            is_denied = isinstance(error, Denied)
            return CommandResult(task=command.task, is_ok=False, reason=str(error), is_denied=is_denied)
        except OSError as error:
            reason = f"the agent's disk: {error.strerror or error}"
            return CommandResult(task=command.task, is_ok=False, reason=reason)
        return CommandResult(
            task=command.task, is_ok=True, is_denied=isinstance(command, ForgetTask) and command.is_denied
        )

    def _start(self, command: StartTask, cluster: str) -> None:
        if command.task in self._lives:
            return
        try:
            task = check_task_id(command.task)
        except ValueError as error:
            raise Invalid(str(error)) from error
        if self._is_denied(task):
            raise Denied("its slot was denied at this placement: it may have been placed elsewhere since")
        if command.is_exclusive and (other := self._sibling(task)) is not None:
            raise Conflict(f"{other.record.id} of the same slot is {other.task.state} here, and its job is exclusive")
        if self._means.driver_of(command.template) is None:
            raise Invalid(f"this agent runs no {command.template.driver} tasks")
        check_env(command.template)
        record = Record(
            id=task,
            generation=command.generation,
            template=command.template,
            cluster=cluster,
            reason=command.reason,
            since_ms=self._means.clock.now().wall,
            boot=self._means.boot,
        )
        try:
            record = replace(record, ports=self._means.ports.take(task, command.template.ports))
        except Conflict as error:
            record = replace(record, state=TaskState.FAILED, reason=str(error))
        place = Place(f"{self._tasks}/{task}")
        try:
            self._means.vault.keep(task, command.template, command.secrets, users.owner(command.template))
            place.make(record)
        except (Invalid, OSError):
            self._means.vault.drop(task)
            self._means.ports.give_back(record.ports)
            raise
        life = self._lives[task] = Life(self._means, place, record)
        self._means.tell(task, life.task)
        self._begin(life)

    def _stop(self, command: StopTask) -> None:
        life = self._lives.get(command.task)
        if life is not None:
            life.stop(command.reason)

    def _forget(self, command: ForgetTask) -> None:
        if command.is_denied and (other := self._sibling(command.task)) is not None:
            raise Conflict(f"{other.record.id} of the same slot is {other.task.state} here; stop it before")
        life = self._lives.get(command.task)
        if life is None:
            return
        if not life.is_over:
            raise Conflict(f"the task is {life.task.state}; stop it before")
        dropped = life.place.drop(self._home.trash)
        for stream, log in life.logs.items():
            log.leave(f"{dropped}/{stream}")
            self._leaving.append(log)
        del self._lives[command.task]
        self._means.tell(command.task, None)
        self._has_trash.set()

    def _sibling(self, task: TaskId) -> Life | None:
        """Return another task of the same slot that is not over."""
        slot = task.rpartition(".")[0] + "."
        others = (life for other, life in self._lives.items() if other.startswith(slot) and other != task)
        return next((life for life in others if not life.is_over), None)

    def _begin(self, life: Life) -> None:
        if self._group is not None and not life.is_over:
            self._group.create_task(life.run(self._group), name=f"life-{life.record.id}")


def _empty(trash: Path) -> None:
    for path in trash.iterdir():
        shutil.rmtree(path, ignore_errors=True)

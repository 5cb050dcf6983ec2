"""What the agent keeps of a task on disk, and where.

::

    <task>/task.json          the record: what was ordered, and what has become of it
    <task>/shim.<n>            what the shim of the n-th launch said (`drivers.shimfile`)
    <task>/group.<n>           its limits, and the groups that hold it to them (`drivers.cgroup`)
    <task>/stdout, stderr     logs, and what was moved aside of them: stdout.1, stdout.2 …
    <task>/scratch/           the task's own
    <task>/volumes/<n>/        scratch space that is mounted elsewhere, by its index among the volumes
    <task>/arriving.<n>        an artifact that is being unpacked, by its index

A record is replaced whole, by renaming, so a killed agent leaves the old one or the new one. It is not fsynced: what
a crash of the machine could lose of it, it made untrue as well.
"""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harpoon.agent import processes
from harpoon.agent.drivers.cgroup import group_file
from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.lifecycle import Restart, RestartPolicy
from harpoon.model.name import TaskId, check_name
from harpoon.model.task import Limit, Task, TaskState, parse_task_id
from harpoon.model.template import TaskTemplate
from harpoon.model.volumes import statuses

#: Longest task id: it names a directory.
_ID_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One task, as far as a later daemon must know of it."""

    id: TaskId
    generation: str
    template: TaskTemplate
    cluster: str
    ports: dict[str, int] = field(default_factory=dict)
    #: ``starting`` while it is meant to run, running or not; ``stopping``; or how it ended.
    state: TaskState = TaskState.STARTING
    reason: str = ""
    #: When it came into this state, UTC milliseconds.
    since_ms: int = 0
    #: The launch that runs, or is to be begun next; counted from 1.
    launch: int = 1
    #: The boot of this machine it belongs to.
    boot: str = ""
    #: Set while it waits to be started again: not before this moment, UTC milliseconds.
    due_ms: int | None = None
    #: Whether all its checks passed, as far as it has any.
    is_ready: bool = False
    restarts: int = 0
    #: When it was started again, as far as that still matters; UTC milliseconds.
    restarted_ms: tuple[int, ...] = ()
    exit_code: int | None = None
    #: Whether all its artifacts are where it finds them.
    has_artifacts: bool = False
    #: Of the last launch, as far as its driver told.
    limits: tuple[Limit, ...] = ()
    v: int = 1

    @property
    def has_programs(self) -> bool:
        """Whether programs run beside it: those of checks, and those that unpack and measure."""
        template = self.template
        has_checks = any(check.exec_ is not None for check in template.checks)
        return has_checks or bool(template.artifacts) or any(one.scratch is not None for one in template.volumes)

    def task(self, agent: str, address: str) -> Task:
        """Return the task as it is told when no process of it is known."""
        return Task(
            id=self.id,
            agent=agent,
            generation=self.generation,
            state=self.state,
            reason=self.reason,
            since_ms=self.since_ms,
            address=address,
            ports=self.ports,
            restarts=self.restarts,
            exit_code=self.exit_code,
            limits=self.limits,
            cluster=self.cluster,
            volumes=statuses(self.template.volumes),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of one task. Its paths are text, because a start needs a dozen of them."""

    path: str

    @property
    def scratch(self) -> str:
        """The task's own directory, where it starts unless told otherwise."""
        return f"{self.path}/scratch"

    @property
    def volumes(self) -> str:
        """Where its scratch spaces are that are mounted elsewhere."""
        return f"{self.path}/volumes"

    def arriving(self, index: int) -> str:
        """Where an artifact is as long as it is not whole."""
        return f"{self.path}/arriving.{index}"

    def shim_file(self, launch: int) -> str:
        """The shim file of a launch."""
        return f"{self.path}/shim.{launch}"

    def forget(self, launch: int) -> None:
        """Remove what is kept of a launch that is over, as far as it is there."""
        for file in (self.shim_file(launch), group_file(self.shim_file(launch))):
            with contextlib.suppress(OSError):
                os.unlink(file)  # noqa: PTH108 paths are text here

    def log(self, stream: str) -> str:
        """The log of ``stdout`` or ``stderr``."""
        return f"{self.path}/{stream}"

    def make(self, record: Record) -> None:
        """Make the directory with its first record.

        Raises:
            OSError: It could not be made; what is left of it is ignored by `load`.
        """
        try:
            os.mkdir(self.path, 0o700)  # noqa: PTH102 a hot path
            os.mkdir(self.scratch, 0o700)  # noqa: PTH102
            # It need not be whole at once: the daemon that is writing it starts nothing until it is.
            self._write("task.json", record)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def save(self, record: Record) -> None:
        """Replace the record.

        Raises:
            OSError: It is the old one still.
        """
        self._write("task.json.new", record)
        os.rename(f"{self.path}/task.json.new", f"{self.path}/task.json")  # noqa: PTH104 a hot path

    def load(self) -> Record | None:
        """Read the record.

        Returns:
            None when no task was ever begun here. A record that cannot be read stands for a task that cannot be
            started again, so that what may run of it is found, shown and can be stopped.
        """
        try:
            return codec.load(Record, Path(self.path, "task.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Invalid) as error:
            launch = self.last_launch()
            return _unreadable(TaskId(Path(self.path).name), launch, str(error)) if launch else None

    def last_launch(self) -> int:
        """Return the number of the launch that was begun last; 0: none was."""
        numbers = [file.suffix[1:] for file in Path(self.path).glob("shim.*")]
        return max((int(number) for number in numbers if number.isdecimal() and len(number) < 10), default=0)

    def _write(self, name: str, record: Record) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(f"{self.path}/{name}", flags, 0o600), "wb", buffering=0) as file:
            data = codec.dump(record)
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def drop(self, trash: Path) -> str:
        """Move the directory away, so that it counts for nothing; the caller removes what is in the trash.

        Returns:
            Where it is now.

        Raises:
            OSError: It is where it was.
        """
        path = Path(self.path)
        target = trash / f"{path.name}.{path.stat().st_ino}"
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)
        return str(target)


def check_task_id(text: str) -> TaskId:
    """Return ``text`` if it is a task's id, and so a safe name of a directory.

    Raises:
        ValueError: It is not.
    """
    name = parse_task_id(text)
    check_name("a namespace", name.namespace)
    check_name("a job's name", name.job)
    if len(text) > _ID_MAX:
        raise ValueError(f"a task id has at most {_ID_MAX} characters")
    return TaskId(text)


def _unreadable(task: TaskId, launch: int, reason: str) -> Record:
    """Make the record of a task of which only the shim file is known; taken for one of this boot, as it may run."""
    template = TaskTemplate(command=("unknown",), restart=Restart(policy=RestartPolicy.NEVER))
    return Record(
        id=task,
        generation="",
        template=template,
        cluster="",
        launch=launch,
        boot=processes.boot_id(),
        reason=f"its record cannot be read: {reason}"[:200],
    )

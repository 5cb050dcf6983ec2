"""Mistakes in what an agent does by itself: its fence, its denials, and how it finds again what runs."""

from typing import Final

from harpoon.agent import life, record, service, tasks
from harpoon.agent.fence import Fence
from tests.sim.variants.variant import CONVERGES, Edit, Variant

AGENTS: Final = (
    Variant(
        name="no_fence",
        says="An agent takes any token, also one that was overtaken.",
        kills=frozenset({"S1", "S2", "S3", "S4"}),
        edits=(Edit(Fence.check, "if mark is None or token > mark.token", "if True or token > mark.token"),),
    ),
    Variant(
        name="mark_not_persisted",
        says="An agent keeps its mark in memory only, so that a restart forgets it.",
        kills=frozenset({"S1", "S3", "S4"}),
        edits=(
            Edit(
                Fence._keep,
                "await asyncio.to_thread(home.write_durably, self._path, codec.dump(mark))",
                "codec.dump(mark)",
            ),
        ),
    ),
    Variant(
        name="full_disk_shrugged_off",
        says="A mark that the disk does not take is taken all the same, and forgotten with the next restart.",
        kills=frozenset({"S1", "S3", "S4"}),
        edits=(
            Edit(
                Fence._keep,
                'raise Unavailable(f"{what} could not be made durable: {error.strerror}") from error',
                "str(error)",
            ),
        ),
    ),
    Variant(
        name="no_denial",
        says="An agent starts what it has denied, when it is asked again or late.",
        kills=frozenset({"S3", "S4"}),
        edits=(Edit(tasks.Tasks._start, "if self._is_denied(task):", "if False:"),),
    ),
    Variant(
        name="denial_not_persisted",
        says="An agent keeps its denials in memory only, so that a restart forgets them.",
        kills=frozenset({"S3", "S4"}),
        edits=(
            Edit(
                Fence.deny,
                'await self._keep(replace(self.mark, denials=denials), "the denial")',
                "self.mark = replace(self.mark, denials=denials)",
            ),
        ),
    ),
    Variant(
        name="denied_before_durable",
        says="An agent answers that it denied something though its disk did not take that.",
        kills=frozenset({"S3", "S4"}),
        edits=(
            Edit(
                service.AgentService._obey,
                "if refusal and isinstance(command, ForgetTask) and command.is_denied:",
                "if False:",
            ),
        ),
    ),
    Variant(
        name="tasks_not_found_again",
        says="A daemon that starts does not look for the processes that an earlier one left.",
        kills=frozenset({"S3", "S15"}),
        edits=(Edit(tasks.Tasks.recover, "life.adopt()", "pass"),),
    ),
    Variant(
        name="other_boots_launch_ignored",
        says="A task is started though its record is of an earlier boot, by which a later daemon takes it for ended.",
        kills=frozenset({"S3", "S15"}),
        edits=(Edit(life.Life._start, "self._keep_boot()\n", "pass\n"),),
    ),
    Variant(
        name="record_not_written",
        says="An agent starts a task of which there is no record on disk.",
        kills=frozenset({"S3", "S15"}),
        edits=(Edit(record.Place.make, 'self._write("task.json", record)', "pass"),),
    ),
    Variant(
        name="started_twice",
        says="To ask an agent twice to start a task starts it twice.",
        kills=frozenset({"S3", "S15"}),
        edits=(
            Edit(tasks.Tasks._start, "if command.task in self._lives:", "if False:"),
            Edit(record.Place.make, "os.mkdir(self.path, 0o700)", "os.makedirs(self.path, 0o700, exist_ok=True)"),
            Edit(record.Place.make, "os.mkdir(self.scratch, 0o700)", "os.makedirs(self.scratch, 0o700, exist_ok=True)"),
        ),
    ),
    Variant(
        name="over_before_gone",
        says="A task that is to stop is told as over while its process still runs.",
        kills=frozenset({"S3", "S15"}),
        edits=(
            Edit(
                life.Life._attend,
                "await self._bring_down(process)\n",
                "process.signal(signal.SIGTERM)\n        process.exit = Exit(code=0, detail='it was told to end')\n",
            ),
            Edit(
                life.Life._attend,
                "await self._driver.sweep(process, is_thorough=self._is_stopping)\n",
                "pass\n",
            ),
        ),
    ),
    Variant(
        name="stop_ignored",
        says="A task that is told to stop goes on, and is told as stopping for ever.",
        kills=frozenset({"S15", *CONVERGES}),
        edits=(Edit(life.Life.stop, "self._wake.set()", "pass"),),
    ),
)

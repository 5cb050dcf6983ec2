"""Tasks, typed: what runs."""

from collections.abc import AsyncIterator, Sequence

from harpoon.client.answer import Answer
from harpoon.client.caller import Caller, noun, pages
from harpoon.model.shown import Ruled, TaskList
from harpoon.model.status import TaskObject
from harpoon.model.why import Why


class Tasks:
    """The tasks of one server; errors are those of `Jobs`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, task: str) -> TaskObject:
        """Return a task by its id."""
        return noun(TaskObject, await self._caller.get(*_path(task)))

    def list(self, *, namespace: str | None = None, tags: Sequence[str] = ()) -> AsyncIterator[TaskObject]:
        """Yield tasks of a namespace, or of all; of jobs with all of these tags (``key=value``)."""
        path = ("tasks",) if namespace is None else ("namespaces", namespace, "tasks")
        return pages(self._caller, path, {"tag": tags}, _page)

    async def why(self, task: str) -> Why:
        """Return why a task is as it is, and what would help."""
        return noun(Why, await self._caller.get(*_path(task), "why"))

    async def adopt(self, task: str) -> Ruled:
        """Make an unclaimed task the one of its slot; `Conflict` says what keeps it from that."""
        return noun(Ruled, await self._caller.post(*_path(task), "adopt", body={}))

    async def stop(self, task: str) -> Ruled:
        """Have an unclaimed task stopped and forgotten; `Conflict` if it is not unclaimed."""
        return noun(Ruled, await self._caller.post(*_path(task), "stop", body={}))


def _path(task: str) -> tuple[str, ...]:
    return ("namespaces", task.partition(".")[0], "tasks", task)


def _page(answer: Answer) -> tuple[tuple[TaskObject, ...], str | None]:
    page = noun(TaskList, answer)
    return page.items, page.continue_

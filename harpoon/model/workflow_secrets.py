"""Which secrets a workflow refers to: in headers of its calls over HTTP, and in the tasks that it has run."""

from collections.abc import Iterator, Mapping
from typing import Any

from harpoon.model.operation import Operation
from harpoon.model.workflow import WorkflowSpec

#: Any value that JSON has.
Json = Any


def secret_names(spec: WorkflowSpec) -> frozenset[str]:
    """Return the names of the secrets that a workflow refers to, but for those that expressions come to."""
    told = (one for operation in spec.operations.values() for one in _references(operation))
    names = (one.partition("/")[0] for one in told)
    return frozenset(name for name in names if "${" not in name)


def _references(operation: Operation) -> Iterator[str]:
    """Yield what is referred to as ``<name>/<key>``."""
    if operation.http is not None:
        yield from (header.secret for header in operation.http.secrets().values())
    if operation.task is not None:
        yield from _of_task(operation.task.task)
    if operation.job is not None:
        for told in (operation.job.spec, operation.job.set_):
            yield from _of_task((told or {}).get("task"))


def _of_task(task: Json) -> Iterator[str]:
    """Yield what a task refers to that was not read as one, for expressions may stand in it."""
    if not isinstance(task, Mapping):
        return
    variables, files = task.get("env"), task.get("secrets")
    users = [
        *(variables.values() if isinstance(variables, Mapping) else ()),
        *(files if isinstance(files, list) else ()),
    ]
    for one in users:
        if isinstance(one, Mapping) and isinstance(one.get("secret"), str):
            yield one["secret"]

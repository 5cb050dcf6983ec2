"""What a verb is about, as it is written on the command line: a job, a task or an agent; a workflow or a run."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from harpoon.cli import columns
from harpoon.cli.columns import Kind
from harpoon.kit.errors import Invalid

#: Points in a task's id, ``<namespace>.<job>.<slot>.<placement>``; a job's name holds none.
TASK_POINTS: Final = 3
_BY_ID: Final = (columns.TASK, columns.RUN)


class Subject(NamedTuple):
    """One object, and where it is."""

    kind: Kind
    namespace: str
    name: str

    @property
    def path(self) -> tuple[str, ...]:
        """The API's path of it."""
        if self.kind in (columns.AGENT, columns.NAMESPACES):
            return (self.kind.plural, self.name)
        return ("namespaces", self.namespace, self.kind.plural, self.name)

    def __str__(self) -> str:
        """``kind/name``."""
        return f"{self.kind.name}/{self.name}"


def subject_of(text: str, namespace: str, *, others: Sequence[Kind] = ()) -> Subject:
    """Read ``job/NAME``, ``NAME``, ``task/ID``, ``ID`` or ``agent/NAME``; also ``job/NS/NAME`` as of `get waiting`.

    Other kinds are read where they are taken, such as ``namespace/NAME``, ``run/ID`` or ``batch/NAME``.

    Raises:
        Invalid: It is none of these.
    """
    word, mark, name = text.partition("/")
    if not mark:
        word, name = ("task" if text.count(".") == TASK_POINTS else "job"), text
    kind = columns.kind_of(word)
    known = (columns.JOB, columns.TASK, columns.AGENT, *others)
    *most, last = (f"{one.name}/{'ID' if one in _BY_ID else 'NAME'}" for one in known)
    expected = f"write {', '.join(most)} or {last}; got {text!r}"
    if kind not in known or not name:
        raise Invalid(expected)
    if kind is columns.JOB and "/" in name:
        namespace, _, name = name.partition("/")
    elif kind is columns.TASK:
        namespace = name.partition(".")[0]
    if not name or not namespace or "/" in name:
        raise Invalid(expected)
    return Subject(kind, namespace, name)


def id_of(text: str) -> str:
    """Return the id of a run, or of a batch, which is one; written as screens write it, or bare."""
    return text.removeprefix("run/").removeprefix("batch/")

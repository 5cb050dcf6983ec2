"""Changes: accepted mutations that can be waited for. They have no record: how far one has come is derived."""

from dataclasses import replace

from harpoon.control.status import change_id, job_status
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.status import ChangeState, ChangeStatus


def change_status(view: View, change: str) -> ChangeStatus:
    """Return how far a change has come.

    Raises:
        Invalid: ``change`` is not the id of one.
        NotFound: It was never made, as far as this store knows.
    """
    namespace, name, revision = _parse(view, change)
    told = ChangeStatus(
        id=change, namespace=namespace, job=name, state=ChangeState.DONE, is_done=True, summary=f"job {name} is gone"
    )
    row = view.jobs.rows.get(job_key(namespace, name))
    if row is None:
        return told
    if row.mod_revision < revision:
        raise NotFound(f"there is no change {change}")
    if row.mod_revision > revision:
        latest = change_id(view, namespace, name, row.mod_revision)
        return replace(told, state=ChangeState.SUPERSEDED, is_done=False, summary=f"superseded by {latest}")
    status = job_status(view, row)
    state = ChangeState.DONE if status.is_done else ChangeState.PROGRESSING
    return replace(told, state=state, is_done=status.is_done, summary=status.summary, waiting=status.waiting)


def change_revision(view: View, change: str) -> int | None:
    """Return the revision that made a change, which the view may not show yet; None: it is of another incarnation.

    Raises:
        Invalid: ``change`` is not the id of one.
    """
    _, _, incarnation, revision = _split(change)
    return revision if incarnation == view.incarnation else None


#: Of the parts of a number: they fit into 64 bits.
_DIGITS_MAX = 19


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX


def _parse(view: View, change: str) -> tuple[str, str, int]:
    namespace, name, incarnation, revision = _split(change)
    if incarnation != view.incarnation or revision > view.revision:
        raise NotFound(f"there is no change {change[:200]}")
    return namespace, name, revision


def _split(change: str) -> tuple[str, str, int, int]:
    parts = change.split(".")
    number = parts[-1].split("-")
    if len(parts) != 3 or len(number) != 2 or not all(map(_is_number, number)):
        raise Invalid(f"a change's id is <namespace>.<job>.<incarnation>-<revision>; got {change[:200]!r}")
    return parts[0], parts[1], int(number[0]), int(number[1])

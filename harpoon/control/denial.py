"""What an agent has denied, recorded: only then may the slot of an exclusive job be placed again.

It is recorded by virtue of the agent's hold, and only while that is held: a later holder may have adopted the agent
since, which drops the denial, and may have started the task before it saw that it is revoked. Such a holder asks for
the denial again, and so does this one, until the record shows it: an answer that is lost here costs time only.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import structlog

from harpoon.control.view import View, placement_key
from harpoon.kit import codec
from harpoon.model.name import TaskId
from harpoon.store.hold import Hold
from harpoon.store.port import Compare, Put, Store, StoreUnavailable

_log = structlog.get_logger(__name__)


async def record_denials(store: Store, view: View, hold: Hold, tasks: Iterable[TaskId]) -> None:
    """Mark the placements of these tasks as denied, those of them that are revoked; ``hold`` is their agent's."""
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_record(store, view, hold, task))


async def _record(store: Store, view: View, hold: Hold, task: TaskId) -> None:
    row = view.placement(task)
    if row is None or not row.value.is_revoked or row.value.is_denied:
        return
    key = placement_key(row.value)
    # That it is the record that was seen keeps a late commit from bringing back one that is gone. The hold's sealing is
    # none of its business: what it says has happened.
    compares = (Compare(hold.key, create=hold.token.revision), Compare(key, mod=row.mod_revision))
    try:
        revision = await store.commit(compares, (Put(key, codec.dump(replace(row.value, is_denied=True))),))
    except StoreUnavailable as error:
        _log.warning("denial_not_recorded", task=task, reason=str(error))
        return
    if revision is not None:
        _log.info("placement_denied", task=task, agent=row.value.agent, revision=revision)

"""What an agent has denied, recorded: only then may the slot of an exclusive job be placed again.

It is recorded by virtue of the agent's hold, and only while that is held: a later holder may have adopted the agent
since, which need not keep the denial, and may have started the task before it saw that it is revoked. Such a holder
asks for the denial again, and so does this one, until the record shows it: an answer that is lost here costs time only.

An agent may also refuse a start because it was denied:

1. A registry is backed up. 2. A slot moves on; its agent denies the placement. 3. The store is lost, and restored from
the backup, which has that placement. It has come to its end already, so it is recorded as that.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import structlog

from harpoon.control.view import View, placement_key
from harpoon.kit import codec
from harpoon.model.name import TaskId
from harpoon.model.task import Placement
from harpoon.store.hold import Hold
from harpoon.store.port import Compare, Put, Store, StoreUnavailable
from harpoon.store.table import Row

_log = structlog.get_logger(__name__)


async def record_denials(
    store: Store, view: View, hold: Hold, tasks: Iterable[TaskId], refused: Iterable[TaskId] = ()
) -> None:
    """Mark the placements of these tasks as denied.

    Args:
        store: Where they are.
        view: Shows them.
        hold: Of their agent.
        tasks: Denied now; only such as are revoked.
        refused: Not started, because they were denied before; only such as are exclusive.
    """
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            if (row := view.placement(task)) is not None and row.value.is_revoked:
                group.create_task(_record(store, hold, row))
        for task in refused:
            if (row := view.placement(task)) is not None and row.value.is_exclusive:
                group.create_task(_record(store, hold, row))


async def _record(store: Store, hold: Hold, row: Row[Placement]) -> None:
    task = row.value.task
    if row.value.is_denied:
        return
    key = placement_key(row.value)
    # That it is the record that was seen keeps a late commit from bringing back one that is gone. The hold's sealing is
    # none of its business: what it says has happened.
    compares = (Compare(hold.key, create=hold.token.revision), Compare(key, mod=row.mod_revision))
    ended = replace(row.value, is_revoked=True, is_denied=True)
    try:
        revision = await store.commit(compares, (Put(key, codec.dump(ended)),))
    except StoreUnavailable as error:
        _log.warning("denial_not_recorded", task=task, reason=str(error))
        return
    if revision is not None:
        _log.info("placement_denied", task=task, agent=row.value.agent, revision=revision)

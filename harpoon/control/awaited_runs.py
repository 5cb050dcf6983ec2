"""How runs stand that jobs wait for, read from their headers, or from what is left of them."""

from collections.abc import Iterable
from typing import Final

import structlog

from harpoon.control.run_reader import RunReader
from harpoon.control.view import View, job_key
from harpoon.kit.errors import Invalid
from harpoon.model.awaited import AwaitedRun
from harpoon.model.manifest import Manifest

#: Of a run's reason, so much is kept, in characters.
REASON_MAX: Final = 500

_log = structlog.get_logger(__name__)


async def look_up(reader: RunReader, key: str) -> AwaitedRun:
    """Return how a run stands, given ``<namespace>/<run>``.

    Raises:
        StoreUnavailable: The store could not answer.
        Invalid: Its record cannot be read.
    """
    namespace, _, run = key.partition("/")
    header = await reader.header(key)
    if header is not None:
        reason = header.reason[:REASON_MAX] if header.status.is_over else ""
        return AwaitedRun(
            namespace=namespace,
            run=run,
            status=header.status,
            workflow=header.workflow,
            reason=reason,
            ended_ms=header.ended_ms,
        )
    gone = await reader.tombstone(key)
    return AwaitedRun(namespace=namespace, run=run, status=None if gone is None else gone.status)


async def look_up_new(reader: RunReader, view: View, manifests: Iterable[Manifest]) -> dict[str, AwaitedRun]:
    """Return how the runs stand that jobs wait for and nothing has waited for before, by their keys.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    wanted = {job_key(one.metadata.namespace, run) for one in manifests for run in one.spec.runs()}
    keys = wanted - view.awaited.rows.keys()
    found: dict[str, AwaitedRun] = {}
    for key in sorted(keys):
        try:
            found[key] = await look_up(reader, key)
        except Invalid as error:
            _log.error("awaited_run_unreadable", run=key, reason=str(error))
    return found

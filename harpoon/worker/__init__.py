"""A worker: a process that carries out the operations of workflows, and a way to write workflows down.

::

    from harpoon.worker import Context, Fail, Label, Worker

    app = Worker("payments")

    @app.handler("payments.refund")
    async def refund(ctx: Context, order: str, amount: float) -> dict[str, str]:
        return {"id": await bank.refund(order, amount, key=ctx.idempotency_key)}

``harpoon worker shop:app`` runs it.

Floors, downward: ``process`` (signals) over ``serving`` (the parts and their end) over ``lane`` (asks for work),
``returning`` (brings back what is finished) and ``pulse`` (heartbeats, a thread of its own) over ``crew`` (the
attempts), ``outbox``, ``session`` and ``servers`` over ``app``, ``handler``, ``parameters``, ``context``, ``outcome``.
``building`` stands by itself: it makes manifests.
"""

from harpoon.worker.app import Worker
from harpoon.worker.building import Workflow
from harpoon.worker.context import Context
from harpoon.worker.outcome import Fail, Label, Retry
from harpoon.worker.settings import Settings

__all__ = ["Context", "Fail", "Label", "Retry", "Settings", "Worker", "Workflow"]

"""The worker of order.yaml: `harpoon worker order` in this directory. Each step can be undone, and undone again."""

from harpoon.worker import Context, Retry, Worker

app = Worker("order")
#: Order → what stands of it.
BOOKED: dict[str, str] = {}
CHARGED: dict[str, float] = {}
#: What fails, so often: for a demonstration.
BROKEN: dict[str, int] = {}


def _try(step: str) -> None:
    """Fail if the step is broken still."""
    if BROKEN.get(step, 0):
        BROKEN[step] -= 1
        raise Retry(f"the {step} desk is closed")


@app.handler("shop.book")
async def book(ctx: Context, order: str) -> None:
    _try("book")
    BOOKED[order] = ctx.idempotency_key


@app.handler("shop.charge")
async def charge(_ctx: Context, order: str, amount: float) -> None:
    _try("charge")
    CHARGED[order] = amount


@app.handler("shop.ship")
async def ship(_ctx: Context, order: str) -> dict[str, str]:
    _try("ship")
    return {"parcel": f"parcel-{order}"}


@app.handler("shop.refund")
async def refund(_ctx: Context, order: str, amount: float) -> dict[str, float]:
    _try("refund")
    return {"given_back": CHARGED.pop(order, 0.0) and amount}


@app.handler("shop.cancel")
async def cancel(_ctx: Context, order: str) -> None:
    _try("cancel")
    BOOKED.pop(order, None)

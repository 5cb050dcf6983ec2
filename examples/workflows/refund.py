"""The worker of refund.yaml: `harpoon worker refund` in this directory.

The bank pays up to 1000 at once, up to 10000 once a person has said so, and more than that never.
"""

from harpoon.worker import Context, Retry, Worker

AT_ONCE = 1_000
AT_ALL = 10_000

app = Worker("refund")


@app.handler("payments.refund")
async def refund(ctx: Context, order: str, amount: float) -> dict[str, str]:
    # Whoever is asked for the second time was told to by a person: no other edge leads back here.
    most = AT_ONCE if ctx.visit == 1 else AT_ALL
    if amount > most:
        raise Retry(f"the bank pays {most} at most")
    return {"id": f"refund-{order}", "key": ctx.idempotency_key}


@app.handler("desk.ask")
async def ask(ctx: Context, order: str, amount: float) -> None:
    ctx.log.info("somebody_is_asked", order=order, amount=amount, time=ctx.visit)


@app.handler("desk.report")
def report(ctx: Context, order: str) -> dict[str, str]:
    ctx.log.error("nobody_answers", order=order)
    return {"incident": f"incident-{order}"}


@app.handler("mail.send")
async def send(ctx: Context, order: str, text: str) -> None:
    ctx.log.info("customer_is_told", order=order, text=text)

"""The worker of loan.yaml: it rates people and writes letters. Run it with ``harpoon worker loan``."""

from harpoon.worker import Context, Fail, Worker

app = Worker("loans")
#: Letters that were written: key of the attempt → to whom, and about what. Writing one again changes nothing.
LETTERS: dict[str, tuple[str, str]] = {}


@app.handler("loans.rate")
async def rate(_ctx: Context, person: str, debts: int) -> dict[str, int]:
    """Rate somebody by what they owe."""
    if debts < 0:
        raise Fail(f"nobody owes {debts}; ask the register about {person}")
    return {"points": max(0, 100 - debts)}


@app.handler("loans.write")
async def write(ctx: Context, to: str, about: str, link: str = "", payment: str = "") -> str:
    """Write a letter, once, however often it is asked."""
    LETTERS[ctx.idempotency_key] = (to, about)
    return " ".join(word for word in (about, link and "with a link", payment) if word)

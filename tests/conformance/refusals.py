"""What a watch must refuse, and how; and what it must agree to."""

from tests.conformance.events import NDJSON, SSE, Violation, place_of
from tests.conformance.promises import opened, reaches
from tests.conformance.stir import Stir
from tests.conformance.wire import Address, Answer, Refusal

BAD = (
    "after=5",
    "after=x",
    "after=1.",
    "after=1.-1",
    "kinds=pods",
    "kinds=",
    "kinds=jobs,",
    "name=A",
    "namespace=..",
    "tag=x",
    "tag=%3Dx",
    "color=red",
    "after=1.1&after=1.1",
    "kinds=jobs&kinds=tasks",
)


async def refusal(address: Address, query: str, *, last_id: str | None = None) -> Answer:
    """The answer to a watch that is no stream."""
    try:
        async with address.watch(query, last_id=last_id):
            raise Violation(f"{query} {last_id or ''} is answered by a stream")
    except Refusal as refused:
        answer = refused.answer
    if answer.headers.get("content-type") != "application/problem+json" or answer.json["status"] != answer.status:
        raise Violation(f"{query} is refused by something else than a problem: {answer}")
    return answer


async def bad_parameters_are_named(address: Address) -> None:
    """400, with the parameter at fault."""
    for query in BAD:
        answer = await refusal(address, query)
        pointers = [error["pointer"] for error in answer.json.get("errors", ())]
        if answer.status != 400 or pointers != [f"?{query.partition('=')[0]}"]:
            raise Violation(f"{query} is answered {answer}")
    answer = await refusal(address, "", last_id="yesterday")
    if answer.status != 400:
        raise Violation(f"a bad Last-Event-ID is answered {answer}")


async def what_cannot_be_resumed_is_gone(address: Address, stir: Stir) -> None:
    """410 for another incarnation and for what is yet to come; from what is told as the oldest, one can go on."""
    incarnation, number = place_of(await stir.put("mark"))
    for after in (f"{incarnation + 1}.{number}", f"{incarnation}.{number + 1_000_000}", "0.1"):
        for query, last_id in ((f"after={after}", None), ("", after)):
            await judge_gone(address, stir, await refusal(address, query, last_id=last_id))


async def judge_gone(address: Address, stir: Stir, answer: Answer) -> str:
    """Judge a 410: it tells the oldest revision, which can be resumed from; return that."""
    if answer.status != 410 or answer.json.get("code") != "gone" or "oldest" not in answer.json:
        raise Violation(f"not told as gone: {answer}")
    oldest = answer.json["oldest"]
    until = await stir.put("mark")
    async with opened(address.watch("", NDJSON, after=oldest)) as stream:
        told = await stream.until(reaches(until))
    if until not in [event.revision for event in told]:
        raise Violation(f"after the oldest revision {oldest}, {until} is not told")
    return oldest


async def forms_are_negotiated(address: Address) -> None:
    """By Accept; HEAD answers without a stream."""
    wanted = {
        "": NDJSON,
        "*/*": NDJSON,
        NDJSON: NDJSON,
        SSE: SSE,
        f"application/json, {SSE}": SSE,
        "Text/Event-Stream; charset=utf-8": SSE,
        "application/json": None,
        "text/html, text/*;q=0.1": None,
    }
    for accept, form in wanted.items():
        answer = await address.ask("HEAD", "/v1/watch", Accept=accept)
        told = answer.headers.get("content-type", "").partition(";")[0]
        if (answer.status, told if form else None) != (200 if form else 406, form):
            raise Violation(f"Accept: {accept} is answered {answer}")
        if form and "harpoon-revision" not in answer.headers:
            raise Violation(f"no revision is told in {answer.headers}")


async def strangers_are_not_told(address: Address) -> None:
    """Where there is a token, nobody is told anything without it."""
    if address.token is None:
        return
    for token in (None, address.token + "x"):
        answer = await refusal(Address(address.host, address.port, address.authority, token, address.is_tls), "")
        if answer.status != 401:
            raise Violation(f"without the right token: {answer}")

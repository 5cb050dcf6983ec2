"""Callbacks: how somebody outside answers a run that waits for that, by a URL that is its own credential.

It is the one door that changes something without the server's token. So it tells nobody anything: whatever is wrong
with a URL, the answer is the same; and who tries many that are wrong is let try no more for a while.
"""

import re
from typing import Any, Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import read_large
from harpoon.api.crowd import Crowd
from harpoon.api.guesses import Guesses
from harpoon.api.holders import at_holder, runs_of, status_of
from harpoon.api.operation import TEXT, Operation, Parameter
from harpoon.api.query import Query
from harpoon.control.callback_urls import PREFIX, digest_of, is_right
from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.run_signals import refusal
from harpoon.core.callback import Reply, was_called
from harpoon.core.step import Refused
from harpoon.kit import codec, strict
from harpoon.kit.errors import Conflict, Invalid, NotFound, Problem
from harpoon.model.label import DONE
from harpoon.model.name import check_name
from harpoon.model.run_orders import CallbackTaken
from harpoon.model.sub_run import check_any_run

#: Bytes of what a callback brings.
BODY_MAX: Final = 64 << 10
#: Callbacks that are answered at once: a body each, and reading a run's log.
AT_ONCE: Final = 64
#: Those, and who has tried wrong URLs.
CALLERS: web.AppKey[Crowd] = web.AppKey("callers", Crowd)
GUESSES: web.AppKey[Guesses] = web.AppKey("guesses", Guesses)
_VISIT: Final = re.compile(r"[1-9][0-9]{0,6}", re.ASCII)
_NOTHING: Final = "there is no such callback, or nothing waits for it any more"
#: Codes of refusals that tell no more than that.
_HIDDEN: Final = frozenset({"unknown", "late", "over"})


async def call_back(request: web.Request) -> web.Response:
    """Answer a run that waits for it, by the URL that it gave out. No token is needed but the one in the URL.

    The body is JSON of at most 64 KiB, or nothing: it becomes the output of the operation, which is closed by the
    label. Each URL is used once; the very same request again is answered alike, another one with 409. Whatever else is
    wrong with the URL is answered 404. What comes before the run waits for it is kept.
    """
    key, visit = await _opened(request)
    with request.app[CALLERS].admit():
        label = Query(request).one("label") or DONE
        body = await read_large(request, BODY_MAX) if request.can_read_body else b""
        payload = _payload(body)
        call = Reply(request.match_info["op"], visit, digest_of(label, payload), label, payload)

        async def here(conductor: Conductor) -> web.Response:
            await _take(request, conductor, key, call)
            return answer(request, codec.dump_full(CallbackTaken(label=label)))

        return await at_holder(request, key, here, body=body)


async def _opened(request: web.Request) -> tuple[str, int]:
    """Return the key of the run that a URL opens, and the number of the visit; before anything else is read.

    Who comes with a right one to where the run is conducted is never kept out by who guesses from the same place.

    Raises:
        NotFound: It opens nothing; that is counted.
        Refused: Too many came from there that opened nothing.
    """
    part, origin, guesses = request.match_info, request.remote or "", request.app[GUESSES]
    try:
        key, visit = _named(request)
        conductor = runs_of(request).conductor_of(key)
        conducted = None if conductor is None else conductor.runs.get(key)
        if conducted is not None:
            secret = conducted.secret
        else:
            # For who guesses, the store is not read.
            guesses.check(origin)
            with request.app[CALLERS].admit():
                header = await status_of(request).reader.header(key)
            secret = "" if header is None else header.secret
        if is_right(key, secret, part["op"], visit, part["token"]):
            return key, visit
    except NotFound:
        # It is none that there can be.
        pass
    guesses.check(origin)
    guesses.missed(origin)
    raise NotFound(_NOTHING)


def _named(request: web.Request) -> tuple[str, int]:
    """Return the key of the run that is called back, and the number of the visit.

    Raises:
        NotFound: There can be no such run, or no such visit.
    """
    part = request.match_info
    try:
        key = run_key(check_name("ns", part["ns"]), check_any_run(part["run"]))
        if _VISIT.fullmatch(part["visit"]) is None:
            raise NotFound(_NOTHING)
    except ValueError:
        raise NotFound(_NOTHING) from None
    return key, int(part["visit"])


def _payload(body: bytes) -> object:
    if not body:
        return None
    payload, faults = strict.read(body)
    if faults:
        problems = [Problem(pointer=strict.pointer(one.location), detail=one.detail) for one in faults]
        raise Invalid(f"the body is not JSON that is taken: {problems[0].detail}", problems)
    return payload


async def _take(request: web.Request, conductor: Conductor, key: str, call: Reply) -> None:
    """Have a run take what its callback brings.

    Raises:
        NotFound: The URL is wrong, or nothing waits for it.
        Conflict: It was used for something else.
        Invalid: The operation takes no such thing.
    """
    token, reader = request.match_info["token"], status_of(request).reader
    conducted = conductor.runs.get(key)
    header = None if conducted is not None else await reader.header(key)
    secret = conducted.secret if conducted is not None else "" if header is None else header.secret
    if not is_right(key, secret, call.op, call.visit, token):
        raise NotFound(_NOTHING)
    try:
        await conductor.call_back(key, call)
    except NotFound:
        header = header or await reader.header(key)
        known = None if header is None else was_called(await reader.events(key, header), call)
        if known is None:
            raise NotFound(_NOTHING) from None
        if not known:
            raise Conflict(_used(call)) from None
    except Refused as error:
        if error.code in _HIDDEN:
            raise NotFound(_NOTHING) from None
        if error.code == "used":
            raise Conflict(_used(call)) from None
        if error.is_mistake:
            # The label is a parameter here, and the payload the whole body.
            place = "?label" if error.code == "label" else ""
            raise Invalid(error.message, [Problem(pointer=place, detail=error.message)]) from error
        raise refusal(error) from error


def _used(call: Reply) -> str:
    return f"this callback of {call.op} was used already, with another label or body"


_LABEL: Final = Parameter("label", TEXT, "By which the operation closes; done when absent.")
ROUTES = (
    Operation(
        "POST",
        f"{PREFIX}{{ns}}/{{run}}/{{op}}/{{visit}}/{{token}}",
        call_back,
        tag="runs",
        query=(_LABEL,),
        body=Any,
        answers={200: CallbackTaken},
        is_open=True,
    ),
)

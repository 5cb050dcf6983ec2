"""What a run that goes on is told: signals, and to be paused, resumed or cancelled. Done by whoever conducts it."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.holders import at_holder, status_of
from harpoon.api.idempotency import check_key
from harpoon.api.operation import Operation
from harpoon.api.query import path_name, path_run, path_signal
from harpoon.control.conductor import Conductor
from harpoon.control.ledger_records import run_key
from harpoon.control.run_signals import check_signal_id, deliver, not_open, refusal
from harpoon.control.run_status import shown_header
from harpoon.core.step import Refused, Signal
from harpoon.kit import codec
from harpoon.kit.errors import NotFound
from harpoon.model.run import Status
from harpoon.model.run_orders import RunCancel, SignalOrder, SignalTaken
from harpoon.model.run_shown import RunObject
from harpoon.model.shown import Empty

Do = Callable[[Conductor, str], Awaitable[object]]


async def pause_run(request: web.Request) -> web.Response:
    """Have nothing of a run claimed, fired or consumed until it is resumed; its clocks run on."""
    body = await read_json(request)
    await decode(request, Empty, body)
    return await _order(request, body, lambda conductor, key: conductor.pause(key, ""))


async def resume_run(request: web.Request) -> web.Response:
    """Have a run go on that was paused."""
    body = await read_json(request)
    await decode(request, Empty, body)
    return await _order(request, body, lambda conductor, key: conductor.resume(key, ""))


async def cancel_run(request: web.Request) -> web.Response:
    """End a run: what is open closes as cancelled, nothing follows, and workers that are at it are told."""
    body = await read_json(request)
    reason = (await decode(request, RunCancel, body)).reason
    return await cancelled(request, body, reason)


async def cancelled(request: web.Request, body: bytes = b"", reason: str = "") -> web.Response:
    """Have a run end, and answer with the run as it stands then."""
    return await _order(request, body, lambda conductor, key: conductor.cancel(key, reason), already=Status.CANCELLED)


async def signal_run(request: web.Request) -> web.Response:
    """Send a run a signal: it is consumed by an operation that waits for it, or kept for 7 days until one does.

    Of two signals of one id the second changes nothing, and is answered alike. Without an id one is made; with an
    idempotency key, the same request makes the same id.
    """
    body = await read_json(request)
    order = await decode(request, SignalOrder, body)
    signal = signal_of(request, order, None)

    async def send(conductor: Conductor, key: str) -> None:
        await deliver(conductor, key, signal)

    sent = orjson.dumps({**orjson.loads(body), "id": signal.id})
    return await _order(request, sent, send, taken=signal.id)


def signal_of(request: web.Request, order: SignalOrder, key: str | None) -> Signal:
    """Return the signal that is sent.

    Raises:
        Invalid: It cannot be called so.
    """
    idempotency = check_key(request)
    if order.id is not None:
        called = check_signal_id(order.id)
    elif idempotency is None:
        called = uuid.uuid4().hex
    else:
        called = hashlib.sha256(f"{request.path}\0{idempotency}".encode()).hexdigest()[:32]
    return Signal(called, path_signal(request), key, order.label, order.payload)


async def _order(
    request: web.Request, body: bytes, do: Do, *, already: Status | None = None, taken: str | None = None
) -> web.Response:
    """Have something done with a run, and answer with the run as it stands then.

    Args:
        request: What is answered.
        body: As it is passed on to another instance.
        do: Does it.
        already: How a run has ended that needs not be told.
        taken: Id of the signal that it is.
    """
    namespace, run = path_name(request, "ns"), path_run(request)
    status = status_of(request)

    async def here(conductor: Conductor) -> web.Response:
        try:
            await do(conductor, run_key(namespace, run))
        except NotFound as error:
            header = await status.existing(namespace, run)
            if header.status is not already:
                raise not_open(header) from error
        except Refused as error:
            raise refusal(error) from error
        shown = shown_header(await status.existing(namespace, run))
        told = shown if taken is None else SignalTaken(id=taken, run=shown)
        return answer(request, codec.dump_full(told))

    return await at_holder(request, run_key(namespace, run), here, body=body)


_RUN: Final = "/v1/namespaces/{ns}/runs/{run}"
_SHOWN: Final = {200: RunObject}
ROUTES = (
    Operation(
        "POST",
        f"{_RUN}/signals/{{signal}}",
        signal_run,
        tag="runs",
        body=SignalOrder,
        answers={200: SignalTaken},
        refuses=(409, 410),
    ),
    Operation("POST", f"{_RUN}/cancel", cancel_run, tag="runs", body=RunCancel, answers=_SHOWN, refuses=(409, 410)),
    Operation("POST", f"{_RUN}/pause", pause_run, tag="runs", body=Empty, answers=_SHOWN, refuses=(409, 410)),
    Operation("POST", f"{_RUN}/resume", resume_run, tag="runs", body=Empty, answers=_SHOWN, refuses=(409, 410)),
)

"""Signals to runs that are not named: to one that waits for it with a key, now or within seven days."""

from typing import Final

from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.body import decode, read_json
from harpoon.api.doors import DOORS
from harpoon.api.operation import TEXT, Operation, Parameter
from harpoon.api.pages import PAGING, Listed, answer_pages
from harpoon.api.query import Query, bad_parameter, path_name
from harpoon.api.run_orders import signal_of
from harpoon.control.keyed_signals import KeyedSignals
from harpoon.core.opening import KEY_MAX
from harpoon.kit import codec
from harpoon.kit.errors import Invalid, Problem, Unavailable
from harpoon.model.label import OF_THE_ENGINE, check_word
from harpoon.model.run_orders import SignalDelivery, SignalOrder
from harpoon.model.run_shown import KeptSignal, KeptSignals

#: A run that waits already has the signal within milliseconds, whichever instance conducts it; this is waited for.
DELIVERED_WITHIN_S: Final = 0.25


async def signal_key(request: web.Request) -> web.Response:
    """Send a signal to a run of the namespace that waits for it with this key: to one, once.

    It is durable when it is answered. If no run waits it is kept for 7 days, and the first that does has it; of several
    that wait, one has it. Of two signals of one name, key and id the second changes nothing, and is answered alike.
    Without an id one is made; with an idempotency key, the same request makes the same id. A label that no wait offers,
    and a payload that is larger than a wait takes, are for none; 409 when too many are kept already.
    """
    namespace = path_name(request, "ns")
    key = Query(request).one("key")
    if not key or len(key) > KEY_MAX:
        raise bad_parameter("key", f"say for which key the runs wait, 1 to {KEY_MAX} characters")
    order = await decode(request, SignalOrder, await read_json(request))
    _check_label(order.label)
    signal = signal_of(request, order, key)
    keyed = _keyed(request)
    await keyed.send(namespace, signal)
    run = await keyed.receiver(namespace, signal, DELIVERED_WITHIN_S)
    return answer(request, codec.dump_full(SignalDelivery(id=signal.id, run=run)))


async def list_signals(request: web.Request) -> web.Response:
    """Show the signals that name no run and that none has yet, as they came; their payloads are not shown."""
    namespace, keyed = path_name(request, "ns"), _keyed(request)

    async def gather() -> Listed:
        revision, kept = await keyed.kept(namespace)
        shown = [
            KeptSignal(id=one.id, name=one.name, key=one.key, label=one.label, sent_ms=one.sent_ms) for one in kept
        ]
        return Listed(revision=revision, items=shown, encode=codec.dump_full)

    return await answer_pages(request, gather)


def _check_label(label: str) -> None:
    """Refuse a label that no wait can offer, whatever workflows there will be.

    Raises:
        Invalid: It is one.
    """
    detail = f"{label} is a label that the engine alone gives; send another" if label in OF_THE_ENGINE else ""
    try:
        check_word("label", label)
    except ValueError as error:
        detail = str(error)
    if detail:
        raise Invalid(detail, [Problem(pointer="/label", detail=detail)])


def _keyed(request: web.Request) -> KeyedSignals:
    keyed = request.app[DOORS].keyed
    if keyed is None:
        raise Unavailable("this server knows nothing of runs")
    return keyed


_KEY: Final = Parameter("key", TEXT, "What the run waits with.", is_required=True)
ROUTES = (
    Operation(
        "GET",
        "/v1/namespaces/{ns}/signals",
        list_signals,
        tag="runs",
        query=PAGING,
        answers={200: KeptSignals},
    ),
    Operation(
        "POST",
        "/v1/namespaces/{ns}/signals/{signal}",
        signal_key,
        tag="runs",
        query=(_KEY,),
        body=SignalOrder,
        answers={200: SignalDelivery},
    ),
)

"""Closings on their way: how many go together, and what becomes of each by what is told of it."""

from collections.abc import Sequence

import orjson
import pytest

from harpoon.kit.clock import elapsed_s
from harpoon.kit.errors import Invalid
from harpoon.worker import outbox as module
from harpoon.worker.outbox import COUNT_MAX, Outbox
from harpoon.worker.outcome import Result, failed
from harpoon.worker.wire import Claim, Closing, Told, closing_of


def a_closing(run: str = "r1", output: bytes = b"1", *, until_s: float = float("inf")) -> Closing:
    claim = Claim(
        run=run, workflow="flow", op="op", visit=1, attempt=2, token="1.7", handler="work", key="k", timeout_ms=1000,
        heartbeat_ms=1000,
    )  # fmt: skip
    return Closing(claim, Result("done", output), until_s)


def told(closing: Closing, status: int, **said: str) -> Told:
    return Told(**closing.claim.ref._asdict(), status=status, **said)


class Settled(list[str]):
    def __call__(self, claim: Claim) -> None:
        self.append(claim.run)


def runs(taken: Sequence[Closing]) -> list[str]:
    return [one.claim.run for one in taken]


async def test_closings_go_in_their_order_so_many_and_so_large_at_once() -> None:
    box = Outbox(Settled())
    for number in range(COUNT_MAX + 1):
        box.put(a_closing(str(number)))
    assert runs(box.take()) == [str(number) for number in range(COUNT_MAX)]
    assert runs(box.take()) == [str(COUNT_MAX)]
    large = b'"%s"' % (b"x" * (300 << 10))
    for run, output in (("a", large), ("b", large), ("c", large * 3), ("d", b"1"), ("e", b"1")):
        box.put(a_closing(run, output))
    assert [runs(box.take()) for _ in range(4)] == [["a"], ["b"], ["c"], ["d", "e"]]
    assert not box.take()
    assert not len(box)


async def test_what_a_refused_request_had_goes_again_one_by_one_and_then_together() -> None:
    box = Outbox(Settled())
    for run in "abc":
        box.put(a_closing(run))
    box.refused(box.take(), Invalid("one of them"))
    box.put(a_closing("d"))
    box.put(a_closing("e"))
    assert [runs(box.take()) for _ in range(4)] == [["a"], ["b"], ["c"], ["d", "e"]]


async def test_what_is_refused_alone_is_replaced_once(log: list[dict]) -> None:
    settled = Settled()
    box = Outbox(settled)
    box.refused([a_closing()], Invalid("too large"))
    (second,) = box.take()
    assert second.result == failed("its closing with 'done' was refused: too large")
    assert settled == []
    box.refused([second], Invalid("still"))
    assert settled == ["r1"]
    assert not box.take()
    assert [one["reason"] for one in log if one["event"] == "closing_refused"] == ["too large", "still"]


@pytest.mark.parametrize("status", [404, 409, 410])
async def test_what_comes_late_is_let_be(status: int, log: list[dict]) -> None:
    settled = Settled()
    box = Outbox(settled)
    closing = a_closing()
    box.answered([closing], [told(closing, status, title="Conflict")])
    assert settled == ["r1"]
    assert [(one["event"], one["reason"]) for one in log] == [("closing_came_late", "Conflict")]


@pytest.mark.parametrize("statuses", [(503,), (429,), ()])
async def test_what_cannot_be_taken_now_or_is_not_answered_goes_again(
    statuses: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0)
    settled = Settled()
    box = Outbox(settled)
    closing = a_closing()
    box.answered([closing], [told(closing, status) for status in statuses])
    await box.wait()
    assert box.take() == [closing]
    assert settled == []
    late = closing._replace(until_s=elapsed_s() - 1)
    box.answered([late], [])
    assert settled == ["r1"]


def test_a_closing_says_what_it_has_to() -> None:
    sent = orjson.loads(orjson.dumps(closing_of(a_closing())))
    assert sent == {"run": "r1", "op": "op", "visit": 1, "attempt": 2, "token": "1.7", "label": "done", "output": 1}
    sent = closing_of(a_closing()._replace(result=failed("no", retryable=True)))
    assert (sent["error"], sent["retryable"]) == ("no", True)
    assert "output" not in sent

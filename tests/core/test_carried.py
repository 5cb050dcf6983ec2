"""Operations that the engine carries out itself: they go the way of workers' operations, and are told of as what they are."""

import pytest

from harpoon.core.chronicle import read
from harpoon.core.crew import Crew, Wait, Waiting, waits_for
from harpoon.core.event import Claimed, Event, Opened, Started
from harpoon.core.exchange import Asker, Exchange
from harpoon.core.graph import Kind, compile_graph
from harpoon.core.lines import Line
from harpoon.core.offers import AttemptId, Entry, Lane, Offer, SessionId, lane_of
from harpoon.core.outlook import State, outlook
from harpoon.core.run_picture import Plot, attempts, visits
from harpoon.core.run_why import why
from harpoon.core.sessions import Sessions
from harpoon.kit.errors import Invalid
from harpoon.model.http import Http, SecretHeader
from harpoon.model.operation import Operation
from harpoon.model.visit_shown import VisitState
from harpoon.model.why import ReasonCode
from tests.core.flow import T0, Flow, _edges, ms, retry, spec

URL = "https://a.example/"


def call(url: str = URL, told: dict[str, object] | None = None, **fields: object) -> Operation:
    return Operation(http=Http(url=url, **(told or {})), **_edges(fields))  # type: ignore[arg-type]


def test_it_is_compiled_with_what_its_expressions_stand_in() -> None:
    headers = {"X-A": "${run.id}", "X-Key": SecretHeader(secret="a/b")}
    node = compile_graph(spec(a=call(told={"headers": headers}))).nodes["a"]
    assert (node.kind, node.handler, node.offered) == (Kind.HTTP, ":http", {"done", "fail"})
    assert node.input is not None
    assert node.input.value({"run": {"id": "r1"}}) == {"url": URL, "headers": {"X-A": "r1"}}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (call("${nothing.x}"), "nothing"),
        (call(next={"shipped": "b"}), "never closed as shipped"),
        (call(told={"method": "POST", "body": {"a": ["${inputs.x}"]}}), "no input"),
    ],
)
def test_what_is_wrong_with_it_is_found_where_it_stands(operation: Operation, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        compile_graph(spec(a=operation, b=call()))
    assert all(one.pointer.startswith("/spec/operations/a/") for one in caught.value.problems)


def test_edges_may_follow_on_timeouts_and_losses() -> None:
    graph = compile_graph(spec(a=call(next={"timeout": "b", "lost": "b", "fail": "b"}), b=call(visits=3)))
    assert set(graph.nodes["a"].edges) == {"timeout", "lost", "fail"}


@pytest.mark.parametrize(
    ("passed", "is_claimed", "label", "error"),
    [
        (60_000, False, "timeout", "no server claimed it within 1m"),
        (5_000, True, "lost", "nothing was heard for 5s of the server that carried it out"),
        (10_000, True, "timeout", "it took longer than 10s"),
    ],
)
def test_its_clocks_are_those_of_a_workers_operation(passed: int, is_claimed: bool, label: str, error: str) -> None:
    heartbeat = 5_000 if label == "lost" else 60_000
    told = call(takes=10_000, heartbeat=heartbeat, queue_timeout=60_000, retry=retry(lost=1), next={label: "b"})
    flow = Flow(spec(a=told, b=call()))
    flow.start()
    if is_claimed:
        flow.claim("a")
    flow.pass_(passed)
    latest = flow.run.ops["a"].latest
    assert latest is not None
    assert (latest.label, latest.error) == (label, error)
    assert [one.state for one in outlook(flow.run, flow.now).stands] == [State.READY]


def _shown(*events: Event) -> tuple[Plot, object]:
    plot = Plot(operations={"a": call()}, most={})
    return plot, read([Started(1, T0, (Opened("a", 1, None),)), *events])


def test_it_is_shown_as_what_it_is() -> None:
    plot, told = _shown()
    ((one,), _), (attempt,) = visits(told, plot, T0), attempts(told, plot, T0)  # type: ignore[arg-type]
    assert (one.kind, one.state, one.waits_for) == ("http", VisitState.READY, "the server to take it up")
    assert attempt.due_ms == T0 + 3_600_000
    plot, told = _shown(Claimed(2, T0, "a", 1, 1, "t", "harpoon", "me"))
    ((one,), _) = visits(told, plot, T0)  # type: ignore[arg-type]
    assert (one.state, one.worker, one.due_ms) == (VisitState.RUNNING, "harpoon", T0 + 300_000)
    (reason,) = why(told, plot, (), None, T0)  # type: ignore[arg-type]
    assert reason.sentence == "a (visit 1) is carried out by the server since 2023-11-14T22:13:20Z"


_SHARED = (
    "waits for others of its workflow to end, which has its share: "
    "the server is at 3 attempts, and keeps room for other workflows"
)


@pytest.mark.parametrize(
    ("wait", "code", "sentence"),
    [
        (None, ReasonCode.WORKERS_UNKNOWN, "waits for the server that conducts the run"),
        (Wait.NO_WORKER, ReasonCode.NO_WORKER, "waits for a server that carries out :http"),
        (
            Wait.SHARE,
            ReasonCode.WORKFLOW_SHARE,
            _SHARED,
        ),
        (
            Wait.BUSY,
            ReasonCode.WORKERS_BUSY,
            "waits for its turn: the server is at 3 attempts, as many as it carries out at once",
        ),
        (Wait.TURN, ReasonCode.WORKERS_FREE, "is about to be taken up by the server, in its turn"),
    ],
)
def test_what_it_waits_for_is_told_in_its_own_words(wait: Wait | None, code: ReasonCode, sentence: str) -> None:
    plot, told = _shown()
    offer = Offer(AttemptId("n", "r", "a", 1, 1), "w", ":http", T0)
    floor = None if wait is None else {("a", 1): Waiting(wait, offer, Crew(1, 1, 3, 0, None, 0), None)}
    (reason,) = why(told, plot, (), floor, T0)  # type: ignore[arg-type]
    assert (reason.code, reason.sentence) == (code, f"a (visit 1) {sentence}")


def test_what_waits_for_its_share_of_the_places_says_so() -> None:
    exchange, sessions = Exchange(), Sessions()
    exchange.offer([Offer(AttemptId("n1", f"r{number}", "a", 1, 1), "w", ":http", 0) for number in range(9)], 0)
    crew = Asker(SessionId("", ":http", "me"), (":http",), 5, 5)
    for _ in range(2):
        exchange.ask(crew)
        exchange.deal(0)
    known = sessions.enter(crew.session, 0)
    known.handlers, known.is_asking, known.want = (":http",), True, 1
    waits = [waits_for(exchange, sessions, AttemptId("n1", f"r{number}", "a", 1, 1), 0) for number in range(9)]
    assert [one.wait for one in waits if one is not None] == [Wait.CLAIMED] * 4 + [Wait.SHARE] * 5


def test_there_is_one_line_for_all_namespaces_and_a_worker_is_never_in_it() -> None:
    assert lane_of("shop", ":http") == Lane("", ":http")
    assert lane_of("shop", "http") == Lane("shop", "http")
    exchange = Exchange()
    offers = [Offer(AttemptId(name, "r1", "a", 1, 1), "w", ":http", 0) for name in ("n1", "n2")]
    exchange.offer(offers, 0)
    exchange.ask(Asker(SessionId("n1", "w1", "s1"), (":http",), 9))
    assert exchange.deal(0) == []
    crew = Asker(SessionId("", ":http", "me"), (":http",), 9)
    exchange.ask(crew)
    assert [deal.offers for deal in exchange.deal(0)] == [tuple(offers)]


def test_turns_in_it_are_fair_between_workflows_of_one_name_in_different_namespaces() -> None:
    line = Line()
    entries = [
        Entry(Offer(AttemptId(name, "r1", f"a{number}", 1, 1), "w", ":http", 0))
        for name in ("n1", "n2")
        for number in range(3)
    ]
    for entry in entries:
        line.put(entry)
    line.remove(entries[-1])
    assert [line.take().offer.id.namespace for _ in range(5)] == ["n1", "n2", "n1", "n2", "n1"]
    assert not line


def test_its_span_is_that_of_its_attempts() -> None:
    assert call(timeout=ms(1000)).timeout_ms == 1000
    assert call().timeout_ms == 300_000

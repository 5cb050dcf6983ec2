"""The exchange: turns, retries, limits, shares, and what becomes of what was dealt."""

import time
from collections import Counter
from collections.abc import Sequence

import pytest

from harpoon.core.exchange import DEAL_BYTES_MAX, Asker, Deal, Exchange
from harpoon.core.offers import Lane, Offer, Stand
from tests.core.exchanging import LANE, a_session, an_asker, an_id, an_offer, got, ops, runs, take


def test_an_attempt_is_dealt_to_who_asks_for_its_handler_in_its_namespace() -> None:
    exchange = Exchange()
    exchange.offer([an_offer()], 0)
    assert take(exchange, an_asker(handlers=("other",))) == []
    assert take(exchange, Asker(a_session(namespace="else"), ("pack",), 1)) == []
    assert take(exchange, an_asker(handlers=("other", "pack", "pack"), want=5)) == [an_offer()]
    assert take(exchange, an_asker("w2")) == []
    assert exchange.claimant(an_id()) == a_session()
    assert exchange.held(a_session()) == (an_id(),)
    assert exchange.holders() == [a_session()]


def test_who_asked_before_is_dealt_what_comes_and_waits_no_longer() -> None:
    exchange, asker = Exchange(), an_asker(handlers=("pack", "sign"))
    exchange.ask(asker)
    assert exchange.deal(0) == []
    exchange.offer([an_offer()], 0)
    exchange.offer([an_offer("r2", handler="sign")], 0)
    assert got(exchange.deal(0)) == {"w1": ["a"]}
    assert exchange.ready(Lane("default", "sign")) == 1
    assert exchange.deal(0) == []
    assert len(exchange) == 2


def test_who_has_left_is_dealt_nothing() -> None:
    exchange, asker = Exchange(), an_asker()
    exchange.leave(asker)
    exchange.ask(asker)
    exchange.ask(an_asker("w2"))
    exchange.leave(asker)
    exchange.leave(asker)
    exchange.offer([an_offer(op="a"), an_offer(op="b")], 0)
    assert got(exchange.deal(0)) == {"w2": ["a"]}


def test_workflows_take_turns_then_their_runs_then_their_attempts() -> None:
    exchange = Exchange()
    exchange.offer([an_offer("big", f"o{number}") for number in range(4)], 0)
    exchange.offer([an_offer("small", "x")], 0)
    exchange.offer([an_offer("other", "y", workflow="bill")], 0)
    offers = take(exchange, an_asker(want=6))
    assert runs(offers) == ["big", "other", "small", "big", "big", "big"]
    assert ops(offers) == ["o0", "y", "x", "o1", "o2", "o3"]


def test_what_many_ask_for_is_shared_out() -> None:
    exchange = Exchange()
    for number in range(3):
        exchange.ask(an_asker(f"w{number}", want=10))
    exchange.offer([an_offer(op=f"o{number}") for number in range(4)], 0)
    assert got(exchange.deal(0)) == {"w0": ["o0", "o1"], "w1": ["o2"], "w2": ["o3"]}


def test_an_asker_gets_no_more_than_it_wants() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="a"), an_offer(op="b"), an_offer(op="c")], 0)
    assert ops(take(exchange, an_asker(want=2))) == ["a", "b"]
    assert exchange.ready(LANE) == 1
    assert exchange.ready(Lane("default", "sign")) == 0
    exchange.offer([an_offer("r2", handler="sign")], 0)
    assert exchange.ready_count() == 2


def test_large_inputs_are_dealt_bit_by_bit() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op=name, size=DEAL_BYTES_MAX // 2) for name in "abc"], 0)
    assert ops(take(exchange, an_asker(want=3))) == ["a", "b"]
    exchange.offer([an_offer(op="d", size=2 * DEAL_BYTES_MAX)], 0)
    assert ops(take(exchange, an_asker(want=3))) == ["c", "d"]


def test_who_only_looks_is_shown_what_nobody_asked_for() -> None:
    exchange, first, second = Exchange(), an_asker("l1", want=0), an_asker("l2", want=0, handlers=("pack", "sign"))
    exchange.ask(first)
    exchange.ask(second)
    exchange.ask(an_asker("w1"))
    exchange.offer([an_offer(op="a")], 0)
    assert got(exchange.deal(0)) == {"w1": ["a"]}
    exchange.offer([an_offer(op="b")], 0)
    assert exchange.deal(0) == [Deal(first, ())]
    assert exchange.ready(LANE) == 1
    exchange.leave(first)
    exchange.offer([an_offer(op="c"), an_offer(op="d")], 0)
    assert exchange.deal(0) == [Deal(second, ())]
    # Whoever looks later is shown it at once.
    exchange.ask(first)
    assert exchange.deal(0) == [Deal(first, ())]
    assert exchange._lookers == {}


def test_a_retry_is_dealt_when_its_time_has_come() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="b", ready_ms=200), an_offer(op="a", ready_ms=100)], 50)
    exchange.ask(an_asker())
    assert (exchange.deal(99), exchange.due_ms()) == ([], 100)
    assert exchange.stand(an_id(op="a")) is Stand.LATER
    assert got(exchange.deal(100)) == {"w1": ["a"]}
    assert exchange.due_ms() == 200
    assert ops(take(exchange, an_asker(), 200)) == ["b"]
    assert exchange.due_ms() is None


def test_a_retry_that_was_taken_out_does_not_come_back() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="a", ready_ms=100), an_offer(op="b", ready_ms=150)], 0)
    assert exchange.forget([an_id(op="a")]) == []
    exchange.offer([an_offer(op="a", ready_ms=300)], 0)
    assert exchange.due_ms() == 150
    exchange.forget([an_id(op="b")])
    assert take(exchange, an_asker(want=5), 200) == []
    assert exchange.due_ms() == 300


def test_one_that_is_offered_again_stays_as_it_is() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(), an_offer()], 0)
    assert take(exchange, an_asker(want=5)) == [an_offer()]
    exchange.offer([an_offer()], 0)
    assert take(exchange, an_asker("w2")) == []


def test_what_was_not_claimed_after_all_goes_back_before_the_others() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="a"), an_offer(op="b")], 0)
    dealt = take(exchange, an_asker())
    exchange.put_back(dealt, 0)
    assert exchange.held(a_session()) == ()
    exchange.put_back(dealt, 0)
    assert ops(take(exchange, an_asker("w2", want=2))) == ["a", "b"]


def test_what_was_taken_out_meanwhile_is_not_put_back() -> None:
    exchange = Exchange()
    exchange.offer([an_offer()], 0)
    dealt = take(exchange, an_asker())
    assert exchange.forget([an_id()]) == [(an_id(), a_session())]
    exchange.put_back(dealt, 0)
    assert take(exchange, an_asker("w2")) == []
    # It may even be another's by now.
    exchange.offer([an_offer()], 0)
    take(exchange, an_asker("w3"))
    exchange.put_back(dealt, 0)
    assert exchange.claimant(an_id()) == a_session("w3")


def test_how_far_an_attempt_is_says_who_has_it() -> None:
    exchange = Exchange()
    exchange.offer([an_offer()], 0)
    exchange.advance(an_id(), 1)
    exchange.advance(an_id(op="none"), 1)
    assert exchange.progress(an_id()) is exchange.progress(an_id(op="none")) is None
    dealt = take(exchange, an_asker())
    exchange.advance(an_id(), 2)
    assert exchange.progress(an_id()) == 2
    exchange.put_back(dealt, 0)
    assert exchange.progress(an_id()) is None


def test_a_run_that_is_over_leaves_nothing() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="a"), an_offer(op="b"), an_offer(op="c"), an_offer("r2")], 0)
    take(exchange, an_asker(want=2))
    ended = exchange.forget_run("default", "r1")
    assert [id_.op for id_, _ in ended] == ["a"]
    assert exchange.forget_run("default", "r1") == []
    assert exchange.forget([an_id()]) == []
    assert exchange.stand(an_id()) is exchange.claimant(an_id()) is None
    assert len(exchange) == 1


def test_a_claim_that_was_found_is_nobody_elses() -> None:
    exchange = Exchange()
    exchange.offer([an_offer()], 0)
    exchange.adopt(an_offer(), a_session("w9"))
    assert take(exchange, an_asker()) == []
    assert exchange.held(a_session("w9")) == (an_id(),)


# Limits.


def limited(*names: str, most: int = 1, **more: str) -> list:
    return [an_offer(op=name, limit=("k", most), **more) for name in names]


def test_no_more_than_the_limit_are_claimed_at_once() -> None:
    exchange = Exchange()
    exchange.offer([*limited("a", "b", "c", most=2), an_offer(op="free")], 0)
    assert ops(take(exchange, an_asker(want=9))) == ["a", "b", "free"]
    assert exchange.stand(an_id(op="c")) is Stand.PARKED
    assert exchange.gates.standing("default", "k").held == 2
    exchange.offer(limited("d", most=2), 0)
    assert take(exchange, an_asker(want=9)) == []
    exchange.forget([an_id(op="a")])
    assert ops(take(exchange, an_asker(want=9))) == ["c"]
    exchange.forget([an_id(op="b"), an_id(op="c")])
    assert ops(take(exchange, an_asker(want=9))) == ["d"]
    exchange.forget([an_id(op="d")])
    assert exchange.gates.standing("default", "k").held == 0


def test_keys_and_namespaces_have_limits_of_their_own() -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op="a", limit=("k", 1)), an_offer(op="b", limit=("l", 1))], 0)
    exchange.offer([an_offer(op="c", limit=("k", 1), namespace="else")], 0)
    assert ops(take(exchange, an_asker(want=9))) == ["a", "b"]
    assert ops(take(exchange, Asker(a_session(namespace="else"), ("pack",), 9))) == ["c"]


def test_who_came_first_is_called_first() -> None:
    exchange = Exchange()
    exchange.offer(limited("a"), 0)
    take(exchange, an_asker())
    exchange.offer(limited("b", "c"), 0)
    exchange.forget([an_id(op="a")])
    # It is called, and this one comes behind.
    exchange.offer(limited("d"), 0)
    order = []
    while dealt := take(exchange, an_asker(want=9)):
        order += ops(dealt)
        exchange.forget([offer.id for offer in dealt])
    assert order == ["b", "c", "d"]


def test_a_handler_without_workers_keeps_no_other_out() -> None:
    exchange = Exchange()
    exchange.offer(limited("a"), 0)
    take(exchange, an_asker())
    exchange.offer([*limited("nobody", handler="nobody"), *limited("b")], 0)
    exchange.forget([an_id(op="a")])
    assert ops(take(exchange, an_asker())) == ["b"]
    # The other was called, too, and finds it full again.
    assert take(exchange, an_asker(handlers=("nobody",))) == []
    exchange.offer(limited("later", handler="nobody"), 0)
    exchange.forget([an_id(op="b")])
    assert ops(take(exchange, an_asker(handlers=("nobody",)))) == ["nobody"]


def test_one_that_was_called_and_is_taken_out_gives_way_to_the_next() -> None:
    exchange = Exchange()
    exchange.offer(limited("a", "b", "c"), 0)
    take(exchange, an_asker(want=9))
    exchange.forget([an_id(op="a")])
    exchange.forget([an_id(op="b")])
    assert ops(take(exchange, an_asker(want=9))) == ["c"]


def test_one_that_waits_for_its_limit_can_be_taken_out() -> None:
    exchange = Exchange()
    exchange.offer(limited("a", "b", "c"), 0)
    take(exchange, an_asker(want=9))
    assert exchange.forget([an_id(op="b"), an_id(op="c")]) == []
    exchange.forget([an_id(op="a")])
    assert take(exchange, an_asker(want=9)) == []
    assert len(exchange.gates) == 0


def test_a_higher_limit_lets_more_through_than_a_lower_one_before_it() -> None:
    exchange = Exchange()
    exchange.offer([*limited("a", "b", most=3), *limited("low", "low2")], 0)
    assert ops(take(exchange, an_asker(want=9))) == ["a", "b"]
    exchange.offer(limited("high", most=3), 0)
    exchange.forget([an_id(op="a"), an_id(op="b")])
    assert ops(take(exchange, an_asker(want=9))) == ["low"]


def test_claims_that_were_found_count_and_may_be_more_than_the_limit() -> None:
    exchange = Exchange()
    exchange.offer(limited("c"), 0)
    for name in "ab":
        exchange.adopt(*limited(name), a_session())
    assert take(exchange, an_asker()) == []
    exchange.forget([an_id(op="a")])
    assert take(exchange, an_asker()) == []
    exchange.forget([an_id(op="b")])
    assert ops(take(exchange, an_asker())) == ["c"]


def test_what_was_dealt_and_not_claimed_and_is_offered_anew_is_whoevers_it_is_dealt_to_next() -> None:
    exchange, (first, other) = Exchange(), (an_offer(limit=("k", 1)), an_offer(op="b"))
    exchange.offer([first, other], 0)
    assert take(exchange, an_asker(want=2)) == [first, other]
    assert exchange.dealt(a_session(), (first, other)) == (first, other)
    assert exchange.forget([first.id], is_durable=False) == [(first.id, a_session())]
    assert exchange.dealt(a_session(), (first, other)) == (other,)
    assert exchange.dealt(a_session("w2"), (first, other)) == ()
    again = an_offer(limit=("k", 1))
    exchange.offer([an_offer(op="c"), again], 0)
    assert exchange.withheld("default", "r1") == ()
    assert take(exchange, an_asker("w2", want=2)) == [an_offer(op="c"), again]
    assert exchange.dealt(a_session(), (first,)) == ()
    assert exchange.dealt(a_session("w2"), (first,)) == (), "it is another offer"
    assert exchange.dealt(a_session("w2"), (again,)) == (again,)
    assert exchange.gates.standing("default", "k").held == 1


def test_what_is_put_back_makes_room() -> None:
    exchange = Exchange()
    exchange.offer(limited("a", "b"), 0)
    dealt = take(exchange, an_asker(want=9))
    exchange.put_back(dealt, 0)
    assert ops(take(exchange, an_asker(want=9))) == ["a"]
    exchange.put_back(dealt, 0)
    exchange.forget([an_id(op="a")])
    assert ops(take(exchange, an_asker(want=9))) == ["b"]


def test_as_many_are_called_as_there_is_room_for() -> None:
    exchange = Exchange()
    exchange.offer(limited("a", "b", "c", "d", "e", most=2), 0)
    take(exchange, an_asker(want=9))
    exchange.forget([an_id(op="a"), an_id(op="b")])
    assert exchange.ready(LANE) == 2
    assert ops(take(exchange, an_asker())) == ["c"]
    assert ops(take(exchange, an_asker(want=9))) == ["d"]


def test_a_hundred_thousand_ready_attempts_cost_no_more_each_than_a_thousand() -> None:
    def cost(total: int) -> float:
        exchange = Exchange()
        exchange.offer(
            [an_offer(f"r{number % 1000}", f"o{number}", workflow=f"f{number % 7}") for number in range(total)], 0
        )
        best = 1e9
        for _ in range(20):
            begun = time.perf_counter()
            assert len(take(exchange, an_asker(want=40))) == 40
            best = min(best, time.perf_counter() - begun)
        return best

    assert cost(100_000) < 10 * cost(1000)


@pytest.mark.parametrize("ready", [0, 100])
def test_the_attempts_of_one_run_can_be_a_hundred_thousand(ready: int) -> None:
    exchange = Exchange()
    exchange.offer([an_offer(op=f"o{number}", ready_ms=ready) for number in range(100_000)], 0)
    assert ops(take(exchange, an_asker(want=2), ready)) == ["o0", "o1"]
    assert len(exchange.forget_run("default", "r1")) == 2
    assert len(exchange) == 0


def a_crew(places: int, want: int | None = None) -> Asker:
    return Asker(a_session(":http", namespace=""), (":http",), places if want is None else want, places)


def calls(workflow: str, count: int) -> list[Offer]:
    return [an_offer(f"{workflow}-{number}", workflow=workflow, handler=":http") for number in range(count)]


def workflows(offers: Sequence[Offer]) -> dict[str, int]:
    return dict(Counter(offer.workflow for offer in offers))


def test_a_workflow_alone_has_four_fifths_of_the_places_and_leaves_room_for_others() -> None:
    exchange, crew = Exchange(), a_crew(10)
    exchange.offer(calls("slow", 50), 0)
    taken = take(exchange, crew)
    assert workflows(taken) == {"slow": 8}
    assert exchange.ready(Lane("", ":http")) == 42
    # It waits on, and nothing comes of that until others come, or some of it end.
    exchange.ask(crew)
    assert exchange.deal(0) == []
    assert exchange.is_beyond_share(calls("slow", 10)[9].id)
    assert not exchange.is_beyond_share(taken[0].id)
    exchange.offer(calls("quick", 5), 0)
    assert not exchange.is_beyond_share(calls("quick", 1)[0].id)
    more = take(exchange, crew)
    assert workflows(more) == {"quick": 2}
    exchange.forget([one.id for one in more])
    assert workflows(take(exchange, crew)) == {"quick": 2}


def test_places_that_come_free_are_given_out_again_by_turns_within_the_shares() -> None:
    exchange, crew = Exchange(), a_crew(10)
    exchange.offer(calls("slow", 50), 0)
    slow = take(exchange, crew)
    exchange.offer(calls("other", 50), 0)
    other = take(exchange, crew)
    assert workflows(other) == {"other": 2}
    exchange.forget([one.id for one in slow[:4]])
    # 4 + 2 are taken, and 4 are free: both may have more, while they have less than 4 for each that is free.
    assert workflows(take(exchange, crew)) == {"slow": 2, "other": 2}
    exchange.ask(crew)
    assert exchange.deal(0) == []


def test_what_was_adopted_has_a_place_once_it_is_carried_on() -> None:
    exchange, crew = Exchange(), a_crew(5)
    before = calls("slow", 4)
    for offer in before:
        exchange.adopt(offer, a_session(":http", "other", namespace=""))
    lost, carried = before[0], before[1:]
    for offer in (*carried, *carried):
        exchange.take_place(offer.id)
    exchange.take_place(an_id("unknown"))
    exchange.offer([an_offer(f"slow-{number}", workflow="slow", handler=":http") for number in range(4, 9)], 0)
    exchange.take_place(an_id("slow-5"))
    assert workflows(take(exchange, crew)) == {"slow": 1}
    exchange.forget([lost.id])
    exchange.ask(crew)
    assert exchange.deal(0) == []
    exchange.forget([one.id for one in carried])
    assert workflows(take(exchange, crew)) == {"slow": 3}


def test_nothing_is_beyond_a_share_where_nobody_asks_or_takes_what_comes() -> None:
    exchange = Exchange()
    exchange.offer([an_offer("r1", "a")], 0)
    assert not exchange.is_beyond_share(an_id("r1", "a"))
    exchange.ask(an_asker(handlers=("other",)))
    assert not exchange.is_beyond_share(an_id("r1", "a"))
    assert not exchange.is_beyond_share(an_id("none"))

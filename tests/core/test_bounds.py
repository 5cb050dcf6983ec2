"""What a run can come to at most, of graphs that can be reckoned by hand."""

from dataclasses import replace

import orjson
import pytest

from harpoon.core.bounds import ATTEMPTS_MAX, BYTES_MAX, Bounds, Share, Stretch, bounds, shown
from harpoon.core.bounds_shape import VALUE_MAX
from harpoon.core.graph import compile_graph
from harpoon.core.measure import json_bytes
from harpoon.core.stepping import ERROR_MAX
from harpoon.kit.errors import Invalid
from harpoon.kit.expression_parts import RESULT_MAX
from harpoon.model.http import Http
from harpoon.model.lifecycle import Backoff
from harpoon.model.operation import Operation
from tests.core.flow import (
    DAY,
    HOUR,
    MINUTE,
    await_signal,
    called_back,
    choose,
    limit,
    ms,
    retry,
    sleep,
    spec,
    until,
    work,
)

ONCE = retry(lost=1)


def job(takes=1000, **fields):
    """One attempt, for which it waits up to 10 s."""
    return work(takes=takes, queue_timeout=10_000, **{"retry": ONCE} | fields)


def of(start=None, deadline=300 * DAY, **operations):
    return bounds(compile_graph(spec(start, deadline=deadline, **operations)))


def visits(told):
    return {op: share.visits for op, share in told.operations.items()}


def test_one_operation_is_tried_as_often_as_its_conditions_allow_together():
    told = of(a=job(retry=retry(fail=3, timeout=2, lost=4)))
    # 3 - 1 and 2 - 1 and 4 - 1 are tried again, and then comes one that is not.
    assert (told.attempts, told.operations) == (7, {"a": Share(1, 7)})


def test_what_is_lost_is_not_waited_after_and_ends_before_it_would_time_out():
    backoff = Backoff(initial=ms(100), factor=2.0, max=ms(700), jitter=0.5)
    told = of(a=job(retry=retry(fail=2, timeout=2, lost=3, backoff=backoff)))
    # Lost, lost; then 400 ms and a half more, and the most there is.
    assert told.ends_after_ms == 2 * (11_000 - 1) + 11_000 + 600 + 11_000 + 700 + 11_000


def test_who_is_called_over_http_may_ask_for_the_longest_pause_after_each_failure():
    backoff = Backoff(initial=ms(100), factor=2.0, max=ms(700), jitter=0.5)
    tried = retry(fail=3, timeout=2, lost=1, backoff=backoff)
    call = Operation(http=Http(url="http://a.example/"), timeout=ms(1000), queue_timeout=ms(10_000), retry=tried)
    # The most there is, twice; and 400 ms and a half more after what took too long.
    assert of(a=call).ends_after_ms == 4 * 11_000 + 2 * 700 + 600
    assert of(a=job(retry=tried)).ends_after_ms == 4 * 11_000 + 150 + 300 + 600


def test_waits_end_by_their_clocks_and_choices_at_once():
    assert of(a=sleep(5 * MINUTE)).ends_after_ms == 5 * MINUTE
    assert (
        of(a=until("${inputs.x}", takes=MINUTE) if False else await_signal("go", takes=MINUTE)).ends_after_ms == MINUTE
    )
    assert of(a=await_signal("go")).ends_after_ms == 24 * HOUR
    told = of(a=choose("x", next={"x": "b"}), b=sleep(70))
    assert (told.attempts, told.ends_after_ms) == (2, 70)


def test_labels_of_one_visit_exclude_one_another():
    told = of(a=job(next={"done": ["b", "c"], "fail": "d"}), b=job(), c=job(takes=3000), d=job(retry=retry(lost=9)))
    assert told.attempts == 1 + 9
    assert told.ends_after_ms == 11_000 + 9 * 11_000 - 8
    assert visits(told) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert [stretch.ops for stretch in told.way] == [("a",), ("d",)]


def test_a_join_comes_after_the_last_of_what_it_needs_and_is_counted_once():
    told = of(a=job(), b=job(takes=5000), c=job(needs=["a", "b"]), d=job(needs=["c", "a"]))
    assert (told.attempts, told.ends_after_ms) == (4, 15_000 + 11_000 + 11_000)
    assert told.way == (Stretch(("b",), 15_000), Stretch(("c",), 11_000), Stretch(("d",), 11_000))


def test_a_join_fires_as_often_as_its_rarest_member_occurs():
    told = of(
        "a",
        a=job(next={"again": "a", "done": "b"}, visits=5),
        b=job(visits=2),
        c=job(needs=["a.again", "b"], visits=3),
        d=job(needs=["a.again", "a.done"], visits=4),
    )
    assert visits(told) == {"a": 5, "b": 2, "c": 2, "d": 2}


def test_a_cycle_goes_round_as_often_as_its_visits_and_what_leads_out_happens_once():
    told = of(
        "pay",
        pay=job(next={"fail": "ask", "done": "tell"}, visits=4),
        ask=job(next={"done": "pay", "exhausted": "incident"}, visits=3),
        incident=job(retry=retry(lost=3)),
        tell=job(),
    )
    # pay, ask, three times over, and pay; which fails, so that ask is exhausted.
    assert told.attempts == 4 + 3 + 3
    assert visits(told) == {"pay": 4, "ask": 3, "incident": 1, "tell": 1}
    assert told.ends_after_ms == 7 * 11_000 + 3 * 11_000 - 2
    assert set(told.way[0].ops) == {"pay", "ask"}


def test_a_cycle_is_entered_no_more_often_than_its_rarest_operation_lets_it():
    told = of("a", a=job(next={"again": "b"}, visits=100), b=job(next={"done": "a"}, visits=2))
    assert visits(told) == {"a": 3, "b": 2}
    assert (told.attempts, told.ends_after_ms) == (5, 5 * 11_000)


def test_in_a_cycle_two_ways_back_exclude_one_another():
    told = of(
        "a",
        a=job(next={"x": "b", "y": "c"}, visits=4),
        b=job(takes=3000, next={"done": "a"}, visits=9),
        c=job(next={"done": "a"}, visits=9),
    )
    assert told.attempts == 8
    assert told.ends_after_ms == 4 * 11_000 + 4 * 13_000


def test_a_cycle_that_is_not_entered_for_certain_is_counted_where_it_is():
    told = of(
        "s",
        s=job(next={"x": "a", "y": "z"}),
        a=job(next={"again": "a"}, visits=3),
        z=job(retry=retry(lost=50)),
    )
    assert told.attempts == 51
    assert told.ends_after_ms == 11_000 + 50 * 11_000 - 49


def test_a_cycle_that_opens_more_than_it_closes_is_counted_by_its_visits():
    told = of("a", a=job(next={"done": ["a", "b"]}, visits=3), b=job(visits=5))
    assert (told.attempts, visits(told)) == (6, {"a": 3, "b": 3})
    twice = of("a", a=job(next={"done": ["b", "c"]}, visits=6), b=job(next={"done": "a"}, visits=4), c=job(visits=9))
    assert visits(twice) == {"a": 5, "b": 4, "c": 5}
    assert twice.attempts == 14


def test_an_operation_that_fires_too_often_is_counted_by_its_visits():
    told = of(a=job(next={"done": "c"}), b=job(next={"done": "c"}), d=job(next={"done": "c"}),
              c=job(visits=2, next={"exhausted": "e"}), e=job())  # fmt: skip
    assert visits(told) == {"a": 1, "b": 1, "d": 1, "c": 2, "e": 1}
    assert told.attempts == 6


def test_a_firing_beyond_the_visits_closes_at_once():
    late = job(visits=2, takes=3000, next={"done": "short", "exhausted": "long"})
    told = of(a=job(next={"done": "c"}), b=job(next={"done": "c"}), d=job(next={"done": "c"}), c=late,
              short=job(visits=2), long=job(takes=MINUTE))  # fmt: skip
    assert told.ends_after_ms == 11_000 + 10_000 + MINUTE
    assert [stretch.span_ms for stretch in told.way] == [11_000, 0, 70_000]


def test_a_cycle_that_goes_on_when_it_is_exhausted_may_take_all_of_its_visits():
    told = of(
        "a",
        a=job(visits=2, next={"done": "b", "fail": "a"}),
        b=job(visits=3, next={"done": "b", "exhausted": "c"}),
        c=job(visits=3, next={"done": ["a", "b"]}),
    )
    assert told.ends_after_ms == 11_000 * (2 + 3 + 3)


def test_a_join_within_a_cycle_lets_through_what_it_is_met_by():
    told = of(
        "s",
        s=job(next={"done": ["a", "x"]}),
        x=job(),
        a=job(visits=5),
        c=job(visits=5, needs=["a", "x"], next={"done": "a"}),
    )
    assert visits(told) == {"s": 1, "x": 1, "a": 2, "c": 1}
    # A way may come in by x, and the cycle is counted by all of its visits; none takes more than four of the five.
    assert (told.attempts, told.ends_after_ms) == (5, 5 * 11_000)


def test_long_cycles_of_many_visits_are_reckoned_from_above():
    names = [f"a{number}" for number in range(12)]
    operations = {
        name: job(visits=1000, next={"done": names[(at + 1) % 12], "exhausted": "late"})
        for at, name in enumerate(names)
    }
    told = of("a0", **operations, late=job())
    assert told.attempts == 12_001
    assert visits(told) == dict.fromkeys(names, 1000) | {"late": 1}
    rare = dict(operations, a3=replace(operations["a3"], visits=999))
    assert visits(of("a0", **rare, late=job()))["a3"] == 999


def test_what_is_rare_in_a_cycle_makes_the_rest_of_it_rare():
    """Counted up to its end, or down from the top: what one operation lets through is what the others get."""
    names = [f"a{number}" for number in range(9)]
    operations = {name: job(visits=1000, next={"done": names[(at + 1) % 9]}) for at, name in enumerate(names)}
    operations["a4"] = replace(operations["a4"], visits=2)
    told = of("a0", **operations)
    assert set(visits(told).values()) == {2, 3}


def test_the_deadline_ends_a_run_that_could_go_on():
    told = of(a=sleep(2 * HOUR), deadline=HOUR)
    assert (told.ends_after_ms, told.is_cut_short) == (HOUR, True)
    graph = compile_graph(spec(a=sleep(2 * HOUR), deadline=HOUR))
    assert bounds(graph, 3 * HOUR).ends_after_ms == 2 * HOUR


def test_bytes_are_those_of_inputs_outputs_and_errors():
    told = of(a=job(input={"to": "me"}, output_max=100, retry=retry(fail=2, timeout=2, lost=1)))
    assert told.bytes == len('{"to":"me"}') + 2 * (100 + ERROR_MAX) + 4 + ERROR_MAX + 4
    assert of(a=sleep(70)).bytes == 4 + 4 + 4
    assert of(a=choose("x")).bytes == 4 + 4 + 4
    some = compile_graph(spec(inputs={"x": "string"}, a=job(input="${inputs.x}"), outputs={"y": "${inputs.x}"}))
    assert bounds(some).bytes == VALUE_MAX + (64 << 10) + ERROR_MAX + VALUE_MAX
    asks = compile_graph(spec(inputs={"x": "integer"}, a=choose(("${inputs.x == 1}", "x")), outputs={"y": 1}))
    assert bounds(asks).bytes == 8 + ERROR_MAX + len('{"y":1}')


def test_no_value_of_an_expression_takes_more_than_is_reckoned_with():
    told = [1e16, 1e-7, -1e22, 12345.0, 1e300]
    for value in told:
        assert json_bytes([value] * 9) <= len(orjson.dumps([value] * 9)) * VALUE_MAX / RESULT_MAX


def test_what_cannot_be_evaluated_is_told_twice():
    keyed = compile_graph(spec(inputs={"x": "string"}, a=job(concurrency=limit("${inputs.x}"), output_max=1)))
    assert bounds(keyed).bytes == 4 + ERROR_MAX + 4 + ERROR_MAX + 4
    timed = compile_graph(spec(inputs={"x": "integer"}, a=until("${inputs.x}", takes=MINUTE)))
    assert (bounds(timed).bytes, bounds(timed).ends_after_ms) == (8 + 2 * ERROR_MAX + 4, MINUTE)


def test_signals_are_counted_as_they_come():
    told = of(a=await_signal("go", output_max=10, takes=MINUTE), deadline=6 * DAY)
    assert told.signals_bytes == 10 * (1 + 1000)
    assert told.bytes == told.signals_bytes + 8 + len("signal go did not come within 1m") + 4


def test_each_visit_that_may_be_has_a_callback():
    told = of(a=called_back(output_max=10, takes=MINUTE), deadline=6 * DAY)
    assert told.signals_bytes == 10
    assert told.bytes == told.signals_bytes + 8 + len("its callback did not come within 1m") + 4
    again = of("a", a=called_back(output_max=10, visits=4, next={"done": "a"}), deadline=60 * DAY)
    assert again.signals_bytes == 40


def test_firings_beyond_visits_are_told_too():
    told = of("a", a=job(next={"done": ["b", "b2"]}), b=job(next={"done": "c"}), b2=job(next={"done": "c"}), c=job(
        needs=["a"], visits=2, output_max=4))  # fmt: skip
    least = 3 * (4 + (64 << 10) + ERROR_MAX) + 2 * (8 + ERROR_MAX) + 4
    assert told.bytes == least + 8 + len("c was fired more than 2 times")


def test_too_many_attempts_are_refused_by_the_name_of_what_has_most():
    def fans(count):
        names = [f"a{number}" for number in range(count)]
        loops = {
            name: job(visits=1000, output_max=4, retry=retry(fail=100, timeout=100), next={"again": name})
            for name in names
        }
        return of("s", s=job(next={"done": names}), **loops)

    assert fans(3).attempts == 3 * 1000 * 203 + 1 <= ATTEMPTS_MAX
    most = "1015001 attempts, and 1000000 is the most; a0 alone has 1000 visits of 203 attempts; lower its visits"
    with pytest.raises(Invalid, match=most) as told:
        fans(5)
    assert told.value.problems[0].pointer == "/spec/operations/a0"


def test_too_many_bytes_are_refused():
    fat = job(visits=1000, retry=retry(fail=20), output_max=1 << 20, next={"again": "a"})
    with pytest.raises(Invalid, match="may store 20Gi, and 16Gi is the most; a alone 20Gi; lower its visits"):
        of("a", a=fat)
    assert of("a", a=replace(fat, visits=700)).bytes <= BYTES_MAX


def test_bounds_are_shown_with_what_they_come_from():
    told = shown(
        of(
            "pay",
            pay=job(next={"fail": "ask", "done": "tell"}, visits=4),
            ask=await_signal("go", takes=HOUR, output_max=1000, next={"done": "pay"}, visits=3),
            tell=job(),
            deadline=DAY,
        )
    )
    assert told["attempts"] == {
        "most": 8,
        "because": "pay has up to 4 visits of 1 attempt each; ask has up to 3 visits of 1 attempt each; "
        "tell has up to 1 visit of 1 attempt each",
    }
    assert told["ends_after_ms"] == {
        "most": 3 * HOUR + 5 * 11_000,
        "because": "the longest way is (ask, pay) → tell, 3h1m; 3h1m of that is the cycle of ask, pay",
    }
    assert told["bytes"]["because"].startswith("signals may bring 980Ki; pay may store 273Ki; tell may store ")
    assert told["operations"]["ask"] == {"visits": 3, "attempts": 3}


def test_long_ways_and_cycles_are_shown_by_their_ends():
    def said(way, *, is_cut_short=False):
        told = Bounds(
            attempts=1, ends_after_ms=1, bytes=1, way=tuple(way), is_cut_short=is_cut_short, operations={}, heaviest=(),
            signals_bytes=0,
        )  # fmt: skip
        assert shown(told)["bytes"]["because"] == ""
        return shown(told)["ends_after_ms"]["because"]

    assert said([Stretch(("a",), 5)], is_cut_short=True) == "the longest way is a, 5ms; the deadline ends it before"
    many = [Stretch((f"a{number}",), number * 1000) for number in range(20)]
    assert said(many) == (
        "the longest way is a0 → a1 → a2 → a3 → a4 → a5 → a6 → a7 → (9 more) → a17 → a18 → a19, 3m10s; "
        "19s of that is a19"
    )
    assert said([Stretch(("a", "b", "c", "d"), 25 * HOUR)]).endswith("1d1h of that is the cycle of a, b, c and 1 more")

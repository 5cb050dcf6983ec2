"""Operations, as they are written: what is taken, what is refused, and with which words."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.label import Member
from harpoon.model.operation import KINDS, Attempts, Choice, Operation, Wait


def read(**fields: Any) -> Operation:
    return codec.decode(Operation, orjson.dumps(fields))


def refusal(**fields: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        read(**fields)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def test_the_least_that_an_operation_says() -> None:
    one = read(worker="mail.send")
    assert one == Operation(worker="mail.send")
    assert (one.timeout_ms, one.queue_timeout_ms, one.heartbeat_ms) == (300_000, 3_600_000, 30_000)
    assert (one.visits, one.output_max) == (1, 64 << 10)
    assert [one.retry.fail, one.retry.timeout, one.retry.lost] == [Attempts(attempts=count) for count in (1, 1, 5)]


def test_everything_that_an_operation_can_say() -> None:
    told = {
        "worker": "payments.refund",
        "input": {"order": "${inputs.order}", "lines": [1, None, {"a": True}]},
        "timeout": "30s",
        "queue_timeout": "2h",
        "heartbeat": "5s",
        "retry": {"fail": {"attempts": 3}, "backoff": {"initial": "2s", "factor": 3, "max": "30s", "jitter": 0}},
        "visits": 4,
        "needs": ["a", "ask.approved"],
        "next": {"done": "tell", "fail": ["x", "y"]},
        "labels": ["odd"],
        "end": "failed",
        "output_max": "1Mi",
        "concurrency": {"key": "${inputs.order}", "limit": 1},
        "warn": "80%",
    }
    one = read(**told)
    assert one.next == {"done": ("tell",), "fail": ("x", "y")}
    assert one.members() == (Member("a", "done"), Member("ask", "approved"))
    assert (one.warn, one.timeout_ms) == (80, 30_000)
    again = orjson.loads(codec.dump(one))
    assert again == told | {
        "retry": told["retry"] | {"backoff": {**told["retry"]["backoff"], "factor": 3.0, "jitter": 0.0}}
    }
    assert codec.load(Operation, codec.dump(one)) == one


def test_one_target_and_a_list_of_one_are_the_same() -> None:
    assert codec.canonical(read(worker="a", next={"done": ["b"]})) == codec.canonical(
        read(worker="a", next={"done": "b"})
    )


@pytest.mark.parametrize(
    ("wait", "milliseconds"),
    [
        ({"signal": "decision"}, 86_400_000),
        ({"until": "${inputs.at}"}, 86_400_000),
        ({"for": "10m"}, 86_400_000),
        ({"for": "24h"}, 86_460_000),
    ],
)
def test_a_wait_has_a_day_or_longer_than_it_waits_for(wait: dict[str, str], milliseconds: int) -> None:
    one = read(wait=wait)
    assert one.timeout_ms == milliseconds
    assert codec.load(Operation, codec.dump(one)) == one


def test_a_wait_s_timeout_of_five_minutes_stays_when_it_is_stored() -> None:
    one = read(wait={"signal": "decision"}, timeout="5m")
    assert codec.load(Operation, codec.dump(one)).timeout_ms == 300_000


def test_choices_give_labels_in_order() -> None:
    one = read(choose=[{"when": "${inputs.amount > 100.0}", "label": "big"}, {"else": "small"}])
    assert one.choose == (Choice(when="${inputs.amount > 100.0}", label="big"), Choice(else_="small"))
    assert [choice.given for choice in one.choose] == ["big", "small"]
    assert one.timeout_ms == 0
    assert codec.load(Operation, codec.dump(one)) == one


def test_of_a_wait_a_key_finds_the_signal() -> None:
    assert read(wait={"signal": "paid", "key": "${inputs.order}"}).wait == Wait(signal="paid", key="${inputs.order}")
    assert read(wait={"for": "10m"}).wait == Wait(for_=timedelta(minutes=10))


WORD = "is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got "
HANDLER = "is 1 to 127 of a-z, 0-9, '_', '-' and '.', starting with a letter, such as payments.refund; got "
TARGET = "write the name of an operation, or a list of at least one: next: {done: tell, fail: [a, b]}"


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({}, "", f"an operation sets exactly one of {', '.join(KINDS)}"),
        ({"worker": "a", "wait": {"for": "1m"}}, "", f"an operation sets exactly one of {', '.join(KINDS)}"),
        ({"worker": "A"}, "", f"worker {HANDLER}'A'"),
        ({"worker": "a", "timout": "1s"}, "/timout", "unknown field 'timout'; did you mean 'timeout'?"),
        ({"worker": "a", "visits": 0}, "", "visits is 1 to 1000"),
        ({"worker": "a", "visits": 1001}, "", "visits is 1 to 1000"),
        ({"worker": "a", "visits": "2"}, "/visits", "expected a whole number, got text '2'"),
        ({"worker": "a", "timeout": "1"}, "/timeout", "write a duration as a whole number and a unit: 250ms, 10s, 5m, 2h, or at most 3650d"),
        ({"worker": "a", "timeout": "9ms"}, "", "timeout is 10ms to 90d"),
        ({"worker": "a", "queue_timeout": "91d"}, "", "queue_timeout is 10ms to 90d"),
        ({"worker": "a", "heartbeat": "2h"}, "", "heartbeat is 100ms to 1h"),
        ({"worker": "a", "output_max": "2Mi"}, "", "output_max is 1 to 1Mi"),
        ({"worker": "a", "warn": "100%"}, "/warn", 'write a share of a clock as "1%" to "99%", such as "80%"'),
        ({"worker": "a", "warn": 80}, "/warn", 'write a share of a clock as "1%" to "99%", such as "80%"'),
        ({"worker": "a", "end": "done"}, "/end", "expected 'failed', got text 'done'"),
        ({"worker": "a", "retry": {"lost": {"attempts": 101}}}, "/retry/lost", "attempts is 1 to 100, the first one included"),
        ({"worker": "a", "retry": {"lost": {}}}, "/retry/lost/attempts", "required, but missing"),
        ({"worker": "a", "concurrency": {"key": "", "limit": 1}}, "/concurrency", "key is an expression of 1 to 4096 characters"),
        ({"worker": "a", "concurrency": {"key": "a", "limit": 0}}, "/concurrency", "limit is 1 to 10000"),
        ({"worker": "a", "next": {"done": []}}, "/next/done", TARGET),
        ({"worker": "a", "next": {"done": 1}}, "/next/done", TARGET),
        ({"worker": "a", "next": {"done": [1]}}, "/next/done", TARGET),
        ({"worker": "a", "next": {"done": ["b", "b"]}}, "/next/done", "an edge names b twice; name it once"),
        ({"worker": "a", "next": {"done": ["b"] * 10_001}}, "/next/done", "one label opens at most 10000 operations"),
        ({"worker": "a", "next": {"Done": "b"}}, "", f"a label {WORD}'Done'"),
        ({"worker": "a", "next": {"done": "B"}}, "", f"an operation's name {WORD}'B'"),
        ({"worker": "a", "labels": ["x", "x"]}, "", "labels names x twice; name it once"),
        ({"worker": "a", "labels": ["lost"]}, "", "labels: lost is given by the engine alone; leave it out"),
        ({"worker": "a", "labels": ["X"]}, "", f"a label {WORD}'X'"),
        ({"worker": "a", "labels": [f"l{n}" for n in range(101)]}, "", "labels and next hold at most 100 each"),
        ({"worker": "a", "needs": ["b.c.d"]}, "", "needs holds <operation> or <operation>.<label>, such as ask.approved; got 'b.c.d'"),
        ({"worker": "a", "needs": ["b", "b.done"]}, "", "needs names b.done twice; name it once"),
        ({"worker": "a", "needs": [f"b{n}" for n in range(10_001)]}, "", "needs holds at most 10000"),
        ({"wait": {}}, "/wait", "a wait sets exactly one of signal, until, for, callback"),
        ({"wait": {"signal": "a", "for": "1m"}}, "/wait", "a wait sets exactly one of signal, until, for, callback"),
        ({"wait": {"signal": "a", "callback": True}}, "/wait", "a wait sets exactly one of signal, until, for, callback"),
        ({"wait": {"callback": True, "key": "k"}}, "/wait", "key is for signal; leave it out"),
        ({"wait": {"signal": "a b"}}, "/wait", f"signal {HANDLER}'a b'"),
        ({"wait": {"for": "1m", "key": "k"}}, "/wait", "key is for signal; leave it out"),
        ({"wait": {"signal": "a", "key": "k" * 4097}}, "/wait", "key is an expression of 1 to 4096 characters"),
        ({"wait": {"until": ""}}, "/wait", "until is an expression of 1 to 4096 characters"),
        ({"wait": {"for": "0s"}}, "/wait", "for is 10ms to 90d"),
        ({"wait": {"for": "1m"}, "timeout": "2m"}, "", "timeout has no meaning with wait.for, which ends by itself; leave it out"),
        ({"wait": {"for": "1m"}, "labels": ["a"]}, "", "labels is for a wait for a signal or a callback, which brings one; leave it out"),
        ({"wait": {"callback": True}, "foreach": {"items": [1]}}, "", "foreach has no meaning with wait.callback; have it call a workflow that waits for one"),
        ({"wait": {"signal": "a"}, "heartbeat": "1s"}, "", "heartbeat has no meaning with wait; leave out"),
        ({"wait": {"signal": "a"}, "input": 1, "retry": {"lost": {"attempts": 2}}}, "", "input and retry have no meaning with wait; leave out"),
        ({"choose": [{"else": "a"}], "timeout": "1s"}, "", "timeout has no meaning with choose; leave out"),
        ({"choose": []}, "", "choose holds 1 to 100 choices"),
        ({"choose": [{"else": "a"}, {"else": "b"}]}, "", "else is the last of choose: what stands after it could never be picked"),
        ({"choose": [{"else": "a"}], "labels": ["b"]}, "", "the labels of a choose are those of its choices; leave labels out"),
        ({"choose": [{}]}, "/choose/0", 'a choice is {when: "${…}", label: name}, or {else: name}'),
        ({"choose": [{"when": "x"}]}, "/choose/0", 'a choice is {when: "${…}", label: name}, or {else: name}'),
        ({"choose": [{"label": "x"}]}, "/choose/0", 'a choice is {when: "${…}", label: name}, or {else: name}'),
        ({"choose": [{"when": "x", "label": "y", "else": "z"}]}, "/choose/0", 'a choice is {when: "${…}", label: name}, or {else: name}'),
        ({"choose": [{"when": "", "label": "y"}]}, "/choose/0", "when is an expression of 1 to 4096 characters"),
        ({"choose": [{"else": "Z"}]}, "/choose/0", f"a label {WORD}'Z'"),
        ({"choose": [{"else": "timeout"}]}, "/choose/0", "timeout is a label that the engine alone gives; call it otherwise"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_would_be_right(fields: dict[str, Any], pointer: str, detail: str) -> None:
    assert refusal(**fields) == {pointer: detail}

"""A workflow written in Python is the manifest that a person would have written."""

import pytest
import yaml

from harpoon.kit.errors import Invalid
from harpoon.worker import Workflow

EXAMPLE = """
apiVersion: harpoon/v1
kind: Workflow
metadata: {name: refund}
spec:
  inputs: {order: {type: string, maxLength: 64}, amount: {type: number}}
  deadline: 24h
  start: pay_back
  operations:
    pay_back:
      worker: payments.refund
      input: {order: "${inputs.order}", amount: "${inputs.amount}"}
      timeout: 30s
      retry: {fail: {attempts: 3}, timeout: {attempts: 2}, lost: {attempts: 5}, backoff: {initial: 1s, factor: 2, max: 1m}}
      visits: 4
      next: {done: tell, fail: ask_human, timeout: ask_human}
    ask_human: {worker: desk.ask, visits: 4, next: {done: wait_human, exhausted: incident}}
    wait_human:
      wait: {signal: decision}
      timeout: 4h
      visits: 4
      labels: [approved, rejected]
      next: {approved: pay_back, rejected: tell, timeout: ask_human}
    incident: {http: {url: "https://pager.example/incidents", method: POST}, timeout: 10s, end: failed}
    tell: {worker: mail.send, input: {text: "${ops.pay_back.label}"}}
  outputs: {refund: "${has(ops.pay_back.output) ? ops.pay_back.output.id : null}"}
"""


def test_the_example_comes_out_as_it_is_written() -> None:
    flow = Workflow(
        "refund", inputs={"order": {"type": "string", "maxLength": 64}, "amount": {"type": "number"}}, deadline="24h"
    )
    pay = flow.worker(
        "pay_back",
        "payments.refund",
        input={"order": flow.given("order"), "amount": flow.given("amount")},
        timeout="30s",
        retry={
            "fail": {"attempts": 3},
            "timeout": {"attempts": 2},
            "lost": {"attempts": 5},
            "backoff": {"initial": "1s", "factor": 2, "max": "1m"},
        },
        visits=4,
    )
    ask = flow.worker("ask_human", "desk.ask", visits=4)
    wait = flow.wait("wait_human", signal="decision", timeout="4h", visits=4, labels=["approved", "rejected"])
    call = {"url": "https://pager.example/incidents", "method": "POST"}
    incident = flow.operation("incident", http=call, timeout="10s", end="failed")
    tell = flow.worker("tell", "mail.send", input={"text": pay.label})
    pay.on("done", tell).on("fail", ask).on("timeout", ask)
    ask.on("done", wait).on("exhausted", incident)
    wait.on("approved", pay).on("rejected", tell).on("timeout", ask)
    flow.start(pay)
    flow.output("refund", "${has(ops.pay_back.output) ? ops.pay_back.output.id : null}")
    assert flow.manifest() == yaml.safe_load(EXAMPLE)


def test_operations_need_others_and_edges_have_several_targets() -> None:
    flow = Workflow("ship", namespace="shop", tags={"team": "a"}, on_failure="continue")
    pick = flow.worker("pick", "store.pick")
    check = flow.choose("check", {"big": "inputs.amount > 100.0"}, otherwise="small")
    pause = flow.wait("pause", span="10m")
    late = flow.wait("late", until="${inputs.at}")
    known = flow.wait("known", signal="paid", key="${inputs.order}")
    send = flow.worker("send", "post.send", needs=[pick, check["big"]], input={"box": pick.output})
    last = flow.worker("last", "post.track", needs=send)
    pick.on("done", pause, late).on("done", known)
    document = flow.manifest()
    assert document["metadata"] == {"name": "ship", "namespace": "shop", "tags": {"team": "a"}}
    assert document["spec"]["on_failure"] == "continue"
    operations = document["spec"]["operations"]
    assert operations["check"] == {"choose": [{"when": "${inputs.amount > 100.0}", "label": "big"}, {"else": "small"}]}
    assert operations["pick"]["next"] == {"done": ["pause", "late", "known"]}
    assert [operations[one]["wait"] for one in ("pause", "late", "known")] == [
        {"for": "10m"},
        {"until": "${inputs.at}"},
        {"signal": "paid", "key": "${inputs.order}"},
    ]
    assert operations["send"]["needs"] == ["pick", "check.big"]
    assert operations["send"]["input"] == {"box": "${ops.pick.output}"}
    assert operations["last"]["needs"] == ["send"]
    assert last.name == "last"


def test_mistakes_are_found_where_they_are_made() -> None:
    flow, other = Workflow("one"), Workflow("two")
    first = flow.worker("first", "a.b")
    foreign = other.worker("first", "a.b")
    with pytest.raises(Invalid, match="two operations first"):
        flow.worker("first", "a.c")
    with pytest.raises(Invalid, match="not of workflow one"):
        first.on("done", foreign)
    with pytest.raises(Invalid, match="not of workflow one"):
        first.needs(foreign["done"])
    with pytest.raises(Invalid, match="not of workflow one"):
        flow.start(foreign)
    with pytest.raises(Invalid, match="names no operation"):
        first.on("done")
    with pytest.raises(Invalid, match="say exactly one"):
        flow.wait("pause")
    with pytest.raises(Invalid, match="say exactly one"):
        flow.wait("pause", signal="a", span="1s")
    with pytest.raises(Invalid, match="say exactly one"):
        flow.wait("pause", signal="a", callback=True)

"""What is drawn of workflows and runs: how each operation stands, how often each edge was taken; in every form."""

import re
import time
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from harpoon.core import drawing_ascii, drawing_dot, drawing_mermaid, drawing_svg
from harpoon.core.drawing import Arc, Box, Picture, State, does, lines_of, natural, picture
from harpoon.core.drawing_folds import fold
from harpoon.core.drawing_shown import shown
from harpoon.model.batch_manifest import BatchSpec, workflow_of
from harpoon.model.call import Call
from harpoon.model.foreach import Together
from harpoon.model.http import Http
from harpoon.model.name import BATCH
from harpoon.model.operation import Operation, Wait
from harpoon.model.orders import JobOrder, TaskOrder
from harpoon.model.workflow import OnFailed, WorkflowSpec
from tests.core.flow import begun, choose, each, retry, sleep, spec, work
from tests.core.pictures import DOT, MERMAID, NASTY, box_of, course, drawn, drawn_run, kinds, many, nasty_run, refund

SVG = "{http://www.w3.org/2000/svg}"
#: On a machine that does other things as well.
SECONDS_MAX = 8.0


def arc(told, source, label, target):
    names = [box.title for box in told.boxes]
    return next(
        one for one in told.arcs if (names[one.source], one.label, names[one.target]) == (source, label, target)
    )


def test_a_workflow_is_drawn_by_what_its_operations_do():
    told = drawn(kinds())
    assert told.title == "workflow refund"
    assert told.description == "6 operations; it begins with keyed, pick."
    lines = {box.title: (box.kind, box.does, box.note, box.state) for box in told.boxes}
    assert lines == {
        "again": ("worker", "w", "up to 3 visits", None),
        "keyed": ("wait", "wait for paid", "", None),
        "limited": ("worker", "w", "needs all 2", None),
        "moment": ("wait", "wait until ${inputs.at}", "", None),
        "nap": ("wait", "wait for 90s", "", None),
        "pick": ("choose", "choose", "", None),
    }
    assert [box.title for box in told.boxes if box.is_start] == ["keyed", "pick"]
    assert arc(told, "nap", "done", "limited").group == arc(told, "keyed", "done", "limited").group >= 0
    assert arc(told, "pick", "big", "nap").group == -1
    assert drawn(many(5, 1)).description == "8 operations; it begins with first."
    assert drawn(spec(a=work())).description.startswith("1 operation;")
    assert drawn(spec(a=work(), b=work(), c=work(), d=work())).description.endswith("a, b, c and 1 more.")


def test_the_order_of_the_manifest_says_nothing():
    told = refund()
    turned = replace(told, operations=dict(reversed(told.operations.items())))
    assert drawn(told) == drawn(turned)
    assert sorted(["s10", "s9", "s", "a2b", "a10a"], key=natural) == ["a2b", "a10a", "s", "s9", "s10"]


def test_a_run_is_drawn_as_it_stands():
    flow = begun(refund())
    assert box_of(drawn_run(flow), "pay_back").state is State.READY
    flow.do("pay_back", "fail", error="no funds")
    told = drawn_run(flow)
    assert box_of(told, "pay_back").state is State.FAILED
    assert (box_of(told, "pay_back").note, box_of(told, "pay_back").aside) == ("1 of 4 visits", "no funds")
    assert arc(told, "pay_back", "fail", "ask_human").times == 1
    assert arc(told, "pay_back", "done", "tell").times is None
    flow.claim("ask_human")
    assert box_of(drawn_run(flow), "ask_human").state is State.RUNNING
    flow = begun(refund())
    flow.do("pay_back", "fail")
    flow.do("ask_human")
    assert box_of(drawn_run(flow), "wait_human").state is State.WAITING
    flow.send("decision", "approved")
    flow.do("pay_back")
    flow.do("tell")
    told = drawn_run(flow)
    assert told.title == "run r1 of refund: succeeded"
    assert told.description == "5 operations: 4 done, 1 skipped."
    assert (box_of(told, "incident").state, box_of(told, "pay_back").note) == (State.SKIPPED, "2 of 4 visits")
    assert arc(told, "wait_human", "approved", "pay_back").times == 1


def test_what_is_tried_again_cancelled_or_not_opened_yet_is_said_so():
    flow = begun(spec(a=work(retry=retry(fail=2)), b=work(needs=["a"]), c=sleep(1000)))
    flow.do("a", "fail")
    told = drawn_run(flow)
    assert [(box.state, box.note) for box in told.boxes] == [
        (State.RETRYING, "attempt 2"), (State.AHEAD, ""), (State.WAITING, "")
    ]  # fmt: skip
    assert drawn_run(flow, flow.now + 60_000).boxes[0].state is State.READY
    flow.cancel()
    assert [box.state for box in drawn_run(flow).boxes] == [State.CANCELLED, State.SKIPPED, State.CANCELLED]


def test_what_is_parked_is_seen_among_what_goes_on():
    flow = begun(spec(a=work("w"), b=work("w"), on_failure=OnFailed.PARK))
    flow.do("a", "fail", error="no paper")
    told = drawn_run(flow)
    assert [(box.state, box.aside) for box in told.boxes] == [(State.PARKED, "no paper"), (State.READY, "")]
    assert "⚠ parked" in drawing_ascii.write(told) and MERMAID.fullmatch(drawing_mermaid.write(told))
    assert "#fed7aa" in drawing_dot.write(told) and '<g class="parked">' in drawing_svg.write(told)


def test_items_are_counted_at_the_operation_that_they_are_of():
    told = spec(a=work("w", foreach=each([1, 2, 3], most=5, parallel=2)), b=work(needs=["a"]))
    assert [(box.title, box.kind, box.does) for box in drawn(told).boxes] == [
        ("a", "each", "each: w"), ("b", "worker", "w")
    ]  # fmt: skip
    flow = begun(told)
    assert (box_of(drawn_run(flow), "a").state, box_of(drawn_run(flow), "a").note) == (
        State.READY,
        "0 of 3 done, 2 under way",
    )
    flow.do("a[]")
    flow.claim("a[]")
    assert (box_of(drawn_run(flow), "a").state, box_of(drawn_run(flow), "a").note) == (
        State.RUNNING,
        "1 of 3 done, 2 under way",
    )
    flow.cancel()
    assert (box_of(drawn_run(flow), "a").state, box_of(drawn_run(flow), "a").note) == (
        State.CANCELLED,
        "1 of 3 done, 2 cancelled",
    )


def test_steps_of_a_batch_are_one_box():
    steps = {f"s{number}": work(f"w{number}") for number in range(4)}
    told = WorkflowSpec(operations=steps, together=Together(parallel=2))
    assert [(box.title, box.does) for box in drawn(told).boxes] == [("steps", "4 steps")]
    flow = begun(told)
    flow.do("steps[1]")
    assert [box.note for box in drawn_run(flow).boxes] == ["1 of 4 done, 2 under way"]


def test_a_batch_is_drawn_as_what_it_is():
    steps = BatchSpec(steps=(work("a"), work("b")))
    flow = begun(workflow_of(steps))
    flow.claim("steps[0]")
    told = picture(BATCH, flow.graph, course(flow))
    assert told.title == "batch r1: running"
    assert [(box.does, box.state, box.note) for box in told.boxes] == [
        ("2 steps", State.RUNNING, "0 of 2 done, 2 under way")
    ]  # fmt: skip


def test_long_lines_are_shortened():
    box = Box(title="x" * 100, kind="call", does="", state=None, ops=("x",))
    assert lines_of(box) == ["x" * 39 + "…"]


def test_what_calls_and_is_called_is_said():
    assert does(Operation(http=Http(url="https://shop/pay?token=1", method="POST"))) == "POST https://shop/pay"
    assert does(Operation(wait=Wait(callback=True))) == "wait for a callback"
    assert does(Operation(call=Call(workflow="ship"), foreach=each([1]))) == "each: call ship"
    assert does(Operation(task=TaskOrder(task={}))) == "a task"
    assert does(Operation(job=JobOrder(scale="web", to=3))) == "scale web"


def test_a_picture_as_text():
    assert drawing_ascii.write(drawn(refund())) == REFUND
    plain = drawing_ascii.write(drawn_run(failed()), is_ascii=True)
    assert plain.isascii() and "| * pay_back" not in plain and "X * pay_back" in plain
    assert "= " not in plain and "# ask_human" in plain


def failed():
    flow = begun(refund())
    flow.do("pay_back", "fail")
    flow.claim("ask_human")
    return flow


def test_lines_that_cross_do_not_join():
    told = drawing_ascii.write(drawn(refund()))
    # The way back of wait_human passes behind that of approved.
    assert "│" in told and "┼" not in told


@pytest.mark.parametrize(
    "make", [lambda: drawn(refund()), lambda: drawn(kinds()), nasty_run, lambda: drawn_run(failed())]
)
def test_every_form_keeps_its_grammar(make):
    told = make()
    assert DOT.fullmatch(drawing_dot.write(told)), drawing_dot.write(told)
    assert MERMAID.fullmatch(drawing_mermaid.write(told)), drawing_mermaid.write(told)
    root = ET.fromstring(drawing_svg.write(told))
    assert root.tag == f"{SVG}svg"
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
        "svg", "title", "desc", "style", "text", "g", "path", "rect", "circle", "polygon"
    }  # fmt: skip
    assert root.get("role") == "img" and root.get("aria-labelledby") == "hp-title hp-desc"
    assert [one.text for one in root][:2] == [told.title, told.description]
    assert not any(name.startswith("on") or "href" in name for one in root.iter() for name in one.attrib)
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert all(line in texts for box in told.boxes for line in lines_of(box))
    assert all(line.isprintable() for line in drawing_ascii.write(told).splitlines())


def test_what_users_write_stays_text():
    told = nasty_run()
    assert box_of(told, "a").aside == NASTY
    assert "\x1b" not in drawing_dot.write(told) and '\\"]; <script>' in drawing_dot.write(told)
    svg = drawing_svg.write(told)
    assert "<script" not in svg and "&lt;script&gt;" in svg and "\x1b" not in svg
    asked = replace(told, boxes=tuple(replace(box, does=NASTY[:38]) for box in told.boxes), title=NASTY)
    assert MERMAID.fullmatch(drawing_mermaid.write(asked))
    assert DOT.fullmatch(drawing_dot.write(asked))
    ET.fromstring(drawing_svg.write(asked))
    assert drawing_ascii.write(asked).splitlines()[0] == NASTY.replace("\x1b", "�")


def test_how_a_run_stands_is_told_by_colour_and_by_word():
    told = drawn_run(failed())
    assert 'fillcolor="#fecaca"' in drawing_dot.write(told) and "✗ failed, 1 of 4 visits" in drawing_dot.write(told)
    assert 'label="fail (1)", penwidth="2"' in drawing_dot.write(told)
    mermaid = drawing_mermaid.write(told)
    assert ":::isFailed" in mermaid and '==>|"fail (1)"|' in mermaid and "classDef isFailed" in mermaid
    svg = drawing_svg.write(told)
    assert '<g class="failed">' in svg and ">fail (1)</text>" in svg and 'class="l on"' in svg
    assert "prefers-color-scheme:dark" in svg
    over = begun(spec(a=work(next={"fail": "b"}), b=work(), c=work(needs=["a.fail", "b"])))
    over.do("a")
    told = drawn_run(over)
    assert box_of(told, "b").state is box_of(told, "c").state is State.SKIPPED
    assert 'style="dashed"' in drawing_dot.write(told) and "-.->" in drawing_mermaid.write(told)
    assert 'class="l off"' in drawing_svg.write(told) and "normalodot" in drawing_dot.write(told)


def test_what_stands_in_a_row_or_side_by_side_is_folded():
    told = fold(drawn(many(50, 9)), 10)
    assert [(box.title, box.does) for box in told.boxes] == [
        ("first", "begin"), ("last", "end"), ("p0 … p49", "50 side by side: w"), ("s0 … s8", "9 in a row: x")
    ]  # fmt: skip
    assert told.folded == "61 operations are drawn as 4 boxes"
    assert told.description.endswith("61 operations are drawn as 4 boxes.")
    assert len(told.arcs) == 3
    small = drawn(many(3, 3))
    assert fold(small, 8) is small
    for text in (drawing_ascii.write(told), drawing_svg.write(told)):
        assert told.folded in text


def test_what_stands_otherwise_is_seen_among_what_is_folded():
    flow = begun(many(30, 1))
    flow.do("first")
    for number in range(9):
        flow.do(f"p{number}", output=number)
    flow.claim("p9")
    told = fold(drawn_run(flow), 10)
    assert {(box.title, box.state) for box in told.boxes} == {
        ("first", State.DONE), ("p0 … p8", State.DONE), ("p9", State.RUNNING), ("p10 … p29", State.READY),
        ("last", State.AHEAD), ("s0", State.AHEAD),
    }  # fmt: skip
    assert next(one.times for one in told.arcs if told.boxes[one.source].title == "p0 … p8") == 9


def test_what_cannot_be_folded_well_is_folded_by_layers():
    # Nothing is in a row, and nothing side by side: each leads to itself or comes from elsewhere.
    operations = {
        f"o{number}": work(f"w{number % 3}", visits=3, next={"done": [f"o{number}", f"o{(number * 7) % 40}"]})
        for number in range(1, 40)
    }
    operations["o0"] = choose("x", next={"x": [f"o{number}" for number in range(1, 40)]}, visits=500)
    told = drawn(spec("o0", **operations))
    for most in (20, 7, 3, 1):
        small = fold(told, most)
        assert len(small.boxes) <= most
        assert sorted(op for box in small.boxes for op in box.ops) == sorted(operations)
    flow = begun(many(4, 9))
    flow.do("first")
    mixed = fold(drawn_run(flow), 1)
    assert len(mixed.boxes) == 1 and "4 ready" in mixed.boxes[0].note


def test_a_picture_is_told_as_data():
    told = shown(drawn_run(failed()))
    assert told.states == {"failed": 1, "running": 1, "not yet": 3}
    titles = [box.title for box in told.boxes]
    back = next(line for line in told.lines if line.is_back and line.from_[0].label == "approved")
    assert [titles[end.box] for end in back.to] == ["pay_back"]
    taken = next(line for line in told.lines if any(one.times for one in line.from_))
    assert {(titles[one.box], one.label, one.times) for one in taken.from_} >= {("pay_back", "fail", 1)}
    for line in told.lines:
        for one in line.from_:
            box = told.boxes[one.box]
            assert box.x < one.x < box.x + box.width and one.y == box.y + box.height
        for end in line.to:
            box = told.boxes[end.box]
            assert box.x < end.x < box.x + box.width and end.y == box.y
        assert all(0 <= x <= told.width for x1, _, x2, _ in line.path for x in (x1, x2))
    assert "--o|" in drawing_mermaid.write(drawn(kinds()))
    joined = shown(drawn(kinds()))
    assert [line.is_join for line in joined.lines].count(True) == 1
    assert joined.states == {}


def test_ten_thousand_operations_are_drawn_in_no_time():
    told = drawn(many(5_000, 4_998))
    began = time.process_time()
    for form in (drawing_dot, drawing_mermaid, drawing_svg):
        assert len(form.write(told)) < 20 << 20
    assert len(drawing_ascii.write(fold(told, 60))) < 10_000
    assert time.process_time() - began < SECONDS_MAX
    ET.fromstring(drawing_svg.write(told))
    ring = Picture(
        title="ring", description="", boxes=tuple(replace(told.boxes[1], is_start=False) for _ in range(100)),
        arcs=tuple(Arc(at, "done", (at + 1) % 100, -1, None) for at in range(100)),
    )  # fmt: skip
    assert len(fold(ring, 20).boxes) <= 20
    assert re.search(r"100 operations are drawn as \d+ boxes", fold(ring, 20).folded)


REFUND = """\
workflow refund

               ┌─────────────────────────────────────────┐
               ▼                                         │
   ┌───────────────────────┐                             │
   │ ● pay_back            │                             │
   │ payments.refund       │                             │
   │ up to 4 visits        │                             │
   └───────────────────────┘                             │
    │fail  │timeout  │done                               │
    └──────┤ ┌───────│───────────────────────────────────│─┐
           │ │       └─┐                                 │ │
           ▼ ▼         │                                 │ │
 ┌──────────────────┐  │                                 │ │
 │ ask_human        │  │                                 │ │
 │ desk.ask         │  │                                 │ │
 │ up to 4 visits   │  │                                 │ │
 └──────────────────┘  │                                 │ │
  │exhausted  │done    │                                 │ │
  │           └────────│────────────┐                    │ │
  │              ┌─────┘            │                    │ │
  ▼              │                  ▼                    │ │
┌──────────┐     │  ┌───────────────────────────────┐    │ │
│ incident │     │  │ wait_human                    │    │ │
│ page     │     │  │ wait for decision             │    │ │
└──────────┘     │  │ up to 4 visits                │    │ │
                 │  └───────────────────────────────┘    │ │
                 │   │rejected  │approved  │timeout      │ │
                 └───┤          └──────────│─────────────┘ │
                     │                     └───────────────┘
                     ▼
             ┌────────────────┐
             │ tell           │
             │ mail.send      │
             │ up to 8 visits │
             └────────────────┘
"""

"""Workflows and runs that are drawn in tests, and small readers of what is written."""

import re

from harpoon.core.chronicle import read
from harpoon.core.drawing import Course, picture
from harpoon.core.graph import compile_graph
from harpoon.core.outlook import skipped
from tests.core.flow import HOUR, await_signal, begun, choose, limit, retry, sleep, spec, until, work

#: What users may write somewhere, and no form of a picture may take for its own.
NASTY = 'a"]; <script>alert(1)</script> --> %% `x` #quot; \\N &amp; \x1b[31m {{ }} ${inputs.x} click n0 "javascript:"'


def refund():
    return spec(
        "pay_back",
        pay_back=work("payments.refund", visits=4, next={"done": "tell", "fail": "ask_human", "timeout": "ask_human"}),
        ask_human=work("desk.ask", visits=4, next={"done": "wait_human", "exhausted": "incident"}),
        wait_human=await_signal(
            "decision",
            takes=4 * HOUR,
            visits=4,
            labels=["approved", "rejected"],
            next={"approved": "pay_back", "rejected": "tell", "timeout": "ask_human"},
        ),
        incident=work("page"),
        tell=work("mail.send", visits=8),
    )


def many(width, length):
    """One, many side by side, one after them all, and then some in a row."""
    names = [f"p{number}" for number in range(width)]
    operations = {name: work("w") for name in names}
    operations["first"] = work("begin", next={"done": names})
    operations["last"] = work("end", needs=names, next={"done": "s0"})
    for number in range(length):
        operations[f"s{number}"] = work("x", next={"done": f"s{number + 1}"} if number < length - 1 else {})
    return spec(**operations)


def kinds():
    """One of each kind, and what may be said of them."""
    return spec(
        inputs={"at": "integer"},
        pick=choose(("${inputs.at > 2}", "big"), "small", next={"big": "nap", "small": ["moment", "again"]}),
        nap=sleep(90_000),
        moment=until("${inputs.at}"),
        limited=work("w", needs=["nap", "keyed"], concurrency=limit("${string(inputs.at)}")),
        keyed=await_signal("paid", key="${string(inputs.at)}"),
        again=work("w", visits=3, retry=retry(fail=3), next={"fail": "again"}),
    )


def drawn(told):
    return picture("refund", compile_graph(told))


def course(flow, now_ms=None):
    told, parked = read(flow.log), [one.op for one in flow.run.incidents]
    return Course(flow.id, told.status.value, told, skipped(flow.run), flow.now if now_ms is None else now_ms, parked)


def drawn_run(flow, now_ms=None):
    return picture("refund", flow.graph, course(flow, now_ms))


def nasty_run():
    """A run with an operation that failed in words that mean much elsewhere."""
    flow = begun(spec(a=work("w", next={"fail": "b"}), b=work("w"), c=work("w", needs=["a"])))
    flow.do("a", "fail", error=NASTY)
    return drawn_run(flow)


def box_of(told, op):
    return next(box for box in told.boxes if op in box.ops)


#: A small grammar of DOT: a graph, its attributes, nodes and edges, each with attributes between quotes.
_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_PAIRS = rf"[a-z]+={_TEXT}(?:, [a-z]+={_TEXT})*"
DOT = re.compile(
    rf"digraph {_TEXT} \{{\n"
    rf"  label={_TEXT}; labelloc=t; rankdir=TB;\n"
    r'  node \[shape=box, style=filled, fillcolor="#ffffff", fontname="sans-serif"\]; edge \[fontname="sans-serif"\];\n'
    rf"(?:  n\d+ \[{_PAIRS}\];\n)*"
    rf"(?:  n\d+ -> n\d+ \[{_PAIRS}\];\n)*"
    r"\}\n"
)
#: What Mermaid takes for a text between quotes: no quote, no character of its language but as ``#35;``.
_PLAIN = r'"(?:[\w ,.:()/+=…▶↻◷○⚠✗⊘✓·◌-]|#\d+;|<br/>)*"'
_SHAPES = "|".join(
    [rf"\[{_PLAIN}\]", rf"\(\[{_PLAIN}\]\)", rf"\{{{_PLAIN}\}}", rf"\{{\{{{_PLAIN}\}}\}}", rf"\[\[{_PLAIN}\]\]"]
)
MERMAID = re.compile(
    r"flowchart TD\n"
    r"  accTitle: [\w ,.:()/+=…-]+\n  accDescr: [\w ,.:()/+=…-]+\n"
    rf"(?:  n\d+(?:{_SHAPES})(?::::is[A-Z][a-z]+)?\n)*"
    rf"(?:  n\d+ (?:--|==|-\.-)[>o]\|{_PLAIN}\| n\d+\n)*"
    r"(?:  classDef is[A-Z][a-z]+ [a-z]+:[\w# ]+(?:,[a-z-]+:[\w# ]+)*\n)*"
)

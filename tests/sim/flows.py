"""Runs of workflows, which are asked for in some of the drawn plans: what they are on, who works for them, what breaks.

They are drawn apart from all the rest, as `tests.sim.toil` is.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from tests.sim.mending import FORMS, MEND, batched, changed, repaired
from tests.sim.plan import CHAOS_S, Fault, Hand, Op, Plan, a_spec

#: How many plans have runs.
_FLOWS: Final = 0.08
#: By when a run is over, whatever happens, unless its workflow says otherwise; some of them earlier.
DEADLINE_S: Final = 40
_QUICK: Final = {"backoff": {"initial": "200ms", "max": "2s"}}
_USERS: Final = ("u1", "u2")
#: Workflows that are started more often than others, so that all is seen that may come about in them.
_OFTEN: Final = {MEND: 5, "refund": 2}


def work(handler: str = "pack", **more: Any) -> dict[str, Any]:
    clocks = {"timeout": "7s", "heartbeat": "2s", "queue_timeout": "25s"}
    retry = {"retry": {"fail": {"attempts": 2}, "timeout": {"attempts": 2}, "lost": {"attempts": 4}, **_QUICK}}
    return {"worker": handler, **clocks, **retry, **more}


def call(**more: Any) -> dict[str, Any]:
    """An operation that the server carries out itself; see `tests.sim.calls`."""
    told = work(**more) | {"http": {"url": "http://elsewhere.example/", "method": "POST"}}
    del told["worker"]
    return told


def flow(start: str | None = None, **operations: Any) -> dict[str, Any]:
    told = {"deadline": f"{DEADLINE_S}s", "operations": operations}
    return told | ({"start": start} if start else {})


#: A cycle through a person; joins; a cycle by a label of its own; waits, and a choice; many in a row; what is repaired.
WORKFLOWS: Final[Mapping[str, dict[str, Any]]] = {
    "refund": flow(
        "ask",
        pay_back=work(visits=4, next={"done": "tell", "fail": "ask", "timeout": "ask"}),
        ask=work("tell", visits=4, next={"done": "wait_human", "exhausted": "incident"}),
        wait_human={
            "wait": {"signal": "decision"},
            "timeout": "6s",
            "visits": 4,
            "labels": ["approved", "rejected"],
            "next": {"approved": "pay_back", "rejected": "tell", "timeout": "ask"},
        },
        incident={**work("tell"), "end": "failed"},
        tell=work("tell", visits=4),
    ),
    "ship": flow(
        a=work(next={"fail": "c"}),
        b=work(),
        j=work("tell", needs=["a", "b"]),
        c=work("tell"),
        nap={"wait": {"for": "3s"}, "needs": ["j"]},
        last=work(needs=["nap"]),
    ),
    "board": flow(
        "a",
        a=work(visits=3, next={"done": ["b", "c"], "fail": "b"}),
        b=work(visits=3, next={"again": "a"}),
        c=work("tell", visits=3),
        d=work("tell", needs=["b", "c"], visits=3),
    )
    | {"on_failure": "continue"},
    "spin": flow(
        "turn",
        turn=work(visits=3, next={"again": "turn", "exhausted": "out", "fail": "out"}),
        out={"choose": [{"when": "${ops.turn.visits > 1}", "label": "many"}, {"else": "one"}],
             "visits": 2, "next": {"many": "nap", "one": "nap"}},
        nap={"wait": {"for": "2s"}, "visits": 2, "next": {"done": "last"}},
        last=work("tell", visits=2),
    ),
    "calls": flow(
        "a",
        a=call(visits=2, next={"done": "b", "fail": "b", "timeout": "b"}),
        b=call(visits=2, concurrency={"key": "elsewhere", "limit": 2}, next={"done": "c", "fail": "a"}),
        c=work("tell", visits=2),
    ),
    "errand": flow(only=work(retry={"lost": {"attempts": 9}, **_QUICK})),
    MEND: FORMS[0],
}  # fmt: skip

#: A task runs to its end, a job is changed and waited for, and both are tried again; it needs the job ``web``.
RELEASE: Final = flow(
    migrate={
        "task": {"task": a_spec(batch={}, SIM_EXIT_AFTER="0.3..1.2", SIM_EXIT_CODE="0|0|3")["task"]},
        "retry": {"fail": {"attempts": 9}, **_QUICK},
        "next": {"done": "change"},
    },
    change={"job": {"migrate": "web", "set": {"task": {"env": {"VERSION": "2"}}}}, "next": {"done": "shrink"}},
    shrink={"job": {"scale": "web", "to": 1}, "timeout": "20s"},
)


def flowed(plan: Plan) -> Plan:
    """Return a plan, with runs in some."""
    rng = random.Random(f"runs of {plan.seed}")
    # Who does not see a hold does not find who conducts a run, until the view is mended.
    if rng.random() >= _FLOWS or plan.has_gaps:
        return plan
    hands = tuple(_hand(rng, f"h{number}") for number in range(1, rng.choice((2, 3, 3)) + 1))
    ops = [*plan.ops, *_declared(rng, plan), *_asked(rng, plan)]
    plan = replace(plan, ops=tuple(sorted(ops, key=lambda op: op.at)), hands=hands)
    faults = [*plan.faults, *_faults(rng, plan)]
    return replace(plan, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _hand(rng: random.Random, name: str) -> Hand:
    return Hand(name=name, is_odd=rng.random() < 0.5, places=rng.choice((1, 3, 6)))


def _declared(rng: random.Random, plan: Plan) -> Iterator[Op]:
    for number, (name, spec) in enumerate(WORKFLOWS.items()):
        to = rng.choice(plan.instances)
        yield Op(at=round(0.8 + 0.05 * number, 3), session="u1", verb="declare", job=name, to=to, spec=spec)
    if rng.random() < 0.3:
        # Runs that there are go on by the form that they began with.
        spec = WORKFLOWS["errand"] | {"inputs": {"size": {"type": "integer", "default": 3}}}
        yield Op(
            at=rng.uniform(5, 30), session="u2", verb="declare", job="errand", to=rng.choice(plan.instances), spec=spec
        )
    yield from changed(rng, plan)


def _asked(rng: random.Random, plan: Plan) -> Iterator[Op]:
    """Draw starts, and what else is asked of what is started; and batches."""
    ask = partial(_op, rng, plan)
    for number in range(rng.randint(3, 7)):
        run, at = f"r{number}", rng.uniform(2, CHAOS_S - 8)
        if rng.random() < 0.2:
            yield from batched(rng, ask, at, run)
            continue
        workflow = rng.choices(list(WORKFLOWS), [_OFTEN.get(name, 1) for name in WORKFLOWS])[0]
        body: dict[str, Any] = {"workflow": workflow}
        if rng.random() < 0.2:
            body["deadline"] = rng.choice(("6s", "15s"))
        yield ask(at, "start", run, body)
        if rng.random() < 0.3:
            other = {"tags": {"other": "body"}} if rng.random() < 0.4 else {}
            yield ask(at + rng.choice((0.0, rng.uniform(0, 12))), "start", run, body | other)
        if workflow == "refund":
            yield from _signals(rng, plan, at, run)
        for verb in ("pause", "cancel", "look", "look"):
            if rng.random() < 0.15:
                late = at + rng.uniform(0.1, 12)
                yield ask(late, verb, run, {"reason": "so"} if verb == "cancel" else {})
                if verb == "pause" and rng.random() < 0.8:
                    yield ask(late + rng.uniform(0.2, 9), "resume", run, {})
        yield from repaired(rng, ask, at, run, workflow)


def _signals(rng: random.Random, plan: Plan, at: float, run: str) -> Iterator[Op]:
    for number in range(rng.randint(0, 3)):
        label = rng.choice(("approved", "rejected"))
        body = {"signal": "decision", "id": f"{run}-{number}", "label": label, "payload": {"by": number}}
        at += rng.uniform(0.2, 6)
        yield _op(rng, plan, at, "signal", run, body)
        if rng.random() < 0.4:
            yield _op(rng, plan, at + rng.choice((0.0, rng.uniform(0, 5))), "signal", run, body)


def _op(rng: random.Random, plan: Plan, at: float, verb: str, run: str, body: dict[str, Any], *, key: str = "") -> Op:
    at = round(min(at, CHAOS_S - 3), 3)
    return Op(at=at, session=rng.choice(_USERS), verb=verb, job=run, to=rng.choice(plan.instances), spec=body, key=key)


#: What can befall runs beside what befalls everybody, and how likely each is.
_FAULTS: Final[Mapping[str, int]] = {
    "kill_worker": 4,
    "stop_worker": 2,
    "pause_worker": 3,
    "cut_worker": 2,
    "slow_to_worker": 2,
    "kill_conductor": 4,
    "pause_conductor": 3,
    "stop_conductor": 2,
    "commit_late": 4,
    "commit_silent": 4,
    "cut_peers": 2,
}


def _faults(rng: random.Random, plan: Plan) -> Iterator[Fault]:
    starts = [op for op in plan.ops if op.verb in ("start", "batch", "retry")]
    for _ in range(rng.randint(1, 5)):
        what = rng.choices(list(_FAULTS), list(_FAULTS.values()))[0]
        op = rng.choice(starts)
        at = round(min(CHAOS_S - 2, op.at + rng.uniform(-0.2, 6)), 3)
        span = round(rng.choice((0.3, 2, 6, 10)) * rng.uniform(0.8, 1.2), 3)
        target, other, amount = rng.choice(plan.instances), "", 0.0
        if what.endswith("_worker"):
            target, other, amount = rng.choice(plan.hands).name, rng.choice(plan.instances), rng.choice((0.3, 1.0))
        elif what.endswith("_conductor"):
            target = op.job
        elif what.startswith("commit"):
            amount = rng.choice((1, 2, 5))
        elif what == "cut_peers":
            other = rng.choice(plan.instances)
        yield Fault(at=at, what=what, target=target, span=span, other=other, amount=amount)

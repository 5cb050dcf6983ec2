"""What is asked of runs beside starting them: repairs, moves to other forms of their workflow, forks; and batches.

They are drawn in place of some of the starts, by `tests.sim.flows`.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.sim.plan import CHAOS_S, Op, Plan

_QUICK: Final = {"backoff": {"initial": "200ms", "max": "2s"}}
#: Makes what is asked of a run, given when, by which verb, of which, and with what.
Ask = Callable[..., Op]


def _frail(handler: str = "pack", **more: Any) -> dict[str, Any]:
    """Return an operation that is tried once, unless its worker is lost."""
    clocks = {"timeout": "7s", "heartbeat": "2s", "queue_timeout": "25s"}
    return {"worker": handler, **clocks, "retry": {"lost": {"attempts": 4}, **_QUICK}, **more}


def _parking(**operations: Any) -> dict[str, Any]:
    return {"deadline": "40s", "on_failure": "park", "operations": operations}


#: What a failure does not end; and two other forms of it: one has an operation more that a join waits for, and one
#: edge that leads elsewhere; in one is not all on which runs of the others may stand.
FORMS: Final[tuple[dict[str, Any], ...]] = (
    _parking(
        a=_frail(),
        b=_frail(visits=2),
        j=_frail("tell", needs=["a", "b"], visits=2),
        last=_frail(needs=["j"]),
    ),
    _parking(
        a=_frail(),
        b=_frail(visits=2),
        j=_frail("tell", needs=["a", "b", "more"], visits=2, timeout="9s"),
        more=_frail(visits=3),
        last=_frail(needs=["j"]),
        late=_frail("tell", needs=["last"]),
    ),
    _parking(a=_frail(), b=_frail(next={"done": "last"}, visits=2), last=_frail("tell")),
)
MEND: Final = "mend"
#: What is done anew, or closed by hand: workflow → operations.
_OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    MEND: ("a", "b", "j", "last"),
    "errand": ("only",),
    "ship": ("a", "b", "j", "nap"),
    "board": ("a", "b", "d"),
    "calls": ("a", "b"),
    "refund": ("ask", "wait_human"),
    "spin": ("turn", "last"),
}
_REPAIRS: Final = {"retry": 5, "skip": 3, "set": 2, "fork": 2}


def changed(rng: random.Random, plan: Plan) -> Iterator[Op]:
    """Draw when the workflow that runs are moved by is changed, and perhaps is what it was."""
    at = rng.uniform(4, 12)
    for _ in range(rng.choice((2, 3, 4))):
        form = FORMS[rng.choice((0, 0, 1, 1, 2))]
        yield Op(at=round(at, 3), session="u1", verb="declare", job=MEND, to=rng.choice(plan.instances), spec=form)
        at += rng.uniform(3, 9)


def repaired(rng: random.Random, ask: Ask, at: float, run: str, workflow: str) -> Iterator[Op]:
    """Draw repairs of a run, and moves; some are asked for again."""
    for number in range(rng.choice((1, 2, 2) if workflow == MEND else (0, 1, 1))):
        verb = rng.choices(list(_REPAIRS), list(_REPAIRS.values()))[0]
        op, reason = rng.choice(_OPERATIONS[workflow]), f"{run}-{number}"
        body: dict[str, Any] = {"from": op} if verb in ("retry", "fork") else {"op": op}
        if verb == "set":
            body |= {"label": rng.choice(("done", "done", "fail"))}
            body |= {"output": {"by": number}} if rng.random() < 0.5 else {}
        if verb == "fork":
            body |= {"id": f"{run}f{number}", "tags": {"fork": reason}}
        at += rng.choice((rng.uniform(0.5, 5), rng.uniform(4, 14)))
        yield from _again(rng, ask, at, verb, run, {**body, "reason": reason})
    if workflow == MEND:
        for number in range(rng.choice((0, 1, 1, 2))):
            at += rng.uniform(0.5, 8)
            yield from _again(rng, ask, at, "move", run, {"reason": f"{run}-moves-{number}"})


def _again(rng: random.Random, ask: Ask, at: float, verb: str, run: str, body: dict[str, Any]) -> Iterator[Op]:
    """Ask for something, mostly by a key, and perhaps once more."""
    key = body["reason"] if rng.random() < 0.7 else ""
    yield ask(at, verb, run, body, key=key)
    if rng.random() < 0.3:
        yield ask(at + rng.choice((0.0, rng.uniform(0, 6))), verb, run, body, key=key)


def batched(rng: random.Random, ask: Ask, at: float, run: str) -> Iterator[Op]:
    """Draw a batch, and what is asked of it."""
    count = rng.randint(2, 6)
    if rng.random() < 0.5:
        what: dict[str, Any] = {"items": list(range(count)), "each": _frail(rng.choice(("pack", "tell")))}
        whole = "each"
    else:
        what, whole = {"steps": [_frail(rng.choice(("pack", "tell"))) for _ in range(count)]}, "steps"
    if rng.random() < 0.25:
        what["mode"] = "in_order"
    else:
        what |= {"parallel": rng.randint(1, 3), "tolerate": rng.choice((0, 1, count))}
    spec = {**what, "deadline": "40s", "collect": rng.random() < 0.5}
    body = {"spec": spec, "tags": {}}
    yield ask(at, "batch", run, body)
    if rng.random() < 0.3:
        other = {"tags": {"other": "body"}} if rng.random() < 0.4 else {}
        yield ask(at + rng.choice((0.0, rng.uniform(0, 6))), "batch", run, body | other)
    for number in range(rng.choice((0, 1, 1, 2))):
        at += rng.uniform(2, 12)
        items = rng.choice(([], [], [0], [1, 0]))
        body = {"from": whole, "items": items, "reason": f"{run}-{number}"}
        yield from _again(rng, ask, at, "retry", run, body)
    if rng.random() < 0.1:
        yield ask(min(at + 1, CHAOS_S), "cancel", run, {"reason": "so"})

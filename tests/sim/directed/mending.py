"""Runs that are repaired, moved and forked, and batches: what goes wrong in them is certain, for it is waited for in vain."""

from typing import Any

from tests.sim.directed.flowing import asked, flowing
from tests.sim.directed.making import fault
from tests.sim.flows import flow, work
from tests.sim.plan import Fault, Hand, Op, Plan

_STEADY = (Hand(name="h1", places=8, takes_s=0.4),)
_SLOW = (Hand(name="h1", places=8, takes_s=4.0),)
#: Fails two seconds after it has begun, and a sibling that only waits is cut short by that.
_GATE = flow(
    a=work(),
    w={"wait": {"signal": "knock"}, "timeout": "2s"},
    b=work(needs=["w"]),
    j=work("tell", needs=["a", "b"]),
    side={"wait": {"for": "5s"}},
    last=work("tell", needs=["side", "b"]),
)
#: A join that has one of its members, which is then done anew, when the other one comes.
_LAP = flow(
    n={"wait": {"for": "3s"}, "next": {"done": "a"}},
    a=work(),
    b={"wait": {"for": "6s"}},
    j=work("tell", needs=["a", "b"]),
)
#: Leads elsewhere in its other form; its join is in both.
_WAY = flow(
    n={"wait": {"for": "4s"}, "next": {"done": "a"}},
    a=work(next={"done": "x"}),
    c=work(),
    x=work("tell"),
    j=work("tell", needs=["a", "c"]),
)
_WAY_NOW = flow(
    n={"wait": {"for": "4s"}, "next": {"done": "a"}},
    a=work(next={"done": "y"}),
    c=work(),
    y=work("tell"),
    j=work("tell", needs=["a", "c"]),
)
#: Workers have time for it, and it has time for workers.
_PATIENT = flow(w={"wait": {"signal": "knock"}, "timeout": "1s"}, only=work(queue_timeout="45s", needs=["w"]))
_PATIENT |= {"deadline": "75s"}
_OWN = {"gate": _GATE, "lap": _LAP, "way": _WAY, "patient": _PATIENT}


def mending(seed: int, ops: tuple[Op, ...], *faults: Fault, hands: tuple[Hand, ...] = _STEADY, chaos_s: float) -> Plan:
    """Make a plan of what is asked of workflows, each of which is declared first."""
    return flowing(seed, ops, *faults, hands=hands, chaos_s=chaos_s, own=_OWN)


def start(at: float, run: str, workflow: str, to: str = "s1", session: str = "u1", **more: Any) -> Op:
    """Ask for a run."""
    return asked(at, "start", run, to, session, workflow=workflow, **more)


def repair(at: float, verb: str, run: str, number: int = 0, *, to: str = "s1", session: str = "u1", **what: Any) -> Op:
    """Ask for a repair, or for a move; by a key."""
    reason = f"{run}-{verb}-{number}"
    told = {"from" if name == "from_" else name: value for name, value in what.items()}
    return Op(at=at, session=session, verb=verb, job=run, to=to, spec={**told, "reason": reason}, key=reason)


def batch(at: float, name: str, to: str = "s1", tags: Any = None, **spec: Any) -> Op:
    """Ask for a batch."""
    return asked(at, "batch", name, to, spec={"deadline": "40s", **spec}, tags=tags or {})


def over(seed: int) -> Plan:
    """Runs that have failed are repaired, and one of them twice by one order."""
    ops = (
        start(4, "r0", "gate"),
        start(4.1, "r1", "gate", deadline="4s"),
        start(4.2, "r2", "gate"),
        repair(9, "retry", "r0", from_="w"),
        repair(9.5, "retry", "r0", from_="w", session="u2", to="s2"),
        repair(9, "set", "r1", op="w", output={"by": "hand"}, session="u2"),
        repair(10, "retry", "r2", from_="a"),
        repair(10.5, "skip", "r2", op="w"),
        repair(13, "skip", "r0", op="w"),
    )
    return mending(seed, ops, chaos_s=16)


def spent(seed: int) -> Plan:
    """What has used up its visits is done anew."""
    ops = (start(4, "r0", "lap"), repair(12.5, "retry", "r0", from_="n"), repair(17, "retry", "r0", 1, from_="a"))
    return mending(seed, ops, chaos_s=20)


def early(seed: int) -> Plan:
    """What is open, and what a join has of it, is done anew."""
    ops = (
        start(4, "r0", "lap"),
        repair(9, "retry", "r0", from_="n"),
        start(5, "r1", "lap"),
        repair(7, "retry", "r1", from_="n"),
        start(6, "r2", "gate"),
        repair(6.2 + seed % 4 / 5, "retry", "r2", from_="a"),
    )
    return mending(seed, ops, chaos_s=16)


def moved(seed: int) -> Plan:
    """A run goes by another form of its workflow, comes to its end, and is repaired by another conductor."""
    ops = (
        start(4, "r0", "way"),
        start(4.1, "r1", "way"),
        asked(5, "declare", "way", **_WAY_NOW),
        repair(6, "move", "r0"),
        repair(6.2, "move", "r1", session="u2", to="s2"),
        repair(20, "retry", "r0", from_="c"),
        repair(20, "retry", "r1", from_="c", session="u2"),
    )
    return mending(seed, ops, *(fault(12, "kill_conductor", run, 3) for run in ("r0", "r1")), chaos_s=24)


def offered(seed: int) -> Plan:
    """Runs are repaired, and workers have nothing else to do."""
    runs = [f"r{number}" for number in range(3)]
    ops = (*(start(4, run, "gate") for run in runs[:1]), *(start(4, run, "patient") for run in runs[1:]))
    skips = (repair(6.5, "skip", run, op="w") for run in runs[1:])
    again = (repair(8, "retry", run, from_="only") for run in runs[1:])
    return mending(seed, (*ops, *skips, *again), chaos_s=9)


def at_once(seed: int) -> Plan:
    """Runs that are over are repaired by two at the same time, by a conductor that has yet to read them."""
    runs = [f"r{number}" for number in range(4)]
    ops = (
        *(start(4 + number / 10, run, "lap") for number, run in enumerate(runs)),
        *(repair(20 + number / 5, "retry", run, from_="a") for number, run in enumerate(runs)),
        *(
            repair(20 + number / 5, "retry", run, 1, from_="a", session="u2", to="s2")
            for number, run in enumerate(runs)
        ),
    )
    dies = (fault(13, "kill_conductor", run, 3) for run in ("r0", "r1"))
    slow = (fault(19.5, "slow_to_store", one, 6, 1) for one in ("s1", "s2"))
    return mending(seed, ops, *dies, *slow, chaos_s=27)


def forked(seed: int) -> Plan:
    """Runs are forked while workers are at them, and the forks are asked for again when they are over and forgotten."""
    asks = [
        repair(at, "fork", run, from_="a", id=f"{run}f", tags={"fork": run}, session=session)
        for run in ("r0", "r1")
        for at, session in ((9.5, "u1"), (26, "u2"))
    ]
    ops = (start(4, "r0", "way"), start(4.2, "r1", "way", "s2"), *asks)
    dies = (fault(22, "kill_conductor", run, 2) for run in ("r0f", "r1f"))
    return mending(seed, ops, *dies, hands=_SLOW, chaos_s=30)


def in_flight(seed: int) -> Plan:
    """A run is forked while a worker is at it."""
    ops = (
        start(4, "r0", "gate"),
        start(4, "r1", "way", session="u2"),
        repair(5, "fork", "r0", from_="w", id="r0f", tags={"fork": "r0"}),
        repair(5.3, "fork", "r1", from_="n", id="r1f", tags={"fork": "r1"}, session="u2"),
    )
    return mending(seed, ops, hands=_SLOW, chaos_s=14)


def batched(seed: int) -> Plan:
    """Batches of which some items come to nothing, which are done anew; and another one by the same name."""
    each = {"wait": {"signal": "knock"}, "timeout": "3s"}
    knocks = tuple(
        asked(4.5 + number / 5, "signal", "b0", signal="knock", id=f"k{number}", label="done") for number in range(2)
    )
    ops = (
        batch(4, "b0", items=[1, 2, 3, 4, 5], each=each, parallel=3, tolerate=5),
        batch(4.1, "b1", items=[1, 2, 3, 4, 5], each=work(), parallel=2),
        batch(4.2, "b2", steps=[work(), each, work("tell"), each], parallel=1, tolerate=1),
        *knocks,
        batch(6, "b1", "s2", {"other": "body"}, items=[1], each=work()),
        repair(13, "retry", "b0", from_="each", items=[]),
        repair(14, "retry", "b2", from_="steps", items=[]),
    )
    return mending(seed, ops, chaos_s=18)


def failing(seed: int) -> Plan:
    """A batch fails while some of its items are under way."""
    steps = [work(), {"wait": {"signal": "knock"}, "timeout": "2s"}, {"wait": {"for": "9s"}}, work("tell")]
    ops = (batch(4, "b0", steps=steps, parallel=3), repair(10, "retry", "b0", from_="steps", items=[]))
    return mending(seed, ops, chaos_s=14)

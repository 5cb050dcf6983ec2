"""Runs of workflows: what is asked of them, and who works for them, at the right moment."""

from collections.abc import Mapping
from typing import Any

from tests.sim.directed.making import fault, plan
from tests.sim.flows import WORKFLOWS, flow, work
from tests.sim.plan import Fault, Hand, Op, Plan

_HONEST = (Hand(name="h1", places=6),)
_STEADY = (Hand(name="h1", places=8, takes_s=0.4),)
_ODD = (Hand(name="h1", is_odd=True, places=3), Hand(name="h2", is_odd=True, places=3))
#: Goes round for as long as it may.
_WHEEL = flow("turn", turn=work(visits=2, next={"done": "turn", "exhausted": "out"}), out=work("tell"))
#: Waits for people only.
_DOOR = flow(
    knock={"wait": {"signal": "knock"}, "timeout": "30s", "next": {"done": "open"}},
    open=work(next={"done": "again"}),
    again={"wait": {"signal": "knock"}, "timeout": "30s"},
)
_NAP = flow(nap={"wait": {"for": "4s"}, "next": {"done": "nap_more"}}, nap_more={"wait": {"for": "5s"}})
#: Workers have time for it, and it has time for workers.
_SLOW = flow(only=work(queue_timeout="45s", timeout="20s")) | {"deadline": "75s"}
#: A join is complete again and again, each time by one of its members first.
_LAPS = flow(
    "a",
    a=work(visits=3, next={"done": ["b", "c"]}),
    b=work(visits=3, next={"done": "a"}),
    c=work("tell", visits=3),
    d=work("tell", needs=["b", "c"], visits=9),
)
#: Nothing of it is tried again.
_FRAIL = flow(only=work(retry={"lost": {"attempts": 1}}, timeout="20s"))
_OWN = {"frail": _FRAIL, "laps": _LAPS, "wheel": _WHEEL, "door": _DOOR, "nap": _NAP, "slow": _SLOW}


def flowing(
    seed: int,
    ops: tuple[Op, ...],
    *faults: Fault,
    hands: tuple[Hand, ...] = _HONEST,
    chaos_s: float = 14.0,
    own: Mapping[str, Any] = _OWN,
) -> Plan:
    """Make a plan of what is asked of workflows, each of which is declared first."""
    names = list(dict.fromkeys(op.spec["workflow"] for op in ops if op.verb == "start"))
    told = {**WORKFLOWS, **own}
    first = tuple(asked(1 + number / 10, "declare", name, **told[name]) for number, name in enumerate(names))
    return plan(seed, (*first, *ops), faults, hands=hands, chaos_s=chaos_s)


def asked(at: float, verb: str, what: str, to: str = "s1", session: str = "u1", **spec: Any) -> Op:
    """Ask for something about a run or a workflow."""
    return Op(at=at, session=session, verb=verb, job=what, to=to, spec=spec)


def start(at: float, run: str, workflow: str, to: str = "s1", session: str = "u1", **more: Any) -> Op:
    """Ask for a run."""
    return asked(at, "start", run, to, session, workflow=workflow, **more)


def knock(at: float, run: str, number: int, to: str = "s1", session: str = "u1") -> Op:
    """Send a signal."""
    return asked(at, "signal", run, to, session, signal="knock", id=f"k{number}", label="done")


def _several(*workflows: str, at: float = 4.0) -> tuple[Op, ...]:
    return tuple(start(at + number / 5, f"r{number}", name) for number, name in enumerate(workflows))


def plain(seed: int) -> Plan:
    """Nothing breaks."""
    return flowing(seed, _several("ship", "laps", "laps", "wheel", "refund"), hands=_STEADY)


def odd(seed: int) -> Plan:
    """All workers are odd."""
    runs = _several("ship", "board", *["errand"] * 8, "wheel", "ship", "ship")
    return flowing(seed, runs, hands=_ODD, chaos_s=20)


def dies(seed: int) -> Plan:
    """A worker dies for good while it works."""
    faults = (fault(4.6 + seed % 4 / 5, "kill_worker", "h1", 30),)
    hands = (*_HONEST, Hand(name="h2", places=6))
    return flowing(seed, _several("slow", "slow", "ship", "ship"), *faults, hands=hands)


def stalls(seed: int) -> Plan:
    """The only worker stands still again and again."""
    faults = tuple(fault(at, "pause_worker", "h1", 3.5) for at in (4.5, 9, 13))
    hands = (Hand(name="h1", places=6, takes_s=1.5),)
    return flowing(seed, _several("frail", "ship", "ship", "slow", "frail"), *faults, hands=hands, chaos_s=18)


def conductor_dies(seed: int) -> Plan:
    """Whoever conducts a run dies while workers are at it, and others would have something to claim."""
    ops = (*_several("slow", "slow", "slow", "slow", "ship", "nap"), start(5, "r7", "door"))
    faults = (fault(6.5 + seed % 5 / 4, "kill_conductor", run, 12) for run in ("r0", "r1"))
    return flowing(seed, ops, *faults, hands=(Hand(name="h1", places=8, takes_s=14),), chaos_s=20)


def conductor_dies_idle(seed: int) -> Plan:
    """It dies while nothing but time is waited for."""
    ops = (start(4, "r0", "nap"), start(4.2, "r1", "door", deadline="20s"), start(4.4, "r2", "nap"))
    return flowing(seed, ops, *(fault(6.5, "kill_conductor", run, 8) for run in ("r0", "r1")), chaos_s=18)


def nobody_works(seed: int) -> Plan:
    """Whoever conducts a run dies before the first worker comes."""
    faults = (
        fault(0, "kill_worker", "h1", 13.5),
        *(fault(11.5, "kill_conductor", run, 6) for run in ("r0", "r1")),
    )
    ops = (start(11, "r0", "slow"), start(11, "r1", "slow", session="u2"), start(11.1, "r2", "slow"))
    return flowing(seed, ops, *faults, chaos_s=15)


def late(seed: int) -> Plan:
    """What is written of runs comes to pass late, and later than what is written after it."""
    at = 4.1 + seed % 6 / 5
    faults = tuple(fault(at, "commit_late", one, 3, 2) for one in ("s1", "s2"))
    return flowing(seed, _several("ship", "board", "errand", "wheel", "ship"), *faults, chaos_s=16)


def late_by_the_former(seed: int) -> Plan:
    """It comes to pass after another has taken over."""
    at = 4.4 + seed % 6 / 5
    faults = tuple(fault(at, "commit_late", one, 9, 2) for one in ("s1", "s2"))
    ops = _several("ship", "board", "errand", "wheel", "ship", "slow")
    return flowing(seed, ops, *faults, fault(at + 0.3, "pause_conductor", "r0", 9), chaos_s=22)


def in_silence(seed: int) -> Plan:
    """What is written of runs comes to pass, and nobody is told."""
    at = 4.1 + seed % 6 / 5
    faults = tuple(fault(at, "commit_silent", one, 0, 2) for one in ("s1", "s2"))
    return flowing(seed, _several("ship", "board", "errand", "wheel", "ship"), *faults, chaos_s=16)


def slow_store(seed: int) -> Plan:
    """Whatever is written takes a while."""
    faults = tuple(fault(3.9, "slow_to_store", one, 8, 1) for one in ("s1", "s2"))
    return flowing(seed, _several("ship", "board", "errand", "wheel", "ship"), *faults, chaos_s=16)


def answers_lost(seed: int) -> Plan:
    """What workers are answered arrives late, or never."""
    faults = tuple(fault(4, "slow_to_worker", "h1", 8, 0.6, one) for one in ("s1", "s2"))
    return flowing(seed, _several("ship", "board", "errand", "errand", "ship"), *faults, chaos_s=16)


def paused(seed: int) -> Plan:
    """Runs are paused while there is something to claim, to fire and to consume."""
    ops = (
        start(4, "r0", "door"),
        start(4, "r1", "nap", session="u2"),
        start(4.1, "r2", "ship"),
        start(4.2, "r3", "wheel", session="u2"),
        *(asked(4.4 + seed % 5 / 4, "pause", run) for run in ("r0", "r1", "r2", "r3")),
        knock(8, "r0", 1),
        asked(12, "resume", "r0"),
        asked(12, "resume", "r2"),
    )
    return flowing(seed, ops, chaos_s=16)


def paused_in_line(seed: int) -> Plan:
    """Runs are paused whose attempts wait in line, for the only worker is busy."""
    ops = (*_several(*["errand"] * 6), *(asked(5.5 + seed % 4 / 5, "pause", f"r{number}") for number in range(6)))
    return flowing(seed, ops, hands=(Hand(name="h1", places=1),))


def former_refuses(seed: int) -> Plan:
    """Who conducted runs stands still until others have been given them, and is asked by impatient workers then."""
    hands = tuple(Hand(name=f"h{number}", is_odd=True, places=5) for number in range(1, 7))
    faults = (
        fault(at, "pause_conductor", run, 7.5 + seed % 8 / 4) for at, run in ((4.6, "r0"), (17, "r9"), (30, "r10"))
    )
    ops = (
        *_several(*["slow", "board", "ship"] * 3, at=3),
        *(start(14, f"r{number}", "slow") for number in range(9, 14)),
    )
    more = (start(28, f"r{number}", "slow") for number in range(14, 20))
    return flowing(seed, (*ops, *more), *faults, hands=hands, chaos_s=42)


def signalled(seed: int) -> Plan:
    """Signals come once, and again, before they are waited for and after; and runs are cancelled."""
    ops = (
        start(4, "r0", "door"),
        start(4.1, "r1", "door"),
        knock(5, "r0", 1),
        knock(5.5, "r0", 1, "s2"),
        knock(6, "r1", 2),
        asked(7, "cancel", "r1", reason="enough"),
        knock(8, "r0", 1, session="u2"),
    )
    return flowing(seed, ops, hands=_STEADY)


def again(seed: int) -> Plan:
    """Runs are begun again by the same and by other bodies, while they go on, and when they are over and forgotten."""
    ops = (
        *_several("errand", "door", "errand"),
        start(5, "r1", "door", "s2", "u2"),
        start(5.2, "r1", "door", "s1", "u2", tags={"other": "body"}),
        *(start(16 + number, f"r{number}", "errand", session="u2") for number in (0, 2)),
    )
    dies = (fault(10, "kill_conductor", run, 3) for run in ("r0", "r2"))
    return flowing(seed, ops, *dies, chaos_s=22)


def too_long(seed: int) -> Plan:
    """Runs do not come to their end in time."""
    ops = (start(12, "r0", "door", deadline="6s"), start(12.2, "r1", "nap", deadline="7s"))
    return flowing(seed, ops)

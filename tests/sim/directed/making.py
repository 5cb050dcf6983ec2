"""What plans are made of whose happenings are told, not drawn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.sim.plan import Fault, Op, Plan, a_spec

Family = Callable[[int], Plan]
_KEPT: Final = Path(__file__).parent.parent / "kept"


def plan(seed: int, ops: tuple[Op, ...], faults: tuple[Fault, ...], **more: Any) -> Plan:
    given: dict[str, Any] = {"instances": ("s1", "s2"), "agents": ("a1", "a2"), "chaos_s": 20.0} | more
    return Plan(seed=seed, ops=ops, faults=tuple(sorted(faults, key=lambda one: one.at)), **given)


def put(at: float, job: str, to: str = "s2", session: str = "c1", *, only: bool = False, **spec: Any) -> Op:
    return Op(at=at, session=session, verb="put", job=job, to=to, spec=a_spec(**spec), is_conditional=only)


def delete(at: float, job: str, to: str = "s2", session: str = "c1") -> Op:
    return Op(at=at, session=session, verb="delete", job=job, to=to)


def get(at: float, job: str, to: str, session: str = "c1") -> Op:
    return Op(at=at, session=session, verb="get", job=job, to=to)


def fault(at: float, what: str, target: str, span: float = 0.0, amount: float = 0.0, other: str = "") -> Fault:
    return Fault(at=at, what=what, target=target, span=span, amount=amount, other=other)


def kept(name: str) -> Family:
    """Return a family of one: a case that once went wrong."""
    return lambda _seed: Plan.from_json((_KEPT / f"{name}.json").read_text())


def tight(family: Family) -> Family:
    """Return a family where ``db`` is not exclusive, and what it reserves fits just once on the only agent it may have."""

    def squeezed(seed: int) -> Plan:
        roomy = family(seed)
        spec = a_spec(agent="a1", cpu=600)
        return replace(roomy, cpu=1000, ops=tuple(replace(op, spec=spec) if op.job == "db" else op for op in roomy.ops))

    return squeezed

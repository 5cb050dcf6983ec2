"""Explaining slots that fit nowhere on a large fleet: grouping agents, sentences and fixes, without placing itself.

A thousand slots, of which every twentieth differs in what stands against it, over 10,000 agents that lack one of many
things. The whole of `core.why.explain` is told beside: most of it is placing, and asking every agent what it lacks.

What it does not show: copying the index, and what of an answer goes over the wire.
"""

import time
from datetime import timedelta

from bench.world import quiet
from harpoon.core.blockers import sentence
from harpoon.core.board import Board
from harpoon.core.case import Case
from harpoon.core.fix import nearest_fix
from harpoon.core.fleet import Fleet
from harpoon.core.waits import CASES_MAX
from harpoon.core.why import explain, group
from harpoon.model.agent import Agent, Capacity, Link, LinkState, PortRange
from harpoon.model.instant import Instant
from harpoon.model.job import Job, Spec
from harpoon.model.template import Resources, TaskTemplate

AGENTS, SLOTS = 10_000, 1_000


def _fleet() -> Fleet:
    fleet = Fleet()
    for number in range(AGENTS):
        name = f"agent-{number:05}"
        fleet.set_agent(
            Agent(
                name=name,
                uid=name,
                endpoint="http://127.0.0.1:4451",
                capacity=Capacity(cpu=1000 + number % 500, memory=1 << 30),
                ports=PortRange(low=20000, high=20999),
            )
        )
        state = LinkState.CONNECTED if number % 10 else LinkState.LOST
        fleet.set_link(Link(agent=name, state=state, since_ms=0))
    return fleet


def rows() -> list[tuple[str, str, str, str]]:
    """Return lines of the table: what, ours, the raw floor of the same run, the target."""
    quiet()
    fleet = _fleet()
    spec = Spec(task=TaskTemplate(command=("true",), resources=Resources(cpu=4000, memory=2 << 30)), scale=SLOTS)
    job = Job(namespace="default", name="web", spec=spec, generation="g", version=1, created_ms=0, updated_ms=0)
    case = Case(job=job, standings=(), links={}, now=Instant(elapsed=timedelta(), wall=0), replacing={})
    begun = time.process_time()
    explain(case, fleet)
    whole = time.process_time() - begun
    begun = time.process_time()
    refusals = Board(job, fleet).refusals(0)
    asked = time.process_time() - begun
    begun = time.process_time()
    for _ in range(CASES_MAX):
        group(refusals)
        sentence(1, SLOTS, refusals)
        nearest_fix(job, refusals, fleet, {})
    own = time.process_time() - begun
    return [
        (f"why of {SLOTS:,} slots over {AGENTS:,} agents, own part, {CASES_MAX} kinds", f"{own:.2f} s", "", "<= 1 s"),
        ("  the same of one kind", f"{own / CASES_MAX * 1000:.0f} ms", f"{asked * 1000:.0f} ms asking", ""),
        ("  placing and asking included, of one kind", f"{whole:.2f} s", "", ""),
    ]

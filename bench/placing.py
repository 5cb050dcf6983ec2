"""Placing alone: what a placement costs as the fleet grows, how long one decision takes, what plans and reasons cost.

The verbs themselves on the index they are shipped with, on one core, in processor time: jobs of a few shapes (plain,
spread over zones, preferring, requiring, distinct) on agents of two makes in eight zones, placed from empty. The first
figures include booking what was placed, as the scheduler does, and the same jobs with each agent of a size of its own.
The *floor* is the placements made and booked alone, with nobody having decided where.

What it does not show: the store, the loop around it, and what is written (``system`` and ``fleet`` do); agents that
come and go meanwhile.
"""

import gc
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

from harpoon.core.case import Case
from harpoon.core.fleet import Fleet
from harpoon.core.foretold import Outset
from harpoon.core.place import place
from harpoon.core.plan import foretell
from harpoon.core.rollout import rollout
from harpoon.core.why import explain
from harpoon.model.agent import Agent, Capacity, Link, LinkState, PortRange
from harpoon.model.instant import Instant
from harpoon.model.job import Job, Spec
from harpoon.model.rules import Distinct, PlacementRules, Preference, Requirement, Spread
from harpoon.model.task import Placement, Reservation
from harpoon.model.template import Resources, TaskTemplate

SMALL, MIDDLE, LARGE = 100, 1_000, 10_000
JOBS, SCALE = 100, 100
WHOLE, AT_ONCE = 1_000, 200
NOW = Instant(elapsed=timedelta(0), wall=1_767_225_600_000)
GIB = 1 << 30

RULES = (
    PlacementRules(),
    PlacementRules(spread=(Spread(tag="zone"),)),
    PlacementRules(prefer=(Preference(tag="disk", equals="ssd"),)),
    PlacementRules(require=(Requirement(tag="disk", equals="ssd"),), spread=(Spread(tag="name"),)),
    PlacementRules(distinct=Distinct.AGENT),
    PlacementRules(spread=(Spread(tag="zone"),), distinct=Distinct.AGENT),
)


def fleet_of(size: int, *, is_mixed: bool = False, cpu: int = 64_000) -> Fleet:
    """Return connected agents: of two makes, or each of a size of its own."""
    fleet = Fleet()
    for number in range(size):
        name = f"a{number:05d}"
        agent = Agent(
            name=name,
            uid=name,
            endpoint="http://127.0.0.1:4451",
            capacity=Capacity(cpu=cpu + (number * 37 % 5_000 if is_mixed else 0), memory=256 * GIB),
            ports=PortRange(low=20_000, high=29_999),
            tags={"zone": f"z{number % 8}", "disk": "hdd" if number % 3 else "ssd"},
            facts={"name": name, "arch": "x86_64", "os": "linux"},
        )
        fleet.set_agent(agent)
        fleet.set_link(Link(agent=name, state=LinkState.CONNECTED, since_ms=0))
    # As a server does once it has read what there is.
    gc.collect()
    gc.freeze()
    return fleet


def job_of(number: int, scale: int = SCALE, cpu: int = 100) -> Job:
    """Return one of a few shapes."""
    resources = Resources(cpu=cpu * (1 + number % 3), memory=GIB >> 3)
    spec = Spec(
        task=TaskTemplate(command=("serve",), resources=resources), scale=scale, placement=RULES[number % len(RULES)]
    )
    return Job(namespace="default", name=f"j{number}", spec=spec, generation="g", version=1, created_ms=0, updated_ms=0)


def place_all(fleet: Fleet, jobs: list[Job]) -> tuple[int, float, float, float]:
    """Place every job as the scheduler does, a part at a time.

    Returns placements, seconds, the longest part, and the longest of those by rules that no job had before: they sort
    all agents.
    """
    count, longest, first = 0, 0.0, 0.0
    known: set[PlacementRules] = set()
    begun = time.process_time()
    for job in jobs:
        wants, is_whole = rollout(job, (), NOW).wants, False
        while not is_whole:
            started = time.process_time()
            decision = place(job, wants, fleet, NOW, incarnation=1, revision=count, most=AT_ONCE)
            for placement in decision.placements:
                fleet.add(placement)
            took = time.process_time() - started
            if job.spec.placement in known:
                longest = max(longest, took)
            else:
                first = max(first, took)
            known.add(job.spec.placement)
            placed = {placement.slot for placement in decision.placements}
            wants = tuple(want for want in wants if want.slot not in placed)
            count, is_whole = count + len(placed), decision.is_whole
    return count, time.process_time() - begun, longest, first


def make_all(fleet: Fleet, count: int) -> float:
    """Make and book so many placements, nobody having decided where; return the seconds."""
    names, reserve = [name for name, _, _ in fleet.agents()], Reservation(cpu=100, memory=GIB >> 3)
    begun = time.process_time()
    for number in range(count):
        placement = Placement(
            namespace="default",
            job=f"j{number // SCALE}",
            slot=number % SCALE,
            incarnation=1,
            revision=1,
            agent=names[number % len(names)],
            generation="g",
            version=1,
            reason=f"slot {number % SCALE} has no placement; {names[number % len(names)]} could",
            decided_ms=NOW.wall,
            reserve=reserve,
        )
        fleet.add(placement)
    return time.process_time() - begun


def measure(what: str, size: int) -> list[float]:
    """Return the figures of one thing."""
    match what:
        case "alike" | "mixed":
            count, took, longest, first = place_all(
                fleet_of(size, is_mixed=what == "mixed"), [job_of(number) for number in range(JOBS)]
            )
            return [count / took, longest * 1000, first * 1000]
        case "floor":
            return [JOBS * SCALE / make_all(fleet_of(size), JOBS * SCALE)]
        case "whole":
            count, took, longest, first = place_all(fleet_of(size), [job_of(number) for number in range(WHOLE)])
            assert count == WHOLE * SCALE
            return [took, longest * 1000, first * 1000]
        case "large":
            _, took, longest, first = place_all(fleet_of(size), [job_of(1, scale=10_000)])
            begun = time.process_time()
            rollout(job_of(1, scale=10_000), (), NOW)
            return [took, longest * 1000, first * 1000, (time.process_time() - begun) * 1000]
        case "shapes":
            jobs = [job_of(number, scale=1, cpu=1 + number) for number in range(JOBS)]
            jobs = [replace(job, spec=replace(job.spec, placement=RULES[0])) for job in jobs]
            return [place_all(fleet_of(size, is_mixed=True), jobs)[1] / JOBS * 1000]
        case "plan":
            fleet = fleet_of(size)
            begun = time.process_time()
            foretell([Outset(job=job_of(1, scale=10_000))], fleet, NOW, incarnation=1, revision=1)
            return [time.process_time() - begun]
        case _:
            fleet = fleet_of(size, is_mixed=True, cpu=50)
            case_ = Case(job=job_of(0, scale=1_000, cpu=10_000), standings=(), links={}, now=NOW, replacing={})
            begun = time.process_time()
            explain(case_, fleet)
            return [time.process_time() - begun]


def run(what: str, size: int) -> list[float]:
    """Measure one thing in a process of its own; return its figures."""
    command = [sys.executable, "-m", "bench.placing", what, str(size)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(figure) for figure in out.split()]


def rows() -> list[tuple[str, str, str, str]]:
    """Measure; return lines of the table."""
    table = []
    rates = {}
    by_rules = "longest decision, of at most 200 (the first by new rules)"
    for size, target in ((SMALL, ""), (MIDDLE, ">= 20,000"), (LARGE, ">= 10,000")):
        (rate, longest, first), (mixed, *_), (floor,) = run("alike", size), run("mixed", size), run("floor", size)
        rates[size] = rate
        what = f"placements a second, {size:,} agents (each of its own size)"
        table.append((what, f"{rate:,.0f} ({mixed:,.0f})", f"{floor:,.0f} made and booked", target))
        table.append((f"  {by_rules}", f"{longest:.1f} ms ({first:.1f} ms)", "", "<= 20 ms"))
    table.append((f"  cost at {LARGE:,} agents to {SMALL:,}", f"{rates[SMALL] / rates[LARGE]:.2f} x", "", "<= 2 x"))
    took, longest, first = run("whole", LARGE)
    table.append((f"{WHOLE:,} jobs of {SCALE} on {LARGE:,} agents, from empty", f"{took:.1f} s", "", "<= 10 s"))
    table.append((f"  {by_rules}", f"{longest:.1f} ms ({first:.1f} ms)", "", "<= 20 ms"))
    took, longest, first, rolled = run("large", LARGE)
    table.append(("a job of 10,000 (its rollout alone)", f"{took:.2f} s ({rolled:.0f} ms)", "", ""))
    table.append((f"  {by_rules}", f"{longest:.1f} ms ({first:.1f} ms)", "", "<= 20 ms"))
    table.append((f"a job of a new shape, {LARGE:,} sizes of agents", f"{run('shapes', LARGE)[0]:.1f} ms", "", ""))
    table.append(("a plan over 10,000 tasks", f"{run('plan', LARGE)[0]:.2f} s", "", "<= 1 s"))
    table.append((f"why 1,000 slots are pending, {LARGE:,} agents", f"{run('why', LARGE)[0]:.2f} s", "", "<= 1 s"))
    return table


if __name__ == "__main__":
    print(*measure(sys.argv[1], int(sys.argv[2])))

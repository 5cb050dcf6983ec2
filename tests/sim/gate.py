"""The gate: whoever judges the product must find each wrong variant of it. ``python -m tests.sim.gate`` replays what is kept.

What kills a variant is kept as a plan, as small as it could be made, in ``killing.json``; ``--search`` finds it anew: by
plans made for its mistake (`tests.sim.directed`), else by drawn ones. The same plan must pass without the mistake, and a
crash is no kill: it says nothing of the checks.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

from tests.sim.directed import DIRECTED
from tests.sim.plan import Plan, draw
from tests.sim.run import run, run_all, shrink
from tests.sim.variants import VARIANTS, Variant

KEPT: Final = Path(__file__).with_name("killing.json")
#: Plans of a family that are tried, and then drawn ones.
OF_FAMILY: Final = 16
DRAWN: Final = 300
#: Runs to make a drawn plan smaller by; what was made for a mistake is small.
SHRINKING: Final = 50


@dataclass(frozen=True)
class Kill:
    """A plan by which a variant violates a property, which the product does not violate by it."""

    variant: str
    violated: str
    plan: Plan


def search(variant: Variant, plans: Iterable[Plan], *, jobs: int = 2) -> tuple[Kill | None, Counter[str]]:
    """Return what kills a variant, if any of the plans does, and what was violated how often."""
    found: Counter[str] = Counter()
    waiting = iter(plans)
    while batch := list(islice(waiting, 2 * jobs)):
        results = sorted(run_all(batch, jobs=jobs, patch=variant.apply), key=lambda result: batch.index(result.plan))
        for result in results:
            found[result.violated or "nothing"] += 1
            if result.violated in variant.kills and not run(result.plan).violated:
                return Kill(variant.name, result.violated, result.plan), found
    return None, found


def plans_for(variant: Variant) -> Iterator[Plan]:
    """Yield what is worth trying, the likeliest first."""
    if variant.name in DIRECTED:
        yield from map(DIRECTED[variant.name], range(OF_FAMILY))
    yield from map(draw, range(DRAWN))


def smaller(kill: Kill) -> Kill:
    """Return a kill by a plan without what it needs not."""
    variant, left = VARIANTS[kill.variant], SHRINKING
    if kill.plan != draw(kill.plan.seed):
        return kill

    def is_killing(plan: Plan) -> bool:
        nonlocal left
        left -= 1
        return left > 0 and run(plan, patch=variant.apply).violated == kill.violated

    plan = shrink(kill.plan, is_killing)
    return kill if run(plan).violated else Kill(kill.variant, kill.violated, plan)


def read() -> dict[str, Kill]:
    """Return what is kept."""
    told = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return {name: Kill(name, one["violated"], Plan.from_json(json.dumps(one["plan"]))) for name, one in told.items()}


def write(kills: Iterable[Kill]) -> None:
    """Keep these: a line each."""
    lines = (
        f"{json.dumps(kill.variant)}: {json.dumps({'violated': kill.violated, 'plan': json.loads(kill.plan.to_json())})}"
        for kill in sorted(kills, key=lambda kill: kill.variant)
    )
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def replay(kill: Kill) -> str:
    """Return what is wrong with a kill that is kept; empty: nothing."""
    variant = VARIANTS[kill.variant]
    with_it, without = run(kill.plan, patch=variant.apply), _amiss(kill.plan.to_json())
    if without:
        return f"{kill.variant}: the plan is violated without the mistake: {without}"
    if with_it.violated not in variant.kills:
        return f"{kill.variant} survives its plan: {with_it.text or 'nothing was violated'}"
    return ""


@cache
def _amiss(plan: str) -> str:
    """Return what the product violates by a plan, which may be that of several variants; empty: nothing."""
    return run(Plan.from_json(plan)).text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.gate", description=__doc__)
    parser.add_argument("--search", action="store_true", help="find anew what kills those that survive what is kept")
    parser.add_argument("--anew", action="store_true", help="with --search: find it anew for all")
    parser.add_argument("--jobs", type=int, default=2, help="so many runs at a time")
    parser.add_argument("variants", nargs="*", help="only these")
    given = parser.parse_args(arguments)
    names, kept = given.variants or list(VARIANTS), read()
    alive = []
    for name in names:
        amiss = f"{name}: nothing is kept" if name not in kept or given.anew else replay(kept[name])
        if amiss and given.search:
            kill, found = search(VARIANTS[name], plans_for(VARIANTS[name]), jobs=given.jobs)
            amiss = f"{name} survives {sum(found.values())} runs: {dict(found)}"
            if kill is not None:
                kept[name], amiss = smaller(kill), ""
                write(kill for name, kill in kept.items() if name in VARIANTS)
        alive += [name] if amiss else []
        print(amiss or f"{name}: killed by {kept[name].violated}", flush=True)
    print(f"{len(names) - len(alive)} of {len(names)} variants are killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())

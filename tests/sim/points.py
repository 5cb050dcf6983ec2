"""Every point of a scenario at which something is done to the world outside, and what goes wrong just there.

As Sieve does with controllers: a part that dies right after what it did (and nobody has told it what came of that), one
that is not told of something that happened, and one that begins again with what was true some time ago. Each is a run
of its own, and there are as many as there are points, so nothing is left to chance.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.sim.plan import Plan
from tests.sim.run import run

#: ``crash``: whoever did the effect of this number dies; ``hide``: an instance's watch leaves out this revision;
#: ``rewind``: its watch breaks off there, as if it had been told something twice; ``replay``: it dies there, and begins
#: again with the store as it was some revisions before.
HOW: Final = ("crash", "hide", "rewind", "replay")


def points(plan: Plan) -> Iterator[Plan]:
    """Yield a plan for each point of a scenario, in the order of HOW, and in it in that of time."""
    result = run(plan)
    assert not result.violated, result.text
    counts = {"crash": result.happened["effects"], **dict.fromkeys(HOW[1:], result.happened["revisions"])}
    for how in HOW:
        for number in range(1, counts[how] + 1):
            if how == "crash":
                yield replace(plan, point=(how, number, ""))
            else:
                for instance in plan.instances:
                    yield replace(plan, point=(how, number, instance))

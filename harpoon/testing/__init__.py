"""Tests of workflows: a server, workers and time, all in the process of the test.

::

    from harpoon.testing import Environment

    async with Environment(app) as env:
        await env.apply("refund.yaml")
        run = await env.start("refund", {"order": "o-1", "amount": 20})
        await env.advance("4h")
        ended = await run.result()
        assert ended.status == "succeeded"

What conducts the runs is what a server conducts them with, and what carries them out is what ``harpoon worker`` runs.
Only the clock is another, and the way between the two.

Floors, downward: ``environment`` over ``runs`` (what a test has in hand) and ``hands`` (workers) over ``server``,
``manifests`` and ``stand_ins`` (for the world outside) over ``driver`` (has the virtual loop go on) over ``loop`` (on
which no time passes by itself).
"""

from harpoon.model.run_shown import RunDetail
from harpoon.model.visit_shown import AttemptObject, VisitObject
from harpoon.model.why import Why
from harpoon.testing.environment import Environment
from harpoon.testing.hands import Hand
from harpoon.testing.runs import Ended, NotOver, Run
from harpoon.testing.stand_ins import Call

__all__ = ["AttemptObject", "Call", "Ended", "Environment", "Hand", "NotOver", "Run", "RunDetail", "VisitObject", "Why"]

"""No run passes its bounds, whatever goes wrong in it; and many a workflow has runs that reach them."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core.bounds import bounds
from harpoon.core.graph import member_of
from harpoon.core.visit import Progress
from tests.core.adversary import Play, any_workflow
from tests.core.flow import T0

#: Of each workflow.
PLAYS = 25


def tried(seed: int, kinds: str, items: float = 0) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the most that came of several runs of a workflow, and its bounds: attempts, end, bytes."""
    random = Random(seed)
    graph = any_workflow(random, size=random.randint(1, 7), kinds=kinds, items=items)
    told = bounds(graph)
    most = (told.attempts, told.ends_after_ms, told.bytes)
    reached = (0, 0, 0)
    for number in range(PLAYS):
        run = Play(graph, random, is_thorough=number % 4 != 3).play()
        assert run.ended_ms is not None
        came = (run.attempts_total, run.ended_ms - T0, run.bytes_total)
        assert all(one <= other for one, other in zip(came, most, strict=True)), (seed, came, most)
        for op, share in told.operations.items():
            progress, of_items = run.ops.get(op, Progress()), run.ops.get(member_of(op), Progress())
            visits = min(progress.fired, graph.nodes[op].visits)
            attempts = progress.attempts + of_items.attempts
            assert (visits <= share.visits, attempts <= share.attempts) == (True, True), (seed, op)
        reached = tuple(map(max, reached, came))
    return reached, most


@given(st.integers(0, 1 << 40), st.sampled_from([0, 0.5]))
@settings(max_examples=60, deadline=None)
def test_no_run_passes_its_bounds(seed: int, items: float) -> None:
    tried(seed, "wwwwsfc", items)


@pytest.mark.parametrize(
    ("kinds", "items", "least"),
    [
        ("wwf", 0, {"attempts": 40, "end": 30, "bytes": 32}),
        ("w", 0, {"attempts": 28, "end": 20, "bytes": 22}),
        ("w", 0.6, {"attempts": 20, "end": 16, "bytes": 4}),
    ],
)
def test_bounds_are_reached_by_many_workflows(kinds: str, items: float, least: dict[str, int]) -> None:
    """Of sixty: the rest is told too high, or has no run among those tried that comes so far."""
    exact: Counter[str] = Counter()
    for seed in range(60):
        for name, came, most in zip(least, *tried(seed, kinds, items), strict=True):
            exact[name] += came == most
    print(kinds, dict(exact))
    assert all(exact[name] >= share for name, share in least.items()), exact

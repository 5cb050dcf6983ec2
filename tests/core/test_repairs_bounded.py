"""However a run is repaired, and however it goes wrong: each repair adds one bound at most, and it ends in time."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.core import repairing
from harpoon.core.bounds import bounds
from harpoon.core.event import dump, load
from harpoon.core.fold import fold
from harpoon.core.repairing import Audit, Value
from harpoon.core.run import begin
from harpoon.core.step import Refused
from harpoon.model.label import ALWAYS_OFFERED
from harpoon.model.workflow import OnFailed
from tests.core.adversary import Play, any_workflow
from tests.core.flow import T0, ms, story

POLICIES = tuple(OnFailed)


class Mended(Play):
    """A run that somebody repairs now and then, while it goes on and when it is over."""

    def repair(self) -> bool:
        """Try to repair something; return whether that was done."""
        op = self.random.choice(list(self.graph.spec.operations))
        before = self.run.repairs
        try:
            if self.random.random() < 0.7:
                self._take(repairing.retry_from(self.run, op, Audit("ann"), self.now))
            else:
                node = self.graph.nodes[op]
                has_none = node.each or node.spec.choose or (node.spec.wait and node.spec.wait.for_)
                output = None if has_none else "o" * max(node.spec.output_max - 2, 1)
                value = Value(self.random.choice(sorted(node.offered or ALWAYS_OFFERED)), output)
                self._take(repairing.set_to(self.run, op, None, value, Audit("ann"), self.now))
        except Refused:
            return False
        assert self.run.repairs == before + 1
        self.plans.clear()
        return True

    def meddle(self) -> None:
        if self.run.repairs < 6 and self.random.random() < 0.1:
            self.repair()

    def play_on(self):
        """Play it to its end, and repair it then, some times."""
        for _ in range(4):
            if self.run.status.is_over:
                self.now += self.random.choice([0, 5_000])
                while not self.repair():
                    if self.random.random() < 0.2:
                        break
            while not self.run.status.is_over:
                self.go_on()
        return self.run


@given(st.integers(0, 1 << 40))
@settings(max_examples=60, deadline=None)
def test_each_repair_adds_one_bound_at_most(seed: int) -> None:
    tried(seed)


def tried(seed: int):
    random = Random(seed)
    graph = any_workflow(random, size=random.randint(1, 6), kinds="wwwwsfc", items=0.2, policies=POLICIES)
    told = bounds(graph)
    for number in range(4):
        play = Mended(graph, random, is_thorough=number % 4 != 3)
        play.play()
        run = play.play_on()
        times = 1 + run.repairs
        assert run.attempts_total <= told.attempts * times, (seed, run.attempts_total, told.attempts, times)
        assert run.bytes_total <= told.bytes * times, (seed, run.bytes_total, told.bytes, times)
        assert run.ended_ms is not None
        assert run.ended_ms <= run.deadline_ms
        again = begin(
            namespace="n", id="r", workflow="w", generation="g", graph=graph, inputs=run.inputs,
            created_ms=T0, deadline_ms=T0 + graph.spec.deadline // ms(1),
        )  # fmt: skip
        for step in play.log:
            for event in step:
                fold(again, load(dump(event)))
        assert story(again) == story(run)

"""Runs that go as wrong as they can: random workflows, and whoever works on them at the latest moment, and badly."""

from datetime import timedelta
from random import Random

from harpoon.core import step
from harpoon.core.dues import next_due_ms
from harpoon.core.event import Event
from harpoon.core.graph import Kind, compile_graph
from harpoon.core.run import begin
from harpoon.core.step import Result, Signal
from harpoon.core.stepping import ERROR_MAX
from harpoon.kit.errors import Invalid
from harpoon.model.foreach import Foreach
from harpoon.model.inputs import InputSchema
from harpoon.model.lifecycle import Backoff
from harpoon.model.operation import Attempts, Choice, Operation, Retry, Wait
from harpoon.model.workflow import OnFailed, WorkflowSpec
from tests.core.flow import T0, ms

QUEUES = [1_000, 7_000]
TIMEOUTS = [500, 3_000, 20_000]
BACKOFFS = [
    *[Backoff(initial=ms(100), factor=2.0, max=ms(1_000), jitter=0.0)] * 5,
    Backoff(initial=ms(1_000), factor=1.0, max=ms(1_000), jitter=0.2),
]
#: The most items that a run's inputs may bring.
ITEMS = 5
#: Longer than any error that is kept: what is told of it is cut off.
WORKER = "w" * (2 * ERROR_MAX)


POLICIES = (OnFailed.CANCEL, *[OnFailed.CONTINUE] * 4)


def any_workflow(random: Random, *, size: int, kinds: str = "wwwwsfc", items: float = 0, policies=POLICIES):
    """Return a compiled workflow; what is wrong with it at first is mended, or it is another one.

    ``items`` is the share of operations that go through items.
    """
    while True:
        operations = _operations(random, size, kinds, items)
        for _ in range(size + 2):
            spec = WorkflowSpec(
                operations={name: Operation(**fields) for name, fields in operations.items()},
                inputs={"pick": InputSchema(type="integer"), "items": InputSchema(type="array")},
                start="a",
                deadline=timedelta(days=300),
                on_failure=random.choice(policies),
            )
            try:
                return compile_graph(spec)
            except Invalid as error:
                if not _mend(random, operations, error):
                    break


def _mend(random: Random, operations: dict, error: Invalid) -> bool:
    """Drop what nothing leads to, and say how often what fires more often may."""
    for problem in error.problems:
        _, _, _, name, *field = problem.pointer.split("/")
        if field == ["visits"]:
            operations[name]["visits"] = random.choice([2, 2, 3, 5])
        elif not field and name != "a" and "nothing leads to it" in problem.detail:
            del operations[name]
            for fields in operations.values():
                for label, targets in list(fields.get("next", {}).items()):
                    fields["next"][label] = tuple(one for one in targets if one != name)
                    if not fields["next"][label]:
                        del fields["next"][label]
                if any(need.partition(".")[0] == name for need in fields.get("needs", ())):
                    return False
            return bool(operations)
        else:
            return False
    return True


def _foreach(random: Random) -> Foreach:
    count = random.randint(0, 7)
    told = {"parallel": random.randint(1, 4), "tolerate": random.choice([0, 1, 9]), "collect": random.random() < 0.5}
    if random.random() < 0.5:
        return Foreach(items=tuple(range(count)), max=9, **told)
    return Foreach(items="${inputs.items}", max=ITEMS, **told)


def _operations(random: Random, size: int, kinds: str, items: float) -> dict[str, dict]:
    names = [chr(ord("a") + number) for number in range(size)]
    told = {name: _operation(random, random.choice(kinds)) for name in names}
    for fields in told.values():
        if items and "choose" not in fields and random.random() < items:
            fields["foreach"] = _foreach(random)
    for at, name in enumerate(names):
        fields = told[name]
        labels = _labels(fields)
        if at and random.random() < 0.3 and at > 1:
            needed = random.sample(names[:at], min(at, random.choice([1, 2, 2, 3])))
            fields["needs"] = tuple(f"{one}.{random.choice(_labels(told[one]))}" for one in needed)
            for need in fields["needs"]:
                one, _, label = need.partition(".")
                _offer(told[one], label)
        for label in random.sample(labels, random.randint(0, min(3, len(labels)))):
            ahead = names[at + 1 :] if random.random() < 0.75 else names
            if ahead:
                targets = random.sample(ahead, min(len(ahead), random.choice([1, 1, 1, 2])))
                fields.setdefault("next", {})[label] = tuple(targets)
    return told


def _offer(fields: dict, label: str) -> None:
    if label in ("x", "y") and "choose" not in fields and "foreach" not in fields:
        fields["labels"] = tuple(dict.fromkeys((*fields.get("labels", ()), label)))


def _labels(fields: dict) -> list[str]:
    if "foreach" in fields:
        return ["done", "fail", "exhausted"]
    if "choose" in fields:
        return ["x", "y"]
    if "wait" in fields and fields["wait"].for_ is not None:
        return ["done", "exhausted"]
    return ["done", "x", "y", "timeout", "fail", "exhausted", *(["lost"] if "worker" in fields else [])]


def _operation(random: Random, kind: str) -> dict:
    if kind == "c":
        picked = random.randint(0, 2)
        return {"choose": (Choice(when=f"${{inputs.pick == {picked}}}", label="x"), Choice(else_="y"))}
    if kind == "f":
        return {"wait": Wait(for_=ms(random.choice(TIMEOUTS)))}
    if kind == "s":
        return {"wait": Wait(signal="go"), "timeout": ms(random.choice(TIMEOUTS)), "output_max": 65536}
    tries = Retry(
        fail=Attempts(attempts=random.choice([1, 1, 2])),
        timeout=Attempts(attempts=random.choice([1, 2])),
        lost=Attempts(attempts=random.choice([1, 1, 3])),
        backoff=random.choice(BACKOFFS),
    )
    fields = {"worker": "w", "retry": tries, "output_max": random.choice([4, 20])}
    fields |= {"queue_timeout": ms(random.choice(QUEUES)), "timeout": ms(random.choice(TIMEOUTS)), "heartbeat": ms(200)}
    if random.random() < 0.5:
        fields["input"] = {"to": "x" * random.randint(0, 9)}
    return fields


class Play:
    """One run, by somebody who decides beforehand how each visit goes."""

    def __init__(self, graph, random: Random, *, is_thorough: bool) -> None:
        self.graph, self.random, self.is_thorough = graph, random, is_thorough
        self.now = T0
        self.plans: dict[tuple[str, int], list[str]] = {}
        self.count = 0
        #: The events of each step.
        self.log: list[list[Event]] = []
        # So that what an operation is closed with is the same, visit after visit, in some runs.
        self.favourites = {name: random.choice(self._finals(node) or [""]) for name, node in graph.nodes.items()}
        self.is_steady = random.random() < 0.5
        life_ms = graph.spec.deadline // ms(1)
        self.run = begin(
            namespace="n", id="r", workflow="w", generation="g", graph=graph,
            inputs={"pick": random.randint(0, 2), "items": list(range(random.choice([ITEMS, ITEMS, 0, 2, ITEMS + 1])))},
            created_ms=T0, deadline_ms=T0 + life_ms,
        )  # fmt: skip

    def play(self):
        """Go on to the end; return the run."""
        self._take(step.start(self.run, self.now))
        while not self.run.status.is_over:
            self.go_on()
        return self.run

    def go_on(self) -> None:
        """Let pass what time there is before something is done, and do it."""
        run = self.run
        self.meddle()
        planned = [(self._moment(attempt), key) for key, attempt in run.open.items() if key not in run.groups]
        times = [moment for moment, _ in planned if moment is not None]
        due = next_due_ms(run)
        self.now = max(self.now, min([*times, *([] if due is None else [due])], default=self.now))
        acting = [key for moment, key in planned if moment is not None and moment <= self.now]
        if acting:
            self._act(self.random.choice(acting))
        else:
            self._take(step.tick(run, self.now))

    def meddle(self) -> None:
        """Do what else may be done before anything goes on: here nothing."""

    def _take(self, events: list[Event]) -> None:
        if events:
            self.log.append(events)

    def _finals(self, node) -> list[str]:
        if node.kind is Kind.WORKER:
            return [*sorted(node.offered), "timeout", "lost"]
        return [*sorted(node.offered), "timeout"] if node.kind is Kind.WAIT else [""]

    def _plan(self, node) -> list[str]:
        finals = self._finals(node)
        final = (
            self.favourites[node.name] if self.is_steady and self.random.random() < 0.8 else self.random.choice(finals)
        )
        retry = node.spec.retry
        if node.kind is not Kind.WORKER or not self.is_thorough:
            more = [self.random.choice(finals) for _ in range(400 if node.kind is Kind.WORKER else 0)]
            return [final, *more]
        first = ["lost"] * (retry.lost.attempts - 1) + ["fail"] * (retry.fail.attempts - 1)
        return [*first, *["timeout"] * (retry.timeout.attempts - 1), final]

    def _outcome(self, attempt) -> str:
        op, visit, number = attempt.ref
        node = self.graph.nodes[op]
        if (op, visit) not in self.plans:
            self.plans[op, visit] = self._plan(node)
        return self.plans[op, visit][number - 1]

    def _moment(self, attempt) -> int | None:
        """Return when something is done about an attempt; None: only its clocks are."""
        node = self.graph.nodes[attempt.ref.op]
        outcome = self._outcome(attempt)
        if node.kind is Kind.WORKER:
            if attempt.claim is None:
                return attempt.ready_ms + node.spec.queue_timeout_ms
            return None if outcome in ("timeout", "lost") else attempt.claim.due_ms
        if node.spec.wait is None or node.spec.wait.signal is None or outcome == "timeout":
            return None
        return attempt.opened_ms + node.spec.timeout_ms

    def _act(self, key) -> None:
        run = self.run
        attempt = run.open[key]
        node = self.graph.nodes[attempt.ref.op]
        outcome = self._outcome(attempt)
        self.count += 1
        if node.kind is Kind.WAIT:
            self._take(step.signal(run, Signal(f"m{self.count}", "go", None, outcome), self.now))
        elif attempt.claim is None:
            token = f"t{self.count}"
            self._take(step.claim(run, attempt.ref, token, WORKER, "s", self.now))
            # Its worker is heard of as long as it may be.
            heard = attempt.claim.due_ms - (node.spec.heartbeat_ms + 1 if outcome == "lost" else 0)
            step.beat(run, attempt.ref, token, heard)
        else:
            output = "o" * max(node.spec.output_max - 2, 1)
            told = Result(outcome, output, "e" * ERROR_MAX)
            self._take(step.close(run, attempt.ref, attempt.claim.token, told, self.now))

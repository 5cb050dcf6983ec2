"""Runs for tests: workflows written shortly, and a run with a clock and a log that is asked things by name."""

from dataclasses import replace
from datetime import timedelta

from harpoon.core import repairing, step
from harpoon.core.callback import Reply, call_back
from harpoon.core.event import Closed, dump, load
from harpoon.core.flaws import OUTPUTS, values_of
from harpoon.core.fold import fold
from harpoon.core.graph import Graph, compile_graph, nodes_of
from harpoon.core.repairing import Audit, Value
from harpoon.core.run import begin
from harpoon.core.step import Result, Signal
from harpoon.core.visit import Ref
from harpoon.core.wiring import wire
from harpoon.kit.expression import Names, compile_template
from harpoon.model.foreach import Foreach
from harpoon.model.inputs import InputSchema
from harpoon.model.label import DONE
from harpoon.model.lifecycle import Backoff
from harpoon.model.operation import Attempts, Choice, Concurrency, Operation, Retry, Wait
from harpoon.model.workflow import OnFailed, WorkflowSpec

T0 = 1_700_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: Waits between tries that are the same in every test.
STEADY = Backoff(initial=timedelta(seconds=1), factor=2.0, max=timedelta(minutes=1), jitter=0.0)


def ms(milliseconds):
    return timedelta(milliseconds=milliseconds)


def work(worker="w", **fields):
    """An operation that a worker does."""
    return Operation(worker=worker, **_edges(fields))


def await_signal(signal, key=None, **fields):
    return Operation(wait=Wait(signal=signal, key=key), **_edges(fields))


def called_back(**fields):
    return Operation(wait=Wait(callback=True), **_edges(fields))


def until(moment, **fields):
    return Operation(wait=Wait(until=moment), **_edges(fields))


def sleep(milliseconds, **fields):
    return Operation(wait=Wait(for_=ms(milliseconds)), **_edges(fields))


def choose(*choices, **fields):
    """Each ``(when, label)``, or the label of else."""
    told = tuple(Choice(else_=one) if isinstance(one, str) else Choice(when=one[0], label=one[1]) for one in choices)
    return Operation(choose=told, **_edges(fields))


def retry(fail=1, timeout=1, lost=5, backoff=STEADY):
    told = {"fail": fail, "timeout": timeout, "lost": lost}
    return Retry(**{name: Attempts(attempts=attempts) for name, attempts in told.items()}, backoff=backoff)


def limit(key, most=1):
    return Concurrency(key=key, limit=most)


def each(items, most=10, **more):
    return Foreach(items=tuple(items) if isinstance(items, list) else items, **{"max": most, "parallel": 2} | more)


def _edges(fields):
    fields = {"timeout" if name == "takes" else name: value for name, value in fields.items()}
    for name in ("timeout", "queue_timeout", "heartbeat"):
        if isinstance(fields.get(name), int):
            fields[name] = ms(fields[name])
    nexts = fields.pop("next", {})
    fields["next"] = {label: (to,) if isinstance(to, str) else tuple(to) for label, to in nexts.items()}
    for name in ("needs", "labels"):
        fields[name] = tuple(fields.get(name, ()))
    return fields


def spec(start=None, outputs=None, inputs=None, on_failure=OnFailed.CANCEL, deadline=7 * DAY, **operations):
    return WorkflowSpec(
        operations=operations,
        inputs={name: InputSchema(type=kind) for name, kind in (inputs or {}).items()},
        start=start,
        outputs=outputs or {},
        on_failure=on_failure,
        deadline=ms(deadline),
    )


def wired(told):
    """The graph of a workflow, whatever is wrong with it; its expressions may name any input."""
    wiring, _ = wire(told)
    names = Names(inputs={name: {} for name in ("key", "flag", "items", *told.inputs)}, ops=told.operations)

    templates = {
        place: compile_template(value, replace(names, has_item=is_of_item))
        for place, value, _, is_of_item in values_of(told)
    }

    return Graph(
        spec=told,
        nodes=nodes_of(told, wiring, templates),
        triggers=wiring.triggers,
        starts=wiring.starts,
        outputs=templates.get(OUTPUTS),
    )


class Flow:
    """One run, its log, and its clock."""

    def __init__(self, told, given=None, run="r1", graph=None):
        self.spec = told
        self.graph = graph or compile_graph(told)
        self.now = T0
        self.given = given or {}
        self.id = run
        #: Those of other generations.
        self.graphs = {}
        self.run = self._begin()
        self.log = []
        self.tokens = 0

    def _begin(self):
        return begin(
            namespace="shop",
            id=self.id,
            workflow="refund",
            generation="g1",
            graph=self.graph,
            graphs=self.graphs,
            inputs=self.given,
            created_ms=T0,
            deadline_ms=T0 + self.graph.spec.deadline // ms(1),
        )

    def start(self):
        return self.take(step.start(self.run, self.now))

    def take(self, events):
        self.log += events
        return events

    def ref(self, op, visit=None):
        """The open attempt of an operation: of its first open visit, or of the one named."""
        return next(one.ref for (name, at), one in self.run.open.items() if name == op and visit in (None, at))

    def claim(self, op, visit=None, worker="w1"):
        ref = self.ref(op, visit)
        self.tokens += 1
        token = f"t{self.tokens}"
        self.take(step.claim(self.run, ref, token, worker, "s1", self.now))
        return ref, token

    def close(self, ref, token, label=DONE, output=None, error="", retryable=True):
        return self.take(step.close(self.run, ref, token, Result(label, output, error, retryable), self.now))

    def do(self, op, label=DONE, output=None, error="", visit=None, retryable=True):
        """Claim an attempt of an operation, and close it."""
        return self.close(*self.claim(op, visit), label, output, error, retryable)

    def send(self, name, label=DONE, payload=None, key=None, named=None):
        self.tokens += 1
        sent = Signal(named or f"m{self.tokens}", name, key, label, payload)
        return self.take(step.signal(self.run, sent, self.now))

    def call(self, op, visit=1, label=DONE, payload=None):
        """Reply back a visit; what is brought is its own digest."""
        return self.take(call_back(self.run, Reply(op, visit, f"{label}={payload!r}", label, payload), self.now))

    def pass_(self, milliseconds):
        """Let time pass, and look at the clocks once."""
        self.now += milliseconds
        return self.take(step.tick(self.run, self.now))

    def pause(self):
        return self.take(step.pause(self.run, "ann", self.now))

    def resume(self):
        return self.take(step.resume(self.run, "ann", self.now))

    def follow(self, is_held):
        """Be paused, or not, as the run is that called it."""
        return self.take(step.follow(self.run, self.now, is_held=is_held))

    def cancel(self, reason="no more"):
        return self.take(step.cancel(self.run, reason, self.now))

    def opened(self):
        """What is open: operation and visit, in the order in which they were opened."""
        return [f"{op}#{visit}" if visit > 1 else op for op, visit in self.run.open]

    def closings(self):
        """How everything closed so far: operation and label."""
        return [f"{event.op}.{event.label}" for event in self.log if type(event) is Closed]

    def retry_from(self, op, by="ann", reason="", order="", items=None):
        return self.take(repairing.retry_from(self.run, op, Audit(by, reason, order), self.now, items))

    def set_to(self, op, label=DONE, output=None, *, visit=None, order=""):
        audit = Audit("ann", "", order)
        return self.take(repairing.set_to(self.run, op, visit, Value(label, output), audit, self.now))

    def move(self, generation, graph, order=""):
        return self.take(repairing.move(self.run, generation, graph, Audit("ann", "", order), self.now))

    def again(self, upto=None):
        """The run that its log makes when it is written and read."""
        self.graphs |= self.run.graphs
        run = self._begin()
        for event in self.log[:upto]:
            fold(run, load(dump(event)))
        return run


def begun(told, given=None, **more):
    """A run that was started."""
    flow = Flow(told, given, **more)
    flow.start()
    return flow


def loose(told, given=None):
    """A run that was started, of a workflow that is not checked."""
    return begun(told, given, graph=wired(told))


def story(run):
    """Return all that a run is, but what its log does not hold: heartbeats, and when clocks are looked at."""

    def attempt(one):
        claim = one.claim and (one.claim.token, one.claim.worker, one.claim.session, one.claim.at_ms, one.claim.due_ms)
        fields = (
            "ref",
            "input",
            "opened_ms",
            "ready_ms",
            "error",
            "key",
            "due_ms",
            "spent",
            "claimed_ms",
            "tried_ms",
            "warned",
            "origin",
            "is_beyond",
        )
        return tuple(getattr(one, name) for name in fields), one.last_error, claim

    plain = (
        "seq",
        "now_ms",
        "status",
        "is_stopped",
        "is_held",
        "cancel_reason",
        "failure",
        "is_broken",
        "ended_ms",
        "outputs",
    )
    told = {name: getattr(run, name) for name in plain}
    for name in ("reason", "past", "occurred", "seen", "called", "callbacks", "attempts_total", "bytes_total"):
        told[name] = getattr(run, name)
    for name in ("unhandled", "cut", "left", "repairs", "moves", "inputs", "generation", "orders", "deadline_ms"):
        told[name] = getattr(run, name)
    for name in ("is_warned", "scope"):
        told[name] = getattr(run, name)
    told["reached"] = list(run.reached)
    told["open"] = [(key, attempt(one)) for key, one in run.open.items()]
    told["ready"] = list(run.ready)
    told["ops"] = {op: (one.fired, one.used, one.attempts, one.closed, one.latest) for op, one in run.ops.items()}
    told["pending"] = list(run.pending)
    told["groups"] = run.groups
    told["roomy"] = list(run.roomy)
    told["went"], told["anew"] = run.went, {op: tuple(items) for op, items in run.anew.items()}
    told["waiting"] = {name: list(keys) for name, keys in run.waiting.items()}
    told["kept"] = list(run.kept.values())
    told["kept_by"] = {name: list(ids) for name, ids in run.kept_by.items()}
    return told


def refs(*names):
    """``a``, ``a#2``, ``a#2/3``: an operation, its visit, its attempt."""
    told = []
    for name in names:
        op, _, rest = name.partition("#")
        visit, _, attempt = rest.partition("/")
        told.append(Ref(op, int(visit or 1), int(attempt or 1)))
    return told if len(told) > 1 else told[0]

"""Random workflows, and whatever may be done to a run of them: what holds after every step, wherever the log ends."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harpoon.core import step
from harpoon.core.dues import clocks, is_at_once, next_due_ms
from harpoon.core.event import Claimed, Closed, Ended, Fired, Paused, Resumed, Started
from harpoon.core.outlook import outlook, skipped
from harpoon.core.run import Ref
from harpoon.core.step import Refused, Result, Signal
from harpoon.core.stepping import EVENTS_MAX
from harpoon.model.label import CANCELLED, EXHAUSTED, FAILURES
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import HOUR, MINUTE, SECOND, T0, Flow, await_signal, choose, retry, sleep, spec, story, wired, work

LABELS = ("done", "good", "fail")
OPENING = (Started, Closed, Fired, Resumed)
KEYS = (None, "k1", "k2")


@some.composite
def workflows(draw):
    """Up to six operations of all kinds, wired at random, cycles and joins that never fire included."""
    count = draw(some.integers(2, 6))
    names = [f"o{number}" for number in range(count)]
    operations = {name: draw(operations_of(names, number)) for number, name in enumerate(names)}
    return spec(
        start="o0",
        on_failure=draw(some.sampled_from([OnFailed.CANCEL, OnFailed.CONTINUE, OnFailed.CONTINUE])),
        outputs=draw(some.sampled_from([{}, {"x": "${ops.o0.output}"}])),
        deadline=draw(some.sampled_from([HOUR, 24 * HOUR, 240 * HOUR])),
        **operations,
    )


@some.composite
def operations_of(draw, names, number):
    kind = draw(some.sampled_from(["work", "work", "work", "signal", "signal", "keyed", "sleep", "choose"]))
    # What is exhausted leads on only, so that no workflow goes round for ever.
    labels = [*LABELS, "timeout", "lost"] if kind in ("work", "signal", "keyed") else ["done"]
    nexts = draw(
        some.dictionaries(
            some.sampled_from(labels),
            some.lists(some.sampled_from(names), min_size=1, max_size=2, unique=True),
            max_size=3,
        )
    )
    if names[number + 1 :] and draw(some.booleans()):
        nexts["exhausted"] = (draw(some.sampled_from(names[number + 1 :])),)
    needs = draw(
        some.lists(
            some.builds("{}.{}".format, some.sampled_from(names), some.sampled_from(LABELS)), max_size=2, unique=True
        )
    )
    fields = {"next": nexts, "needs": needs, "visits": draw(some.integers(1, 4)), "labels": ["good"]}
    if kind == "work":
        given = draw(some.sampled_from([None, 1, "${ops.o0.output}", {"n": "${ops.o1.output}"}]))
        return work(
            input=given,
            retry=retry(*(draw(some.integers(1, 3)) for _ in range(3))),
            takes=draw(some.sampled_from([10 * SECOND, HOUR])),
            queue_timeout=draw(some.sampled_from([20 * SECOND, HOUR])),
            heartbeat=5 * SECOND,
            **fields,
        )
    if kind in ("signal", "keyed"):
        return await_signal("s", key="${inputs.key}" if kind == "keyed" else None, takes=HOUR, **fields)
    fields.pop("labels")
    if kind == "sleep":
        return sleep(draw(some.sampled_from([SECOND, 30 * MINUTE])), **fields)
    return choose(("${inputs.flag}", "done"), "good", **fields)


class World(RuleBasedStateMachine):
    """One run, and all that users, workers and clocks do to it."""

    @initialize(told=workflows(), flag=some.booleans())
    def begin(self, told, flag):
        self.flow = Flow(told, {"key": "k1", "flag": flag}, graph=wired(told))
        self.flow.start()
        self.claims = []

    @property
    def run(self):
        return self.flow.run

    def refused(self, verb, *given):
        """Do what is refused; return why."""
        before = story(self.run)
        with pytest.raises(Refused) as told:
            verb(self.run, *given, self.flow.now)
        assert story(self.run) == before
        return told.value.code

    def answered_alike(self, verb, *given):
        """Do what was done before."""
        before = story(self.run)
        assert verb(self.run, *given, self.flow.now) == []
        assert story(self.run) == before

    @precondition(lambda self: self.run.ready)
    @rule(data=some.data())
    def claim(self, data):
        op, visit = data.draw(some.sampled_from(list(self.run.ready)))
        attempt = self.run.open[op, visit]
        if self.run.is_paused or attempt.ready_ms > max(self.flow.now, self.run.now_ms):
            self.refused(step.claim, attempt.ref, "never", "w9", "s")
        else:
            self.claims.append(self.flow.claim(op, visit))
            self.answered_alike(step.claim, *self.claims[-1], "w1", "s1")
            for worker in range(4):
                self.refused(step.claim, attempt.ref, f"never{worker}", "w9", "s")

    @precondition(lambda self: self.run.ready)
    @rule(data=some.data(), label=some.sampled_from(["done", "done", "good", "fail"]))
    def do(self, data, label):
        """Claim what may be claimed, and close it."""
        able = [
            key for key, attempt in self.run.ready.items() if attempt.ready_ms <= max(self.flow.now, self.run.now_ms)
        ]
        if able and not self.run.is_paused:
            ref, token = self.flow.claim(*data.draw(some.sampled_from(able)))
            self.flow.close(ref, token, label, data.draw(some.sampled_from([None, {"n": 1}])))
            self.answered_alike(step.close, ref, token, Result(label))

    @precondition(lambda self: self.claims)
    @rule(data=some.data(), label=some.sampled_from(LABELS), output=some.sampled_from([None, 1, "x" * 70_000]))
    def close(self, data, label, output):
        ref, token = data.draw(some.sampled_from(self.claims))
        attempt = self.run.find(ref)
        result = Result(label, output, "no" if label == "fail" else "", data.draw(some.booleans()))
        if attempt is None:
            if self.run.past.get(ref) == (token, label):
                self.answered_alike(step.close, ref, token, result)
            else:
                assert self.refused(step.close, ref, token, result) in ("late", "over")
            return
        if output not in (None, 1):
            assert self.refused(step.close, ref, token, result) == "output"
            return
        assert self.refused(step.close, ref, "never", result) == "foreign"
        assert self.refused(step.close, ref, token, Result("never")) == "label"
        assert self.flow.take(step.close(self.run, ref, token, result, self.flow.now))
        self.answered_alike(step.close, ref, token, result)

    @precondition(lambda self: self.claims)
    @rule(data=some.data())
    def beat(self, data):
        ref, token = data.draw(some.sampled_from(self.claims))
        attempt = self.run.find(ref)
        is_held = attempt is not None and attempt.claim is not None and attempt.claim.token == token
        assert step.beat(self.run, ref, token, self.flow.now) is is_held

    @precondition(lambda self: not self.run.status.is_over)
    @rule(number=some.integers(0, 9), key=some.sampled_from(KEYS), label=some.sampled_from(LABELS))
    def signal(self, number, key, label):
        sent = Signal(f"m{number}", "s", key, label, number)
        try:
            self.flow.take(step.signal(self.run, sent, self.flow.now))
        except Refused as error:
            assert error.code in ("over", "signal")
        if sent.id in self.run.seen:
            self.answered_alike(step.signal, sent)

    @rule(span=some.sampled_from([0, 1, SECOND, 4 * SECOND, 10 * SECOND, -MINUTE]))
    def pass_time(self, span):
        self.flow.pass_(span)

    @precondition(lambda self: not self.run.status.is_over)
    @rule()
    def wait_for_a_clock(self):
        due_ms = next_due_ms(self.run)
        if due_ms is not None:
            self.flow.pass_(max(0, due_ms - self.flow.now))
            assert self.run.status.is_over or next_due_ms(self.run) > max(self.flow.now, self.run.now_ms)

    @precondition(lambda self: not self.run.status.is_over)
    @rule(chance=some.integers(0, 2))
    def pause(self, chance):
        if chance == 0:
            self.flow.pause()

    @precondition(lambda self: self.run.is_paused and not self.run.status.is_over)
    @rule()
    def resume(self):
        self.flow.resume()

    @rule(chance=some.integers(0, 19))
    def cancel(self, chance):
        if self.run.status.is_over:
            verbs = [lambda: step.pause(self.run, "ann", 0), lambda: step.resume(self.run, "ann", 0)]
            for verb in verbs:
                with pytest.raises(Refused, match="the run is over"):
                    verb()
        elif chance == 0:
            self.flow.cancel()

    @rule(cut=some.integers(0, 3))
    def take_over(self, cut):
        """Another instance reads the log, which may end within the last step of ours."""
        cut = min(cut, len(self.flow.log) - 1)
        upto = len(self.flow.log) - cut
        lost = self.flow.log[upto:]
        if any(type(event) in (Claimed, Ended) for event in lost) or not all(
            type(event) is Closed and not event.token for event in lost
        ):
            upto = len(self.flow.log)
        del self.flow.log[upto:]
        self.flow.run = self.flow.again()
        self.flow.take(step.adopt(self.run, self.flow.now))

    @invariant()
    def the_log_tells_all(self):
        again = self.flow.again()
        assert story(again) == story(self.run)
        assert clocks_of(again) == clocks_of(self.run)

    @invariant()
    def events_are_numbered_and_never_earlier(self):
        log = self.flow.log
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert all(one.now_ms <= other.now_ms for one, other in pairwise(log))
        assert len(log) < EVENTS_MAX

    @invariant()
    def each_attempt_is_closed_once(self):
        closed = Counter(Ref(event.op, event.visit, event.attempt) for event in self.flow.log if type(event) is Closed)
        assert all(times == 1 for times in closed.values())
        assert not closed.keys() & {attempt.ref for attempt in self.run.open.values()}

    @invariant()
    def visits_and_attempts_stay_within_their_bounds(self):
        for op, progress in self.run.ops.items():
            operation = self.flow.spec.operations[op]
            assert progress.closed <= operation.visits
            policy = operation.retry
            most = policy.fail.attempts + policy.timeout.attempts + policy.lost.attempts - 2
            assert progress.attempts <= operation.visits * most
        for event in self.flow.log:
            if type(event) is Closed:
                is_beyond = event.visit > self.flow.spec.operations[event.op].visits
                assert (event.label == EXHAUSTED) is is_beyond
        assert self.run.attempts_total == sum(progress.attempts for progress in self.run.ops.values())

    @invariant()
    def each_trigger_fires_once_for_what_has_occurred(self):
        fired = [one.trigger for event in self.flow.log if type(event) in OPENING for one in event.opened]
        expected = firings(self.flow)
        assert fired == expected[: len(fired)]
        is_stopped = self.run.status.is_over or self.run.is_paused
        assert is_stopped or len(fired) == len(expected)
        assert self.run.status.is_over or list(self.run.pending) == [
            -1 if one is None else one for one in expected[len(fired) :]
        ]

    @invariant()
    def nothing_is_claimed_fired_or_consumed_while_paused(self):
        is_paused = False
        for event in self.flow.log:
            if is_paused and type(event) is not Resumed:
                assert type(event) is not Claimed
                assert not getattr(event, "opened", ())
                assert getattr(event, "signal", None) is None
            is_paused = type(event) is Paused or (is_paused and type(event) is not Resumed)
        assert self.run.is_paused is is_paused

    @invariant()
    def the_indexes_are_as_if_made_anew(self):
        run = self.run
        for key, attempt in run.open.items():
            operation = self.flow.spec.operations[key[0]]
            assert (key in run.ready) is (operation.worker is not None and attempt.claim is None)
            # Nothing that closes by itself is left open.
            assert operation.choose is None
            assert attempt.error is None
            assert key[1] <= operation.visits
        waits = {key for keys in run.waiting.values() for key in keys}
        assert waits == {key for key in run.open if self.signal_of(key[0]) is not None}
        assert {one for ids in run.kept_by.values() for one in ids} == run.kept.keys()
        assert run.kept.keys() <= run.seen.keys()

    def signal_of(self, op):
        wait = self.flow.spec.operations[op].wait
        return None if wait is None else wait.signal

    @invariant()
    def no_wait_is_left_for_which_a_signal_is_kept(self):
        if self.run.is_paused:
            return
        for kept in self.run.kept.values():
            for op, visit in self.run.waiting.get((kept.name, kept.key), ()):
                assert kept.label not in self.flow.graph.nodes[op].offered, (op, visit)

    @invariant()
    def what_is_due_is_looked_at_in_time(self):
        due_ms = next_due_ms(self.run)
        assert (due_ms is None) is self.run.status.is_over
        for first_ms in clocks_of(self.run).values():
            assert due_ms <= first_ms

    @invariant()
    def the_end_is_the_end(self):
        ends = [number for number, event in enumerate(self.flow.log) if type(event) is Ended]
        assert ends == ([len(self.flow.log) - 1] if self.run.status.is_over else [])
        if self.run.status.is_over:
            assert not (self.run.open or self.run.ready or self.run.waiting or self.run.pending)
        else:
            assert self.run.open or self.run.is_paused

    @invariant()
    def what_is_shown_tells_of_all_that_is_open(self):
        told = outlook(self.run, self.flow.now)
        assert [stand.ref for stand in told.stands] == [attempt.ref for attempt in self.run.open.values()]
        assert all(join.missing or join.impossible for join in told.joins)
        assert not set(skipped(self.run)) & self.run.ops.keys()
        for stand in told.stands:
            assert stand.due_ms >= stand.since_ms

    def teardown(self):
        if not hasattr(self, "flow"):
            return
        for upto in range(1, len(self.flow.log) + 1):
            run = self.flow.again(upto)
            step.adopt(run, self.flow.now)
            for (op, visit), attempt in run.open.items():
                assert not is_at_once(run.graph.nodes[op], attempt), (op, visit)
            assert run.status.is_over or run.is_paused or (run.open and not run.pending)
            step.tick(run, run.deadline_ms)
            assert run.status.is_over
        self.flow.now = T0
        self.flow.pass_(self.run.deadline_ms - T0)
        assert self.run.status.is_over


def clocks_of(run):
    """When each open attempt is next due, by its clocks themselves; of heartbeats nothing is in the log."""
    told = {}
    for key, attempt in run.open.items():
        node = run.graph.nodes[key[0]]
        dues = [one.due_ms for one in clocks(node, attempt) if one.clock != "heartbeat"]
        told[key] = min(dues)
    return told


def firings(flow):
    """Work out from the log which triggers were to fire, in order: by looking at all of them each time."""
    told = [None for _ in flow.graph.starts]
    occurred = {trigger.index: set() for trigger in flow.graph.triggers}
    is_broken = False
    for event in flow.log:
        if type(event) is not Closed or event.retry_ms is not None or is_broken:
            continue
        for trigger in flow.graph.triggers:
            if (event.op, event.label) in trigger.members:
                occurred[trigger.index].add((event.op, event.label))
                if occurred[trigger.index] == set(trigger.members):
                    told.append(trigger.index)
                    occurred[trigger.index] = set()
        takes = any((event.op, event.label) in trigger.members for trigger in flow.graph.triggers)
        is_unhandled = event.label in FAILURES and not takes
        is_broken = is_unhandled and flow.spec.on_failure is OnFailed.CANCEL
    return told


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_cancelled_fires_nothing():
    assert CANCELLED not in FAILURES


@pytest.mark.parametrize("status", list(Status))
def test_every_end_has_a_name(status):
    assert status.value == status.name.lower()

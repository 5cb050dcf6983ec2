"""Random workflows, and whatever may be done to a run of them: what holds after every step, wherever the log ends."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harpoon.core import repairing, step
from harpoon.core.dues import clocks, is_at_once, next_due_ms
from harpoon.core.event import Claimed, Closed, Ended, Paused, Resumed, RetriedFrom, SetTo, Signalled
from harpoon.core.fold import SIGNAL_KEPT_MS
from harpoon.core.graph import Kind, home_of
from harpoon.core.measure import json_bytes
from harpoon.core.moving import objections
from harpoon.core.outlook import outlook, skipped
from harpoon.core.repair import REPAIRS_MAX
from harpoon.core.repairing import Audit, Value
from harpoon.core.step import Refused, Result, Signal
from harpoon.core.stepping import EVENTS_MAX
from harpoon.core.visit import Ref
from harpoon.model.label import ALWAYS_OFFERED, CANCELLED, EXHAUSTED, FAILURES
from harpoon.model.run import Status
from harpoon.model.workflow import OnFailed
from tests.core.flow import (
    HOUR,
    MINUTE,
    SECOND,
    T0,
    Flow,
    await_signal,
    called_back,
    choose,
    each,
    retry,
    sleep,
    spec,
    story,
    wired,
    work,
)
from tests.core.replaying import Replay, pending_of

LABELS = ("done", "good", "fail")
KEYS = (None, "k1", "k2")
YES_OR_NO = (True, False)
ITEMS = [{"n": number} for number in range(9)]
#: What is done, as often as it stands here.
VERBS = (
    *["do"] * 6,
    *["claim"] * 4,
    *["close"] * 4,
    *["signal"] * 3,
    *["call_back"] * 2,
    *["resume"] * 3,
    *["pause"] * 2,
    "hold",
    *["let_go"] * 2,
    *["pass_time"] * 2,
    *["wait_for_a_clock"] * 2,
    "claim_what_is_not_to_be_had",
    "beat",
    "cancel",
    "take_over",
    *["retry_from"] * 2,
    *["set_to"] * 2,
    *["move"] * 2,
)


def a_workflow(pick):
    """Up to six operations of all kinds, wired at random, cycles and joins that never fire included."""
    names = [f"o{number}" for number in range(pick([3, 4, 5, 6]))]
    operations = {name: an_operation(pick, names, number) for number, name in enumerate(names)}
    return spec(
        start="o0",
        on_failure=pick([OnFailed.CANCEL, OnFailed.CONTINUE, OnFailed.CONTINUE, OnFailed.PARK]),
        outputs=pick([{}, {"x": "${ops.o0.output}"}]),
        deadline=pick([HOUR, 24 * HOUR, 240 * HOUR]),
        inputs={"key": ("string",), "flag": ("boolean",)},
        **operations,
    )


def another_like(pick, told):
    """A workflow that is one like another, but for an operation or two."""
    operations, names = dict(told.operations), list(told.operations)
    for _ in range(pick([0, 1, 1, 2])):
        name = pick([*names[2:], f"n{len(names)}"])
        if name in operations and pick(YES_OR_NO):
            del operations[name]
            names = list(operations)
        else:
            operations[name] = an_operation(pick, names, len(names))
    return replace(told, operations=operations, on_failure=pick([told.on_failure] * 3 + list(OnFailed)))


def an_operation(pick, names, number):
    def some_of(known, most):
        return list(dict.fromkeys(pick(known) for _ in range(pick(range(1, most + 1)))))

    kind = (
        pick(["work", "work", "work", "signal", "signal", "keyed", "called", "sleep", "choose"]) if number else "work"
    )
    labels = ["done"] if kind in ("sleep", "choose") else [*LABELS, "timeout", "lost"]
    nexts = {label: some_of(names, 3) for label in labels if number == 0 or pick(YES_OR_NO)}
    # What is exhausted leads on only, so that no workflow goes round for ever.
    if names[number + 1 :] and pick(YES_OR_NO):
        nexts["exhausted"] = pick(names[number + 1 :])
    needs = some_of([f"{name}.{label}" for name in names for label in LABELS], 2) if pick(YES_OR_NO) else ()
    fields = {"next": nexts, "needs": needs, "visits": pick([1, 2, 3, 6]), "labels": ["good"]}
    if kind not in ("choose", "called") and pick([False, False, True]):
        fields["foreach"] = some_items(pick)
    if kind == "work":
        inputs = [None, None, 1, "${ops.o0.output}", {"n": "${ops.o1.output}"}]
        return work(
            input=pick([*inputs, {"n": "${item.n}"}, "${index}"] if "foreach" in fields else inputs),
            retry=retry(pick([1, 2, 3]), pick([1, 2, 3]), pick([1, 2, 3])),
            takes=pick([10 * SECOND, HOUR]),
            queue_timeout=pick([20 * SECOND, HOUR]),
            heartbeat=5 * SECOND,
            **fields,
        )
    if kind in ("signal", "keyed"):
        return await_signal("s", key="${inputs.key}" if kind == "keyed" else None, takes=HOUR, **fields)
    if kind == "called":
        return called_back(takes=HOUR, **fields)
    fields.pop("labels")
    if kind == "sleep":
        return sleep(pick([SECOND, 30 * MINUTE]), **fields)
    return choose(("${inputs.flag}", "done"), "good", **fields)


def some_items(pick):
    return each(
        pick(["${inputs.items}", "${inputs.items}", [], [1], [{"n": 1}, 2, {"n": 3}], [{"n": 1}] * 7, "${inputs.key}"]),
        most=pick([8, 8, 8, 7]),
        parallel=pick([1, 2, 3, 20]),
        tolerate=pick([0, 1, 5]),
        collect=pick(YES_OR_NO),
    )


class World:
    """One run, and all that users, workers and clocks do to it; ``pick`` picks one of several things."""

    def begin(self, pick):
        told = a_workflow(pick)
        self.flow = Flow(
            told, {"key": "k1", "flag": pick(YES_OR_NO), "items": ITEMS[: pick([5, 5, 3, 9])]}, graph=wired(told)
        )
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

    def able(self):
        now_ms = max(self.flow.now, self.run.now_ms)
        return [key for key, attempt in self.run.ready.items() if attempt.ready_ms <= now_ms and not self.run.is_paused]

    def claim(self, pick):
        able = self.able()
        if able:
            ref, token = self.flow.claim(*pick(able))
            self.claims.append((ref, token))
            self.answered_alike(step.claim, ref, token, "w1", "s1")
            for worker in range(4):
                assert self.refused(step.claim, ref, f"never{worker}", "w9", "s") == "taken"

    def claim_what_is_not_to_be_had(self, _pick):
        for key, attempt in self.run.ready.items():
            if key not in self.able():
                assert self.refused(step.claim, attempt.ref, "never", "w9", "s") in ("paused", "early")

    def do(self, pick):
        """Claim what may be claimed, and close it."""
        able = self.able()
        if able:
            label = pick(["done", "done", "good", "fail"])
            ref, token = self.flow.claim(*pick(able))
            self.flow.close(ref, token, label, pick([None, {"n": 1}]))
            self.answered_alike(step.close, ref, token, Result(label))

    def close(self, pick):
        if not self.claims:
            return
        # Mostly those that are held still.
        held = [(ref, token) for ref, token in self.claims if self.is_held(ref, token)]
        ref, token = pick(held if held and pick(YES_OR_NO) else self.claims)
        label, output = pick(LABELS), pick([None, 1, 1, "x" * 70_000])
        result = Result(label, output, "no" if label == "fail" else "", pick(YES_OR_NO))
        if self.run.find(ref) is None:
            if self.run.past.get(ref) == (token, label):
                self.answered_alike(step.close, ref, token, result)
            else:
                assert self.refused(step.close, ref, token, result) in ("late", "over")
        elif output not in (None, 1):
            assert self.refused(step.close, ref, token, result) == "output"
        else:
            assert self.refused(step.close, ref, "never", result) == "foreign"
            assert self.refused(step.close, ref, token, Result("never")) == "label"
            spent = self.run.find(ref).spent.count("fail")
            events = self.flow.take(step.close(self.run, ref, token, result, self.flow.now))
            most = self.run.graph.nodes[ref.op].spec.retry.fail.attempts
            is_retried = label == "fail" and result.retryable and spent + 1 < most
            assert (events[0].retry_ms is not None) is is_retried
            self.answered_alike(step.close, ref, token, result)

    def is_held(self, ref, token):
        attempt = self.run.find(ref)
        return attempt is not None and attempt.claim is not None and attempt.claim.token == token

    def beat(self, pick):
        if self.claims:
            ref, token = pick(self.claims)
            assert step.beat(self.run, ref, token, self.flow.now) is self.is_held(ref, token)

    def signal(self, pick):
        number = pick(range(21))
        sent = Signal(f"m{number}", "s", pick(KEYS), pick(LABELS), number)
        try:
            self.flow.take(step.signal(self.run, sent, self.flow.now))
        except Refused as error:
            assert error.code in ("over", "signal")
        if sent.id in self.run.seen:
            self.answered_alike(step.signal, sent)

    def call_back(self, pick):
        """Call a visit back, perhaps before it is opened, or after."""
        if not self.run.graph.callbacks:
            return
        op, visit, label = pick(self.run.graph.callbacks), pick([1, 1, 2, 3, 7]), pick(LABELS)
        payload = pick([None, 1, 2, "x" * 70_000])
        known, is_open = self.run.called.get(f"{op}/{visit}"), (op, visit) in self.run.open
        try:
            events = self.flow.call(op, visit, label, payload)
        except Refused as error:
            fits = {"unknown": visit > self.run.graph.nodes[op].visits, "used": known, "late": not is_open}
            assert fits.get(error.code, error.code in ("over", "payload")), error
            return
        assert bool(events) is (known is None)
        assert self.flow.call(op, visit, label, payload) == []
        if known is None and is_open and not self.run.is_paused:
            assert (events[1].op, events[1].visit, events[1].label) == (op, visit, label)

    def pass_time(self, pick):
        self.flow.pass_(pick([0, 1, SECOND, 4 * SECOND, -MINUTE]))

    def wait_for_a_clock(self, _pick):
        due_ms = next_due_ms(self.run)
        if due_ms is not None:
            self.flow.pass_(max(0, due_ms - self.flow.now))
            assert self.run.status.is_over or next_due_ms(self.run) > max(self.flow.now, self.run.now_ms)

    def pause(self, _pick):
        if not self.run.status.is_over:
            self.flow.pause()

    def resume(self, _pick):
        if self.run.is_held and not self.run.is_stopped and not self.run.status.is_over:
            assert self.refused(step.resume, "ann") == "held"
        elif not self.run.status.is_over:
            self.flow.resume()

    def hold(self, _pick):
        self.flow.follow(is_held=True)

    def let_go(self, _pick):
        self.flow.follow(is_held=False)

    def cancel(self, pick):
        if self.run.status.is_over:
            for verb in (step.pause, step.resume):
                with pytest.raises(Refused, match="the run is over"):
                    verb(self.run, "ann", self.flow.now)
        elif pick(range(10)) == 0:
            self.flow.cancel()

    def retry_from(self, pick):
        op, before = pick(list(self.run.graph.spec.operations)), len(self.run.orders)
        order = pick(["", f"n{before}"])
        left = REPAIRS_MAX - self.run.repairs
        items = pick([None, None, (), (0,), (1, 2)])
        try:
            self.flow.retry_from(op, order=order, items=items)
        except Refused as error:
            assert error.code in ("unopened", "stands", *(["items"] if items is not None else ())) or not left
            assert left or error.code == "spent"
            return
        assert left > 0
        if order:
            self.answered_alike(lambda run, now: repairing.retry_from(run, op, Audit(order=order), now, items))

    def set_to(self, pick):
        op, label = pick(list(self.run.graph.spec.operations)), pick(LABELS)
        visits = [key[1] for key in (*self.run.open, *self.run.unhandled, *self.run.cut) if key[0] == op]
        visit = pick([None, *visits, 99])
        value, is_whole = Value(label, pick([None, 1, "x" * 70_000])), visit in visits or len(visits) == 1
        try:
            events = repairing.set_to(self.run, op, visit, value, Audit("ann"), self.flow.now)
        except Refused as error:
            assert error.code in ("label", "output", "visit", "unopened", "closed", "stands")
            assert (error.code == "visit") <= (visit is None and len(visits) > 1)
            assert error.code not in ("unopened", "closed") or not is_whole or visit == 99
            return
        assert label in (self.run.graph.nodes[op].offered or ALWAYS_OFFERED)
        self.flow.take(events)
        assert self.run.ops[op].latest.label == label or len(events) > 1

    def move(self, pick):
        """Go on by another form of the workflow: one that is much like it, or any."""
        told = another_like(pick, self.run.graph.spec) if pick(range(4)) else a_workflow(pick)
        graph, generation = wired(told), f"g{self.run.moves + 2}"
        against, before = objections(self.run, graph), dict(self.run.open)
        at = {home_of(op) or op for op, _ in (*self.run.open, *self.run.unhandled)}
        gone = {op for op in at if op not in told.operations}
        for op in gone if not self.run.status.is_over else ():
            assert any(f"operation {op}," in one for one in against)
        try:
            self.flow.move(generation, graph)
        except Refused as error:
            assert (error.code == "over") is self.run.status.is_over
            assert error.code in ("over", "stays")
            assert self.run.status.is_over or against
            return
        assert not against
        self.flow.spec = told
        # What was open goes on, or was closed by what follows.
        assert {key: one.ref for key, one in before.items() if key in self.run.open} == {
            key: one.ref for key, one in self.run.open.items() if key in before
        }
        assert self.run.status.is_over or self.flow.move(generation, graph) == []

    def take_over(self, pick):
        """Another instance reads the log, which may end within the last step of ours."""
        upto = len(self.flow.log) - pick(range(4))
        lost = self.flow.log[max(upto, 1) :]
        if all(type(event) is Closed and not event.token for event in lost):
            del self.flow.log[max(upto, 1) :]
        self.flow.run = self.flow.again()
        self.flow.take(step.adopt(self.run, self.flow.now))

    def the_log_tells_all(self):
        again = self.flow.again()
        assert story(again) == story(self.run)
        assert clocks_of(again) == clocks_of(self.run)

    def events_are_numbered_and_never_earlier(self):
        log = self.flow.log
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert all(one.now_ms <= other.now_ms for one, other in pairwise(log))
        assert len(log) < EVENTS_MAX

    def each_attempt_is_closed_once(self):
        closed = Counter(Ref(event.op, event.visit, event.attempt) for event in self.flow.log if type(event) is Closed)
        closed.update(Ref(*one) for event in self.flow.log if type(event) is Closed for one in event.cancelled)
        assert all(times == 1 for times in closed.values())
        assert not closed.keys() & {attempt.ref for attempt in self.run.open.values()}

    def visits_and_attempts_stay_within_their_bounds(self):
        assert self.run.attempts_total == sum(progress.attempts for progress in self.run.ops.values())
        if self.run.moves:
            return
        for op, progress in self.run.ops.items():
            node = self.run.graph.nodes[op]
            epochs = 1 + self.run.repairs
            assert node.home is not None or progress.used <= node.visits
            assert progress.closed <= node.visits * epochs
            policy = node.spec.retry
            most = policy.fail.attempts + policy.timeout.attempts + policy.lost.attempts - 2
            assert progress.attempts <= node.visits * (1 if node.each else most) * epochs
        for event in self.flow.log:
            if type(event) is Closed and not self.run.repairs:
                is_beyond = event.visit > self.run.graph.nodes[event.op].visits
                assert (event.label == EXHAUSTED) is is_beyond

    def each_trigger_fires_once_for_what_has_occurred(self):
        told = Replay(self.flow.graph, self.run.graphs).take(self.flow.log)
        assert pending_of(self.run) == told.pending
        assert list(self.run.open) == list(told.open)
        assert self.run.occurred == {index: has for index, has in told.occurred.items() if has}
        assert self.run.status.is_over or self.run.is_paused or not told.pending

    def nothing_is_claimed_fired_or_consumed_while_paused(self):
        paused, is_over = set(), False
        for event in self.flow.log:
            if is_over and type(event) in (RetriedFrom, SetTo):
                # What is begun again goes on.
                paused = set()
            is_over = type(event) is Ended
            if type(event) is Resumed:
                paused.remove(event.is_callers)
            if paused:
                assert type(event) is not Claimed
                assert not getattr(event, "opened", ())
                assert getattr(event, "signal", None) is None
            if type(event) is Paused:
                assert event.is_callers not in paused
                paused.add(event.is_callers)
        assert (self.run.is_stopped, self.run.is_held) == (False in paused, True in paused)

    def the_indexes_are_as_if_made_anew(self):
        run = self.run
        for key, attempt in run.open.items():
            node = run.graph.nodes[key[0]]
            assert (key in run.ready) is (node.kind is Kind.WORKER and attempt.claim is None)
            # Nothing that closes by itself is left open.
            assert node.kind is not Kind.CHOOSE
            assert attempt.error is None
            assert not attempt.is_beyond
        waits = {key for keys in run.waiting.values() for key in keys}
        assert waits == {key for key in run.open if self.signal_of(key[0]) is not None}
        assert {one for ids in run.kept_by.values() for one in ids} == run.kept.keys()
        assert run.kept.keys() <= run.seen.keys() | set(run.called.values())
        for op in run.graph.callbacks:
            fired, used = (run.ops[op].fired, run.ops[op].used) if op in run.ops else (0, 0)
            seen = run.callbacks.get(op)
            assert (seen is not None) or used >= run.graph.nodes[op].visits
            assert seen in (None, fired + 1) or (op, seen) in run.open
            assert run.scope["run"]["callbacks"].get(op) == (f"{op}/{seen}" if op in run.callbacks else None)

    def signal_of(self, op):
        node = self.run.graph.nodes[op]
        return node.spec.wait.awaited if node.kind is Kind.WAIT else None

    def groups_are_as_if_counted_anew(self):
        run = self.run
        assert run.groups.keys() == {key for key in run.open if run.graph.nodes[key[0]].each}
        opened, closed = {key: [] for key in run.groups}, {key: {} for key in run.groups}
        for event in self.flow.log:
            for one in getattr(event, "opened", ()):
                if home_of(one.op) and (place := self.place_of(one))[0] in opened:
                    opened[place[0]].append(place[1])
            if type(event) is Closed and event.retry_ms is None and home_of(event.op):
                key, index = self.place_of(event)
                if key in closed:
                    closed[key][index] = event
        for key, group in run.groups.items():
            told = run.graph.nodes[key[0]].each
            ahead = range(len(group.items)) if group.anew is None else group.anew
            kept = [index for index in range(len(group.items)) if index not in ahead]
            assert opened[key] == list(ahead)[: group.opened]
            assert list(group.open) == [index for index in opened[key] if index not in closed[key]]
            assert all(run.graph.nodes[key[0]].member(key[1], index) in run.open for index in group.open)
            failed = sum(event.label in FAILURES for event in closed[key].values())
            failed += sum(not group.done[index] for index in kept)
            assert group.failed == failed
            assert run.moves or failed <= told.tolerate
            done = {index for index, event in closed[key].items() if event.label not in FAILURES}
            assert [index for index in ahead if group.done[index]] == sorted(done)
            assert run.moves or len(group.open) <= told.parallel
            assert group.open or group.opened < group.count
            may_open = group.opened < group.count and len(group.open) < told.parallel
            assert (key in run.roomy) is may_open
            assert run.is_paused or not may_open
            assert group.bytes == json_bytes(group.outputs) + (not group.outputs) * (group.bytes - 2)

    def place_of(self, visit):
        """Whose item it is, and which; of one that is there no more, nobody's."""
        node = self.run.graph.nodes.get(visit.op)
        return (None, 0) if node is None else node.group_of(visit.visit)

    def a_visit_with_items_closes_by_what_they_came_to(self):
        latest = self.run.ops
        by_hand = {(event.op, event.visit) for event in self.flow.log if type(event) is SetTo}
        for op, node in self.run.graph.nodes.items():
            if not node.each or op not in latest or latest[op].latest is None or latest[op].latest.label != "done":
                continue
            number = latest[op].latest.visit
            keeps = any(type(event) is RetriedFrom and event.op == op and event.items for event in self.flow.log)
            if self.run.moves or keeps or (op, number) in by_hand:
                continue
            items = next(one.input for event in self.flow.log for one in getattr(event, "opened", ())
                         if (one.op, one.visit) == (op, number))  # fmt: skip
            came = {}
            for event in self.flow.log:
                if type(event) is Closed and event.retry_ms is None and home_of(event.op) == op:
                    key, index = self.run.graph.nodes[event.op].group_of(event.visit)
                    if key[1] == number:
                        is_told = event.label not in FAILURES
                        came[index] = (self.payload_of(event) if event.signal else event.output) if is_told else None
            assert sorted(came) == list(range(len(items)))
            collected = [came[index] for index in range(len(items))] if node.each.is_collecting else None
            assert latest[op].latest.output == collected

    def payload_of(self, event):
        return next(one.payload for one in self.flow.log if type(one) is Signalled and one.id == event.signal)

    def no_wait_is_left_for_which_a_signal_is_kept(self):
        if self.run.is_paused:
            return
        expired_ms = max(self.flow.now, self.run.now_ms) - SIGNAL_KEPT_MS
        for kept in self.run.kept.values():
            if kept.at_ms <= expired_ms:
                continue
            for op, visit in self.run.waiting.get((kept.name, kept.key), ()):
                assert kept.label not in self.run.graph.nodes[op].offered, (op, visit)

    def what_is_due_is_looked_at_in_time(self):
        due_ms = next_due_ms(self.run)
        assert (due_ms is None) is self.run.status.is_over
        for first_ms in clocks_of(self.run).values():
            assert due_ms <= first_ms

    def the_end_is_the_end(self):
        for event, after in pairwise([*self.flow.log, None]):
            is_last = after is None or type(after) in (RetriedFrom, SetTo)
            assert type(event) is not Ended or is_last
        assert self.run.status.is_over is (type(self.flow.log[-1]) is Ended)
        if self.run.status.is_over:
            assert not (self.run.open or self.run.ready or self.run.waiting or self.run.pending)
        else:
            assert self.run.open or self.run.is_paused or self.run.incidents

    def what_is_shown_tells_of_all_that_is_open(self):
        told = outlook(self.run, self.flow.now)
        assert [stand.ref for stand in told.stands] == [attempt.ref for attempt in self.run.open.values()]
        assert all(join.missing or join.impossible for join in told.joins)
        assert not set(skipped(self.run)) & self.run.ops.keys()
        for stand in told.stands:
            assert stand.due_ms >= stand.since_ms

    def check(self):
        self.the_log_tells_all()
        self.events_are_numbered_and_never_earlier()
        self.each_attempt_is_closed_once()
        self.visits_and_attempts_stay_within_their_bounds()
        self.each_trigger_fires_once_for_what_has_occurred()
        self.nothing_is_claimed_fired_or_consumed_while_paused()
        self.the_indexes_are_as_if_made_anew()
        self.groups_are_as_if_counted_anew()
        self.a_visit_with_items_closes_by_what_they_came_to()
        self.no_wait_is_left_for_which_a_signal_is_kept()
        self.what_is_due_is_looked_at_in_time()
        self.the_end_is_the_end()
        self.what_is_shown_tells_of_all_that_is_open()

    def end(self):
        """Wherever the log had ended, the run goes on, and is over by its deadline."""
        for upto in range(1, len(self.flow.log) + 1):
            run = self.flow.again(upto)
            step.adopt(run, self.flow.now)
            for (op, visit), attempt in run.open.items():
                assert not is_at_once(run.graph.nodes[op], attempt), (op, visit)
            is_at_rest = (run.open or run.incidents) and not run.pending and not run.roomy
            assert run.status.is_over or run.is_paused or is_at_rest
            step.tick(run, run.deadline_ms)
            assert run.status.is_over
        self.flow.now = T0
        self.flow.pass_(max(0, self.run.deadline_ms - T0))
        assert self.run.status.is_over


def clocks_of(run):
    """When each open attempt is next due, by its clocks themselves; of heartbeats nothing is in the log."""
    told = {}
    for key, attempt in run.open.items():
        node = run.graph.nodes[key[0]]
        dues = [one.due_ms for one in clocks(node, attempt) if one.clock != "heartbeat"]
        told[key] = min(dues, default=run.deadline_ms)
    return told


class Machine(RuleBasedStateMachine):
    """The world, as it is made small when something does not hold."""

    @initialize(data=some.data())
    def begin(self, data):
        self.world = World()
        self.world.begin(picking(data))

    @rule(data=some.data(), verb=some.sampled_from(VERBS))
    def act(self, data, verb):
        getattr(self.world, verb)(picking(data))

    @invariant()
    def check(self):
        self.world.check()

    def teardown(self):
        if hasattr(self, "world"):
            self.world.end()


def picking(data):
    return lambda known: data.draw(some.sampled_from(known))


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("seed", range(120))
def test_a_long_walk(seed):
    """As the machine, but further: until some time after the run is over."""
    random = Random(seed)
    world = World()
    world.begin(random.choice)
    left = 120
    while left > 0:
        world.check()
        getattr(world, random.choice(VERBS))(random.choice)
        left -= 10 if world.run.status.is_over else 1
    world.check()
    world.end()


def test_cancelled_fires_nothing():
    assert CANCELLED not in FAILURES


@pytest.mark.parametrize("status", list(Status))
def test_every_end_has_a_name(status):
    assert status.value == status.name.lower()

"""What may be done to a run. Each verb decides, folds what it decided as it goes, and returns the events of that.

Duties of whoever calls them:

1. One caller a run, one step at a time. What a step returns is made durable, in order, before anybody is told of it or
   the next step's events are; if that fails, the run in memory is ahead of its log, and has to be read again.
2. A run whose log was read again, or taken over, is adopted (`adopt`) before anything else.
3. `tick` is called when `core.dues.next_due_ms` says, or a little later.
4. Heartbeats are told (`beat`) as they come; they are not events.

Rules.

1. A trigger fires when each of its members has occurred since it last fired; a repeat before that replaces the
   earlier occurrence. Only visits fire, their retries do not.
2. A closing is taken from the holder of the claim only, once; the same one again is answered alike.
3. ``fail``, ``timeout`` and ``lost`` are each tried again as often as the operation says, counted apart. What timed
   out in the queue counts as ``timeout``. A lost attempt may be claimed again at once; others wait for the backoff.
4. While a run is paused, nothing is claimed, fired or consumed; clocks run on, what is claimed may be closed, and
   what thereby came together fires when it is resumed, as if it had closed then. A run that was called is paused by
   hand, as its caller is, or both; it goes on once it is neither.
5. A run ends when nothing is open; at its deadline; when it is cancelled; or when a failure is taken by no edge and
   the workflow does not go on after failures. Whatever is open then is closed as ``cancelled`` and fires nothing.
   Where failures are parked, it does not end before somebody has repaired what failed (`core.repairing`).
"""

from typing import Final, NamedTuple

from harpoon.core.dues import Clock, deadline_warned_from, look_again, look_due
from harpoon.core.event import CancelAsked, Claimed, Event, Paused, Resumed, Signalled, Started, Warned
from harpoon.core.expiry import conclude, expire
from harpoon.core.measure import json_bytes
from harpoon.core.run import Run
from harpoon.core.signalling import consume, consume_kept, objection
from harpoon.core.stepping import Step
from harpoon.core.visit import Attempt, Ref
from harpoon.model.label import DONE
from harpoon.model.run import Status

#: Characters of a reason.
TEXT_MAX: Final = 1024
#: What is wrong with what was said; all other refusals come of how the run stands.
MISTAKES: Final = frozenset({"items", "label", "output", "payload", "signal", "unknown"})


class Refused(Exception):
    """It cannot be done; nothing has changed.

    ``code`` says why: ``over`` (the run), ``late`` (the attempt is closed, or another one has taken its place),
    ``unknown`` (there never was such an attempt), ``foreign`` (another claim's token), ``taken``, ``paused``, ``held``
    (it is paused as the run that called it is), ``early`` (its retry waits), ``label``, ``output``, ``payload``,
    ``signal`` (nothing waits for it, ever), ``full`` (too many signals are kept), ``used`` (a callback, for something
    else).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def is_mistake(self) -> bool:
        """Whether it would be refused at any time."""
        return self.code in MISTAKES


class Result(NamedTuple):
    """What came of an attempt, as its worker tells it."""

    label: str
    output: object = None
    error: str = ""
    #: Of a failure: whether trying again may help.
    retryable: bool = True
    #: Of a failure: it is not tried again for so long, but no longer than the longest pause of its ``retry``.
    after_ms: int = 0


class Signal(NamedTuple):
    """Something that a run may wait for."""

    #: Its sender's: the same again is not another one.
    id: str
    name: str
    #: None: it is for any wait for that name.
    key: str | None = None
    label: str = DONE
    payload: object = None


def start(run: Run, now_ms: int) -> list[Event]:
    """Let a run begin."""
    assert run.seq == 0, f"run {run.id} was started before"
    step = Step(run, now_ms)
    step.advance(Started(step.seq, step.now_ms))
    step.settle()
    return step.events


def claim(run: Run, ref: Ref, token: str, worker: str, session: str, now_ms: int) -> list[Event]:
    """Give an attempt to a worker; again under the same token changes nothing.

    Raises:
        Refused: It is not to be had.
    """
    attempt = _find(run, ref)
    if attempt.claim is not None and attempt.claim.token == token:
        return []
    step = Step(run, now_ms)
    if run.is_paused:
        raise Refused("paused", "the run is paused; nothing is claimed until it is resumed")
    if (ref.op, ref.visit) not in run.ready:
        raise Refused("taken", f"{_name(ref)} is not to be claimed: another worker has it, or it is for none")
    if attempt.ready_ms > step.now_ms:
        raise Refused("early", f"{_name(ref)} may be claimed in {attempt.ready_ms - step.now_ms} ms")
    step.happen(Claimed(step.seq, step.now_ms, ref.op, ref.visit, ref.attempt, token, worker, session))
    return step.events


def close(run: Run, ref: Ref, token: str, result: Result, now_ms: int) -> list[Event]:
    """Close an attempt by what its worker says came of it; the same closing again changes nothing.

    Raises:
        Refused: It is not this worker's to close, or is not closed so.
    """
    if run.past.get(ref) == (token, result.label):
        return []
    attempt = _find(run, ref)
    if attempt.claim is None or attempt.claim.token != token:
        raise Refused("foreign", f"{_name(ref)} is not claimed by that token{_holder(attempt)}")
    node = run.graph.nodes[ref.op]
    if result.label not in node.offered:
        offered = ", ".join(sorted(node.offered))
        raise Refused("label", f"{ref.op} is not closed as {result.label[:80]!r}; it offers {offered}")
    size = json_bytes(result.output)
    if size > node.spec.output_max:
        raise Refused("output", f"the output has {size} bytes, and output_max of {ref.op} is {node.spec.output_max}")
    step = Step(run, now_ms)
    conclude(step, attempt, *result[:3], after_ms=result.after_ms if result.retryable else None)
    step.settle()
    return step.events


def beat(run: Run, ref: Ref, token: str, now_ms: int) -> bool:
    """Take note that the worker of an attempt is alive; False: the attempt is no longer its."""
    attempt = run.find(ref)
    if attempt is None or attempt.claim is None or attempt.claim.token != token:
        return False
    attempt.claim.beat_due_ms = max(run.now_ms, now_ms) + run.graph.nodes[ref.op].pace.heartbeat_ms
    return True


def signal(run: Run, sent: Signal, now_ms: int) -> list[Event]:
    """Take a signal in: a wait consumes it, or it is kept for one; one whose id is known changes nothing.

    Raises:
        Refused: The run is over or keeps too many, or no wait of the workflow can ever consume it.
    """
    if sent.id in run.seen:
        return []
    check_open(run)
    step = Step(run, now_ms)
    event = Signalled(step.seq, step.now_ms, *sent)
    against = objection(run, event)
    if against is not None:
        raise Refused(*against)
    step.happen(event)
    consume(step, run.kept[sent.id])
    step.settle()
    return step.events


def pause(run: Run, by: str, now_ms: int) -> list[Event]:
    """Let nothing be claimed, fired or consumed from now on.

    Raises:
        Refused: The run is over.
    """
    check_open(run)
    if run.is_stopped:
        return []
    step = Step(run, now_ms)
    step.happen(Paused(step.seq, step.now_ms, by[:TEXT_MAX]))
    return step.events


def resume(run: Run, by: str, now_ms: int) -> list[Event]:
    """Let a paused run go on, unless the run that called it is paused.

    Raises:
        Refused: The run is over, or is paused only as the run that called it is.
    """
    check_open(run)
    if run.is_stopped:
        return _let_go(Step(run, now_ms), by, is_callers=False)
    if run.is_held:
        raise Refused("held", f"run {run.id} is paused as the run that called it is; resume that one")
    return []


def follow(run: Run, now_ms: int, *, is_held: bool) -> list[Event]:
    """Have a run that was called be paused as long as the run is that called it; nothing, if it is so already."""
    if run.status.is_over or run.is_held is is_held:
        return []
    step = Step(run, now_ms)
    if not is_held:
        return _let_go(step, "", is_callers=True)
    step.happen(Paused(step.seq, step.now_ms, is_callers=True))
    return step.events


def _let_go(step: Step, by: str, *, is_callers: bool) -> list[Event]:
    step.advance(Resumed(step.seq, step.now_ms, by[:TEXT_MAX], (), is_callers))
    step.settle()
    consume_kept(step)
    return step.events


def cancel(run: Run, reason: str, now_ms: int) -> list[Event]:
    """End a run now; one that was cancelled already is left as it is.

    Raises:
        Refused: The run has ended otherwise.
    """
    if run.status is Status.CANCELLED:
        return []
    check_open(run)
    step = Step(run, now_ms)
    reason = reason[:TEXT_MAX]
    step.happen(CancelAsked(step.seq, step.now_ms, reason))
    step.end(Status.CANCELLED, reason)
    return step.events


def tick(run: Run, now_ms: int) -> list[Event]:
    """Do what is due: whatever has run out closes; of what is about to run out, a warning is noted."""
    if run.status.is_over:
        return []
    step = Step(run, now_ms)
    if step.now_ms >= run.deadline_ms:
        step.end(Status.TIMED_OUT, f"it did not end by its deadline{_still_open(run)}")
        return step.events
    if not run.is_warned and step.now_ms >= deadline_warned_from(run):
        step.happen(Warned(step.seq, step.now_ms, "", 0, 0, Clock.DEADLINE))
    while not run.status.is_over and (attempt := look_due(run, step.now_ms)) is not None:
        expire(step, attempt)
        step.settle()
    return step.events


def adopt(run: Run, now_ms: int) -> list[Event]:
    """Take a run over whose log was read: every claim gets one full heartbeat, and what was cut short is done.

    A log may end within a step, since the events of one are not always one commit.
    """
    if run.status.is_over:
        return []
    step = Step(run, now_ms)
    if run.cancel_reason is not None:
        step.end(Status.CANCELLED, run.cancel_reason)
    for attempt in run.open.values():
        held = attempt.claim
        if held is not None:
            held.beat_due_ms = min(step.now_ms + run.graph.nodes[attempt.ref.op].pace.heartbeat_ms, held.due_ms)
            look_again(run, attempt)
    step.fresh.extend(key for key in run.open if key not in run.ready)
    step.go_on()
    step.settle()
    return step.events


def check_open(run: Run) -> None:
    """Refuse what is to be done in a run that is over.

    Raises:
        Refused: It is.
    """
    if run.status.is_over:
        raise Refused("over", f"the run is over: {run.status}{': ' if run.reason else ''}{run.reason}")


def _find(run: Run, ref: Ref) -> Attempt:
    """Return an open attempt, or refuse what was to be done with it."""
    attempt = run.find(ref)
    if attempt is not None:
        return attempt
    progress = run.ops.get(ref.op)
    present = run.open.get((ref.op, ref.visit))
    if progress is None or not 0 < ref.visit <= progress.fired or ref.attempt < 1:
        raise Refused("unknown", f"there was no {_name(ref)}")
    if present is not None:
        if ref.attempt > present.ref.attempt:
            raise Refused("unknown", f"there was no {_name(ref)}")
        raise Refused("late", f"{_name(ref)} is closed; attempt {present.ref.attempt} has taken its place")
    check_open(run)
    raise Refused("late", f"{_name(ref)} is closed")


def _name(ref: Ref) -> str:
    return f"attempt {ref.attempt} of visit {ref.visit} of {ref.op}"


def _holder(attempt: Attempt) -> str:
    return "" if attempt.claim is None else f"; worker {attempt.claim.worker} has it"


def _still_open(run: Run) -> str:
    """Name a few of the operations that are open."""
    told = ""
    for how, keys in (("open", run.open), ("parked", run.unhandled if run.incidents else {})):
        names = sorted({op for op, _ in keys})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        told += f"; {how} were {', '.join(names[:3])}{more}" if names else ""
    return told

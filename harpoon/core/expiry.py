"""How attempts close: by what their workers say, or because a clock ran out; and whether they are tried again."""

from datetime import timedelta

from harpoon.core.dues import Clock, Running, clocks, longest_pause_ms, look_again, retry_after_ms
from harpoon.core.event import Warned
from harpoon.core.stepping import Step
from harpoon.core.visit import Attempt
from harpoon.model.label import DONE, FAIL, LOST, RETRIED, TIMEOUT
from harpoon.model.operation import Retry, Wait
from harpoon.model.units import format_duration


def conclude(
    step: Step, attempt: Attempt, label: str, output: object = None, error: str = "", *, after_ms: int | None = 0
) -> None:
    """Close an attempt, and its visit, unless it is tried again.

    Args:
        step: In which that happens.
        attempt: It.
        label: Of its outcome.
        output: What it came to.
        error: Why it failed.
        after_ms: The next one is not to be made for so long: it is waited for, as far as ``retry`` ever waits. None:
            there is to be no other.
    """
    run, ref = step.run, attempt.ref
    policy = run.graph.nodes[ref.op].spec.retry
    if after_ms is None or label not in RETRIED or attempt.spent.count(label) + 1 >= _attempts(policy, label):
        step.close(attempt, label, output, error)
        return
    # The worker of a lost attempt did not fail: another one may have it at once.
    wait_ms = 0
    if label != LOST:
        own_ms = retry_after_ms(policy.backoff, run.namespace, run.id, ref)
        wait_ms = max(own_ms, min(after_ms, longest_pause_ms(policy.backoff)))
    step.try_again(attempt, label, output, error, step.now_ms + wait_ms)


def expire(step: Step, attempt: Attempt) -> None:
    """Close an attempt of which a clock has run out, or note what is about to."""
    run, ref = step.run, attempt.ref
    running = clocks(run.graph.nodes[ref.op], attempt)
    running.sort(key=lambda each: each.due_ms)
    if running[0].due_ms <= step.now_ms:
        _run_out(step, attempt, running[0])
        return
    for each in running:
        if each.warned_ms <= step.now_ms and each.clock not in attempt.warned:
            step.happen(Warned(step.seq, step.now_ms, *ref, each.clock))
    look_again(run, attempt)


def _run_out(step: Step, attempt: Attempt, running: Running) -> None:
    span = format_duration(timedelta(milliseconds=running.span_ms))
    node = step.run.graph.nodes[attempt.ref.op]
    if running.clock is Clock.TIME:
        step.close(attempt, DONE)
    elif node.spec.wait is not None:
        step.close(attempt, TIMEOUT, error=f"{awaited_by(node.spec.wait)} did not come within {span}")
    elif attempt.claim is None:
        nobody = "no worker" if node.spec.carried is None else "no server"
        conclude(step, attempt, TIMEOUT, error=f"{nobody} claimed it within {span}")
    elif node.spec.carried is not None:
        lost = f"nothing was heard for {span} of the server that carried it out"
        is_lost = running.clock is Clock.HEARTBEAT
        conclude(step, attempt, LOST if is_lost else TIMEOUT, error=lost if is_lost else f"it took longer than {span}")
    elif running.clock is Clock.HEARTBEAT:
        conclude(step, attempt, LOST, error=f"nothing was heard of worker {attempt.claim.worker} for {span}")
    else:
        conclude(step, attempt, TIMEOUT, error=f"worker {attempt.claim.worker} did not close it within {span}")


def awaited_by(wait: Wait) -> str:
    """Return what a wait waits for, as it is told."""
    if wait.signal is not None:
        return f"signal {wait.signal}"
    return "its callback" if wait.callback else "its moment"


def _attempts(policy: Retry, label: str) -> int:
    return {FAIL: policy.fail, TIMEOUT: policy.timeout, LOST: policy.lost}[label].attempts

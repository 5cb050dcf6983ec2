"""What many runs came to together, counted by hand."""

import random
from dataclasses import replace

from harpoon.core.chronicle import read
from harpoon.core.report import FAILURES_SHOWN, Report, spread
from harpoon.model.header import Header
from harpoon.model.report_shown import By, Durations, FailureReason
from harpoon.model.run import Status
from tests.core.flow import T0, begun, retry, sleep, spec, work

SPEC = spec(a=work("w", retry=retry(fail=3), next={"fail": "b"}), b=work("w"), nap=sleep(600_000))


def header(run, status=Status.SUCCEEDED, took=1000, workflow="refund", reason="", **tags):
    return Header(
        namespace="shop",
        run=run,
        workflow=workflow,
        generation="g",
        body_hash="h",
        tags=tags,
        created_ms=T0,
        deadline_ms=T0 + 1,
        status=status,
        ended_ms=None if took is None else T0 + took,
        reason=reason,
    )


def flow():
    """It waits 1 s and fails after 2 s, waits for its pause and is done after 3 s; then nothing but a wait is open."""
    told = begun(SPEC)
    told.now += 1000
    claim = told.claim("a")
    told.now += 2000
    told.close(*claim, "fail", error="no funds on card 17")
    told.now += 60_000
    told.pass_(0)
    claim = told.claim("a")
    told.now += 3000
    told.close(*claim)
    return read(told.log)


def test_shares_are_spans_that_so_many_do_not_exceed():
    assert spread([]) is None
    assert spread([7]) == Durations(count=1, p50_ms=7, p95_ms=7, max_ms=7)
    assert spread([4, 1, 3, 2]) == Durations(count=4, p50_ms=2, p95_ms=4, max_ms=4)
    assert spread(list(range(100, 0, -1))) == Durations(count=100, p50_ms=50, p95_ms=95, max_ms=100)
    values = [random.Random(1).randrange(10_000) for _ in range(997)]
    told = spread(values)
    for share, span in ((50, told.p50_ms), (95, told.p95_ms)):
        assert sum(value <= span for value in values) * 100 >= share * len(values)
        assert sum(value < span for value in values) * 100 < share * len(values)


def test_runs_are_counted_by_workflow_with_how_they_ended():
    report = Report(By.WORKFLOW)
    report.count(header("r1", took=1000))
    report.count(header("r2", Status.FAILED, took=3000, reason="a failed: no funds on card 17"))
    report.count(header("r3", Status.TIMED_OUT, took=9000, reason="a failed: no funds on card 4"))
    report.count(header("r4", Status.RUNNING, took=None))
    report.count(header("r5", Status.CANCELLED, reason="not a failure"))
    report.count(header("r6", Status.FAILED, workflow="ship"))
    (refund, ship), left = report.groups(5)
    assert (refund.key, refund.runs, left) == ("refund", 5, 0)
    assert refund.counts == {"cancelled": 1, "failed": 1, "running": 1, "succeeded": 1, "timed_out": 1}
    assert refund.took == Durations(count=4, p50_ms=1000, p95_ms=9000, max_ms=9000)
    assert refund.failures == (FailureReason(reason="a failed: no funds on card 17", count=2, run="r2"),)
    assert [one.reason for one in ship.failures] == ["no reason was told"]
    assert report.groups(1) == ((refund,), 1)
    assert (refund.queue, refund.work, refund.attempts) == (None, None, 0)


def test_a_fork_took_the_time_since_it_was_forked():
    report = Report(By.WORKFLOW)
    report.count(replace(header("r1b", took=90_000), origin="r1", forked_ms=T0 + 80_000))
    assert report.groups(1)[0][0].took == Durations(count=1, p50_ms=10_000, p95_ms=10_000, max_ms=10_000)


def test_attempts_are_counted_where_runs_were_looked_into():
    report = Report(By.WORKFLOW)
    report.count(header("r1"))
    report.look_into(header("r1"), flow())
    [told] = report.groups(5)[0]
    assert (told.visits, told.attempts, told.retries) == (2, 3, 1)
    assert told.queue.count == told.work.count == 2
    assert (told.queue.p50_ms, told.work.p50_ms, told.work.max_ms) == (1000, 2000, 3000)


def test_what_was_over_when_a_run_was_forked_is_not_counted_again():
    report = Report(By.WORKFLOW)
    fork = replace(header("r1b", took=90_000), origin="r1", forked_ms=T0 + 70_000)
    report.look_into(fork, flow())
    # The wait is open still; the rest is that of its origin.
    [told] = report.groups(5)[0]
    assert (told.visits, told.attempts, told.queue) == (1, 1, None)
    report.look_into(replace(fork, forked_ms=T0 + 60_000), flow())
    [told] = report.groups(5)[0]
    assert (told.visits, told.attempts) == (3, 4)


def test_operations_are_told_by_their_labels_and_errors():
    report = Report(By.OPERATION)
    again = begun(spec(a=work("w")))
    again.do("a", "fail", error="no funds on card 4")
    open_ = begun(spec(a=work("w")))
    open_.claim("a")
    for run, told in (("r1", flow()), ("r2", read(again.log)), ("r3", read(open_.log))):
        report.count(header(run))
        report.look_into(header(run), told)
    (work_, nap), _ = report.groups(5)
    assert (work_.key, work_.runs, work_.visits, work_.retries) == ("refund/a", 3, 3, 1)
    assert work_.counts == {"done": 1, "fail": 1, "open": 1}
    assert work_.failures == (FailureReason(reason="no funds on card 4", count=1, run="r2"),)
    assert work_.took.max_ms == 66_000
    assert (nap.key, nap.counts) == ("refund/nap", {"open": 1})


def test_runs_are_told_by_the_value_of_a_tag():
    report = Report(By.TAG, "team")
    for run, tags in (("r1", {"team": "a"}), ("r2", {"team": "b"}), ("r3", {}), ("r4", {"team": "b"})):
        report.count(header(run, **tags))
        report.look_into(header(run, **tags), flow())
    assert [(group.key, group.runs, group.attempts) for group in report.groups(9)[0]] == [("b", 2, 6), ("a", 1, 3)]


def test_reasons_are_few_whatever_there_is_of_them():
    report = Report(By.WORKFLOW)
    for number in range(500):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        report.count(header(f"r{number}", Status.FAILED, reason=f"{word} went wrong"))
    report.count(header("again", Status.FAILED, reason="a went wrong"))
    [told] = report.groups(1)[0]
    assert len(told.failures) == FAILURES_SHOWN
    assert (told.failures[0].reason, told.failures[0].count) == ("a went wrong", 2)

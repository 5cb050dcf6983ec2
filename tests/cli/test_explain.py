"""What a manifest may hold, told without a server."""

import json

import pytest

from tests.cli.terminal_rig import Terminal


def test_a_field_is_told_with_those_in_it(terminal: Terminal) -> None:
    done = terminal.run("explain", "job.spec.update")
    assert done.code == 0
    assert done.out.splitlines() == [
        "job.spec.update   Update",
        "  How a migrate goes on, how far it may deviate from `scale` on the way, and when it has failed.",
        "",
        "Fields:",
        "  surge   whole number, default 1",
        "      Tasks above `scale` at once.",
        "  unavailable   whole number, default 0",
        "      Ready tasks below `scale` at once.",
        "  healthy_for   duration, default 0s",
        "      A new task counts as healthy once it has been ready for so long; until then the old one stays.",
        "  deadline   duration, default 5m",
        "      It has failed when no further slot has become healthy for so long.",
        "  on_failure   revert or pause, default revert",
        "      What becomes of a rollout that misses its deadline.",
        "  canary   whole number, default 0",
        "      So many slots are given a new task beside the old one, and then it waits to be promoted; 0: it",
        "      does not.",
    ]


@pytest.mark.parametrize("word", ["job.spec.task", "spec.task", "job.spec.task.checks.http"])
def test_the_word_job_may_be_left_out(terminal: Terminal, word: str) -> None:
    told = json.loads(terminal.run("explain", word, "-o", "json").out)
    assert told["path"] == f"job.{word.removeprefix('job.')}"
    assert {"name", "type", "is_required", "default", "description"} == set(told["fields"][0])


def test_workflows_are_explained_as_jobs_are(terminal: Terminal) -> None:
    told = terminal.run("explain", "workflow.spec.operations.retry").out.splitlines()
    assert told[0] == "workflow.spec.operations.retry   Retry"
    assert '  lost   Attempts, default {"attempts":5}' in told
    assert "      Its worker fell silent." in told


def test_batches_are_explained_too(terminal: Terminal) -> None:
    told = terminal.run("explain", "batch.spec").out.splitlines()
    assert told[0] == "batch.spec   BatchSpec, required"
    assert "  each   Operation" in told


def test_what_is_required_says_so(terminal: Terminal) -> None:
    assert "  command   list of text, required\n" in terminal.run("explain", "job.spec.task.checks.exec").out


def test_a_field_that_is_none_is_3_and_the_near_one_is_named(terminal: Terminal) -> None:
    done = terminal.run("explain", "job.spec.tsak")
    assert done.code == 3
    assert "did you mean task" in done.err

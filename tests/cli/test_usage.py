"""A wrong command line is told in a line, with what was perhaps meant."""

import os
from pathlib import Path

import pytest

from tests.cli.terminal_rig import Terminal


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("frob", "there is no verb 'frob'; harpoon --help lists them"),
        ("schedul web.yaml", "there is no verb 'schedul'; did you mean 'schedule' or 'unschedule'?"),
        ("get jobs --wathc", "there is no option --wathc; did you mean '--watch' or '--at'?"),
        ("get jobs --frob", "there is no option --frob"),
        ("-n shop get jobs", "there is no option -n before the verb; options stand after it: harpoon VERB -n …"),
        ("get", "KIND is missing"),
        ("apply", "name what to apply: manifests, harpoon apply FILE…, or a plan with --plan FILE"),
        ("get jbos", "there is no kind 'jbos'; did you mean 'jobs'?"),
        ("describe tsak/x", "there is no kind 'tsak'; did you mean 'task' or 'tasks'?"),
        ("scale web many", "N: a whole number is wanted"),
        ("scale web -- -1", "N: it must be at least 0"),
        ("get jobs web more", "too many arguments: more"),
        ("get jobs -n", "-n needs a value"),
        (
            "get jobs -o jsn",
            "--output: 'jsn' is not one of 'table', 'wide', 'json', 'yaml', 'name'; did you mean 'json'?",
        ),
        ("agent --name a1 --resource gpu=two", "--resource: write a whole number, such as gpu=2; got 'gpu=two'"),
        ("agent --name a1 --resource gpu", "--resource: write NAME=VALUE; got 'gpu'"),
        (
            "agent --name a1 --resource cpu=2",
            "cpu is no named resource: write resources.cpu of a task, --cpu of an agent",
        ),
        (
            "agent --name a1 --allow-host-path srv",
            "a host path is an absolute path without '.', '..', '//' or a '/' at its end; got 'srv'",
        ),
        ("agent --name a1 --artifact-max 0", "--artifact-max is more than 0, such as 1Gi"),
        ("get jobs -l team", "write a tag as key=value; got 'team'"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(terminal: Terminal, line: str, told: str) -> None:
    done = terminal.run(*line.split())
    assert done.code == 2
    assert done.out == ""
    assert done.err.splitlines()[0] == f"error: {told}"


def test_how_the_verb_is_used_is_told_after_it(terminal: Terminal) -> None:
    assert terminal.run("scale", "web").err.splitlines() == [
        "error: N is missing",
        "usage: harpoon scale [OPTIONS] NAME N   (more: harpoon scale --help)",
    ]


def test_a_word_with_control_characters_does_not_reach_the_terminal(terminal: Terminal) -> None:
    for words in (("\x1b[2J",), ("get", "jobs", "--\x1b[2J"), ("get", "\x1b[2J"), ("get", "jobs", "-o", "\x1b[2J")):
        assert "\x1b" not in terminal.run(*words).err


def test_no_verb_at_all_is_helped_on_stderr(terminal: Terminal) -> None:
    done = terminal.run()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("server --data afile", "--data afile cannot be a directory: it is a file"),
        ("dev --data afile/data", "--data afile/data cannot be a directory: {here}/afile is a file"),
        ("apply -f nothing.yaml", "nothing.yaml: No such file or directory"),
        ("apply -f " + "x" * 300, "x" * 300 + ": File name too long"),
        ("plan afile/web.yaml", "afile/web.yaml: Not a directory"),
        ("get jobs --token-file nothing", "token file nothing: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, told: str
) -> None:
    (tmp_path / "afile").touch()
    monkeypatch.chdir(tmp_path)
    done = terminal.run(*line.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {told.format(here=Path.cwd())}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_named(terminal: Terminal) -> None:
    assert terminal.run("server", "--data", "/nowhere").err == (
        "error: --data /nowhere cannot be used: this user may not write in /\n"
    )

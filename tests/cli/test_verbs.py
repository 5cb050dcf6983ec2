"""Every verb is registered where it is looked for, helps, and its examples are command lines that it takes."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from harpoon.cli import main
from harpoon.cli.verb import app
from tests.cli.terminal_rig import Terminal

ROOT = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)
VERBS = list(dict.fromkeys(verb for verbs in main.VERBS.values() for verb in verbs))


def examples_of(verb: str) -> list[str]:
    text = GROUP.commands[verb].help
    return [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]


def test_the_table_of_verbs_is_what_the_modules_register() -> None:
    assert sorted(VERBS) == sorted(GROUP.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_its_own_examples(verb: str) -> None:
    examples = examples_of(verb)
    assert examples
    for example in examples:
        words = shlex.split(example.rpartition("|")[2])
        assert words[:2] == ["harpoon", verb]
        GROUP.commands[verb].make_context(verb, words[2:])


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples_and_is_0(terminal: Terminal, verb: str) -> None:
    done = terminal.run(verb, "--help")
    assert done.code == 0
    assert f"  harpoon {verb}" in done.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_documentation_tells_of_every_verb(verb: str) -> None:
    assert f"harpoon {verb}" in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_found_alone_in_a_fresh_process(verb: str) -> None:
    code = f"from harpoon.cli import main; from harpoon.cli.verb import app; main.load(['{verb}'])\n"
    code += f"import typer; assert '{verb}' in typer.main.get_command(app).commands"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_word_that_is_no_verb_is_refused(terminal: Terminal) -> None:
    done = terminal.run("frobnicate")
    assert done.code == 2
    assert "frobnicate" in done.err

"""Every command line in the documentation is one that the program takes."""

import pytest
import typer

from harpoon.cli.verb import app
from tests.cli.terminal_rig import Terminal
from tests.documents import command_lines, documents, unit_lines

GROUP = typer.main.get_command(app)
LINES = [(path.name, words) for path in documents() for words in command_lines(path.read_text())]
LINES += unit_lines()


@pytest.mark.parametrize("words", [words for _, words in LINES], ids=[f"{name}: {' '.join(w)}" for name, w in LINES])
def test_a_command_line_in_the_documentation_is_taken(terminal: Terminal, words: list[str]) -> None:
    program, *rest = words
    assert program == "harpoon"
    if rest in (["VERB"], ["--help"]):
        return
    verb, *arguments = rest
    assert verb in GROUP.commands
    if arguments and arguments[-1].startswith("--"):  # an option that is named, without its value
        option = arguments.pop()
        assert option in {name for one in GROUP.commands[verb].params for name in (*one.opts, *one.secondary_opts)}
    if arguments:
        GROUP.commands[verb].make_context(verb, arguments)


def test_the_documentation_shows_many(terminal: Terminal) -> None:
    verbs = {words[1] for _, words in LINES if len(words) > 2}
    assert {"harpoon-agent.service", "harpoon-server.service"} <= {name for name, _ in LINES}
    assert {"schedule", "migrate", "plan", "why", "agent", "diff", "get"} <= verbs

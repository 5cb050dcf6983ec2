"""The command lines that the documentation shows, found in its Markdown."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(harpoon [^`]+)`")
#: Where a command begins: a line, a prompt, a pipe, a substitution, or after what runs another one.
COMMAND = re.compile(r"(?:^|\$ |\| |\$\(|xargs -n1 )(harpoon .*)$", re.MULTILINE)


def documents() -> list[Path]:
    """Return every document of the project."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def section(text: str, title: str) -> str:
    """Return the part of a document under a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def shell_blocks(text: str) -> list[str]:
    """Return the blocks that a reader would run."""
    return [body for language, body in FENCED.findall(text) if language == "sh"]


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of every harpoon command line in a document's blocks and in its prose."""
    for _, block in FENCED.findall(text):
        for found in COMMAND.finditer(block.replace("\\\n", " ")):
            yield words(found[1])
    for found in INLINE.finditer(FENCED.sub("", text)):
        start = COMMAND.search(found[1])
        yield words(filled(start[1] if start else found[1]))
        yield from (words(filled(one[1])) for one in COMMAND.finditer(found[1].partition(" ")[2]))


def unit_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield the command line that each systemd unit runs."""
    for path in sorted((ROOT / "deploy").rglob("*.service")):
        text = path.read_text().replace("\\\n", " ")
        yield from (
            (path.name, words(found[1])) for found in re.finditer(r"^ExecStart=\S*/(harpoon .*)$", text, re.MULTILINE)
        )


def words(line: str) -> list[str]:
    """Split a line as a shell does, up to the end of its first command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            break
        found.append(word)
    return found


def filled(line: str) -> str:
    """Put something in the places that prose leaves open: ``harpoon scale NAME N`` is ``harpoon scale NAME 3``."""
    return re.sub(r"\bN\b", "3", line).translate({ord(c): None for c in "[]…"})

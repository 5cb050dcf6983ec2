"""Labels: what a visit of an operation is closed with, and what picks the edges it fires."""

import re
from typing import Final, NamedTuple

DONE: Final = "done"
FAIL: Final = "fail"
TIMEOUT: Final = "timeout"
LOST: Final = "lost"
CANCELLED: Final = "cancelled"
EXHAUSTED: Final = "exhausted"

#: Those that there are without being declared.
BUILT_IN: Final = frozenset({DONE, FAIL, TIMEOUT, LOST, CANCELLED, EXHAUSTED})
#: Those that a worker, or a signal, may close with without their being declared.
ALWAYS_OFFERED: Final = frozenset({DONE, FAIL})
#: Those that the engine alone closes with.
OF_THE_ENGINE: Final = BUILT_IN - ALWAYS_OFFERED
#: Those that fail the run when no edge takes them.
FAILURES: Final = frozenset({FAIL, TIMEOUT, LOST, EXHAUSTED})
#: Those of attempts that are tried again, by what `Retry` says of each.
RETRIED: Final = frozenset({FAIL, TIMEOUT, LOST})

#: Of operations and labels: names that expressions can write after a dot.
WORD_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}$"
_WORD: Final = re.compile(WORD_PATTERN, re.ASCII)
#: Words that mean something else in an expression.
RESERVED: Final = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function",
    "if", "import", "in", "let", "loop", "namespace", "null", "package",
    "return", "true", "var", "void", "while",
})  # fmt: skip
_MEMBER: Final = re.compile(r"([a-z][a-z0-9_]{0,62})(?:\.([a-z][a-z0-9_]{0,62}))?", re.ASCII)


class Member(NamedTuple):
    """An operation, and the label that it is closed with."""

    op: str
    label: str

    def __str__(self) -> str:
        return f"{self.op}.{self.label}"


def check_word(what: str, word: str) -> str:
    """Return ``word`` if an operation or a label may be called so.

    Raises:
        ValueError: It may not; the message says what would be right.
    """
    if not _WORD.fullmatch(word):
        raise ValueError(f"{what} is 1 to 63 of a-z, 0-9 and '_', starting with a letter; got {word[:80]!r}")
    if word in RESERVED:
        raise ValueError(f"{what} cannot be {word!r}, which means something else in expressions; call it otherwise")
    return word


def read_member(text: str) -> Member:
    """Read ``ask`` or ``ask.approved``; bare means `DONE`.

    Raises:
        ValueError: It is neither.
    """
    match = _MEMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"needs holds <operation> or <operation>.<label>, such as ask.approved; got {text[:80]!r}")
    return Member(match[1], match[2] or DONE)

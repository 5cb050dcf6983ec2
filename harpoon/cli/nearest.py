"""Guessing what a mistyped word was meant to be."""

import difflib
from collections.abc import Iterable
from typing import Final

#: Of a longer word nothing is guessed: it was no slip of the finger, and comparing takes its square.
LENGTH_MAX: Final = 64


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'get'?`` for the known words that are near, or nothing."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=2) if len(word) <= LENGTH_MAX else []
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""

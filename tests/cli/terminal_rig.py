"""Runs verbs in this process, as a shell would."""

import io
import sys
from dataclasses import dataclass

import pytest

from harpoon.cli import main

main.load(())


@dataclass(frozen=True, slots=True)
class Done:
    """How a verb ended."""

    code: int
    out: str
    err: str


class Terminal:
    """A terminal that is none: its output is captured."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in ("HARPOON_SERVER", "HARPOON_TOKEN_FILE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)

    def run(self, *arguments: str, server: str | None = None, stdin: bytes = b"") -> Done:
        """Run ``harpoon <arguments>``."""
        if server is not None:
            self._monkeypatch.setenv("HARPOON_SERVER", server)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main.run(arguments)
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)

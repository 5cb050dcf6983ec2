"""The history of a run, written as it happens: one file a node."""

import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from tests.proof.history import Event, to_line
from tests.proof.logs import events_of


class Recorder:
    """Writes events under a directory, one file a node, stamped by the one clock of the run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.counts: Counter[str] = Counter()
        #: What nobody expects, and no check would see.
        self.complaints: list[str] = []
        #: What the monotonic clock was then.
        self.began = time.monotonic()
        self._files: dict[str, TextIO] = {}
        self._log: dict[str, TextIO] = {}
        self._astonished: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True)

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self.began

    def note(self, event: Event, file: str = "") -> None:
        """Write an event at the end of its node's file, or of another one: what one file holds, one thread writes."""
        name = file or event.node
        if name not in self._files:
            self._files[name] = (self.directory / f"{name}.jsonl").open("a", buffering=1)
        self._files[name].write(to_line(event) + "\n")
        self.counts[event.kind] += 1

    def complain(self, text: str) -> None:
        """Keep what is wrong by itself."""
        self.complaints.append(f"{self.now():.3f} {text}")

    def hear(self, node: str, line: bytes) -> None:
        """Keep a line that a process logged, and note what it tells."""
        if node not in self._log:
            self._log[node] = (self.directory / f"{node}.log").open("a", buffering=1)
        text = line.decode(errors="replace")
        self._log[node].write(text if text.endswith("\n") else text + "\n")
        told = None
        with suppress(ValueError):
            told = json.loads(text)
        if "Traceback (most recent call last)" in text or (isinstance(told, dict) and told.get("exception")):
            self._be_astonished(node, text)
        if isinstance(told, dict):
            # How often a guard was needed: what a former holder has sent came too late.
            self.counts["late"] += told.get("event") == "call_refused" and "taken since" in told.get("reason", "")
            for event in events_of(node, self.now(), told):
                self.note(event)

    def _be_astonished(self, node: str, text: str) -> None:
        """Keep what a part did not expect itself, once a node."""
        if node not in self._astonished:
            self._astonished.add(node)
            self.complain(f"{node} did not expect this: {text[:4000]}")

    def close(self) -> None:
        for file in (*self._files.values(), *self._log.values()):
            file.close()

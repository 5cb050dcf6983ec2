"""Following what happens in runs, a line for each event."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from harpoon.cli import cells, output, run_waiting, terminal
from harpoon.cli.options import Output
from harpoon.cli.session import Session
from harpoon.client.watch import RunSelection, Selection
from harpoon.kit.errors import Invalid
from harpoon.model.operation import CALLBACK

#: Characters of an output on one line.
OUTPUT_MAX: Final = 80


def follow(client: Session, selection: Selection | RunSelection, form: Output, *, run: str | None) -> None:
    """Show how things stand, and what happens: in many runs for ever, in one until it is over.

    Args:
        client: Tells.
        selection: What is watched.
        form: How it is written.
        run: The id of the one run, if it is one.

    Raises:
        EndedInFailure: The one run did not succeed.
        Invalid: A watch is not written so.
    """
    if form in (Output.YAML, Output.NAME):
        raise Invalid("a watch is written as table, wide or json")
    for message in client.watch(selection, lost=terminal.tell_loss):
        if form is Output.JSON:
            output.write_one(message, form)
        elif "seq" in message:
            _show_one(message, run)
        else:
            _show_many(message)
        if message.get("type") == "over":
            run_waiting.judge({"id": run, "status": message["status"], "reason": message.get("reason")})


def _show_one(message: Mapping[str, Any], run: str | None) -> None:
    if message.get("type") == "snapshot":
        terminal.say(f"run/{run} {cells.run_status(message['run'])}, {message['seq']} events so far")
    _show_events(message, is_one=True)


def _show_many(message: Mapping[str, Any]) -> None:
    for item in message.get("items") or ():
        _show_item(item, "is")
    if message.get("type") == "synced":
        terminal.say(f"{message['revision']}  that was everything; what happens follows")
    for change in message.get("changes") or ():
        _show_item(change, str(change["type"]))
    _show_events(message, is_one=False)


def _show_item(item: Mapping[str, Any], word: str) -> None:
    """Write a line for a run in a snapshot, or a workflow there or in a change."""
    shown = item.get("object") or {}
    if item["kind"] == "run":
        told = f"{item['key']}  {cells.run_status(shown)}, of {cells.flow_said(shown['workflow'])}"
    else:
        metadata = shown.get("metadata")
        version = f"  version {metadata['version']}, generation {metadata['generation']}" if metadata else ""
        told = f"{item['key']}  {word}  workflow{version}"
    terminal.show(terminal.plain(told))


def _show_events(message: Mapping[str, Any], *, is_one: bool) -> None:
    for event in message.get("events") or ():
        which = "" if is_one else f"{event['namespace']}/{event['run']}  "
        moment = datetime.fromtimestamp(event["at_ms"] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
        line = f"{which}{event['seq']:>4}  {moment}  {event['kind']:<9}  {_gist(event)}".rstrip()
        terminal.show(terminal.plain(line))


def _gist(event: Mapping[str, Any]) -> str:
    """Say in a few words what happened."""
    parts = []
    if op := event.get("op"):
        which = [f"{word} {event[word]}" for word in ("visit", "attempt") if event.get(word)]
        parts.append(f"{op} ({', '.join(which)})" if which else str(op))
    if (signal := event.get("name")) == CALLBACK:
        parts.append(f"callback {event['key']}")
    elif signal:
        parts.append(f"signal {signal}" + (f" with key {event['key']}" if event.get("key") else ""))
    parts += [
        f"{word} {event[field]}"
        for field, word in (
            ("label", "as"),
            ("worker", "by"),
            ("by", "by"),
            ("clock", "clock"),
            ("status", "as"),
            ("generation", "to generation"),
        )
        if event.get(field)
    ]
    told = " ".join(parts)
    if event["kind"] == "closed" and event.get("output") is not None:
        told += f", {_short(event['output'])}"
    if why := event.get("error") or event.get("reason"):
        told += f": {why}"
    if opened := ", ".join(str(one["op"]) for one in event.get("opened") or ()):
        told += f" → {opened}"
    return told.strip()


def _short(output: object) -> str:
    """Write what an attempt came to, shortened."""
    text = json.dumps(output, ensure_ascii=False)
    return text if len(text) <= OUTPUT_MAX else f"{text[:OUTPUT_MAX]}…"

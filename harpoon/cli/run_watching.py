"""Following what happens in runs, a line for each event."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from harpoon.cli import columns, output, run_waiting, terminal
from harpoon.cli.options import Output
from harpoon.cli.session import Session
from harpoon.client.watch import RunSelection
from harpoon.kit.errors import Invalid

#: Characters of an output on one line.
OUTPUT_MAX: Final = 80


def watch(client: Session, namespace: str, run: str, after: int | None, form: Output) -> None:
    """Show how a run stands, and what happens in it, until it is over.

    Raises:
        EndedInFailure: The run did not succeed.
    """
    _check(form)
    selection = RunSelection(namespace=namespace, run=run, after=None if after is None else str(after))
    for message in client.watch(selection, lost=terminal.tell_loss):
        if form is Output.JSON:
            output.write_one(message, form)
        elif message.get("type") == "snapshot":
            terminal.say(f"run/{run} {columns.run_status(message['run'])}, {message['seq']} events so far")
        else:
            _show_events(message, is_one=True)
        if message.get("type") == "over":
            run_waiting.judge({"id": run, "status": message["status"], "reason": message.get("reason")})


def watch_all(client: Session, namespace: str | None, after: str | None, form: Output) -> None:
    """Show which runs are open, and what happens in any, for ever."""
    _check(form)
    for message in client.watch(RunSelection(namespace=namespace, after=after), lost=terminal.tell_loss):
        if form is Output.JSON:
            output.write_one(message, form)
            continue
        for run in message.get("items") or () if message.get("type") == "snapshot" else ():
            what = f"{run['namespace']}/{run['id']}  {columns.run_status(run)}, of {columns.flow_said(run['workflow'])}"
            terminal.show(terminal.plain(what))
        if message.get("type") == "synced":
            terminal.say(f"{message['revision']}  these are open; what happens follows")
        _show_events(message, is_one=False)


def _check(form: Output) -> None:
    if form in (Output.YAML, Output.NAME):
        raise Invalid("a watch is written as table, wide or json")


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
    if signal := event.get("name"):
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

"""What came of a batch job, for eyes: how far it is, how it ended, and each slot's result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from harpoon.cli import figures, terminal
from harpoon.cli.table import Column, Object, Table

#: Results that one screen has room for.
RESULTS_MAX: Final = 20
#: Agents named in one line.
AGENTS_MAX: Final = 8

RESULT: Final = (
    Column("SLOT", lambda row: str(row["slot"])),
    Column("RESULT", lambda row: "complete" if row["is_complete"] else "failed", is_state=True),
    Column("EXIT", lambda row: "" if row.get("exit_code") is None else str(row["exit_code"])),
    Column("ATTEMPTS", lambda row: str(row["attempts"])),
    Column("AGENT", lambda row: str(row["agent"])),
    Column("ENDED", lambda row: figures.age(row.get("at_ms"))),
    Column("TASK", lambda row: str(row["task"])),
    Column("REASON", lambda row: str(row.get("reason") or ""), is_sentence=True),
)


def wanted(spec: Mapping[str, Any]) -> str:
    """Say what a batch job is to do."""
    agents = (spec.get("placement") or {}).get("agents") or ()
    completions = len(agents) or spec.get("completions") or 1
    told = [f"{completions} completion{'s' * (completions > 1)}"]
    if agents:
        more = f" and {len(agents) - AGENTS_MAX} more" if len(agents) > AGENTS_MAX else ""
        told = [f"once on each of {len(agents)} agents ({', '.join(agents[:AGENTS_MAX])}{more})"]
    told += [f"{spec['parallel']} at once"] if spec.get("parallel") else []
    told += [f"{spec['attempts']} attempts each"] if (spec.get("attempts") or 1) > 1 else []
    told += ["all are tried though one fails"] if spec.get("on_failure") == "finish" else []
    told += [f"deadline {spec['deadline']}"] if spec.get("deadline") else []
    return ", ".join([*told, f"kept for {spec.get('keep') or '24h'}"])


def arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter of a job, as it is written."""
    told = {name: one.get("default") for name, one in (spec.get("parameters") or {}).items()}
    return told | dict(spec.get("arguments") or {})


def run(batch: Mapping[str, Any]) -> str:
    """Say when a batch job began, and what will end it, or has."""
    told = [f"declared {figures.age(batch['since_ms']) or 'a moment'} ago"]
    if batch["ended_ms"] is not None:
        told.append(f"{batch['outcome']} {figures.age(batch['ended_ms'])} ago")
        told.append(f"removed at {figures.until(batch['removed_ms'])}")
    elif batch["deadline_ms"] is not None:
        told.append(f"fails at {figures.until(batch['deadline_ms'])}")
    return ", ".join(told)


def screen(batch: Mapping[str, Any], *, is_wide: bool) -> Iterator[str]:
    """Yield the results of slots: those that failed, and the latest; all of them if it is wide."""
    results: Sequence[Object] = batch.get("results") or ()
    if not results:
        return
    shown = sorted(results, key=lambda one: (one["is_complete"], -(one.get("at_ms") or 0), one["slot"]))
    shown = list(results) if is_wide or len(results) <= RESULTS_MAX else shown[:RESULTS_MAX]
    yield ""
    yield from Table(RESULT, is_wide=is_wide).lines(shown)
    if more := len(results) - len(shown):
        yield f"and {more} more; all of them: -o wide"


def last_words(batch: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the task wrote last that a job failed by, if that is known."""
    witness = batch.get("witness")
    if witness and witness.get("log"):
        yield f"Last lines of {terminal.plain(str(witness['task']))}:"
        yield from (f"  {terminal.plain(line)}".rstrip() for line in witness["log"])

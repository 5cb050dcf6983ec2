"""What came of a command on each agent, gathered as the slots of its job end, and shown.

The job's record says how each slot ended; what its task wrote is asked of its agent then, and bounded.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

import typer

from harpoon.cli import terminal
from harpoon.cli.outcome import EndedInFailure, TimedOut
from harpoon.cli.session import Session
from harpoon.cli.table import Column
from harpoon.cli.waiting import LOOK_EVERY
from harpoon.cli.wakeup import Wakeups
from harpoon.client.watch import Selection
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import HarpoonError, NotFound, Unavailable

#: As much of each of a task's outputs is shown: its end.
OUTPUT_MAX: Final = 64 * 1024
LINES_MAX: Final = 1_000

#: Followed for so much longer than the job may take: it ends by the servers' clocks, and says why it has failed first.
PATIENCE: Final = timedelta(minutes=1)

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
#: The job had ended before it did.
UNFINISHED: Final = "unfinished"
LEFT_OUT: Final = "left out"

#: States of a task that has written nothing yet.
_SILENT: Final = ("pending", "placed")


class LeftOut(NamedTuple):
    """An agent that matches, and cannot run it."""

    agent: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it on one agent."""

    agent: str
    state: str
    exit_code: int | None = None
    #: What it wrote to its standard output; the end of that, if it is long.
    output: str = ""
    #: Likewise to its standard error.
    errors: str = ""
    #: Something is left out at the beginning of one of them.
    is_cut_off: bool = False
    #: From when it was placed until it ended.
    seconds: float | None = None
    #: Why it did not succeed, or its output is not there.
    reason: str = ""
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it on all of them, in the order of their names."""

    namespace: str
    job: str
    state: str
    reason: str
    results: Sequence[Result]


#: Shows one result as soon as it is there; the second is the width of the agents' names.
Show = Callable[[Result, int], None]

RESULT: Final = (
    Column("AGENT", lambda row: str(row["agent"])),
    Column("RESULT", lambda row: str(row["state"]), is_state=True),
    Column("EXIT", lambda row: "" if row.get("exit_code") is None else str(row["exit_code"])),
    Column("SECONDS", lambda row: "" if row.get("seconds") is None else f"{row['seconds']:.1f}"),
    Column("REASON", lambda row: str(row.get("reason") or ""), is_sentence=True),
)


def follow(
    client: Session, namespace: str, name: str, agents: Sequence[str], timeout: timedelta, show: Show | None
) -> Outcome:
    """Follow a job that names these agents to its end, and gather what came of its slots.

    Args:
        client: Asks the server; one that cannot be reached is asked again.
        namespace: Of the job.
        name: Of the job.
        agents: As the job names them: each has the slot of its place.
        timeout: By then it has ended, as it says itself; it is followed for somewhat longer.
        show: Shows each result when it is there; None: nothing is shown before the end.

    Raises:
        EndedInFailure: The job was unscheduled meanwhile.
        TimedOut: It has not ended.
        HarpoonError: As for the client.
    """
    following = _Following(client, name, agents, show)
    wakeups = Wakeups(client, Selection(kinds=("jobs", "placements", "tasks"), namespace=namespace, name=name))
    give_up = _elapsed() + timeout + PATIENCE
    span = timedelta(0)
    while _elapsed() < give_up:
        wakeups.wait(span)
        span = LOOK_EVERY
        try:
            status = client.get("namespaces", namespace, "jobs", name, "status").body
        except Unavailable as error:
            following.say(f"the server cannot be asked, trying again: {error}")
            continue
        except NotFound:
            raise _gone(name) from None
        if status["state"] == "terminating":
            raise _gone(name)
        if following.see(status):
            batch = status["batch"]
            return Outcome(
                namespace=namespace,
                job=name,
                state=batch["outcome"],
                reason=str(batch.get("reason") or ""),
                results=following.results(),
            )
    raise TimedOut(f"job/{name} has not ended in time; to see why: harpoon describe job/{name} -n {namespace}")


class _Following:
    """What has come of the slots of one job so far."""

    def __init__(self, client: Session, name: str, agents: Sequence[str], show: Show | None) -> None:
        self._client = client
        self._name = name
        self._agents = agents
        self._show = show
        self._width = max(map(len, agents))
        self._results: dict[int, Result] = {}
        #: Slot → what of it was seen to have been started.
        self._begun: dict[int, str] = {}
        self._said = ""

    def see(self, status: Mapping[str, Any]) -> bool:
        """Take note of what has ended, and say what waits; return whether that was all."""
        batch = status["batch"]
        for one in batch["results"]:
            if one["slot"] not in self._results:
                self._note(one["slot"], _result(self._client, one))
        if batch["outcome"] is None:
            # Once the job has ended, they are stopped and gone at once.
            begun = (one for one in status.get("tasks") or () if one["state"] not in _SILENT)
            self._begun |= {_slot_of(one): str(one["id"]) for one in begun}
            if pending := status.get("pending"):
                self.say(f"waits: {terminal.plain(str(pending['reason']))}")
            return False
        for slot, agent in enumerate(self._agents):
            if slot not in self._results:
                witness = batch.get("witness") or {}
                self._note(slot, _unfinished(self._client, agent, self._begun.get(slot), witness))
        return True

    def results(self) -> list[Result]:
        """Return them in the order of the slots, once all are there."""
        return [self._results[slot] for slot in range(len(self._agents))]

    def say(self, text: str) -> None:
        """Say something, unless it was just said."""
        if text != self._said:
            self._said = text
            terminal.say(f"job/{self._name} {text}")

    def _note(self, slot: int, result: Result) -> None:
        self._results[slot] = result
        if self._show is not None:
            self._show(result, self._width)


def _elapsed() -> timedelta:
    return SystemClock().now().elapsed


def _gone(name: str) -> EndedInFailure:
    return EndedInFailure(f"job/{name} was unscheduled meanwhile, and what ran of it is stopped")


def _result(client: Session, told: Mapping[str, Any]) -> Result:
    began, ended = told.get("placed_ms") or 0, told["at_ms"]
    wrote = _read(client, str(told["task"]))
    reason = "" if told["is_complete"] else str(told.get("reason") or "")
    return Result(
        agent=str(told["agent"]),
        state=SUCCEEDED if told["is_complete"] else FAILED,
        exit_code=told.get("exit_code"),
        output=wrote.output,
        errors=wrote.errors,
        is_cut_off=wrote.is_cut_off,
        seconds=round((ended - began) / 1000, 3) if began and ended >= began else None,
        reason="; ".join(one for one in (reason, wrote.trouble) if one),
        task=str(told["task"]),
    )


def _unfinished(client: Session, agent: str, task: str | None, witness: Mapping[str, Any]) -> Result:
    """Return what is known of a slot that had not ended when the job had.

    Args:
        client: Asks the server.
        agent: Whose slot it is.
        task: What was last seen to run of it; its agent forgets it once it is stopped. None: nothing was.
        witness: The task at fault, of which the job has kept the last lines.
    """
    if task is None:
        return Result(agent=agent, state=UNFINISHED, reason="it was not started in time")
    wrote, reason = _read(client, task), "it had not ended in time, and was stopped"
    if wrote.trouble and witness.get("task") == task:
        wrote = _Wrote(output="".join(f"{line}\n" for line in witness.get("log") or ()))
        reason += "; only its last lines were kept"
    return Result(
        agent=agent,
        state=UNFINISHED,
        output=wrote.output,
        errors=wrote.errors,
        is_cut_off=wrote.is_cut_off,
        reason=f"{reason}; what it wrote is gone with it" if wrote.trouble else reason,
        task=task,
    )


def _slot_of(task: Mapping[str, Any]) -> int:
    return int(str(task["id"]).split(".")[2])


class _Wrote(NamedTuple):
    output: str = ""
    errors: str = ""
    is_cut_off: bool = False
    #: Why it is not known.
    trouble: str = ""


def _read(client: Session, task: str) -> _Wrote:
    """Return the end of what a task wrote; what cannot be read is no failure of the command."""
    try:
        output, is_cut = _read_stream(client, task, "stdout")
        errors, is_also = _read_stream(client, task, "stderr")
    except HarpoonError as error:
        return _Wrote(trouble=f"what it wrote cannot be read: {error}")
    return _Wrote(output, errors, is_cut or is_also)


def _read_stream(client: Session, task: str, stream: str) -> tuple[str, bool]:
    """Return the end of one output, and whether that is not all of it."""
    # One line more than is shown says that there are more.
    query = {"stream": stream, "tail": str(LINES_MAX + 1)}
    kept, is_cut = bytearray(), False
    for chunk in client.read_text("tasks", task, "logs", query=query):
        kept += chunk
        if len(kept) > OUTPUT_MAX:
            del kept[:-OUTPUT_MAX]
            is_cut = True
    lines = kept.decode("utf-8", "replace").split("\n")
    ending = lines.pop()
    if len(lines) > LINES_MAX:
        lines, is_cut = lines[-LINES_MAX:], True
    return "".join(f"{line}\n" for line in lines) + ending, is_cut


def tell(result: Result, width: int) -> None:
    """Write what a task wrote, each line after its agent's name: to the output that it wrote it to."""
    name = f"{result.agent:<{width}}"
    if result.is_cut_off:
        told = f"only the last {LINES_MAX} lines, or {OUTPUT_MAX >> 10} KiB, follow: harpoon logs {result.task}"
        terminal.say(f"{name} | [{told} has all that is kept]")
    for line in _shown(result.output):
        terminal.show(f"{name} | {line}")
    sys.stdout.flush()
    for line in _shown(result.errors):
        typer.echo(f"{name} | {line}", err=True)


def _shown(text: str) -> Iterator[str]:
    """Yield lines as a terminal may have them."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return (terminal.plain(line.removesuffix("\r").expandtabs()) for line in lines)


def rows(outcome: Outcome, left_out: Sequence[LeftOut]) -> list[dict[str, Any]]:
    """Return the rows of the table, by agent."""
    found = [asdict(one) for one in outcome.results]
    found += [asdict(Result(agent=one.agent, state=LEFT_OUT, reason=one.reason)) for one in left_out]
    return sorted(found, key=lambda row: str(row["agent"]))


def document(outcome: Outcome, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Return all of it as one document."""
    return {
        "namespace": outcome.namespace,
        "job": outcome.job,
        "state": outcome.state,
        "reason": outcome.reason,
        "agents": rows(outcome, left_out),
    }

"""What a watch of workflows, runs and attempts promises, judged from outside: over what it told, and what was answered.

Runs wait for a time that passes at once, so that they go on and end without workers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.events import Event, Violation
from tests.conformance.judge import after, changes_of, judge_equal, judge_form, judge_order
from tests.conformance.stir import at_once
from tests.conformance.wire import Address

MANY = "kinds=workflows,runs,attempts"
#: What happens to a run as a whole; all else is an attempt's.
OF_ATTEMPTS = frozenset({"claimed", "closed", "retried"})


@dataclass
class RunStir:
    """Declares workflows and starts runs in a namespace of its own, and remembers what was acknowledged."""

    address: Address
    namespace: str
    #: Run → its workflow; all of them will succeed.
    runs: dict[str, str] = field(default_factory=dict)
    #: Of workflows, in order.
    puts: list[str] = field(default_factory=list)

    @property
    def query(self) -> str:
        """What tells of all of it."""
        return f"{MANY}&namespace={self.namespace}"

    async def put(self, name: str, *, waits: int) -> None:
        """Declare a workflow of so many waits, one after the other."""
        operations = {
            f"s{n}": {"wait": {"for": "10ms"}, **({"needs": [f"s{n - 1}"]} if n else {})} for n in range(waits)
        }
        metadata = {"name": name, "namespace": self.namespace}
        body = {
            "apiVersion": "harpoon/v1",
            "kind": "Workflow",
            "metadata": metadata,
            "spec": {"operations": operations},
        }
        answer = await self.address.ask("PUT", f"/v1/namespaces/{self.namespace}/workflows/{name}", body)
        assert answer.status == 200, answer
        self.puts.append(name)

    async def start(self, *runs: str, workflow: str) -> None:
        """Start runs at once."""
        body = {"runs": [{"id": run, "workflow": workflow} for run in runs]}
        answer = await self.address.ask("POST", f"/v1/namespaces/{self.namespace}/runs", body)
        assert [one["status"] for one in answer.json["results"]] == [201] * len(runs), answer
        self.runs |= dict.fromkeys(runs, workflow)

    async def stir(self, stem: str) -> None:
        """Have runs of two workflows go on together, then declare one anew."""
        await at_once(self.put("long", waits=4), self.put("short", waits=1))
        long, short = ([f"{stem}-{kind}-{number}" for number in range(5)] for kind in ("long", "short"))
        await at_once(self.start(*long, workflow="long"), self.start(*short, workflow="short"))

    async def clean(self) -> None:
        """Take the workflows away; runs are kept as long as any."""
        for name in dict.fromkeys(self.puts):
            await self.address.ask("DELETE", f"/v1/namespaces/{self.namespace}/workflows/{name}")


def events_of(told: Iterable[Event]) -> list[dict[str, Any]]:
    return [event for one in told for event in one.body.get("events", ())]


def ended(told: Iterable[Event]) -> set[str]:
    return {event["run"] for event in events_of(told) if event["kind"] == "ended"}


class AllEnded:
    """Whether, with the event at hand, the last of some runs has ended."""

    def __init__(self, runs: Iterable[str]) -> None:
        self._open = set(runs)

    def __call__(self, event: Event) -> bool:
        self._open -= ended([event])
        return not self._open


def judge_run_form(told: Sequence[Event]) -> None:
    """Every event has the members it must have; one commit's are in it, of each run in order."""
    judge_form([event for event in told if event.type in ("synced", "bookmark")])
    for one in changes_of(told):
        if not one.body.keys() - {"type", "revision"} or one.body.keys() - {"type", "revision", "events", "changes"}:
            raise Violation(f"its members are others: {one}")
        if [] in (one.body.get("events"), one.body.get("changes")):
            raise Violation(f"a change of nothing: {one}")
        for item in one.changes:
            if item["kind"] != "workflow" or (item["type"] == "put") != ("object" in item):
                raise Violation(f"neither a put nor a delete of a workflow: {item}")


def judge_whole(told: Sequence[Event], runs: Iterable[str]) -> None:
    """Of each of these runs, which began after the snapshot, all events are told, each once and in order."""
    for run in runs:
        of_run = [event for event in events_of(told) if event["run"] == run]
        if [event["seq"] for event in of_run] != list(range(1, len(of_run) + 1)):
            raise Violation(f"of {run}, these are told: {[event['seq'] for event in of_run]}")
        if not of_run or (of_run[0]["kind"], of_run[-1]["kind"]) != ("started", "ended"):
            raise Violation(f"{run} is not told from its start to its end: {of_run}")


def judge_resumed(reference: Sequence[Event], told: Sequence[Event], revision: str, runs: Iterable[str]) -> None:
    """Resumed after a revision, exactly what came after it was told, until the last of these runs had ended."""
    judge_order(told, resumed_after=revision)
    judge_equal(after(reference, revision), changes_of(told))
    judge_whole([*[one for one in reference if one not in after(reference, revision)], *told], runs)


def judge_chosen(
    reference: Sequence[Event], told: Sequence[Event], choice: dict[str, str], runs: dict[str, str]
) -> None:
    """Of all events, exactly those were told that were chosen.

    Args:
        reference: Everything, from before the runs began.
        told: By the choice, from the same revision on.
        choice: ``kinds``, and perhaps ``workflow`` and ``status``.
        runs: Run → its workflow.
    """
    wanted = [
        event
        for event in events_of(reference)
        if f"{'attempt' if event['kind'] in OF_ATTEMPTS else 'run'}s" in choice["kinds"].split(",")
        and choice.get("workflow") in (None, runs[event["run"]])
        and choice.get("status") in (None, event.get("status", "running"))
    ]
    if events_of(told) != wanted:
        raise Violation(f"{choice} tells {len(events_of(told))} events, and not {len(wanted)}")

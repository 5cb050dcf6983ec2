"""Runs that call others, and those that they call, as far as they go on: they live in one shard."""

from collections.abc import Iterator, Mapping

from harpoon.control.conducted import Conducted
from harpoon.control.ledger_records import run_key
from harpoon.model.sub_run import Caller, sub_run_id


def caller_of(conducted: Conducted, runs: Mapping[str, Conducted]) -> Conducted | None:
    """Return the run that has called another; None: none has, or it is over.

    Args:
        conducted: The run that was called.
        runs: Those that are open, by their keys.
    """
    if conducted.caller is None:
        return None
    return runs.get(run_key(conducted.run.namespace, conducted.caller.run))


def called_by(conducted: Conducted, runs: Mapping[str, Conducted]) -> Iterator[Conducted]:
    """Yield the runs that another one waits for, each by an attempt that is claimed for that.

    Args:
        conducted: The run that has called them.
        runs: Those that are open, by their keys.
    """
    run = conducted.run
    for attempt in tuple(run.open.values()):
        ref = attempt.ref
        if attempt.claim is None or run.graph.nodes[ref.op].spec.call is None:
            continue
        caller = Caller(run=run.id, op=ref.op, visit=ref.visit, attempt=ref.attempt)
        called = runs.get(run_key(run.namespace, sub_run_id(caller)))
        if called is not None:
            yield called

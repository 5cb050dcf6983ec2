"""What a repair resets in a run, and what it brings back: the part of the fold that repairs alone need.

Retrying *from* an operation resets its *part*: the operation, and all that it leads to by any label. Nothing outside
the part changes, and what was opened within it by others goes on.

1. Whatever of the part is open by virtue of the part itself is closed as ``cancelled``, and fires nothing.
2. Joins of the part know of members outside it what these were closed with last, and of members inside it nothing.
3. The visits of the part are allowed anew, and its failures are forgotten.
4. The operation is opened, by no trigger.

A run that is over is begun again first: visits that its end had closed are opened again by what had opened them, and
what was pending is so again. Every repair gives the run the deadline of its workflow anew.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from harpoon.core.graph import Graph
from harpoon.core.run import Run
from harpoon.core.visit import Progress, VisitKey
from harpoon.model.run import Status

#: Of one run, and likewise its moves to other generations: each adds as much as a run may come to, at most.
REPAIRS_MAX: Final = 100


def part_of(graph: Graph, op: str) -> frozenset[str]:
    """Return an operation, and all that it leads to; with the items of these."""
    found, ahead = {op}, deque([op])
    while ahead:
        for triggers in graph.nodes[ahead.popleft()].edges.values():
            for trigger in triggers:
                if trigger.op not in found:
                    found.add(trigger.op)
                    ahead.append(trigger.op)
    items = {name for name, node in graph.nodes.items() if node.home is not None and node.home.op in found}
    return frozenset(found | items)


def is_led_to(graph: Graph, part: frozenset[str], op: str, origin: int) -> bool:
    """Whether what opens, or has opened, a visit does so by virtue of a part, which is that of ``op``."""
    opened = graph.opens(origin)
    if opened not in part:
        return False
    if origin >= 0:
        return opened == op or any(member.op in part for member in graph.triggers[origin].members)
    # What a run starts at is led to by nothing; what was opened by a repair is done anew.
    return opened == op or ~origin >= len(graph.starts)


def led_to(run: Run, op: str) -> list[VisitKey]:
    """Return the open visits that retrying from an operation cancels, in the order in which they were opened."""
    part = part_of(run.graph, op)
    owners = {
        key
        for key, one in run.open.items()
        if run.graph.nodes[key[0]].home is None and is_led_to(run.graph, part, op, one.origin)
    }
    return [key for key in run.open if owner_of(run.graph, key) in owners]


def owner_of(graph: Graph, key: VisitKey) -> VisitKey:
    """Return the visit whose item a visit is, or the visit itself."""
    node = graph.nodes[key[0]]
    return key if node.home is None else node.group_of(key[1])[0]


def renew(run: Run, order: str, deadline_ms: int, but: VisitKey | None = None) -> None:
    """Take note of a repair: it has a deadline of its own, and what is over is begun again.

    Args:
        run: Which is repaired.
        order: Id of the order; empty: it has none.
        deadline_ms: By then the run is over.
        but: Of what its end had closed, this visit is not opened again.
    """
    run.repairs += 1
    if order:
        run.orders[order] = None
    run.deadline_ms, run.since_ms, run.is_warned = deadline_ms, run.now_ms, False
    run.scope["run"]["deadline_ms"] = deadline_ms
    if not run.status.is_over:
        return
    run.status, run.ended_ms, run.outputs, run.reason = Status.RUNNING, None, None, ""
    run.cancel_reason, run.is_stopped, run.is_held = None, False, False
    for key, cut in run.cut.items():
        if key == but:
            continue
        run.pending.append(cut.origin)
        # It did not come to anything.
        run.ops[key[0]].used -= not cut.is_beyond
    run.pending.extend(run.left)
    run.cut, run.left = {}, ()


def reset(run: Run, op: str) -> None:
    """Reset the part of an operation, none of which is open any more but what goes on; it is opened next."""
    graph = run.graph
    part = part_of(graph, op)
    for name in part & run.ops.keys():
        run.ops[name].used = 0
    run.unhandled = {key: incident for key, incident in run.unhandled.items() if key[0] not in part}
    run.reached = dict.fromkeys([key for key in run.reached if key[0] not in part])
    run.anew = {name: items for name, items in run.anew.items() if name not in part}
    kept = [code for code in run.pending if not is_led_to(graph, part, op, code)]
    run.pending = [graph.anew(op), *kept]
    for trigger in graph.triggers:
        outside = [member for member in trigger.members if member.op not in part]
        if trigger.op not in part or len(trigger.members) == 1 or len(outside) == len(trigger.members):
            continue
        run.occurred.pop(trigger.index, None)
        has = {(member.op, member.label) for member in outside if closed_as(run.ops, member.op) == member.label}
        if has:
            run.occurred[trigger.index] = has


def closed_as(ops: Mapping[str, Progress], op: str) -> str | None:
    """Return what an operation was closed with last."""
    progress = ops.get(op)
    return None if progress is None or progress.latest is None else progress.latest.label

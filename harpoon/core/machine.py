"""The machine of one agent, fed by its event stream: the whole protocol is the table below.

It is no connection and no loop: it is told what happened (`core.signals`), and answers what is to be done about it.

Rules.

1. All that affects the picture of an agent goes through `advance`. What the table has no row for is ignored: the
   remains of a stream that was given up, or of commands sent on it.
2. Nothing is commanded and nothing published before the agent has been adopted: only then is its word the latest.
3. A snapshot replaces all; only differences from what the store shows are published, so that finding everything as
   it was writes nothing. A gap in the stream, or another life of the agent's daemon, is mended by connecting again.
4. A broken link takes nothing away. Only when it stays broken for ``lost_after``, this very machine has tried to mend
   it, and another instance has failed to before unless there is none, are the agent's tasks published as lost, once.
5. A command is on its way (pending) until the agent says anything of its task, or its deadline passes; not longer. Of
   a denial, that the task is gone tells nothing: it is given again after each deadline until the store shows it.
6. Tasks of other clusters are not in the picture.
7. A task of an earlier incarnation that no record knows is published as unclaimed, until one does (`core.drift`).
8. Once fenced off, the machine is at its end: whoever runs it gives up its hold on the agent.
9. A machine that has not reached its agent for half of ``lost_after`` leaves it to an instance that has not failed to
   reach it. When all have, the next one tries after `PASS_ON_AFTER`, in case the way from there is mended first; or as
   soon as one of them has had word from the agent.
10. Whoever failed before the agent was reached is left out when it is decided whose it is, until it was reached for
   `PASS_ON_AFTER`: else it would be handed back to where it is not reached from. When its link breaks again, that
   failing proves nothing any more: those are tried once more before it is lost, after the others.
11. Since when a task has been ready is noted here, by the clock of this instance, and stays as the store has it.

The way back to a dead link waits `DIAL_MIN`, doubling up to `DIAL_MAX`; jitter is the shell's.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from harpoon.core import drift, signals
from harpoon.core.loss import PASS_ON_AFTER, despair, lose
from harpoon.core.picture import AgentState, Phase, validate
from harpoon.core.signals import Effect, Event
from harpoon.core.telling import publish, relink, tell_link
from harpoon.core.transitions import RESTS, TRANSITIONS
from harpoon.model import wire
from harpoon.model.agent import Agent, Link, LinkState
from harpoon.model.command import CommandResult
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task

#: How long the link to an agent may be down before its tasks are taken for lost.
LOST_AFTER = timedelta(seconds=30)
#: A stream that says nothing for so long is broken: three of its comments are missing.
SILENCE_MAX = timedelta(seconds=15)
#: A command that showed no effect is given again after so long.
PENDING_MAX = timedelta(seconds=10)
#: One that was refused, or not delivered, after so long.
REFUSED_MAX = timedelta(seconds=2)
#: While the link is not up, time is told so often.
TICK = timedelta(seconds=1)
#: The first wait before dialling again, and the longest.
DIAL_MIN = timedelta(milliseconds=100)
DIAL_MAX = timedelta(seconds=5)
#: A link that held for so long was a good one: the waits begin anew.
STEADY = timedelta(seconds=10)

_Tasks = Mapping[TaskId, Task]
_Step = tuple[AgentState, tuple[Effect, ...]]


def begin(  # noqa: PLR0913 all that is known at the beginning
    agent: Agent,
    link: Link | None,
    tasks: Iterable[Task],
    now: Instant,
    *,
    cluster: str,
    incarnation: int = 1,
    lost_after: timedelta = LOST_AFTER,
    instance: str = "",
    others: frozenset[str] = frozenset(),
) -> AgentState:
    """Return the picture that the store gives of an agent: its link and tasks as whoever held it before recorded them.

    The clock of an interrupted link runs on from its record.
    """
    known = Link(agent=agent.name, state=LinkState.UNKNOWN, since_ms=now.wall) if link is None else link
    lost_at = None
    if known.state is LinkState.INTERRUPTED:
        passed = timedelta(milliseconds=max(0, now.wall - known.since_ms))
        lost_at = now.elapsed + max(timedelta(0), lost_after - passed)
    failed_by = frozenset(known.failed_by) - {instance}
    is_reached = known.state is LinkState.CONNECTED
    return AgentState(
        agent=agent.name,
        uid=agent.uid,
        cluster=cluster,
        incarnation=incarnation,
        lost_after=lost_after,
        phase=RESTS[known.state],
        link=known.state,
        link_reason=known.reason,
        link_since_ms=known.since_ms,
        tasks={task.id: task for task in tasks},
        since=now.elapsed,
        lost_at=lost_at,
        away_since=now.elapsed,
        instance=instance,
        others=others,
        failed_by=frozenset() if is_reached else failed_by,
        left_out=failed_by if is_reached else frozenset(),
    )


def commandable(state: AgentState) -> bool:
    """Return whether the agent may be sent commands: it is adopted, and its stream is alive."""
    return state.phase is Phase.CONNECTED


def is_pending(state: AgentState, task: TaskId, now: Instant) -> bool:
    """Return whether a command for this task is on its way. Once it no longer is, a `Reconcile` will name the task."""
    return now.elapsed < state.pending.get(task, timedelta.min)


def due(state: AgentState, now: Instant) -> timedelta | None:
    """Return when (elapsed) a `Ticked` may matter, if nothing but `Heard` happens before; None: it will not."""
    if signals.Ticked not in TRANSITIONS[state.phase]:
        return None
    if state.phase is not Phase.CONNECTED:
        return now.elapsed + TICK
    forgotten = state.since + PASS_ON_AFTER if state.left_out else timedelta.max
    silent = state.heard + SILENCE_MAX + timedelta.resolution
    return min(silent, forgotten, min(state.pending.values(), default=timedelta.max))


def advance(state: AgentState, event: Event, now: Instant) -> _Step:
    """Take one event; return the picture after it and what is to be done, in order."""
    allowed = TRANSITIONS[state.phase].get(type(event))
    if allowed is None:
        return state, ()
    after, effects = _step(state, event, now)
    if after.phase is not state.phase:
        after = replace(after, since=now.elapsed)
    assert after.phase in allowed, f"{state.phase}, {type(event).__name__} → {after.phase}"
    validate(after)
    return after, effects


def _step(state: AgentState, event: Event, now: Instant) -> _Step:  # noqa: C901 one case an event
    match event:
        case signals.Dial():
            return replace(state, phase=Phase.CONNECTING, heard=now.elapsed), ()
        case signals.Opened(snapshot):
            return _open(state, snapshot, now)
        case signals.Adopted(snapshot):
            return _adopt(state, snapshot, now)
        case signals.Changed(changed):
            return _change(state, changed, now)
        case signals.Heard():
            return replace(state, heard=now.elapsed), ()
        case signals.Sent(tasks, denials):
            pending = {**state.pending, **dict.fromkeys(tasks, now.elapsed + PENDING_MAX)}
            return replace(state, pending=pending, denials=(state.denials - set(tasks)) | denials), ()
        case signals.Answered(results):
            return _answer(state, results, now)
        case signals.Broken(reason):
            return _break(state, reason, now)
        case signals.FencedOff():
            return replace(state, phase=Phase.FENCED, reported={}, pending={}, denials=frozenset()), (signals.Close(),)
        case signals.Claimed(tasks):
            return _claim(state, tasks, now)
        case signals.Ticked(others, failed_by):
            failed_by = state.failed_by if failed_by is None else state.failed_by & failed_by
            return _tick(replace(state, others=others, failed_by=failed_by), now)
        case _:
            assert_never(event)


def _open(state: AgentState, snapshot: wire.Snapshot, now: Instant) -> _Step:
    if (snapshot.agent, snapshot.uid) != (state.agent, state.uid):
        return _break(state, "another agent answers at this endpoint", now)
    after = replace(
        state,
        phase=Phase.ADOPTING,
        boot=snapshot.boot,
        seq=snapshot.seq,
        reported=_own(state, snapshot.tasks, now),
        heard=now.elapsed,
    )
    return after, (signals.Adopt(),)


def _adopt(state: AgentState, snapshot: wire.Snapshot, now: Instant) -> _Step:
    if snapshot.boot != state.boot:
        return _break(state, "the agent started anew while it was being adopted", now)
    # Changes that the agent made after it answered may have overtaken the answer.
    is_latest = snapshot.seq >= state.seq
    tasks, unclaimed = drift.sift(state, _own(state, snapshot.tasks, now) if is_latest else state.reported)
    effects = publish(state.tasks, tasks, state.tasks.keys() | tasks.keys())
    left_out = (state.failed_by | state.left_out) & state.others
    state = replace(state, away_since=None, failed_by=frozenset(), left_out=left_out)
    if state.link is not LinkState.CONNECTED:
        state, told = relink(replace(state, lost_at=None), LinkState.CONNECTED, "", now)
        effects.append(told)
    state = replace(state, seq=max(state.seq, snapshot.seq), heard=now.elapsed)
    state = replace(state, phase=Phase.CONNECTED, tasks=tasks, unclaimed=unclaimed, reported={})
    return state, (*effects, signals.Reconcile(None))


def _change(state: AgentState, changed: wire.Changed, now: Instant) -> _Step:
    if changed.boot != state.boot or changed.seq > state.seq + 1:
        return _break(state, "the stream left something out", now)
    if changed.seq <= state.seq:
        return replace(state, heard=now.elapsed), ()
    told, gone = _own(state, changed.tasks, now), frozenset(changed.gone)
    if state.phase is Phase.ADOPTING:
        reported = _with(state.reported, told, gone)
        return replace(state, seq=changed.seq, heard=now.elapsed, reported=reported), ()
    before = state.tasks
    touched = frozenset(told).union([task for task in gone if task in before or task in state.pending])
    if not touched:
        return replace(state, seq=changed.seq, heard=now.elapsed), ()
    shown, strange = drift.sift(state, told)
    after = _with(before, shown, gone)
    unclaimed = _with(state.unclaimed, strange, gone)
    state = replace(state, seq=changed.seq, heard=now.elapsed, tasks=after, unclaimed=unclaimed)
    state = _unpend(state, touched - (state.denials & gone))
    return state, (*publish(before, after, touched), signals.Reconcile(touched))


def _with(known: _Tasks, told: _Tasks, gone: Iterable[TaskId]) -> _Tasks:
    after = {**known, **told}
    for task in gone:
        after.pop(task, None)
    return after


def _claim(state: AgentState, tasks: frozenset[TaskId], now: Instant) -> _Step:
    after = drift.claim(state, tasks, now)
    effects = publish(state.tasks, after.tasks, tasks)
    return after, (*effects, signals.Reconcile(tasks)) if effects else ()


def _answer(state: AgentState, results: tuple[CommandResult, ...], now: Instant) -> _Step:
    """Leave done commands pending until they show an effect; those refused are tried again a little later."""
    soon = now.elapsed + REFUSED_MAX
    refused = {r.task: min(soon, state.pending[r.task]) for r in results if not r.is_ok and r.task in state.pending}
    return (replace(state, pending={**state.pending, **refused}) if refused else state), ()


def _tick(state: AgentState, now: Instant) -> _Step:
    if state.phase in (Phase.IDLE, Phase.INTERRUPTED, Phase.LOST):
        return despair(state, now)
    heard = state.since if state.phase is Phase.ADOPTING else state.heard
    if now.elapsed - heard > SILENCE_MAX:
        return _break(state, f"nothing heard for {SILENCE_MAX.seconds} s", now)
    if state.phase is Phase.CONNECTING:
        return despair(state, now)
    effects: list[Effect] = []
    if state.phase is Phase.CONNECTED and state.left_out and now.elapsed - state.since >= PASS_ON_AFTER:
        state = replace(state, left_out=frozenset())
        effects.append(tell_link(state))
    expired = frozenset(task for task, until in state.pending.items() if until <= now.elapsed)
    if expired:
        state = _unpend(state, expired)
        effects.append(signals.Reconcile(expired))
    return state, tuple(effects)


def _unpend(state: AgentState, tasks: AbstractSet[TaskId]) -> AgentState:
    pending = {task: until for task, until in state.pending.items() if task not in tasks}
    return replace(state, pending=pending, denials=state.denials - tasks)


def _break(state: AgentState, reason: str, now: Instant) -> _Step:
    """Give this attempt up, whatever it had come to."""
    was_good = state.phase is Phase.CONNECTED and now.elapsed - state.since >= STEADY
    if state.away_since is None:
        state = replace(state, away_since=now.elapsed)
    state = replace(state, attempts=1 if was_good else state.attempts + 1, reported={}, pending={}, denials=frozenset())
    effects: list[Effect] = [signals.Close()]
    if state.link is LinkState.CONNECTED:
        state, told = relink(state, LinkState.INTERRUPTED, reason, now)
        state = replace(state, lost_at=now.elapsed + state.lost_after)
        effects.append(told)
    elif state.link is LinkState.UNKNOWN and state.attempts == 1 and state.link_reason != reason:
        state, told = relink(state, LinkState.UNKNOWN, reason, now)
        effects.append(told)
    state, loss = lose(state, now)
    wait = min(DIAL_MIN * 2 ** min(state.attempts - 1, 10), DIAL_MAX)
    return replace(state, phase=RESTS[state.link]), (*effects, *loss, signals.Connect(wait))


def _own(state: AgentState, tasks: Iterable[Task], now: Instant) -> dict[TaskId, Task]:
    """Return the tasks of our cluster; what is as it was stays the very same object, for there are many."""
    own = (task for task in tasks if task.cluster == state.cluster)
    return {task.id: _dated(task, state.reported.get(task.id) or state.tasks.get(task.id), now) for task in own}


def _dated(task: Task, known: Task | None, now: Instant) -> Task:
    """Note since when a task has been ready: since we hear of it, for agents' clocks may say anything."""
    if task.ready:
        was_ready = known is not None and known.ready and known.restarts == task.restarts
        since_ms = known.ready_since_ms if known is not None and was_ready else now.wall
        if since_ms:
            task = replace(task, ready_since_ms=since_ms)
    return known if known is not None and known == task else task

"""The picture of one agent, as a machine fed by its event stream: the whole protocol is the table below.

It is no connection and no loop: it is told what happened (`core.signals`), and answers what is to be done about it.

Rules.

1. All that affects the picture of an agent goes through `advance`. What the table has no row for is ignored: the
   remains of a stream that was given up, or of commands sent on it.
2. Nothing is commanded and nothing published before the agent has been adopted: only then is its word the latest.
3. A snapshot replaces all; only differences from what the store shows are published, so that finding everything as
   it was writes nothing. A gap in the stream, or another life of the agent's daemon, is mended by connecting again.
4. A broken link takes nothing away. Only when it could not be mended for ``lost_after``, tried at least once by this
   very machine, are the agent's tasks published as lost, once.
5. A command is on its way (pending) until the agent says anything of its task, or its deadline passes; not longer.
6. Tasks of other clusters are not in the picture.
7. Once fenced off, the machine is at its end: whoever runs it gives up its hold on the agent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import assert_never

from harpoon.core.signals import (
    Adopt,
    Adopted,
    Answered,
    Broken,
    Changed,
    Close,
    Connect,
    Dial,
    Effect,
    Event,
    FencedOff,
    Heard,
    Opened,
    Publish,
    Reconcile,
    Sent,
    SetLink,
    Ticked,
)
from harpoon.model import wire
from harpoon.model.agent import Agent, Link, LinkState
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState

#: How long the link to an agent may be down before its tasks are taken for lost.
LOST_AFTER = timedelta(seconds=30)
#: A stream that says nothing for so long is broken: three of its comments are missing.
SILENCE_MAX = timedelta(seconds=15)
#: A command that showed no effect is given again after so long.
PENDING_MAX = timedelta(seconds=10)
#: The first wait before dialling again; it doubles up to `DIAL_MAX`.
DIAL_MIN = timedelta(milliseconds=100)
DIAL_MAX = timedelta(seconds=5)
#: A link that held for so long was a good one: the waits begin anew.
STEADY = timedelta(seconds=10)


class Phase(StrEnum):
    """Where the conversation with the agent stands; the first three wait for a `Dial`."""

    #: Not reached yet by this machine, nor given up by one before.
    IDLE = "idle"
    #: The link broke.
    INTERRUPTED = "interrupted"
    #: It stayed broken for too long.
    LOST = "lost"
    #: The stream is being opened.
    CONNECTING = "connecting"
    #: The stream is open, our token sent.
    ADOPTING = "adopting"
    #: Ours to command.
    CONNECTED = "connected"
    #: Another holder's.
    FENCED = "fenced"


_REST = frozenset({Phase.IDLE, Phase.INTERRUPTED, Phase.LOST})
#: What may happen, and where it may lead.
TRANSITIONS: Mapping[Phase, Mapping[type[Event], frozenset[Phase]]] = {
    Phase.IDLE: {Dial: frozenset({Phase.CONNECTING}), FencedOff: frozenset({Phase.FENCED})},
    Phase.INTERRUPTED: {
        Dial: frozenset({Phase.CONNECTING}),
        Ticked: frozenset({Phase.INTERRUPTED, Phase.LOST}),
        FencedOff: frozenset({Phase.FENCED}),
    },
    Phase.LOST: {Dial: frozenset({Phase.CONNECTING}), FencedOff: frozenset({Phase.FENCED})},
    Phase.CONNECTING: {
        Opened: frozenset({Phase.ADOPTING}) | _REST,
        Broken: _REST,
        Ticked: frozenset({Phase.CONNECTING}) | _REST,
        FencedOff: frozenset({Phase.FENCED}),
    },
    Phase.ADOPTING: {
        Adopted: frozenset({Phase.CONNECTED}) | _REST,
        Changed: frozenset({Phase.ADOPTING}) | _REST,
        Heard: frozenset({Phase.ADOPTING}),
        Broken: _REST,
        Ticked: frozenset({Phase.ADOPTING}) | _REST,
        FencedOff: frozenset({Phase.FENCED}),
    },
    Phase.CONNECTED: {
        Changed: frozenset({Phase.CONNECTED, Phase.INTERRUPTED}),
        Heard: frozenset({Phase.CONNECTED}),
        Sent: frozenset({Phase.CONNECTED}),
        Answered: frozenset({Phase.CONNECTED}),
        Broken: frozenset({Phase.INTERRUPTED}),
        Ticked: frozenset({Phase.CONNECTED, Phase.INTERRUPTED}),
        FencedOff: frozenset({Phase.FENCED}),
    },
    Phase.FENCED: {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """The picture. Made by `begin`, then by `advance` alone."""

    agent: str
    uid: str
    cluster: str
    lost_after: timedelta
    phase: Phase
    #: What the store shows of the link.
    link: LinkState
    link_reason: str
    link_since_ms: int
    #: What the store shows of the agent's tasks (as told by `Publish`).
    tasks: Mapping[TaskId, Task]
    #: While adopting: what the stream has said of them so far.
    reported: Mapping[TaskId, Task] = field(default_factory=dict)
    #: Tasks with commands on their way, and until when (elapsed) that is believed.
    pending: Mapping[TaskId, timedelta] = field(default_factory=dict)
    #: The agent's last word: which life of its daemon, which change.
    boot: str = ""
    seq: int = 0
    #: When the phase was entered, and when the agent was last heard (elapsed).
    since: timedelta = timedelta(0)
    heard: timedelta = timedelta(0)
    #: Failed attempts in a row.
    attempts: int = 0
    #: While interrupted: when (elapsed) the agent is lost.
    lost_at: timedelta | None = None


def begin(
    agent: Agent, link: Link | None, tasks: Iterable[Task], now: Instant, *, cluster: str, lost_after: timedelta = LOST_AFTER
) -> AgentState:
    """Return the picture that the store gives of an agent: its link and tasks as recorded by whoever held it before.

    The clock of an interrupted link runs on from its record.
    """
    state = LinkState.UNKNOWN if link is None else link.state
    lost_at = None
    if link is not None and state is LinkState.INTERRUPTED:
        passed = timedelta(milliseconds=max(0, now.wall - link.since_ms))
        lost_at = now.elapsed + max(timedelta(0), lost_after - passed)
    return AgentState(
        agent=agent.name,
        uid=agent.uid,
        cluster=cluster,
        lost_after=lost_after,
        phase=_resting(state),
        link=state,
        link_reason="" if link is None else link.reason,
        link_since_ms=now.wall if link is None else link.since_ms,
        tasks={task.id: task for task in tasks},
        since=now.elapsed,
        lost_at=lost_at,
    )


def commandable(state: AgentState) -> bool:
    """Return whether the agent may be sent commands: it is adopted, and its stream is alive."""
    return state.phase is Phase.CONNECTED


def is_pending(state: AgentState, task: TaskId, now: Instant) -> bool:
    """Return whether a command for this task is on its way; a `Reconcile` will name the task when it no longer is."""
    return now.elapsed < state.pending.get(task, timedelta.min)


def advance(state: AgentState, event: Event, now: Instant) -> tuple[AgentState, tuple[Effect, ...]]:
    """Take one event; return the picture after it and what is to be done, in order."""
    allowed = TRANSITIONS[state.phase].get(type(event))
    if allowed is None:
        return state, ()
    after, effects = _step(state, event, now)
    assert after.phase in allowed, f"{state.phase} {event} → {after.phase}"
    return after, effects


type_Step = tuple[AgentState, tuple[Effect, ...]]

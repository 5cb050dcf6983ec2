"""The picture of one agent: what `core.machine` knows of it between two events. Never stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from harpoon.model.agent import LinkState
from harpoon.model.name import TaskId
from harpoon.model.task import Task, TaskState


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
    #: Given back: another instance is to try.
    RESIGNED = "resigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """The picture. Made by `machine.begin`, then by `machine.advance` alone."""

    agent: str
    uid: str
    #: Only tasks of this cluster are in the picture.
    cluster: str
    lost_after: timedelta
    #: Of the registry: tasks of earlier ones may be unknown to it (`core.drift`).
    incarnation: int
    phase: Phase
    #: What the store shows of the link.
    link: LinkState
    link_reason: str
    #: UTC milliseconds.
    link_since_ms: int
    #: What the store shows of the agent's tasks, as told by `Publish`.
    tasks: Mapping[TaskId, Task]
    #: While adopting: what the stream has said of them so far. Empty otherwise.
    reported: Mapping[TaskId, Task] = field(default_factory=dict)
    #: Tasks with commands on their way, and until when (elapsed) that is believed. Empty unless connected.
    pending: Mapping[TaskId, timedelta] = field(default_factory=dict)
    #: Those of them whose command is a denial.
    denials: frozenset[TaskId] = frozenset()
    #: Tasks of earlier incarnations that are this registry's: placed, or disowned.
    claimed: frozenset[TaskId] = frozenset()
    #: Of tasks that are shown as unclaimed: what the agent says of them. Empty until it is adopted.
    unclaimed: Mapping[TaskId, Task] = field(default_factory=dict)
    #: The agent's last word: which life of its daemon, which change.
    boot: str = ""
    seq: int = 0
    #: When the phase was entered (elapsed).
    since: timedelta = timedelta(0)
    #: When the agent was last heard, or dialled (elapsed).
    heard: timedelta = timedelta(0)
    #: Failed attempts in a row.
    attempts: int = 0
    #: While the link is interrupted: when (elapsed) the agent is lost.
    lost_at: timedelta | None = None
    #: Since when (elapsed) this machine has not reached the agent; None: it does.
    away_since: timedelta | None = None
    #: Our instance, those that could mind the agent too, and those that failed to since it was reached last.
    instance: str = ""
    others: frozenset[str] = frozenset()
    failed_by: frozenset[str] = frozenset()
    #: Those that had failed to before: it is not handed to them.
    left_out: frozenset[str] = frozenset()


def validate(state: AgentState) -> None:
    """Assert what holds of every picture."""
    assert (state.link is LinkState.INTERRUPTED) == (state.lost_at is not None)
    assert not state.pending or state.phase is Phase.CONNECTED
    assert state.denials <= state.pending.keys()
    assert not state.reported or state.phase is Phase.ADOPTING
    assert state.phase is not Phase.CONNECTED or state.link is LinkState.CONNECTED
    assert state.phase is not Phase.INTERRUPTED or state.link is LinkState.INTERRUPTED
    assert state.phase is not Phase.LOST or state.link is LinkState.LOST
    assert not state.unclaimed.keys() & state.claimed
    assert all(state.tasks[task].state is TaskState.UNCLAIMED for task in state.unclaimed)

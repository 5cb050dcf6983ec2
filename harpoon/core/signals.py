"""What the machine of an agent is told (events), and what it answers (effects). See `core.machine` for the rules.

Duties of the shell, which alone touches the world:

1. Feed each event once, in the order things happened; carry the effects of one event out in their order.
2. On `Connect` wait for ``after`` (spread by a jitter of its own, so that agents are not dialled in step), feed `Dial`,
   and open the stream with it. At the beginning feed `Dial` at once.
3. After `Close` feed nothing more of that stream or of that adoption.
4. Feed `Claimed` first of all, with what the store shows, and whenever it shows more.
5. Feed `Sent` before the commands leave, and `Ticked` when `machine.due` says, or earlier.
6. Write what `Publish` and `SetLink` say or begin again from what the store says: the machine takes it as written.
   Several `Publish` may be written together, the last word on each task counts; but none after a later `SetLink`.
"""

from dataclasses import dataclass
from datetime import timedelta

from harpoon.model import wire
from harpoon.model.agent import LinkState
from harpoon.model.command import CommandResult
from harpoon.model.name import TaskId
from harpoon.model.task import Task
from harpoon.model.token import Token


@dataclass(frozen=True, slots=True)
class Dial:
    """The stream is being opened, for the first time or again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream's first event."""

    snapshot: wire.Snapshot


@dataclass(frozen=True, slots=True)
class Adopted:
    """The agent took our token, and said all it has."""

    snapshot: wire.Snapshot


@dataclass(frozen=True, slots=True)
class Changed:
    """A further event of the stream."""

    changed: wire.Changed


@dataclass(frozen=True, slots=True)
class Heard:
    """The stream said that there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream could not be opened, was closed or timed out, or the adoption failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class FencedOff:
    """The agent refused our token: another holder's, which is higher, is its mark."""

    mark: Token


@dataclass(frozen=True, slots=True)
class Sent:
    """Commands for these tasks are about to leave; until they show an effect, the tasks are pending."""

    tasks: tuple[TaskId, ...]
    #: Those of them that are forgotten and denied.
    denials: frozenset[TaskId] = frozenset()


@dataclass(frozen=True, slots=True)
class Answered:
    """The agent's word on commands; for those that could not even be delivered, the shell's, with ``is_ok`` false."""

    results: tuple[CommandResult, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """There are records of these tasks, which are of earlier incarnations: placements, or an operator's word."""

    tasks: frozenset[TaskId]


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""

    #: The other instances that could mind the agent now.
    others: frozenset[str] = frozenset()
    #: The instances that failed to reach it, as the store shows it: one that has had word from it counts again. None:
    #: as it was known.
    failed_by: frozenset[str] | None = None


Event = Dial | Opened | Adopted | Changed | Heard | Broken | FencedOff | Sent | Answered | Claimed | Ticked


@dataclass(frozen=True, slots=True)
class Connect:
    """Dial, ``after`` from now."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Adopt:
    """Send our token to the agent; feed `Adopted`, `FencedOff` or `Broken`."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Actual state changed: write these tasks, delete the records of those gone; sorted by id, never both empty."""

    tasks: tuple[Task, ...]
    gone: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class Reconcile:
    """These tasks are dirty: diff them when their pending commands allow. None: all tasks, placed or known."""

    tasks: frozenset[TaskId] | None


@dataclass(frozen=True, slots=True)
class SetLink:
    """Write the link's state."""

    state: LinkState
    reason: str
    #: UTC milliseconds.
    since_ms: int
    #: Instances that could not reach the agent.
    failed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Close:
    """Drop the stream and a running adoption, whatever is left of them."""


@dataclass(frozen=True, slots=True)
class PassOn:
    """Give the hold back, in the same commit that writes the link with these instances as having failed; then end."""

    link: SetLink


Effect = Connect | Adopt | Publish | Reconcile | SetLink | Close | PassOn

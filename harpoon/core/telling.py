"""What is to be written of the picture of an agent: its tasks, and its link."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harpoon.core import signals
from harpoon.core.picture import AgentState
from harpoon.core.signals import Effect
from harpoon.model.agent import LinkState
from harpoon.model.instant import Instant
from harpoon.model.name import TaskId
from harpoon.model.task import Task


def publish(before: Mapping[TaskId, Task], after: Mapping[TaskId, Task], touched: Iterable[TaskId]) -> list[Effect]:
    """Return what must be written of the tasks ``touched``, if anything."""
    known = sorted(touched)
    tasks = tuple(after[task] for task in known if task in after and after[task] != before.get(task))
    gone = tuple(task for task in known if task in before and task not in after)
    return [signals.Publish(tasks, gone)] if tasks or gone else []


def relink(state: AgentState, link: LinkState, reason: str, now: Instant) -> tuple[AgentState, Effect]:
    """Return the picture with its link in another state, and that to be written."""
    after = replace(state, link=link, link_reason=reason, link_since_ms=now.wall)
    return after, tell_link(after)


def tell_link(state: AgentState) -> signals.SetLink:
    """Return what is to be written of the link."""
    failed_by = tuple(sorted(state.failed_by | state.left_out))
    return signals.SetLink(state.link, state.link_reason, state.link_since_ms, failed_by)

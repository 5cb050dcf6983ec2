"""An agent that is not reached: when it is taken for lost, and when it is left to another instance.

The rules are those of `core.machine`, 4, 9 and 10.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from harpoon.core import drift, signals
from harpoon.core.picture import AgentState, Phase
from harpoon.core.signals import Effect
from harpoon.core.telling import publish, relink, tell_link
from harpoon.model.agent import LinkState
from harpoon.model.instant import Instant
from harpoon.model.task import TaskState

#: An agent that no instance reaches is passed on so often; so long after it was reached, who failed is forgotten.
PASS_ON_AFTER = timedelta(minutes=10)

_Step = tuple[AgentState, tuple[Effect, ...]]


def lose(state: AgentState, now: Instant) -> _Step:
    """Take the agent for lost if it is time, and was tried: what it ran may run on, but nobody can tell."""
    is_due = state.lost_at is not None and now.elapsed >= state.lost_at and state.attempts
    if not is_due or (state.others and not state.failed_by):
        return state, ()
    since = datetime.fromtimestamp(state.link_since_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    reason = f"agent {state.agent} has not been reached since {since}: {state.link_reason}"
    lost = {
        task.id: drift.lost(task, reason, now)
        for task in state.tasks.values()
        if not task.is_over and task.state is not TaskState.LOST and not drift.is_unclaimed(state, task.id)
    }
    tasks = {**state.tasks, **lost}
    effects = publish(state.tasks, tasks, lost.keys())
    state, told = relink(replace(state, tasks=tasks, lost_at=None), LinkState.LOST, reason, now)
    phase = Phase.LOST if state.phase is Phase.INTERRUPTED else state.phase
    return replace(state, phase=phase), (*effects, told)


def despair(state: AgentState, now: Instant) -> _Step:
    """Take the agent for lost if it is time, or leave it to another instance (rule 9)."""
    state, loss = lose(state, now)
    if loss or state.away_since is None or not state.attempts or not state.others:
        return state, loss
    untried = state.others - state.failed_by
    if now.elapsed - state.away_since < (state.lost_after / 2 if untried else PASS_ON_AFTER):
        return state, ()
    failed = state.failed_by if untried else frozenset()
    left_out = state.left_out if untried - state.left_out else frozenset()
    after = replace(state, phase=Phase.RESIGNED, failed_by=failed | {state.instance}, left_out=left_out)
    return after, (signals.Close(), signals.PassOn(tell_link(after)))

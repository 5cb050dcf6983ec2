"""The agents of a job whose slots are each for one: those of system jobs, and of batch jobs that name them.

A batch job that names its agents has numbered slots like any other, each for the agent in its place of the list. All
else here is about system jobs, which have a slot on each agent, with the agent's name for its own. Everything that
decides counts slots from 0. So for each decision the slots of a system job are numbered: by the names of its *members*,
which are the agents that it is for then. A number means nothing beyond that one decision; what is stored tells slots by
their agents.

Rules.

1. An agent is a member when it meets every requirement of the job, whatever its link and whatever is free on it: where
   a task is to run and cannot, it waits, and says why.
2. One that is cordoned is a member only if it has a task of the job: that is kept, and replaced there when the job
   changes.
3. One that is being drained keeps its task until nothing else is left there, or the drain's deadline has passed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from harpoon.core.standing import Standing
from harpoon.model.agent import Agent
from harpoon.model.job import SCALE_MAX, Job


def members(job: Job, agents: Iterable[Agent], closed: Collection[str]) -> tuple[str, ...]:
    """Return the agents that a system job is for, sorted.

    Args:
        job: The job.
        agents: All that are registered.
        closed: Those that are to have no task of the job now.
    """
    found = (agent.name for agent in agents if agent.name not in closed and unmet_by(job, agent) == "")
    return tuple(sorted(found)[:SCALE_MAX])


def unmet_by(job: Job, agent: Agent) -> str:
    """Return the tag of the first requirement that an agent does not meet; empty: it meets all."""
    attributes = {**agent.tags, **agent.facts}
    return next((rule.tag for rule in job.spec.placement.require if not rule.holds(attributes)), "")


def sized(job: Job, names: tuple[str, ...]) -> Job:
    """Return a system job as it is decided on: with a slot for each of its members."""
    return replace(job, spec=replace(job.spec, scale=len(names)), members=names)


def pinned(job: Job) -> Job:
    """Return a batch job as it is decided on: with the agent of each slot, if it names them."""
    agents = job.spec.placement.agents
    return replace(job, members=agents) if agents else job


def is_system(job: Job) -> bool:
    """Return whether what is stored of a job, as it is decided on, tells its slots by their agents."""
    return bool(job.members) and not job.spec.placement.agents


def named(job: Job, slots: Iterable[int]) -> tuple[str, ...]:
    """Return the agents of some slots in the order of those, where slots are told by them; else nothing."""
    return tuple(job.members[slot] for slot in sorted(slots)) if is_system(job) else ()


def numbered(job: Job, standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """Return where placements stand, by the numbers of their slots; those of no member come beyond the last slot."""
    numbers = {name: number for number, name in enumerate(job.members)}
    strangers = sorted({one.placement.agent for one in standings} - numbers.keys())
    numbers |= {name: len(job.members) + number for number, name in enumerate(strangers)}
    return tuple(one._replace(placement=replace(one.placement, slot=numbers[one.placement.agent])) for one in standings)

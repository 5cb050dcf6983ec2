"""The nearest way out: the agent that needs the least to take a slot, and what each of its refusals asks for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from harpoon.core.blockers import Refusal, moment
from harpoon.core.fleet import Fleet
from harpoon.model.agent import Agent, Link
from harpoon.model.job import Job
from harpoon.model.rules import Requirement
from harpoon.model.units import format_cpu, format_size
from harpoon.model.why import Fix

_START: Final = "start an agent: `harpoon agent --name NAME --server URL --state-dir DIR`"
_AMOUNTS: Final = {"cpu": format_cpu, "memory": format_size}


def nearest_fix(job: Job, refusals: Mapping[str, Sequence[Refusal]], fleet: Fleet, links: Mapping[str, Link]) -> Fix:
    """Return what would let a slot be placed.

    Args:
        job: Whose slot it is.
        refusals: Agent → every predicate that it fails for the slot; none of them is empty.
        fleet: Has these agents.
        links: For what is known of agents that are not reached.
    """
    if not refusals:
        return Fix(agent=None, sentence="there is no agent", steps=(_START,))
    name = min(sorted(refusals), key=lambda one: (len(refusals[one]), _shortage(refusals[one])))
    failed = refusals[name]
    host = fleet.host(name)
    assert host is not None, "refusals are those of the fleet's agents"
    assert host.agent is not None, "refusals are those of registered agents"
    needs = " and ".join(f"{one.predicate} {one.wanted} (found {one.found})" for one in failed)
    steps = [
        step for one in failed if not one.predicate.startswith("tag ") for step in _steps(job, host.agent, one, links)
    ]
    steps += _tag_steps(job, host.agent)
    return Fix(agent=name, sentence=f"agent {name} could take it, but for {needs}", steps=tuple(steps))


def _steps(job: Job, agent: Agent, failed: Refusal, links: Mapping[str, Link]) -> Iterator[str]:
    name = agent.name
    if failed.predicate in _AMOUNTS:
        yield _amount_step(job, agent, failed)
    elif failed.predicate == "link":
        link = links.get(name)
        since = "" if link is None else f" since {moment(link.since_ms)}" + (f" ({link.reason})" if link.reason else "")
        yield f"agent {name} is {failed.found}{since}: see that it runs, and that the server reaches {agent.endpoint}"
    elif failed.predicate == "cordon":
        yield f"agent {name} is {failed.found}: put it to use again with `harpoon uncordon {name}`, or start another"
    elif failed.predicate.startswith("port "):
        holder = failed.found.removeprefix("taken by ")
        port = failed.predicate.removeprefix("port ")
        if holder == f"job {job.namespace}/{job.name}":
            yield f"port {port} of {name} is this job's own: start another agent, or write 0 for the port: any free one"
        else:
            yield f"unschedule {holder}, or write 0 for port {port}: any free one"
    else:
        yield "start another agent, or lower scale, or leave placement.distinct out"


def _amount_step(job: Job, agent: Agent, failed: Refusal) -> str:
    what = failed.predicate
    write = _AMOUNTS[what]
    need = getattr(job.spec.task.resources, what)
    capacity = getattr(agent.capacity, what)
    assert failed.shortage is not None, "an amount falls short by something"
    free = need - failed.shortage
    if need > capacity:
        lower = f"lower task.resources.{what} to {write(free)}, or " if free > 0 else ""
        return f"{lower}start an agent with {what} of {write(need)} or more; {agent.name} has {write(capacity)} in all"
    lower = f", or lower task.resources.{what} to {write(free)}" if free > 0 else ""
    return f"free {write(failed.shortage)} of {what} on {agent.name}{lower}"


def _tag_steps(job: Job, agent: Agent) -> Iterator[str]:
    attributes = {**agent.tags, **agent.facts}
    for index, rule in enumerate(job.spec.placement.require):
        if not rule.holds(attributes):
            drop = f"drop placement.require[{index}]"
            if rule.tag in agent.facts:
                yield f"{drop}: {rule.tag} is a fact of {agent.name}, not a tag; or start an agent that is as required"
            else:
                yield f"{_retag(rule, agent.name)}, or {drop}"


def _retag(rule: Requirement, agent: str) -> str:
    if rule.equals is not None:
        return f"start agent {agent} with --tag {rule.tag}={rule.equals}"
    if rule.in_:
        return f"start agent {agent} with --tag {rule.tag}={rule.in_[0]}"
    if rule.exists:
        return f"start agent {agent} with --tag {rule.tag}=VALUE"
    return f"start agent {agent} without that value of tag {rule.tag}"


def _shortage(failed: Sequence[Refusal]) -> int:
    return max((refusal.shortage or 0 for refusal in failed), default=0)

"""The nearest way out: the agent that needs the least to take a slot, and what each of its refusals asks for.

Every step is needed, and whichever of its alternatives is taken, all steps together let the agent take the slot; so
what would do by itself, such as another agent, is offered only where there is but one step.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from harpoon.core.blockers import Refusal, Refused, moment, nearest
from harpoon.core.fleet import Fleet
from harpoon.model.agent import Agent, Link
from harpoon.model.job import Job
from harpoon.model.rules import Requirement
from harpoon.model.units import format_cpu, format_size
from harpoon.model.why import Fix

_START: Final = "start an agent: `harpoon agent --name NAME --server URL --state-dir DIR`"
_AMOUNTS: Final = {"cpu": format_cpu, "memory": format_size}


def nearest_fix(job: Job, refusals: Sequence[Refused], fleet: Fleet, links: Mapping[str, Link]) -> Fix:
    """Return what would let a slot be placed.

    Args:
        job: Whose slot it is.
        refusals: What agents fail for the slot; each fails something.
        fleet: Has these agents.
        links: For what is known of agents that are not reached.
    """
    if not refusals:
        return Fix(agent=None, sentence="there is no agent", steps=(_START,))
    failed, (name,) = nearest(refusals)
    host = fleet.host(name)
    if host is None or host.agent is None:
        sentence = f"agent {name} could take it, but there is none of that name"
        return Fix(agent=name, sentence=sentence, steps=(_START.replace("an agent", "it").replace("NAME", name),))
    needs = " and ".join(f"{one.predicate} {one.wanted} (found {one.found})" for one in failed)
    others = [one for one in failed if not one.predicate.startswith("tag ")]
    tagged = {rule.tag: None for rule in job.spec.placement.require if not rule.holds(_attributes(host.agent))}
    # What is for one agent is helped by no other.
    is_alone = len(others) + len(tagged) == 1 and not job.spec.placement.agents
    steps = [_step(job, host.agent, one, links, is_alone=is_alone) for one in others]
    steps += [_tag_step(job, host.agent, tag, is_alone=is_alone) for tag in tagged]
    return Fix(agent=name, sentence=f"agent {name} could take it, but for {needs}", steps=tuple(steps))


def _step(job: Job, agent: Agent, failed: Refusal, links: Mapping[str, Link], *, is_alone: bool) -> str:
    name = agent.name
    if failed.predicate in _AMOUNTS:
        return _amount_step(job, agent, failed, is_alone=is_alone)
    if failed.predicate.startswith("resource "):
        return _resource_step(job, agent, failed, is_alone=is_alone)
    if failed.predicate == "link":
        link = links.get(name)
        since = "" if link is None else f" since {moment(link.since_ms)}" + (f" ({link.reason})" if link.reason else "")
        return f"agent {name} is {failed.found}{since}: see that it runs, and that the server reaches {agent.endpoint}"
    if failed.predicate == "cordon":
        another = ", or start another" if is_alone else ""
        return f"agent {name} is {failed.found}: put it to use again with `harpoon uncordon {name}`{another}"
    if failed.predicate.startswith("host path ") or failed.predicate in ("driver", "mounts"):
        return _barred_step(name, failed, is_alone=is_alone)
    if failed.predicate.startswith("port "):
        holder = failed.found.removeprefix("taken by ")
        port = failed.predicate.removeprefix("port ")
        if holder == f"job {job.namespace}/{job.name}":
            another = "start another agent, or " if is_alone else ""
            return f"port {port} of {name} is this job's own: {another}write 0 for the port: any free one"
        return f"unschedule {holder}, or write 0 for port {port}: any free one"
    return f"{'start another agent, or ' if is_alone else ''}lower scale, or leave placement.distinct out"


def _barred_step(name: str, failed: Refusal, *, is_alone: bool) -> str:
    """Say what helps where an agent does not let a task have something, however much is free."""
    if failed.predicate == "driver":
        another = f"; or start an agent that has {failed.wanted}" if is_alone else ""
        return f"let agent {name} run {failed.wanted} tasks: it offers {failed.found}, as it registered{another}"
    if failed.predicate == "mounts":
        another = "start an agent as root, or " if is_alone else ""
        return f"{another}run agent {name} as root, with `unshare` and `mount`: it puts volumes where tasks find them"
    path = failed.predicate.removeprefix("host path ")
    instead = f", or set read_only: true on the volume of {path}" if failed.found == "read-only" else ""
    return f"start agent {name} with --allow-host-path {path}{instead}"


def _amount_step(job: Job, agent: Agent, failed: Refusal, *, is_alone: bool) -> str:
    what = failed.predicate
    write = _AMOUNTS[what]
    need = getattr(job.spec.task.resources, what)
    capacity = getattr(agent.capacity, what)
    assert failed.shortage is not None, "an amount falls short by something"
    free = need - failed.shortage
    if need > capacity:
        lower = f"lower task.resources.{what} to {write(free)}, or " if free > 0 else ""
        start = f"an agent with {what} of {write(need)} or more"
        if not is_alone:
            start = f"agent {agent.name} with --{what} {write(capacity + failed.shortage)} or more"
        return f"{lower}start {start}; {agent.name} has {write(capacity)} in all"
    lower = f", or lower task.resources.{what} to {write(free)}" if free > 0 else ""
    return f"free {write(failed.shortage)} of {what} on {agent.name}{lower}"


def _resource_step(job: Job, agent: Agent, failed: Refusal, *, is_alone: bool) -> str:
    what = failed.predicate.removeprefix("resource ")
    need, capacity = job.spec.task.resources.named[what], agent.capacity.named.get(what, 0)
    assert failed.shortage is not None, "an amount falls short by something"
    free = need - failed.shortage
    lower = f"lower task.resources.named.{what} to {free}" if free > 0 else ""
    if need > capacity:
        start = f"an agent with --resource {what}={need} or more"
        if not is_alone:
            start = f"agent {agent.name} with --resource {what}={capacity + failed.shortage} or more"
        has = f"{agent.name} has {capacity} in all" if capacity else f"{agent.name} offers none"
        return f"{lower and f'{lower}, or '}start {start}; {has}"
    return f"free {failed.shortage} of {what} on {agent.name}{lower and f', or {lower}'}"


def _tag_step(job: Job, agent: Agent, tag: str, *, is_alone: bool) -> str:
    """Say what helps where some requirements of a tag do not hold; what is done for them must not break the others."""
    numbered = [(index, rule) for index, rule in enumerate(job.spec.placement.require) if rule.tag == tag]
    rules = [rule for _, rule in numbered]
    failing = [f"placement.require[{index}]" for index, rule in numbered if not rule.holds(_attributes(agent))]
    drop = f"drop {' and '.join(failing)}"
    if tag in agent.facts:
        another = "; or start an agent that is as required" if is_alone and _value(rules) is not None else ""
        return f"{drop}: {tag} is a fact of {agent.name}, not a tag{another}"
    value = _value(rules)
    return (
        f"{drop}: nothing is all that is required of {tag}"
        if value is None
        else f"start agent {agent.name} {value}, or {drop}"
    )


def _value(rules: Sequence[Requirement]) -> str | None:
    """Return how the tag is to be so that all these hold; None: no way."""
    tag = rules[0].tag
    named = [value for rule in rules for value in ((rule.equals,) if rule.equals is not None else rule.in_ or ())]
    for value in named:
        if _hold(rules, value):
            return f"with --tag {tag}={value}"
    barred = sorted({value for rule in rules for value in rule.not_in or ()})
    but = f" other than {', '.join(barred)}" if barred else ""
    # A value that no rule names: longer than all that are named.
    has_other = _hold(rules, "".join(("x", *named, *barred)))
    if _hold(rules, None):
        return f"without --tag {tag}" + (f" or with a value{but}" if has_other else "")
    return f"with --tag {tag}=VALUE{but}" if has_other else None


def _hold(rules: Sequence[Requirement], value: str | None) -> bool:
    return all(rule.holds({} if value is None else {rule.tag: value}) for rule in rules)


def _attributes(agent: Agent) -> Mapping[str, str]:
    return {**agent.tags, **agent.facts}

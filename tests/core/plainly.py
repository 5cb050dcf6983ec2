"""Placing as its rules tell it, and as plainly as can be: every agent is looked at for every slot.

It shares nothing with `harpoon.core.place` but the nouns it is asked about and the words that refusals are told in. It
is slow, and remembers nothing: what it says, that must say, to the byte.
"""

from collections import Counter
from dataclasses import dataclass, field

from harpoon.core.blockers import Refusal, moment
from harpoon.model.agent import LinkState
from harpoon.model.decision import Blocker
from harpoon.model.units import format_cpu, format_size


@dataclass
class Case:
    """A job and a fleet, in plain lists."""

    job: object
    agents: dict
    links: dict = field(default_factory=dict)
    cordons: dict = field(default_factory=dict)
    #: Task → placement: all that counts.
    placed: dict = field(default_factory=dict)

    def need(self):
        resources, ports = self.job.spec.task.resources, self.job.spec.task.ports
        named = {name: count for name, count in resources.named.items() if count}
        return resources.cpu, resources.memory, sorted(named.items()), sorted(port for port in ports.values() if port)

    def attributes(self, name):
        agent = self.agents[name]
        return {**agent.tags, **agent.facts}

    def on(self, name):
        return [one for one in self.placed.values() if one.agent == name]

    def own(self):
        job = self.job
        return [one for one in self.placed.values() if (one.namespace, one.job) == (job.namespace, job.name)]

    def free(self, name):
        capacity, there = self.agents[name].capacity, [one.reserve for one in self.on(name)]
        cpu = capacity.cpu - sum(one.cpu for one in there)
        memory = capacity.memory - sum(one.memory for one in there)
        used = Counter()
        for one in there:
            used.update(dict(one.named))
        ports = {}
        for one in self.on(name):
            for port in one.reserve.ports:
                ports.setdefault(port, []).append(one.task)
        return cpu, memory, used, ports

    def refusals(self, name, slot):
        """Return every predicate that an agent fails, in the order in which they are told."""
        agent, rules = self.agents[name], self.job.spec.placement
        link = self.links.get(name, LinkState.UNKNOWN)
        found = []
        if link is not LinkState.CONNECTED:
            found.append(("link", "connected", str(link), 0))
        if name in self.cordons:
            found.append(("cordon", "none", "draining" if self.cordons[name].is_draining else "cordoned", 0))
        attributes = self.attributes(name)
        found += [
            (f"tag {rule.tag}", wanted(rule), attributes.get(rule.tag, "not set"), 0)
            for rule in rules.require
            if not rule.holds(attributes)
        ]
        others = sorted(one.slot for one in self.own() if one.agent == name and one.slot != slot)
        if rules.distinct and others:
            found.append(("distinct agent", "no other slot of this job", f"slot {others[0]} is there", 0))
        cpu, memory, named, ports = self.need()
        cpu_free, memory_free, used, taken = self.free(name)
        if 0 < cpu > cpu_free:
            told = f"{format_cpu(max(0, cpu_free))} free of {format_cpu(agent.capacity.cpu)}"
            told += overdrawn(cpu_free, format_cpu)
            found.append(("cpu", f"{format_cpu(cpu)} free", told, (cpu - cpu_free) / cpu))
        if 0 < memory > memory_free:
            # Sizes in these tests are short, and written exactly.
            told = f"{format_size(max(0, memory_free))} free of {format_size(agent.capacity.memory)}"
            told += overdrawn(memory_free, format_size)
            found.append(("memory", f"{format_size(memory)} free", told, (memory - memory_free) / memory))
        for what, count in named:
            offered = agent.capacity.named.get(what, 0)
            free = offered - used[what]
            if count > free:
                told = f"{max(0, free)} free of {offered}" if offered else "not offered"
                told += overdrawn(free, str)
                found.append((f"resource {what}", f"{count} free", told, (count - free) / count))
        for port in ports:
            if port in taken:
                holder = "/".join(min(taken[port]).split(".")[:2])
                found.append((f"port {port}", "free", f"taken by job {holder}", 0))
        return found + self.barred(agent)

    def barred(self, agent):
        found = []
        volumes, driver = self.job.spec.task.volumes, self.job.spec.task.driver.value
        if driver not in agent.drivers:
            found.append(("driver", driver, ", ".join(agent.drivers) or "none", 0))
        for path in sorted({one.host for one in volumes if one.host}):
            held = [one for one in agent.host_paths if f"{path}/".startswith(f"{one.path}/")]
            if not held:
                found.append((f"host path {path}", "allowed", "not allowed", 0))
            elif all(one.read_only for one in held) and any(not v.read_only for v in volumes if v.host == path):
                found.append((f"host path {path}", "writable", "read-only", 0))
        if driver == "process" and not agent.mounts and any(one.host or one.at.startswith("/") for one in volumes):
            found.append(("mounts", "possible", "not possible", 0))
        return found

    def key(self, name):
        """Return what an agent that could take the next task is chosen by, the lowest first."""
        rules, attributes, capacity = self.job.spec.placement, self.attributes(name), self.agents[name].capacity
        present = [one for one in self.own() if one.generation == self.job.generation and one.agent in self.agents]
        spread = [
            sum(self.attributes(one.agent).get(rule.tag, "") == attributes.get(rule.tag, "") for one in present)
            for rule in rules.spread
        ]
        here = sum(one.agent == name for one in present)
        liking = sum(rule.weight for rule in rules.prefer if rule.holds(attributes))
        cpu, memory, _, _ = self.need()
        cpu_free, memory_free, _, _ = self.free(name)
        fullness = max(
            1 - (cpu_free - cpu) / capacity.cpu if capacity.cpu else 0.0,
            1 - (memory_free - memory) / capacity.memory if capacity.memory else 0.0,
        )
        return spread, here, -liking, -fullness, name

    def could(self, slot):
        return [name for name in sorted(self.agents) if not self.refusals(name, slot)]

    def best(self, want):
        could = self.could(want.slot)
        choice = [name for name in could if name not in want.avoid] or could
        return min(choice, key=self.key) if choice else None

    def reason(self, want, name, could):
        rules, attributes = self.job.spec.placement, self.attributes(name)
        spread, here, dislike, _, _ = self.key(name)
        told = [
            f"{rule.tag} {attributes.get(rule.tag) or 'not set'} has {count}"
            for rule, count in zip(rules.spread, spread, strict=True)
        ]
        told = ", ".join([*told, f"{name} has {here} of this job's tasks"])
        liked = f"; preferred by {-dislike}" if rules.prefer else ""
        avoided = "; it was to be avoided, but no other could" if name in want.avoid else ""
        return f"{want.reason}; spread: {told}{liked}; {could} of {len(self.agents)} agents could{avoided}"


def overdrawn(free, write):
    return f", overdrawn by {write(-free)}" if free < 0 else ""


def wanted(rule):
    if rule.equals is not None:
        return rule.equals
    if rule.in_ is not None:
        return "one of " + ", ".join(rule.in_)
    if rule.not_in is not None:
        return "none of " + ", ".join(rule.not_in)
    return "set" if rule.exists else "not set"


def place_plainly(case, wants, make):
    """Return (slot, agent, reason) of what is placed, the slots that are not with why, and what is dropped.

    Args:
        case: What there is; changed.
        wants: In any order.
        make: Makes a placement of a slot on an agent.
    """
    placed, left = [], sorted(wants, key=lambda want: want.slot)
    while left:
        again = []
        for want in left:
            ended = {task: case.placed.pop(task) for task in want.ended if task in case.placed}
            could, name = len(case.could(want.slot)), case.best(want)
            if name is None:
                case.placed |= ended
                again.append(want)
                continue
            placed.append((want.slot, name, case.reason(want, name, could)))
            placement = make(want.slot, name)
            case.placed[placement.task] = placement
        if len(again) == len(left):
            break
        left = again
    if not left:
        return placed, None, []
    # What has ended of the slot itself stands in nobody's way.
    ended = {task: case.placed.pop(task) for task in left[0].ended if task in case.placed}
    refusals = {name: case.refusals(name, left[0].slot) for name in sorted(case.agents)}
    case.placed |= ended
    hint = staying(case, {want.slot for want in left})
    told = (tuple(want.slot for want in left), sentence(case.job, len(left), refusals) + hint, blockers(refusals))
    return placed, told, make_room(case, left, make)


def make_room(case, left, make):
    drops = []
    for want in left:
        running = {t: case.placed.pop(t) for t in want.replaces if t not in want.ended and t in case.placed}
        name = case.best(want)
        if name is None:
            case.placed |= running
            continue
        case.placed |= {task: one for task, one in running.items() if one.agent != name}
        reason = f"it makes room for its successor, for which there is none beside it: {want.reason}"
        drops += [(task, name, reason) for task, one in running.items() if one.agent == name]
        placement = make(want.slot, name)
        case.placed[placement.task] = placement
    return drops


def sentence(job, unplaced, refusals):
    hint = f"{unplaced} of {job.spec.scale} wanted slots cannot be placed"
    if not refusals:
        return f"{hint}: there is no agent"
    nearest = min(refusals, key=lambda name: (len(refusals[name]), max(one[3] for one in refusals[name]), name))
    lacks = " and ".join(f"{what} {wanted} (found {found})" for what, wanted, found, _ in refusals[nearest])
    return f"{hint}: none of {len(refusals)} agents can take one; the nearest is {nearest}, which needs {lacks}"


def staying(case, slots):
    hint = ""
    if case.job.spec.update.unavailable == 0 and any(one.generation != case.job.generation for one in case.before):
        hint = "; older tasks of this job keep their room until they are replaced, unless update.unavailable is above 0"
    leaving = {name: one.deadline_ms for name, one in case.cordons.items() if one.is_draining}
    stay = sorted((one.slot, one.task, one.agent) for one in case.before if one.slot in slots and one.agent in leaving)
    if stay:
        _, task, agent = stay[0]
        more = f" (and {len(stay) - 1} more)" if len(stay) > 1 else ""
        until = f", until {moment(leaving[agent])} at the latest" if leaving[agent] is not None else ""
        hint += f"; {task}{more} stays on {agent}, which is draining{until}"
    return hint


def blockers(refusals):
    groups = {}
    for name, failed in refusals.items():
        for what, wanted, found, _ in failed:
            groups.setdefault((what, wanted, found), []).append(name)
    return [
        Blocker(predicate=what, wanted=wanted, found=found, agents=tuple(names[:8]), agents_count=len(names))
        for (what, wanted, found), names in sorted(groups.items())
    ]


def as_refusals(failed):
    """Return them as the product tells them."""
    return tuple(Refusal(predicate=what, wanted=wanted, found=found) for what, wanted, found, _ in failed)

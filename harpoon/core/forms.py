"""A job that is placed in two forms at once, while its rollout waits: the new one, and the one that served before."""

from collections.abc import Iterable, Mapping, Sequence

from harpoon.core.fleet import Fleet, reservation
from harpoon.core.place import Decision
from harpoon.core.standing import Brake
from harpoon.model.decision import Pending, Want
from harpoon.model.job import Job


def by_form(job: Job, brake: Brake | None, wants: Sequence[Want]) -> Iterable[tuple[Job, list[Want]]]:
    """Yield each form of the job that slots are to be placed in, with those slots; the new one at least."""
    yield job, [want for want in wants if not want.is_held_back]
    held_back = [want for want in wants if want.is_held_back]
    if held_back:
        assert brake is not None, "only a brake keeps slots back"
        yield brake.form, held_back


def keep_room(form: Job, decision: Decision, fleet: Fleet) -> None:
    """Keep the room that is made for slots of one form, so that those of the other do not count on it."""
    if decision.pending is not None and decision.pending.kept:
        fleet.keep(form.namespace, form.name, decision.pending.kept, reservation(form.spec.task))


def join(job: Job, decisions: Sequence[Decision]) -> Decision:
    """Return what was decided for each form as one decision for the job."""
    if len(decisions) == 1:
        return decisions[0]
    return Decision(
        placements=tuple(one for decision in decisions for one in decision.placements),
        pending=_joined(job, [one.pending for one in decisions if one.pending is not None]),
        # What makes room for one form may be large enough for the other, too.
        drops=tuple({one.task: one for decision in decisions[::-1] for one in decision.drops[::-1]}.values())[::-1],
        awaited={slot: tasks for decision in decisions for slot, tasks in decision.awaited.items()},
        is_whole=all(one.is_whole for one in decisions),
    )


def _join_kept(parts: Iterable[Mapping[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """Return together for which slots room is kept on each agent."""
    kept: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for agent, slots in part.items():
            kept[agent] = (*kept.get(agent, ()), *slots)
    return kept


def _joined(job: Job, pendings: Sequence[Pending]) -> Pending | None:
    if len(pendings) < 2:
        return pendings[0] if pendings else None
    return Pending(
        namespace=job.namespace,
        job=job.name,
        generation=job.generation,
        slots=tuple(sorted(slot for one in pendings for slot in one.slots)),
        reason="; ".join(one.reason for one in pendings),
        blockers=tuple(dict.fromkeys(blocker for one in pendings for blocker in one.blockers)),
        awaited=tuple(task for one in pendings for task in one.awaited),
        kept=_join_kept(one.kept for one in pendings),
        since_ms=pendings[0].since_ms,
    )

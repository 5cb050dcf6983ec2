"""Mistakes in what becomes of runs that are repaired, moved and forked, and of batches."""

from typing import Final

from harpoon.control import batch_starts, conductor, forking, offering, reopening
from harpoon.core import fold, items, moving, repair, repairing, stepping
from tests.sim.variants.variant import Edit, Variant

MENDING: Final = (
    # What a repair resets.
    Variant(
        name="repaired_by_each_order_that_comes_again",
        says="That an order has repaired a run is not remembered.",
        kills=frozenset({"S6"}),
        edits=(Edit(repair.renew, "run.orders[order] = None", "pass"),),
    ),
    Variant(
        name="repaired_by_the_old_deadline",
        says="A run that is repaired has no more time than it had.",
        kills=frozenset({"L3", "L4"}),
        edits=(
            Edit(
                repair.renew,
                "run.deadline_ms, run.since_ms, run.is_warned = deadline_ms, run.now_ms, False",
                "run.is_warned = False",
            ),
        ),
    ),
    Variant(
        name="cut_short_and_forgotten",
        says="What the end of a run has cut short elsewhere is not opened when that goes on.",
        kills=frozenset({"S8"}),
        edits=(Edit(repair.renew, "run.pending.append(cut.origin)", "pass"),),
    ),
    Variant(
        name="cut_short_and_counted",
        says="A visit that the end of a run has cut short counts as one.",
        kills=frozenset({"S9"}),
        edits=(Edit(repair.renew, "run.ops[key[0]].used -= not cut.is_beyond", "pass"),),
    ),
    Variant(
        name="visits_not_allowed_anew",
        says="A retry does anew what has no visits left.",
        kills=frozenset({"S9"}),
        edits=(Edit(repair.reset, "run.ops[name].used = 0", "pass"),),
    ),
    Variant(
        name="join_keeps_what_is_done_anew",
        says="A join keeps what had occurred of a member that is done anew.",
        kills=frozenset({"S8"}),
        edits=(Edit(repair.reset, "run.occurred.pop(trigger.index, None)", "pass"),),
    ),
    Variant(
        name="retried_beside_what_is_open",
        says="What is open of the part that is done anew goes on beside it.",
        kills=frozenset({"S8"}),
        edits=(Edit(repairing.retry_from, "for key in led_to(run, op)]", "for key in ()]"),),
    ),
    Variant(
        name="set_and_not_followed",
        says="A visit that is closed by hand fires nothing.",
        kills=frozenset({"S8"}),
        edits=(Edit(fold._set_to, 'follow(run, key, event.label, "")', "pass"),),
    ),
    # How it is done.
    Variant(
        name="repair_acknowledged_before_commit",
        says="A repair is acknowledged before it is durable.",
        kills=frozenset({"S5"}),
        edits=(Edit(conductor.Conductor.repair, "await landing", "pass"),),
    ),
    Variant(
        name="repaired_and_not_offered",
        says="What a repair opens is not offered to workers.",
        kills=frozenset({"L6"}),
        edits=(
            Edit(
                offering.tell,
                "ready += [run.ready.get((each.op, each.visit)) for each in opened]",
                "ready += [run.ready.get((each.op, each.visit)) for each in opened if type(event) is not RetriedFrom]",
            ),
        ),
    ),
    Variant(
        name="reopened_twice",
        says="A run that is over is read and reopened by each who repairs it, whoever has meanwhile.",
        kills=frozenset({"S7", "S29"}),
        edits=(
            Edit(conductor.Conductor.repair, "async with self.reopening.lock:", "if True:"),
            Edit(
                conductor.Conductor._ended_run,
                "if key in self.runs:\n        return None",
                "if False:\n        return None",
            ),
        ),
    ),
    Variant(
        name="reopened_as_never_moved",
        says="Of a run that is over and is read to be repaired, it is forgotten that it was moved.",
        kills=frozenset({"S29"}),
        edits=(
            Edit(
                reopening.ended_run,
                "max(0, header.bytes - len(fixed)), moved)",
                "max(0, header.bytes - len(fixed)))",
            ),
        ),
    ),
    # Moving.
    Variant(
        name="moved_and_goes_on_as_before",
        says="A run that is moved goes on by the form that it was on.",
        kills=frozenset({"S8"}),
        edits=(Edit(fold._moved, "run.graph, run.awaited = graph, None", "run.awaited = None"),),
    ),
    Variant(
        name="moved_without_its_joins",
        says="A run that is moved forgets what has occurred for its joins.",
        kills=frozenset({"S8"}),
        edits=(Edit(moving.rejoin, "has = run.occurred.get(kept[wire], set())", "has = set()"),),
    ),
    Variant(
        name="moved_and_not_told",
        says="The header of a run that is moved does not tell that it was.",
        kills=frozenset({"S29"}),
        edits=(Edit(conductor.Conductor._note, "conducted.moved += moves_of(events)", "pass"),),
    ),
    # Forking.
    Variant(
        name="forked_with_what_is_claimed",
        says="A fork begins with what others are at in the run that it is of.",
        kills=frozenset({"S29"}),
        edits=(Edit(forking._copied, "if not run.status.is_over:", "if False:"),),
    ),
    Variant(
        name="forked_over_what_is_there",
        says="A fork does not compare that there is no run of its id.",
        kills=frozenset({"S6", "S7", "S29"}),
        edits=(
            Edit(
                forking.fork,
                "(Compare(place.runs + key, mod=0), Compare(place.gone + key, mod=0))",
                "()",
            ),
            Edit(forking._before, "header = await reader.header(key)", "header = None"),
        ),
    ),
    # Batches.
    Variant(
        name="another_batch_taken",
        says="A batch is taken for the one of its name that there is, whatever it is made of.",
        kills=frozenset({"S6"}),
        edits=(Edit(batch_starts.start_batch, "body_hash=body_hash", 'body_hash=""'),),
    ),
    Variant(
        name="one_item_too_many",
        says="One item more than may be is under way.",
        kills=frozenset({"S28"}),
        edits=(Edit(items.has_room, "len(group.open) < each.parallel", "len(group.open) <= each.parallel"),),
    ),
    Variant(
        name="one_failure_too_few",
        says="A batch fails as soon as so many items have failed as may.",
        kills=frozenset({"S28"}),
        edits=(
            Edit(
                items.verdict,
                "if group.failed > each.tolerate:",
                "if group.failed and group.failed >= each.tolerate:",
            ),
        ),
    ),
    Variant(
        name="all_items_anew",
        says="All items are done anew where those were meant that came to nothing.",
        kills=frozenset({"S28"}),
        edits=(
            Edit(
                repairing._anew,
                "[index for index, is_done in enumerate(group.done) if not is_done]",
                "list(range(len(group.done)))",
            ),
        ),
    ),
    Variant(
        name="items_go_on_beside_what_has_failed",
        says="What is under way of a batch that has failed goes on.",
        kills=frozenset({"S28"}),
        edits=(
            Edit(
                stepping.Step.close,
                "cancelled = () if group is None else tuple([run.open[key].ref for key in group.open.values()])",
                "cancelled = ()",
            ),
        ),
    ),
)

"""Plans for mistakes that need things to come together which seldom do: what happens when is told, not drawn.

Each is a family: the seed draws how long ways take, and so whose word comes first. With seed 0 and two instances ``s2``
schedules, and from 5.1 s on ``s1`` has all agents.
"""

from collections.abc import Mapping
from typing import Final

from tests.sim.directed import commits, losses, orders, requests, watches
from tests.sim.directed.making import Family

#: Variant → what kills it.
DIRECTED: Final[Mapping[str, Family]] = {
    "no_fence": orders.late_order,
    "no_adoption": orders.late_order,
    "mark_not_persisted": orders.late_order_of_the_former,
    "full_disk_shrugged_off": orders.late_order_after_full_disk,
    "no_denial": orders.late_start,
    "denial_not_persisted": orders.late_start_after_restart,
    "denied_before_durable": orders.late_start_after_full_disk,
    "denial_recorded_unanswered": orders.late_start,
    "started_twice": orders.twice,
    "sealed_in_vain": commits.placed_late,
    "token_of_the_last_write": commits.placed_late,
    "scheduler_compares_no_hold": commits.placed_late_by_the_former,
    "scheduler_not_sealed": commits.placed_late,
    "doubt_not_awaited": commits.placed_in_silence,
    "leader_not_sealed": commits.leads_again,
    "outbox_not_sealed": commits.told_late,
    "outbox_compares_no_hold": commits.told_late_by_the_former,
    "older_word_wins": commits.told_late_and_changed,
    "published_once": commits.told_of_another,
    "never_sent_again": orders.refused_for_a_while,
    "denial_asked_once": orders.denial_not_recorded,
    "nobody_passed_on": losses.not_reached,
    "failed_forgotten": losses.not_reached,
    "unscheduled_is_kept": commits.unscheduled,
    "lost_never_replaced": losses.lost_for_good,
    "unreported_is_denied": orders.refused_and_unscheduled,
    "lost_early": losses.alone,
    "waiting_not_honoured": losses.lost_exclusive,
    "time_frees_exclusive": losses.lost_exclusive,
    "halt_ignored": losses.most_lost,
    "evictions_unlimited": losses.many_lost,
    "not_booked": commits.crowded,
    "room_ignored": commits.crowded,
    "room_given_back_early": commits.crowded_soon,
    "own_writes_not_awaited": commits.view_behind,
    "dropped_first": commits.fits_nowhere,
    "revoked_without_guard": commits.declared_dead_meanwhile,
    "failed_list_is_the_end": watches.list_breaks_off,
    "ghosts_kept": watches.compacted,
    "resumed_behind_a_gap": watches.compacted,
    "never_verified": watches.missed,
    "resumed_one_late": watches.watcher_moves,
    "told_out_of_order": watches.watcher_moves,
    "resumed_before_what_is_kept": watches.watcher_is_behind,
    "read_from_the_past": requests.reads_elsewhere,
    "if_match_ignored": requests.two_conditional,
    "put_without_compare": requests.two_conditional,
    "acknowledged_before_commit": requests.never_answered,
    "doubt_acknowledged": requests.never_answered,
    "doubt_is_refused": requests.done_and_not_known,
    "tried_again_blindly": requests.overtaken,
    "unchanged_by_an_old_view": requests.there_and_back,
    "stale_is_not_found": requests.made_and_gone,
    "old_snapshot_taken": losses.adopted_late,
}

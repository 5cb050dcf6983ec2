"""Plans for mistakes that need things to come together which seldom do: what happens when is told, not drawn.

Each is a family: the seed draws how long ways take, and so whose word comes first. With seed 0 and two instances ``s2``
schedules, and from 5.1 s on ``s1`` has all agents.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.sim.plan import Fault, Op, Plan, a_spec

Family = Callable[[int], Plan]


def _plan(seed: int, ops: tuple[Op, ...], faults: tuple[Fault, ...], **more: Any) -> Plan:
    given: dict[str, Any] = {"instances": ("s1", "s2"), "agents": ("a1", "a2"), "chaos_s": 20.0} | more
    return Plan(seed=seed, ops=ops, faults=tuple(sorted(faults, key=lambda fault: fault.at)), **given)


def _put(at: float, job: str, to: str = "s2", session: str = "c1", *, only: bool = False, **spec: Any) -> Op:
    return Op(at=at, session=session, verb="put", job=job, to=to, spec=a_spec(**spec), is_conditional=only)


def _delete(at: float, job: str, to: str = "s2", session: str = "c1") -> Op:
    return Op(at=at, session=session, verb="delete", job=job, to=to)


def _get(at: float, job: str, to: str, session: str = "c1") -> Op:
    return Op(at=at, session=session, verb="get", job=job, to=to)


def _fault(at: float, what: str, target: str, span: float = 0.0, amount: float = 0.0, other: str = "") -> Fault:
    return Fault(at=at, what=what, target=target, span=span, amount=amount, other=other)


def late_start(seed: int, *more: Fault) -> Plan:
    """The order to start a slot arrives after it was denied."""
    ops = (_put(6, "home", exclusive=True, agent="a1"), _delete(9, "home"))
    return _plan(seed, ops, (_fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"), *more), chaos_s=32)


def late_start_after_restart(seed: int) -> Plan:
    """Likewise, and the agent's daemon has been started anew meanwhile."""
    return late_start(seed, _fault(22.0, "kill_agent", "a1", 0.2))


def late_start_after_full_disk(seed: int) -> Plan:
    """Likewise, and when it was denied the agent's disk was full."""
    return late_start(seed, _fault(20.0, "disk_full", "a1", 2.0))


def late_order_of_the_former(seed: int, *more: Fault) -> Plan:
    """An order arrives after another instance has taken over, and the agent's daemon was started anew after that."""
    faults = (
        _fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"),
        _fault(7, "kill_instance", "s1", 22),
        _fault(14.4, "pause_instance", "s2", 10),
        _fault(14.5, "kill_agent", "a1", 0.2),
    )
    return _plan(seed, (_put(6, "home", agent="a1"),), (*faults, *more), chaos_s=32)


def late_order_after_full_disk(seed: int) -> Plan:
    """Likewise, and the agent's disk was full when the other took over."""
    return late_order_of_the_former(seed, _fault(8, "disk_full", "a1", 6.4))


def late_order(seed: int) -> Plan:
    """An order arrives after another instance has taken over."""
    faults = (_fault(5.99, "slow_to_agent", "s1", 0.5, 1.0, "a1"), _fault(7, "kill_instance", "s1", 22))
    return _plan(seed, (_put(6, "home", agent="a1"), _delete(15, "home")), faults, chaos_s=32)


def twice(seed: int) -> Plan:
    """What is asked of an agent arrives twice."""
    faults = tuple(_fault(5, "twice", "s1", 8, 1.0, agent) for agent in ("a1", "a2"))
    return _plan(seed, (_put(6, "web", scale=3), _put(9, "web", scale=3, version=2)), faults)


def placed_late_by_the_former(seed: int) -> Plan:
    """What the former leader wrote comes to pass after another leads."""
    faults = tuple(_fault(5.999, "commit_late", name, 10, 1) for name in ("s2",))
    return _plan(seed, (_put(6, "db", "s1", exclusive=True),), (*faults, _fault(6.3, "kill_instance", "s2", 16)))


def placed_late(seed: int) -> Plan:
    """What the leader wrote comes to pass after it has given up waiting for that, and revisions have gone on."""
    faults = (_fault(5.999, "commit_late", "s2", 6, 1),)
    return _plan(seed, (_put(6, "db", "s1", exclusive=True), _put(7, "web", "s1")), faults)


def placed_in_silence(seed: int) -> Plan:
    """What the leader wrote came to pass, and it learns of that by its view, which is behind."""
    faults = (_fault(5.5, "view_behind", "s2", 22, 8), _fault(10, "commit_silent", "s2", 0, 1))
    return _plan(seed, (_put(6, "db", "s1", exclusive=True), _put(8.5, "web", "s1")), faults, chaos_s=30)


def view_behind(seed: int) -> Plan:
    """The leader's view is behind what it wrote, when room for a slot comes to be twice."""
    ops = (
        *(_put(6, name, "s1", agent=agent, cpu=600) for name, agent in (("one", "a1"), ("two", "a2"))),
        _put(8, "db", "s1", exclusive=True, cpu=600),
        _delete(10, "one", "s1", "c2"),
        _delete(10.5, "two", "s1", "c2"),
    )
    return _plan(seed, ops, (_fault(9, "view_behind", "s2", 9, 1.5),), cpu=1000)


def leads_again(seed: int) -> Plan:
    """A leader is unfit for a while, cannot give its hold back, and leads again; what it wrote before comes then."""
    leader = "s1 s2 s3".split()[seed % 3]
    other = "s1 s2 s3".split()[(seed + 1) % 3]
    faults = (
        _fault(5.999, "commit_late", leader, 12 + seed % 5, 1),
        _fault(6.2, "clock_jump", leader, 4 + seed % 7 / 10, 30),
        _fault(6.21, "commit_silent", leader, 0, 1),
        _fault(6.22, "commit_late", leader, 26, 1),
    )
    names = ("s1", "s2", "s3")
    return _plan(seed, (_put(6, "db", other, exclusive=True),), faults, instances=names, chaos_s=36)


def told_late(seed: int) -> Plan:
    """What a minder wrote of a task comes to pass after the task is gone."""
    return _plan(seed, (_put(6, "web"), _delete(11, "web")), (_fault(5.999, "commit_late", "s1", 8, 1),), chaos_s=18)


def told_late_and_changed(seed: int) -> Plan:
    """What a minder wrote fails, and by then it has written something newer."""
    return _plan(seed, (_put(6, "web"), _delete(7, "web")), (_fault(5.999, "commit_late", "s1", 8, 1),), chaos_s=18)


def told_late_by_the_former(seed: int) -> Plan:
    """What a minder wrote of a task comes to pass after another minds the agent, and the task is gone."""
    faults = (_fault(5.999, "commit_late", "s1", 13, 2), _fault(6.4, "kill_instance", "s1", 40))
    broken = (_fault(0, "kill_instance", "s1"),)
    ops = (_put(6, "web"), _delete(15, "web"))
    return _plan(seed, ops, faults, chaos_s=24, core=("store", "s2", "a1", "a2"), broken=broken)


def denial_not_recorded(seed: int) -> Plan:
    """An agent denies, and the store, which has lost its quorum, does not take the record of it."""
    faults = (_fault(9.01 + seed % 10 / 50, "store_away", "store", 1.0),)
    return _plan(seed, (_put(6, "home", exclusive=True, agent="a1"), _delete(9, "home")), faults)


def refused_for_a_while(seed: int) -> Plan:
    """An agent refuses to start a task, for its disk is full."""
    return _plan(seed, (_put(6, "home", agent="a1"),), (_fault(5, "disk_full", "a1", 5),))


def refused_and_unscheduled(seed: int) -> Plan:
    """Likewise, and the task is not wanted any more when the disk has room."""
    ops = (_put(6, "home", exclusive=True, agent="a1"), _delete(8, "home"))
    return _plan(seed, ops, (_fault(5, "disk_full", "a1", 5),))


def told_of_another(seed: int) -> Plan:
    """What a minder wrote of a task never comes to pass, and then it writes of another."""
    ops = (_put(6, "home", agent="a1"), _put(10, "box", agent="a1"))
    return _plan(seed, ops, (_fault(5.999, "commit_late", "s1", 10, 1),), chaos_s=22)


def leader_is_paused(seed: int) -> Plan:
    """A leader stalls, and another leads when it wakes."""
    ops = (_put(6, "db", "s1", exclusive=True), _put(16.9, "db", "s1", exclusive=True, scale=2))
    return _plan(seed, ops, (_fault(7, "pause_instance", "s2", 10),), chaos_s=24)


def alone(seed: int) -> Plan:
    """A link breaks for a moment, and there is one instance only."""
    return _plan(seed, (_put(6, "web", "s1"),), (_fault(9, "kill_agent", "a1", 6),), instances=("s1",))


def unscheduled(seed: int) -> Plan:
    """A job is unscheduled."""
    return _plan(seed, (_put(6, "web", scale=2), _delete(9, "web")), (), chaos_s=12)


def lost_for_good(seed: int) -> Plan:
    """An agent never comes back; there is another."""
    broken = (_fault(0, "kill_agent", "a1"),)
    ops = (_put(6, "web", scale=2),)
    return _plan(seed, ops, (_fault(9, "kill_agent", "a1", 40),), core=("store", "s1", "s2", "a2"), broken=broken, chaos_s=30)


def not_reached(seed: int) -> Plan:
    """One instance never reaches an agent again; the other does."""
    broken = (_fault(0, "cut_from_agents", "s1", 0, 3, "a1"),)
    ops = (_put(6, "web", scale=2), _put(10, "web", scale=2, version=2))
    faults = (_fault(8, "cut_from_agents", "s1", 40, 3, "a1"),)
    return _plan(seed, ops, faults, core=("store", "s2", "a1", "a2"), broken=broken, chaos_s=12)


def lost_exclusive(seed: int) -> Plan:
    """An agent is away for longer than it takes to be lost; what it ran runs on."""
    ops = (_put(6, "db", exclusive=True), _put(6.1, "box", waits=True))
    return _plan(seed, ops, (_fault(9, "kill_agent", "a1", 24),), chaos_s=36)


def most_lost(seed: int) -> Plan:
    """More than half of the agents are lost."""
    faults = tuple(_fault(9, "kill_agent", agent, 26) for agent in ("a1", "a2"))
    return _plan(seed, (_put(6, "web", scale=6),), faults, agents=("a1", "a2", "a3"), chaos_s=38)


def many_lost(seed: int) -> Plan:
    """So many tasks are lost at once that replacing them is to take a while."""
    faults = [_fault(5, "cordon", agent, 6) for agent in ("a2", "a3")]
    faults += [_fault(14, "kill_agent", "a1", 24)]
    return _plan(seed, (_put(7, "web", scale=340, cpu=10),), tuple(faults), agents=("a1", "a2", "a3"), chaos_s=42)


def crowded(seed: int) -> Plan:
    """Jobs that are decided together want more room than one agent has."""
    jobs = ("one", "two", "three", "four")
    ops = (_put(6, "web", "s1"), *(_put(7, job, "s1", f"c-{job}", cpu=600) for job in jobs))
    return _plan(seed, ops, (_fault(5.999, "commit_late", "s2", 0, 1),), chaos_s=14, cpu=1000)


def crowded_soon(seed: int) -> Plan:
    """A job waits for the room of one that is unscheduled."""
    first, second = (_put(at, job, agent="a1", cpu=600) for at, job in ((6, "one"), (8, "two")))
    return _plan(seed, (first, second, _delete(10, "one", session="c2")), (), chaos_s=14, cpu=1000)


def compacted(seed: int, *more: Fault, span: float = 10) -> Plan:
    """What a view has not been told yet is compacted."""
    faults = (_fault(8, "view_behind", "s1", span, 2), _fault(9.5, "watch_compacted", "store"), *more)
    ops = (_put(6, "web", scale=2), _put(6.2, "box"), _delete(9, "web"))
    return _plan(seed, ops, faults, chaos_s=22)


def list_breaks_off(seed: int) -> Plan:
    """Likewise, and the list of all there is, which is long, breaks off."""
    faults = [_fault(8, "view_behind", "s1", 12, 2), _fault(9.5, "watch_compacted", "store")]
    faults += [_fault(9.6, "slow_to_store", "s1", 5, 0.6)]
    faults += [_fault(9.9 + 0.2 * number, "watch_compacted", "store") for number in range(30)]
    ops = [_put(6, "web", scale=80, cpu=3), _put(9, "box")]
    ops += [_put(9.6 + 0.2 * number, "box", version=number + 2) for number in range(30)]
    return _plan(seed, tuple(ops), tuple(faults), chaos_s=22)


def missed(seed: int) -> Plan:
    """A view is not told something, and nothing else tells of it."""
    return _plan(seed, (_put(6, "web", scale=2), _delete(9, "web")), (_fault(8.9, "watch_gap", "s1", 0, 12),))


def watcher_moves(seed: int) -> Plan:
    """A watcher goes on at another instance."""
    ops = [_put(6, "web", scale=2)]
    ops += [_put(at, "web", "s2" if at < 10 else "s1", scale=number % 2 + 1) for number, at in enumerate((8.1, 8.3, 12.1, 12.3))]
    faults = (_fault(8, "kill_instance", "s1", 1), _fault(12, "kill_instance", "s2", 1))
    return _plan(seed, tuple(ops), faults, chaos_s=16)


def watcher_is_behind(seed: int) -> Plan:
    """A watcher goes on at an instance that has begun after what it saw last."""
    faults = (
        _fault(7, "kill_instance", "s2", 3),
        _fault(8, "cut_from_agents", "s1", 6, 3, "w1"),
        _fault(12, "kill_instance", "s1", 3),
    )
    return _plan(seed, (_put(6, "web", "s1"), _put(8.5, "web", "s1", scale=2), _put(9, "box", "s1")), faults)


def reads_elsewhere(seed: int) -> Plan:
    """A session reads at an instance that is behind what it wrote at another."""
    ops = (_put(6, "web", "s1"), _get(6.2, "web", "s2"), _put(6.4, "web", "s1", scale=2), _get(6.6, "web", "s2"))
    return _plan(seed, ops, (_fault(5.5, "view_behind", "s2", 6, 1),), chaos_s=12)


def two_conditional(seed: int) -> Plan:
    """Two sessions change what both have seen, at different instances."""
    ops = (_put(6, "web"),) + tuple(
        _put(at, "web", to, session, only=True, version=version, scale=scale)
        for at, to, session, version, scale in ((8, "s1", "c2", 2, 1), (8, "s2", "c3", 3, 2), (9, "s1", "c2", 4, 1), (9, "s2", "c3", 5, 2))
    )
    return _plan(seed, ops, (_fault(7.9, "slow_to_store", "s1", 0.05, 1.0),), chaos_s=20)


def never_answered(seed: int) -> Plan:
    """What a user asked for comes to pass long after it was given up."""
    faults = (_fault(7.99, "commit_late", "s1", 24, 4),)
    return _plan(seed, (_put(6, "web", "s1"), _put(8, "web", "s1", version=2)), faults, chaos_s=40)


def done_and_not_known(seed: int) -> Plan:
    """What a user asked for came to pass, and nobody can find out."""
    faults = (
        _fault(7.99, "commit_silent", "s1", 0, 1),
        _fault(8.5, "cut_from_store", "s1", 60, 3),
        _fault(8.6, "kill_instance", "s2", 55),
    )
    return _plan(seed, (_put(6, "web", "s1"), _put(8, "web", "s1", version=2)), faults, chaos_s=50)


def overtaken(seed: int) -> Plan:
    """What a user asked for was lost, and another changes the job before that is known."""
    ops = (_put(6, "web", "s1"), _put(8, "web", "s1", version=2), _put(9, "web", "s2", "c2", version=3))
    return _plan(seed, ops, (_fault(7.99, "commit_late", "s1", 20, 1),))


def there_and_back(seed: int) -> Plan:
    """A session changes a job and changes it back, at an instance that has not seen that it was changed."""
    ops = (_put(6, "web", "s1"), _put(8, "web", "s1", version=2), _put(8.5, "web", "s2"), _delete(9.0, "web", "s2"))
    return _plan(seed, ops, (_fault(7.5, "view_behind", "s2", 8, 2),))


def made_and_gone(seed: int) -> Plan:
    """A session makes a job, and unschedules it at an instance that has not seen it."""
    ops = (_put(8, "web", "s1"), _delete(8.5, "web", "s2"), _get(8.7, "web", "s1"))
    return _plan(seed, ops, (_fault(7.5, "view_behind", "s2", 8, 2),))


def declared_dead_meanwhile(seed: int) -> Plan:
    """A placement is revoked just when an operator says that its agent is dead."""
    ops = (_put(6, "home", exclusive=True, agent="a1"), _put(21.0, "home", "s1", exclusive=True, agent="a1", version=2))
    late = _fault(20.999, "commit_late", "s2", 0, 1)
    return _plan(seed, ops, (_fault(8, "replace_host", "a1"), late), chaos_s=30)


def adopted_late(seed: int) -> Plan:
    """What an agent answers to being adopted is overtaken by what became of its tasks since."""
    faults = [_fault(6.5, "kill_instance", "s1", 30), _fault(11, "slow_to_agent", "a1", 4, 0.4, "s2")]
    faults += [_fault(8 + 0.7 * number, "task_dies", "a1") for number in range(9)]
    spec = a_spec(scale=4)
    spec["task"]["restart"] |= {"attempts": 50}
    op = Op(at=6, session="c1", verb="put", job="web", to="s2", spec=spec)
    return _plan(seed, (op,), tuple(faults), agents=("a1",), chaos_s=34)


def clock_is_behind(seed: int) -> Plan:
    """An instance whose clock is a day off has agents whose links break."""
    name, other = ("s1", "s2") if seed % 2 else ("s2", "s1")
    faults = (
        _fault(5.5, "clock_jump", name, 40, -86_400 if seed % 4 < 2 else 86_400),
        _fault(9, "kill_agent", "a1", 9),
        _fault(13, "kill_instance", name, 1),
    )
    return _plan(seed, (_put(6, "web", other, scale=3),), faults, chaos_s=48)


#: Variant → what kills it.
DIRECTED: Final[Mapping[str, Family]] = {
    "no_fence": late_order,
    "no_adoption": late_order,
    "mark_not_persisted": late_order_of_the_former,
    "full_disk_shrugged_off": late_order_after_full_disk,
    "no_denial": late_start,
    "denial_not_persisted": late_start_after_restart,
    "denied_before_durable": late_start_after_full_disk,
    "denial_recorded_unanswered": late_start,
    "started_twice": twice,
    "given_back_without_compare": leader_is_paused,
    "sealed_in_vain": placed_late,
    "token_of_the_last_write": placed_late,
    "scheduler_compares_no_hold": placed_late_by_the_former,
    "scheduler_not_sealed": placed_late,
    "doubt_not_awaited": placed_in_silence,
    "leader_not_sealed": leads_again,
    "outbox_not_sealed": told_late,
    "outbox_compares_no_hold": told_late_by_the_former,
    "older_word_wins": told_late_and_changed,
    "published_once": told_of_another,
    "never_sent_again": refused_for_a_while,
    "denial_asked_once": denial_not_recorded,
    "nobody_passed_on": not_reached,
    "failed_forgotten": not_reached,
    "unscheduled_is_kept": unscheduled,
    "lost_never_replaced": lost_for_good,
    "unreported_is_denied": refused_and_unscheduled,
    "lost_early": alone,
    "lost_without_a_second_try": lost_exclusive,
    "waiting_not_honoured": lost_exclusive,
    "time_frees_exclusive": lost_exclusive,
    "halt_ignored": most_lost,
    "evictions_unlimited": many_lost,
    "not_booked": crowded,
    "room_ignored": crowded,
    "room_given_back_early": crowded_soon,
    "own_writes_not_awaited": view_behind,
    "revoked_without_guard": declared_dead_meanwhile,
    "failed_list_is_the_end": list_breaks_off,
    "ghosts_kept": compacted,
    "resumed_behind_a_gap": compacted,
    "never_verified": missed,
    "resumed_one_late": watcher_moves,
    "told_out_of_order": watcher_moves,
    "resumed_before_what_is_kept": watcher_is_behind,
    "read_from_the_past": reads_elsewhere,
    "if_match_ignored": two_conditional,
    "put_without_compare": two_conditional,
    "acknowledged_before_commit": never_answered,
    "doubt_acknowledged": never_answered,
    "doubt_is_refused": done_and_not_known,
    "tried_again_blindly": overtaken,
    "unchanged_by_an_old_view": there_and_back,
    "stale_is_not_found": made_and_gone,
    "old_snapshot_taken": adopted_late,
    "unfit_clock_ignored": clock_is_behind,
}

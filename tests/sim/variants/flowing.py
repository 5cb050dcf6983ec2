"""Mistakes in what becomes of runs of workflows: in deciding, in writing down, in taking over, and in handing out work."""

from typing import Final

from harpoon.control import conductor, draft, ledger, pen, starts, timers
from harpoon.core import dues, expiry, fold, opening, sessions, signalling, step, stepping, visiting
from tests.sim.variants.variant import Edit, Variant

_CONDUCTED: Final = frozenset({"S5", "S6", "S7", "S8", "S9"})
FLOWING: Final = (
    # Deciding.
    Variant(
        name="foreign_closing_taken",
        says="An attempt is closed by whoever brings a closing of it, by any token.",
        kills=frozenset({"S5", "S7"}),
        edits=(
            Edit(
                step.close,
                "if attempt.claim is None or attempt.claim.token != token:",
                "if attempt.claim is None:",
            ),
        ),
    ),
    Variant(
        name="closing_again_is_late",
        says="A closing that comes again is refused.",
        kills=frozenset({"S5"}),
        edits=(Edit(step.close, "if run.past.get(ref) == (token, result.label):", "if False:"),),
    ),
    Variant(
        name="lost_for_good",
        says="A claim that is lost is not tried again.",
        kills=frozenset({"S9"}),
        edits=(Edit(expiry.conclude, "label not in RETRIED", "label not in RETRIED or label == LOST"),),
    ),
    Variant(
        name="one_try_too_many",
        says="A visit is tried once more than its retries allow.",
        kills=frozenset({"S9"}),
        edits=(Edit(expiry.conclude, "attempt.spent.count(label) + 1 >=", "attempt.spent.count(label) >="),),
    ),
    Variant(
        name="join_fires_after_one",
        says="A join fires as soon as one of its members has occurred.",
        kills=frozenset({"S8"}),
        edits=(Edit(visiting._occur, "if len(members) < len(trigger.members):", "if False:"),),
    ),
    Variant(
        name="join_remembers",
        says="A join fires each time one of its members occurs, once all have.",
        kills=frozenset({"S8"}),
        edits=(Edit(visiting._occur, "del run.occurred[trigger.index]", "pass"),),
    ),
    Variant(
        name="edge_fires_twice",
        says="A closing fires its edges twice.",
        kills=frozenset({"S8"}),
        edits=(Edit(visiting._occur, "run.pending.append(trigger.index)", "run.pending.extend([trigger.index] * 2)"),),
    ),
    Variant(
        name="visits_not_bounded",
        says="An operation that is fired beyond its visits may be claimed.",
        kills=frozenset({"S9"}),
        edits=(Edit(dues.is_at_once, " or attempt.is_beyond", ""),),
    ),
    Variant(
        name="clocks_run_out_early",
        says="A clock has run out when it is to be warned of.",
        kills=frozenset({"L4"}),
        edits=(Edit(expiry.expire, "running[0].due_ms <= step.now_ms", "running[0].warned_ms <= step.now_ms"),),
    ),
    Variant(
        name="nap_is_over_at_once",
        says="A wait for a while is over half-way.",
        kills=frozenset({"L4"}),
        edits=(Edit(opening._due_ms, "now_ms + wait.for_ // _MILLISECOND", "now_ms + wait.for_ // _MILLISECOND // 2"),),
    ),
    Variant(
        name="deadline_ignored",
        says="Nobody looks at a run because of its deadline.",
        kills=frozenset({"L3"}),
        edits=(
            Edit(
                dues.next_due_ms,
                "first = run.deadline_ms if run.is_warned else min(deadline_warned_from(run), run.deadline_ms)",
                "first = 1 << 60",
            ),
        ),
    ),
    Variant(
        name="paused_fires",
        says="What comes together while a run is paused fires.",
        kills=frozenset({"S27"}),
        edits=(Edit(stepping._may_fire, "run.is_paused or ", ""),),
    ),
    Variant(
        name="paused_consumes",
        says="A signal that comes while a run is paused is consumed.",
        kills=frozenset({"S27"}),
        edits=(Edit(signalling.consume, "if run.is_paused:", "if False:"),),
    ),
    Variant(
        name="signal_taken_twice",
        says="A signal that comes again is another one.",
        kills=frozenset({"S6"}),
        edits=(Edit(step.signal, "if sent.id in run.seen:", "if False:"),),
    ),
    Variant(
        name="signal_consumed_twice",
        says="A signal that was consumed is kept for the next wait.",
        kills=frozenset({"S6"}),
        edits=(
            Edit(fold._take, "kept = run.kept.pop(id_)", "return run.kept[id_]"),
            Edit(visiting._wait_no_more, "del waits[key]", "waits.pop(key, None)"),
        ),
    ),
    Variant(
        name="cancel_only_asked",
        says="That a run is to be cancelled is written down, and it goes on.",
        kills=frozenset({"S5"}),
        edits=(Edit(step.cancel, "step.end(Status.CANCELLED, reason)", "pass"),),
    ),
    Variant(
        name="heartbeats_in_vain",
        says="A heartbeat is taken, and moves nothing.",
        kills=frozenset({"L4"}),
        edits=(
            Edit(
                step.beat,
                "attempt.claim.beat_due_ms = max(run.now_ms, now_ms) + run.graph.nodes[ref.op].pace.heartbeat_ms",
                "pass",
            ),
        ),
    ),
    # Starting.
    Variant(
        name="another_body_taken",
        says="A start under an id that is in use is taken for the same, whatever it says.",
        kills=frozenset({"S6"}),
        edits=(Edit(starts.begun, "conducted.body_hash != order.body_hash", "False"),),
    ),
    Variant(
        name="begun_over_what_has_ended",
        says="A start does not compare that there was no run of its id that has ended.",
        kills=frozenset({"S6", "S7"}),
        edits=(Edit(starts.conditions, "if order.is_fresh:", "if True:"),),
    ),
    # Writing down.
    Variant(
        name="run_acknowledged_before_commit",
        says="What was decided of a run is told before it is durable.",
        kills=frozenset({"S5"}),
        edits=(Edit(draft.Landing.__await__, "if not draft.is_landed:", "if False:"),),
    ),
    Variant(
        name="claim_told_before_commit",
        says="A worker is given an attempt before its claim is durable.",
        kills=frozenset({"S5"}),
        edits=(
            Edit(
                conductor.Conductor.claim,
                "found.append((self._write(conducted, events), Granted(token)))",
                "found.append((None, (self._write(conducted, events), Granted(token))[1]))",
            ),
        ),
    ),
    Variant(
        name="ledger_compares_no_hold",
        says="Runs are written by whoever conducted them once.",
        kills=_CONDUCTED,
        edits=(
            Edit(pen.Pen.commit, "(self.hold.compare, *compares)", "(*compares,)"),
            Edit(ledger.Ledger.flight, "(self._pen.hold.compare, *compares)", "(*compares,)"),
        ),
    ),
    Variant(
        name="ledger_takes_doubt_for_done",
        says="A commit of runs whose answer was lost is taken for done.",
        kills=_CONDUCTED,
        edits=(Edit(pen.Pen.commit, "if await self._has_happened(writes):", "if True:"),),
    ),
    Variant(
        name="ledger_takes_doubt_for_undone",
        says="A commit of runs whose answer was lost is made again.",
        kills=_CONDUCTED,
        edits=(Edit(pen.Pen.commit, "if await self._has_happened(writes):", "if False:"),),
    ),
    Variant(
        name="ledger_not_sealed",
        says="Whether a commit of runs has happened is read while it may still happen.",
        kills=_CONDUCTED,
        edits=(Edit(pen.Pen.commit, "await self._seal()", "pass"),),
    ),
    Variant(
        name="former_refuses_unproven",
        says="Who conducted a run refuses closings of it without looking whether it does still.",
        kills=frozenset({"S5"}),
        edits=(
            Edit(
                conductor.Conductor.close,
                "found.append((self.ledger.proof(), Refusal(error.code, str(error))))",
                "found.append((None, Refusal(error.code, str(error))))",
            ),
        ),
    ),
    # Taking over.
    Variant(
        name="tokens_begin_anew",
        says="Each conductor counts its claims from one, and says nothing else of them.",
        kills=frozenset({"S7"}),
        edits=(Edit(conductor._token_begin, "{incarnation}.{ledger.hold.sealed}.", "{incarnation}."),),
    ),
    Variant(
        name="adopted_without_a_heartbeat",
        says="Who takes a run over counts the heartbeats of its claims from when they were made.",
        kills=frozenset({"L4"}),
        edits=(
            Edit(
                step.adopt,
                "held.beat_due_ms = min(step.now_ms + run.graph.nodes[attempt.ref.op].pace.heartbeat_ms, held.due_ms)",
                "pass",
            ),
        ),
    ),
    Variant(
        name="timers_forgotten",
        says="Of a run that is taken over, nothing is due until something else happens in it.",
        kills=frozenset({"L3", "L4"}),
        edits=(Edit(conductor.Conductor.adopt, "self._look_after(conducted)", "pass"),),
    ),
    Variant(
        name="taken_over_and_not_offered",
        says="What may be claimed of a run that is taken over is not offered.",
        kills=frozenset({"L6"}),
        edits=(Edit(conductor.Conductor.adopt, "if not run.is_paused and run.ready:", "if False:"),),
    ),
    Variant(
        name="not_hurried",
        says="What is due before all else does not wake whoever waits for that.",
        kills=frozenset({"L3", "L4"}),
        edits=(Edit(timers.Dues.at, "if is_first:", "if False:"),),
    ),
    # Handing out.
    Variant(
        name="asked_again_is_asked_anew",
        says="A request of a worker that comes again is taken for another.",
        kills=frozenset({"S6"}),
        edits=(Edit(sessions.turn, "if seq > session.seq:", "if seq >= session.seq:"),),
    ),
)

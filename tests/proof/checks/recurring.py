"""What becomes of the dues of cron jobs: S22 and L8."""

from typing import Any, Final

from harpoon.core.cron import dues_between, next_due
from harpoon.core.cron_due import MISSED_MAX
from tests.builders import T0
from tests.proof.history import Committed, Settled
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State

#: A due is decided within so long after it has come.
_SOON_MS: Final = 35_000


class FiredOnce(Check):
    """S22. A firing is the coming of a child that no operator asked for; a cron job's life is that of its record.

    That the record says so in the same commit is what makes it once: whoever decides next compares it. Of the dues that
    a commit decides, all are told: the last as fired or skipped, or else as missed, as all before it are. What passes
    while the job is paused, or was due by another expression, is not.
    """

    name = "S22"
    tables = ("jobs", "cron")
    says = (
        "No due of a cron job is fired twice, nor one before another that was, nor a child made that its record does "
        "not name; none is passed over in silence."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        #: Cron job → its latest due that was fired, in the life of its record.
        self._latest: dict[str, int] = {}

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            # What was fired after a backup is not known any more.
            self._latest = {}
            return
        for change in self.state.changed:
            if change.table == "cron":
                self._follow(change, event)
        for change in self.state.changed:
            if change.table == "jobs" and change.old is None and change.new is not None:
                self._judge(change, event)

    def _follow(self, change: Change, event: Committed) -> None:
        if change.new is None:
            self._latest.pop(change.key, None)
        elif change.old is not None:
            self._judge_passed(change.key, change.old.value, change.new.value, event)

    def _judge_passed(self, key: str, old: Any, new: Any, event: Committed) -> None:
        if new["seen_ms"] < old["seen_ms"]:
            raise self.refute(f"dues of {key} that were decided are open again", event)
        if (old["at"], old["timezone"]) != (new["at"], new["timezone"]) or old.get("paused_ms") is not None:
            return
        passed = len(dues_between(new["at"], new["timezone"], old["seen_ms"], new["seen_ms"], most=MISSED_MAX))
        missed = new.get("missed", 0) - old.get("missed", 0)
        is_fired, is_skipped = ((new.get(what) or {}).get("due_ms") == new["seen_ms"] for what in ("fired", "skipped"))
        but_one = max(0, passed - 1)
        # One that is too late to be fired is told as skipped, and missed, too.
        right = (but_one,) if is_fired else (but_one, passed) if is_skipped else (passed,)
        if passed < MISSED_MAX and missed not in right:
            raise self.refute(f"of {passed} dues of {key} that were decided {missed} are told as missed", event)

    def _judge(self, change: Change, event: Committed) -> None:
        assert change.new is not None
        owner = change.new.value.get("owner")
        if owner is None or owner.get("is_triggered"):
            return
        parent, due_ms = f"{change.key.partition('/')[0]}/{owner['job']}", owner["due_ms"]
        if due_ms <= self._latest.get(parent, -1):
            raise self.refute(f"{change.key} fires what was fired, or passed over", event)
        self._latest[parent] = due_ms
        fired = (self.state.value("cron", parent) or {}).get("fired") or {}
        is_told = any(one.table == "cron" and one.key == parent for one in self.state.changed)
        if not is_told or (parent.partition("/")[0] + "/" + fired.get("job", ""), fired.get("due_ms")) != (
            change.key,
            due_ms,
        ):
            raise self.refute(f"{change.key} was made, and the record of {parent} does not say so", event)


class DuesDecided(Check):
    """L8. What it is decided on is the clock of whoever schedules, which is as right as the others' once all is calm.

    Simulated runs only: there it is known what clocks say.
    """

    name = "L8"
    tables = ("cron",)
    says = "When nothing is broken any more, every due that has come is decided soon: fired, skipped or missed."

    def on_settled(self, event: Settled) -> None:
        now_ms = T0 + round(1000 * event.t)
        for key, row in self.state.table("jobs").items() if self.terms.is_exact else ():
            cron = row.value["spec"].get("cron")
            if cron is not None and not row.value.get("is_terminating"):
                self._judge(key, cron, now_ms, event)

    def _judge(self, key: str, cron: Any, now_ms: int, event: Settled) -> None:
        record = self.state.value("cron", key)
        if record is None:
            raise self.refute(f"{key} has no record, so nobody counts its dues", event)
        due_ms = next_due(record["at"], record["timezone"], record["seen_ms"])
        if (record["at"], record["timezone"]) != (cron["at"], cron.get("timezone", "UTC")):
            raise self.refute(f"the dues of {key} are counted by another schedule", event)
        if record.get("paused_ms") is None and due_ms is not None and due_ms + _SOON_MS < now_ms:
            raise self.refute(f"{key} was due {now_ms - due_ms} ms ago, and nothing was decided", event)

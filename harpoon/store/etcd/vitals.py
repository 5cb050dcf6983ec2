"""How a store on etcd does, as seen from this process: what is counted, and what is wrong at this moment."""

from collections import Counter
from datetime import timedelta

from harpoon.kit.clock import Clock
from harpoon.store.port import StoreHealth, StoreUnavailable, Trouble

#: What an answer does not disprove unless it is to a put.
_OF_PUTS = frozenset({Trouble.FULL})
#: Of one call, and nothing about the store.
_OF_CALLS = frozenset({Trouble.LEASE_OVER, Trouble.CLOSED, Trouble.OVERLOADED})


class Vitals:
    """Notes of errors and successes; belongs to the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("commits", "batches", "failovers", "watch_resumes", "lease_renewals", "compactions"), 0)
        )
        self.errors: Counter[Trouble] = Counter()
        self.gauges: dict[str, float] = {}
        self.version = ""
        #: A sentence for as long as nothing worse is wrong.
        self.warning = ""
        self._troubles: dict[Trouble, tuple[timedelta, str]] = {}

    def fail(self, error: StoreUnavailable) -> StoreUnavailable:
        """Take note of an error, and return it."""
        self.errors[error.trouble] += 1
        if error.trouble not in _OF_CALLS:
            since, _ = self._troubles.get(error.trouble, (self._clock.now().elapsed, ""))
            self._troubles[error.trouble] = since, str(error)
        return error

    def succeed(self, *, is_put: bool = False) -> None:
        """Take note of an answer: what was wrong no longer is."""
        if self._troubles:
            kept = frozenset() if is_put else _OF_PUTS
            self._troubles = {trouble: told for trouble, told in self._troubles.items() if trouble in kept}

    def mend(self, trouble: Trouble) -> None:
        """Take note that a trouble is over."""
        self._troubles.pop(trouble, None)

    def health(self, at: str) -> StoreHealth:
        """Return all of it; of several troubles the longest one."""
        trouble = min(self._troubles, key=lambda found: self._troubles[found][0], default=None)
        since, reason = (None, self.warning) if trouble is None else self._troubles[trouble]
        return StoreHealth(
            kind="etcd",
            at=at,
            version=self.version,
            trouble=trouble,
            reason=reason,
            since=since,
            gauges=dict(self.gauges),
            counts=dict(self.counts),
            errors=dict(self.errors),
        )

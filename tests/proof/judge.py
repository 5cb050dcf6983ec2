"""Judges a history as it comes: each check sees every event once, and raises what it refutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from tests.proof.history import KINDS, Committed, Event, to_line
from tests.proof.state import State

#: So much of each piece of evidence is shown.
_EVIDENCE_MAX: Final = 1000
#: Commits of more changes are seldom alike.
_TABLES_MAX: Final = 8


class Violation(AssertionError):
    """A property does not hold of a history; the evidence is the events that show it."""

    def __init__(self, name: str, text: str, *evidence: Event) -> None:
        lines = (to_line(event)[:_EVIDENCE_MAX] for event in evidence)
        super().__init__("\n  ".join((f"{name}: {text}", *lines)))
        self.name = name
        self.text = text
        self.evidence = evidence


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run was set up with."""

    lease_ttl_s: float = 5.0
    lost_after_s: float = 30.0
    resync_s: float = 30.0
    #: Simulated: events are told in the order in which they happened, at the very moment.
    is_exact: bool = True
    #: Of a real run: an event is noted at most so long after it happened.
    grace_s: float = 0.0
    #: A clock of whoever dates records is off by at most so much before its owner notices.
    skew_s: float = 2.0


class Check:
    """One property: a predicate over histories, judged event by event.

    What it looks at it handles in a method named for the event: ``on_started`` sees each `Started`. When it sees a
    `Committed`, the state has it already.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    #: Tables of which it looks at the changes; none: it sees every `Committed`. In a real run it sees all, so that what
    #: was heard of before the store can be judged as soon as that has told.
    tables: ClassVar[tuple[str, ...]] = ()

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        self.terms = terms
        self.state = State() if state is None else state

    def handlers(self) -> dict[type[Event], Callable[[Any], None]]:
        """Return what each kind of event is seen by."""
        found = {KINDS[kind]: getattr(self, f"on_{kind}", None) for kind in KINDS}
        return {kind: handler for kind, handler in found.items() if handler is not None}

    def end(self) -> None:
        """Judge what is left to be judged when nothing more will happen."""

    def refute(self, text: str, *evidence: Event | None) -> Violation:
        """Return that the property does not hold."""
        return Violation(self.name, text, *(event for event in evidence if event is not None))


class Judge:
    """Lets all checks see a history; the first that is refuted raises."""

    def __init__(self, terms: Terms, checks: Sequence[type[Check]] | None = None) -> None:
        if checks is None:
            from tests.proof.checks import CHECKS as checks  # noqa: N811
        self.state = State()
        self.checks = tuple(check(terms, self.state) for check in checks)
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = {kind: [] for kind in KINDS.values()}
        #: Table → what looks at its changes, and its place among the checks.
        self._by_table: dict[str, list[int]] = {}
        self._committed: list[Callable[[Any], None]] = []
        self._always: list[int] = []
        for check in self.checks:
            handlers = check.handlers()
            committed = handlers.pop(Committed, None)
            if committed is not None:
                self._note(check.tables if terms.is_exact else (), committed)
            for kind, handler in handlers.items():
                self._handlers[kind].append(handler)
        #: Tables of a commit → what sees it.
        self._concerned: dict[tuple[str, ...], tuple[Callable[[Any], None], ...]] = {}

    def see(self, event: Event) -> None:
        """Take the next event.

        Raises:
            Violation: A property does not hold.
        """
        if type(event) is Committed:
            self.state.fold(event)
            for handler in self._concern():
                handler(event)
        else:
            for handler in self._handlers[type(event)]:
                handler(event)

    def _note(self, tables: tuple[str, ...], handler: Callable[[Any], None]) -> None:
        place = len(self._committed)
        self._committed.append(handler)
        for table in tables:
            self._by_table.setdefault(table, []).append(place)
        if not tables:
            self._always.append(place)

    def _concern(self) -> tuple[Callable[[Any], None], ...]:
        """Return what sees the latest commit, in the order of the checks."""
        if self.state.is_anew:
            return tuple(self._committed)
        tables = tuple([change.table for change in self.state.changed])
        found = self._concerned.get(tables)
        if found is None:
            places = {*self._always, *(place for table in tables for place in self._by_table.get(table, ()))}
            found = tuple(self._committed[place] for place in sorted(places))
            if len(tables) <= _TABLES_MAX:
                self._concerned[tables] = found
        return found

    def end(self) -> None:
        """Say that this was all.

        Raises:
            Violation: A property does not hold.
        """
        for check in self.checks:
            check.end()


def __getattr__(name: str) -> Any:
    if name == "CHECKS":
        from tests.proof.checks import CHECKS

        return CHECKS
    raise AttributeError(name)

"""Who may command an agent: S1 and S2."""

from tests.proof.history import Adopted, Applied, Booted, Committed, Pair
from tests.proof.judge import Check, Terms
from tests.proof.state import AGENT_HOLDS, State


class Fence(Check):
    """S1. The agent's own lines are in the order in which it acted, so no slack is needed of real runs, either.

    An agent with another state directory is another one: it is told apart by the uid that it booted with.
    """

    name = "S1"
    says = "The tokens by virtue of which an agent acts never fall, across its restarts, too."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._uids: dict[str, str] = {}
        self._highest: dict[tuple[str, str], Adopted | Applied] = {}

    def on_booted(self, event: Booted) -> None:
        self._uids[event.node] = event.uid

    def on_adopted(self, event: Adopted) -> None:
        self._take(event)

    def on_applied(self, event: Applied) -> None:
        self._take(event)

    def _take(self, event: Adopted | Applied) -> None:
        agent = (event.node, self._uids.get(event.node, ""))
        highest = self._highest.get(agent)
        if highest is not None and event.token < highest.token:
            text = f"agent {event.node} acts by token {event.token} after it had taken {highest.token}"
            raise self.refute(text, highest, event)
        self._highest[agent] = event


class OneOwner(Check):
    """S2. What an instance says of its holds does not count: the store's record of the hold does.

    A real agent's line may be read before the store's revision is; then it is judged when that comes.
    """

    name = "S2"
    tables = ("holds",)
    says = "All that an agent does by virtue of one token is asked by one instance: that which the store gave the hold."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._owners: dict[tuple[str, Pair], Adopted | Applied] = {}
        self._early: list[Adopted | Applied] = []

    def on_adopted(self, event: Adopted) -> None:
        self._take(event)

    def on_applied(self, event: Applied) -> None:
        self._take(event)

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.table == "holds" and change.old is not None and change.new is not None:
                before, after = change.old.value["instance"], change.new.value["instance"]
                if before != after:
                    what = change.key.removeprefix(AGENT_HOLDS)
                    raise self.refute(f"the hold of {what} went from {before} to {after} with one token", event)
        if self._early:
            early, self._early = self._early, []
            for one in early:
                self._compare(one)

    def end(self) -> None:
        if self._early:
            early = self._early[0]
            raise self.refute(f"the store never gave {early.instance} a hold of token {early.token}", early)

    def _take(self, event: Adopted | Applied) -> None:
        known = self._owners.get((event.node, event.token))
        if known is None:
            self._owners[event.node, event.token] = event
            self._compare(event)
        elif known.instance != event.instance:
            text = f"agent {event.node} obeys {known.instance} and {event.instance} by one token {event.token}"
            raise self.refute(text, known, event)

    def _compare(self, event: Adopted | Applied) -> None:
        state = self.state
        owner = state.holders.get((event.node, event.token))
        if owner == event.instance:
            return
        if owner is None and not self.terms.is_exact and event.token > (state.incarnation, state.revision):
            self._early.append(event)
            return
        whose = "nobody" if owner is None else owner
        text = f"{event.instance} acts on agent {event.node} by token {event.token}, which the store gave to {whose}"
        raise self.refute(text, event)

"""What is placed, and what may run because of it: S4."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.proof.history import Applied, Booted, Committed, Ended, Fault, Pair, Settled, Started
from tests.proof.judge import Check, Terms
from tests.proof.state import Change, State, number_of, slot_of

#: What a `Fault` is called that is an operator's word that its target is dead, told before he gives it.
DECLARED_DEAD: Final = "declare_dead"


class Words:
    """What operators said of dead agents: in the store, or about to say."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._told: set[str] = set()

    def hear(self, event: Fault) -> None:
        """Note that one is about to be declared dead."""
        if event.what.replace("-", "_") == DECLARED_DEAD:
            self._told.add(event.target)

    def is_dead(self, agent: str) -> bool:
        """Return whether an operator said so."""
        return agent in self._told or self._state.is_dead(agent)


class ClaimFirst(Check):
    """S4. Only the store and the agents' deeds count: that a record says *denied* is compared with the denial itself.

    Declaring dead deletes an agent's placements first and leaves the word last. So what was deleted undenied of an
    agent that is not connected is judged once all has settled; told as a `Fault` before, it is fine at once.
    A process that starts again after its placement went was started by an agent that did not know yet: that is right.
    """

    name = "S4"
    tables = ("placements",)
    says = "Nothing starts unplaced; a slot's numbers rise; an exclusive slot moves on only after its agent's denial."

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._words = Words(self.state)
        self._highest: dict[str, Pair] = {}
        self._early: list[Started] = []
        #: Agent and task → tokens by virtue of which it was denied, durably.
        self._denials: dict[tuple[str, str], set[Pair]] = {}
        #: Agent and slot → up to which placement it refuses, and since when.
        self._refused: dict[tuple[str, str], tuple[Pair, Applied]] = {}
        self._uids: dict[str, str] = {}
        #: Records of denials whose cause has not been heard of: agent, task, token, record.
        self._unproved: list[tuple[str, str, Pair, Committed]] = []
        #: Deleted undenied, for an operator has perhaps said so: agent, task, deletion.
        self._freed: list[tuple[str, str, Committed]] = []

    def on_fault(self, event: Fault) -> None:
        self._words.hear(event)

    def on_booted(self, event: Booted) -> None:
        if self._uids.get(event.node, event.uid) != event.uid:
            self._refused = {key: value for key, value in self._refused.items() if key[0] != event.node}
        self._uids[event.node] = event.uid

    def on_applied(self, event: Applied) -> None:
        if not event.is_denied:
            return
        self._denials.setdefault((event.node, event.task), set()).add(event.token)
        if event.command == "forget":
            key, number = (event.node, slot_of(event.task)), number_of(event.task)
            if key not in self._refused or self._refused[key][0] < number:
                self._refused[key] = number, event

    def on_started(self, event: Started) -> None:
        if (event.node, event.task) not in self.state.placed:
            if self.terms.is_exact:
                raise self.refute(f"{event.task} starts on {event.node}, where it was never placed", event)
            self._early.append(event)
        number, denial = self._refused.get((event.node, slot_of(event.task)), (None, None))
        if number is None or denial is None or number_of(event.task) > number:
            return
        if self.terms.is_exact or event.t > denial.t + self.terms.grace_s:
            raise self.refute(f"{event.task} starts on {event.node}, which has denied it", denial, event)

    def on_committed(self, event: Committed) -> None:
        if self.state.is_anew:
            self._begin_anew(event)
            return
        made: dict[str, str] = {}
        for change in self.state.changed:
            if change.table == "placements":
                self._judge(change, event, made)

    def on_settled(self, event: Settled) -> None:
        self._judge_freed()

    def on_ended(self, event: Ended) -> None:
        self._judge_freed()

    def end(self) -> None:
        for event in self._early:
            row = self.state.placed.get((event.node, event.task))
            if row is None:
                raise self.refute(f"{event.task} starts on {event.node}, where it was never placed", event)
        for agent, task, token, record in self._unproved:
            if token not in self._denials.get((agent, task), ()):
                raise self._undenied(agent, task, token, record)
        self._judge_freed()

    def _begin_anew(self, event: Committed) -> None:
        """Take what is there for given: a registry that is restored may have come to an end of some of it before."""
        if event.is_anew:
            self._highest.clear()
        for change in self.state.changed:
            if change.table == "placements" and change.new is not None:
                self._rise(change.new.value)

    def _rise(self, placement: Mapping[str, Any]) -> None:
        name = placement["agent"] if placement.get("is_system") else placement["slot"]
        slot = f"{placement['namespace']}.{placement['job']}.{name}"
        number = (placement["incarnation"], placement["revision"])
        self._highest[slot] = max(number, self._highest.get(slot, number))

    def _judge(self, change: Change, event: Committed, made: dict[str, str]) -> None:
        agent, _, task = change.key.partition("/")
        if change.new is None:
            assert change.old is not None or not change.key, "only what is there is deleted"
            self._judge_gone(agent, task, change.old.value, event)
        elif change.old is None:
            self._judge_made(agent, task, change.new.value, event)
            if change.new.value.get("is_exclusive"):
                other = made.setdefault(slot_of(task), task)
                if other != task:
                    raise self.refute(f"{other} and {task} of an exclusive slot are placed at once", event)
        else:
            self._judge_written(agent, task, change, event)

    def _judge_made(self, agent: str, task: str, placement: Mapping[str, Any], event: Committed) -> None:
        state, number, slot = self.state, number_of(task), slot_of(task)
        if placement["agent"] != agent or (placement["incarnation"], placement["revision"]) != number:
            raise self.refute(f"the record of {task} on {agent} is another's", event)
        report = state.reported(agent, task)
        is_adopted = number[0] < state.incarnation and report is not None and report["state"] == "unclaimed"
        highest = self._highest.get(slot, (0, 0))
        if number <= highest and not is_adopted:
            raise self.refute(f"slot {slot} is placed as {number} after it was as {highest}", event)
        if number[0] == state.incarnation and number[1] >= event.revision:
            raise self.refute(f"{task} was decided on a revision that is not there yet", event)
        self._rise(placement)
        if placement.get("is_exclusive"):
            for where, other, record in state.placements_of(slot):
                if other != task and not record.get("is_denied"):
                    text = f"exclusive slot {slot} is placed as {task} while {other} on {where} is not denied"
                    raise self.refute(text, event)

    def _judge_gone(self, agent: str, task: str, placement: Mapping[str, Any], event: Committed) -> None:
        if not placement.get("is_exclusive") or placement.get("is_denied") or self._words.is_dead(agent):
            return
        if self.state.link(agent) == "connected":
            raise self.refute(f"exclusive {task} on {agent} is deleted, and was not denied", event)
        self._freed.append((agent, task, event))

    def _judge_written(self, agent: str, task: str, change: Change, event: Committed) -> None:
        assert change.old is not None
        assert change.new is not None
        old, new = change.old.value, change.new.value
        for what in ("is_revoked", "is_denied"):
            if old.get(what) and not new.get(what):
                raise self.refute(f"{task} on {agent} {what.replace('_', ' ')} no more", event)
        if new.get("is_denied") and not old.get("is_denied"):
            token = self.state.token(agent)
            if token is None:
                raise self.refute(f"{task} is recorded as denied while nobody holds agent {agent}", event)
            if token not in self._denials.get((agent, task), ()):
                if self.terms.is_exact:
                    raise self._undenied(agent, task, token, event)
                self._unproved.append((agent, task, token, event))

    def _undenied(self, agent: str, task: str, token: Pair, event: Committed) -> Exception:
        return self.refute(f"{task} is recorded as denied, and agent {agent} never denied it by token {token}", event)

    def _judge_freed(self) -> None:
        freed: Iterable[tuple[str, str, Committed]] = self._freed
        for agent, task, event in freed:
            if not self._words.is_dead(agent) and agent not in self.state.deaths:
                text = f"exclusive {task} on {agent} was deleted undenied, and nobody declared the agent dead"
                raise self.refute(text, event)
        self._freed = []

"""Who minds which agent once all is calm: L2."""

from tests.proof.history import Calm, Committed, Ended, Event, Settled
from tests.proof.judge import Check, Terms
from tests.proof.state import AGENT_HOLDS, State

#: Beyond the leases: an instance is to have been there for 5 s before it is given agents, 50 at a time.
_HANDING_OVER_S = 15.0


class OneLiveOwner(Check):
    """L2. That two have a hold at once cannot be said in the store; so what is judged is that one has it, and keeps it.

    Where something stays broken, who minds an agent may go on changing: then only that it is minded is judged, at
    `Settled` and `Ended`. Who could not reach an agent is left out for ten minutes; when that is forgotten the agent may
    change hands once more.
    """

    name = "L2"
    tables = ("agents", "links", "holds")
    says = (
        "When all is calm each agent comes to be held by one live instance within two leases or so, and stays with it."
    )

    def __init__(self, terms: Terms, state: State | None = None) -> None:
        super().__init__(terms, state)
        self._calm: Calm | None = None
        self.bound_s = 2 * terms.lease_ttl_s + _HANDING_OVER_S + terms.grace_s
        #: Agent → when it registered, or those that failed to reach it came to be others.
        self._stirred: dict[str, float] = {}

    def on_calm(self, event: Calm) -> None:
        self._calm = event

    def on_committed(self, event: Committed) -> None:
        for change in self.state.changed:
            if change.table == "agents" and change.old is None:
                self._stirred[change.key] = event.t
            elif change.table == "links":
                before, after = (
                    () if row is None else row.value.get("failed_by", ()) for row in (change.old, change.new)
                )
                if tuple(before) != tuple(after):
                    self._stirred[change.key] = event.t
        if self._calm is None or not self._calm.is_whole or event.t <= self._calm.t + self.bound_s:
            return
        for change in self.state.changed:
            if change.table == "holds" and change.key.startswith(AGENT_HOLDS) and None in (change.old, change.new):
                agent = change.key.removeprefix(AGENT_HOLDS)
                is_stirred = event.t - self._stirred.get(agent, float("-inf")) <= self.bound_s
                if agent in self._calm.core and not is_stirred:
                    raise self.refute(f"agent {agent} changes hands though all is calm", self._calm, event)

    def on_settled(self, event: Settled) -> None:
        self._judge(event)

    def on_ended(self, event: Ended) -> None:
        self._judge(event)

    def _judge(self, event: Event) -> None:
        if self._calm is None:
            return
        for agent in self.state.table("agents"):
            if agent not in self._calm.core:
                continue
            hold = self.state.hold(agent)
            if hold is None:
                raise self.refute(f"nobody holds agent {agent}", self._calm, event)
            if self.state.row("instances", hold.value["instance"]) is None:
                raise self.refute(f"agent {agent} is held by {hold.value['instance']}, which is not live", event)

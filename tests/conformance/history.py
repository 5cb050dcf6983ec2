"""A history to judge by: what an undisturbed reader saw, and what the server acknowledged meanwhile."""

from dataclasses import dataclass, field

from tests.conformance.events import NDJSON, Event, place_of
from tests.conformance.judge import Acknowledged
from tests.conformance.stir import Stir
from tests.conformance.wire import Address

STEPS = 60
AGENT = "conformance-agent"


@dataclass
class History:
    """From a snapshot of everything to a last revision."""

    events: list[Event]
    begin: str
    until: str
    acknowledged: list[Acknowledged] = field(default_factory=list)

    @property
    def revisions(self) -> list[str]:
        """Of the snapshot and of every change but the last: all from which there is something to be told."""
        told = [event.revision for event in self.events if event.type == "change"]
        return [self.begin, *told[:-1]]


async def record(address: Address, stir: Stir, *, is_ours: bool, steps: int = STEPS) -> History:
    """Have much happen, and keep what is told of it.

    Args:
        address: Of the server.
        stir: What makes it happen.
        is_ours: Nobody else uses the server, so that an agent may come and go.
        steps: How much.
    """
    known = len(stir.acknowledged)
    async with address.watch(encoding=NDJSON) as stream:
        told = await stream.begun()
        await stir.put("web", scale=2, team="shop")
        if is_ours:
            await stir.settle("web")
            await _an_agent_comes_and_goes(address)
        await stir.stir(steps)
        await stir.put("web", scale=1, team="desk")
        if is_ours:
            await stir.settle("web")
        until = await stir.put("mark")
        told += await stream.until(lambda event: event.place >= place_of(until))
    return History(told, told[0].revision, told[-1].revision, stir.acknowledged[known:])


async def _an_agent_comes_and_goes(address: Address) -> None:
    agent = {
        "name": AGENT,
        "uid": "conformance",
        "endpoint": "http://127.0.0.1:9",
        "capacity": {"cpu": "1", "memory": "1Mi"},
        "ports": {"low": 20000, "high": 20001},
        "tags": {"team": "shop"},
        "facts": {},
    }
    for tags in ({"team": "shop"}, {"team": "desk"}):
        answer = await address.ask("PUT", f"/v1/agents/{AGENT}", agent | {"tags": tags})
        assert answer.status == 200, answer
    answer = await address.ask("DELETE", f"/v1/agents/{AGENT}")
    assert answer.status == 200, answer

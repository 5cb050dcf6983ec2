"""After the faults: everything is to come to rest by itself, and to stay so."""

import asyncio
import time
from datetime import timedelta

from harpoon.kit.errors import HarpoonError
from tests.proof.history import Calm, Settled
from tests.system.chaos.clients import Doors
from tests.system.chaos.hosts import AGENTS, ALL
from tests.system.chaos.nemesis import NODE, Nemesis
from tests.system.chaos.recorder import Recorder
from tests.system.chaos.runners import going_on
from tests.system.chaos.store import Follower

#: Who stands still for so long may lose a lease by it.
STILL_S = 1.0
#: Calm is begun anew so often at most.
CALMS_MAX = 5


class Pace:
    """Whether this very process goes on: where the machine stands still for long, leases are lost, and that is no calm."""

    def __init__(self) -> None:
        #: For how long it stood still at the most, since this was set to 0.
        self.stood_s = 0.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.2)
            self.stood_s = max(self.stood_s, time.monotonic() - began - 0.2)


class Calming:
    """Waits until the whole fleet is at rest."""

    def __init__(self, doors: Doors, follower: Follower, nemesis: Nemesis, recorder: Recorder, resync_s: float) -> None:
        self._doors = doors
        self._follower = follower
        self._nemesis = nemesis
        self._recorder = recorder
        self._resync_s = resync_s
        #: How long it took, in the end.
        self.settled_s = 0.0
        self.notes: list[str] = []

    async def run(self, pace: Pace, settle_s: float, silent_s: float) -> list[str]:
        """Wait until all is as desired, and then for as long as it is to be silent; return what is not so, in the end."""
        for _ in range(CALMS_MAX):
            pace.stood_s = 0.0
            calm = self._recorder.now()
            self._recorder.note(Calm(t=calm, node=NODE, core=ALL))
            reason = await self._converged(settle_s)
            self.settled_s = self._recorder.now() - calm
            self._recorder.note(Settled(t=self._recorder.now(), node=NODE))
            await asyncio.sleep(silent_s)
            if pace.stood_s < STILL_S:
                return [f"L1: not converged {settle_s:g} s after all was mended: {reason}"] if reason else []
            self.notes.append(f"this machine stood still for {pace.stood_s:.1f} s, so calm began anew")
        return ["this machine stands still again and again: nothing can be said of calm"]

    async def _converged(self, settle_s: float) -> str:
        """Wait until every server says that all is as desired, and nothing more is written; return what is not."""
        # What nobody asked for is to be gone after two resyncs.
        since = calm = time.monotonic()
        reason, revision = "", 0
        while time.monotonic() < calm + settle_s:
            await self._nemesis.let_go()
            reason = await self._missing()
            if reason or self._follower.revision != revision:
                since, revision = time.monotonic(), self._follower.revision
            elif time.monotonic() - since > 3.0 and time.monotonic() - calm > 2 * self._resync_s:
                return ""
            await asyncio.sleep(0.5)
        return reason or "the store is still written to"

    async def _missing(self) -> str:
        """Return the first thing that is not as desired, as any server says."""
        for client in self._doors.clients:
            try:
                agents = (await client.get("agents", within=timedelta(seconds=5))).body["items"]
                found = (await client.get("jobs", within=timedelta(seconds=5))).body["items"]
                runs = await going_on(client)
            except HarpoonError as error:
                return f"{client.url}: {error}"
            links = {one["name"]: one["link"]["state"] for one in agents}
            if links != dict.fromkeys(AGENTS, "connected"):
                return f"{client.url}: agents are {links}"
            if runs:
                return f"{client.url}: {len(runs)} runs have not ended: {' '.join(runs[:5])}"
            for job in found:
                if not job["status"]["is_done"] or job["metadata"].get("is_terminating"):
                    return f"{client.url}: {job['metadata']['name']}: {job['status']}"
        return ""

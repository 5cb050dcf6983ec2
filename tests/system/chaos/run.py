"""One round: a fleet, clients and faults; then calm, and the same checks as of a simulation."""

import asyncio
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from harpoon.kit.errors import HarpoonError
from harpoon.kit.logs import warnings_only
from tests.proof.checks import CHECKS
from tests.proof.checks.carrying import OF_REAL_RUNS
from tests.proof.checks.running import NoDoubleRun
from tests.proof.history import Ended, digest, read, to_line
from tests.proof.judge import Judge, Terms, Violation
from tests.system.chaos.calm import Calming, Pace
from tests.system.chaos.census import Census
from tests.system.chaos.clients import Doors, Session, Watcher
from tests.system.chaos.flows import flows
from tests.system.chaos.hosts import AGENTS, SERVERS, Hosts
from tests.system.chaos.jobs import jobs
from tests.system.chaos.nemesis import NODE, Nemesis
from tests.system.chaos.plan import Planned, plan, to_text
from tests.system.chaos.recorder import Recorder
from tests.system.chaos.runners import Runner, amiss, declare, exported
from tests.system.chaos.store import Follower

#: What is noted is noted so long after it happened, at most.
GRACE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a round is made of."""

    seed: int
    count: int
    every_s: float = 1.5
    ttl_s: float = 3.0
    lost_after_s: float = 8.0
    resync_s: float = 5.0
    sessions: int = 3
    runners: int = 2
    settle_s: float = 90.0
    silent_s: float = 10.0

    def plan(self) -> list[Planned]:
        return plan(self.seed, self.count, self.every_s, self.ttl_s)

    def terms(self) -> Terms:
        return Terms(
            lease_ttl_s=self.ttl_s,
            lost_after_s=self.lost_after_s,
            resync_s=self.resync_s,
            is_exact=False,
            grace_s=GRACE_S,
        )


@dataclass(kw_only=True)
class Outcome:
    """What became of a round."""

    seed: int
    directory: Path
    faults: Counter[str] = field(default_factory=Counter)
    undone: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    #: What is wrong: violations, and what no check sees.
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0
    settled_s: float = 0.0

    def told(self) -> str:
        """Say it in some lines."""
        kinds = " ".join(f"{what}={number}" for what, number in sorted(self.faults.items()))
        counts = " ".join(f"{what}={number}" for what, number in sorted(self.events.items()))
        took = f"{self.took_s:.0f} s, converged {self.settled_s:.1f} s after the last"
        lines = [
            f"seed {self.seed}: {self.faults.total()} faults of {len(self.faults)} kinds in {took}; {len(self.wrong)} wrong",
            f"  faults: {kinds}",
            f"  events: {counts}",
            f"  history: {self.directory}/history, digest {self.digest[:16]}",
            *(f"  not done: {one}" for one in self.undone),
            *(f"  note: {one}" for one in self.notes),
            *(f"VIOLATION (seed {self.seed}): {one}" for one in self.wrong),
        ]
        return "\n".join(lines)


async def round_of(setting: Setting, directory: Path, faults: Sequence[Planned] | None = None) -> Outcome:
    """Run a round in a directory; what is wrong is in the outcome."""
    faults = setting.plan() if faults is None else list(faults)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "faults.jsonl").write_text(to_text(faults))
    began = time.monotonic()
    outcome = Outcome(seed=setting.seed, directory=directory)
    token = secrets.token_hex(24)
    recorder = Recorder(directory / "history")
    try:
        with (directory / "history" / "harness.log").open("w") as log, warnings_only(log):
            await _run(setting, faults, outcome, recorder, token)
    finally:
        recorder.close()
    outcome.events = recorder.counts
    outcome.wrong += [f"unexpected: {one}" for one in recorder.complaints]
    outcome.wrong += judged(directory / "history", setting.terms(), outcome)
    outcome.took_s = time.monotonic() - began
    return outcome


async def _run(setting: Setting, faults: Sequence[Planned], outcome: Outcome, recorder: Recorder, token: str) -> None:
    work = outcome.directory / "work"
    sockets = Path(tempfile.mkdtemp(prefix="hc-"))
    options = (
        *("--lease-ttl", f"{setting.ttl_s:g}s", "--lost-after", f"{setting.lost_after_s:g}s"),
        *("--resync", f"{setting.resync_s:g}s"),
    )
    hosts = Hosts(work, recorder, token, options)
    census = Census(sockets / "census", recorder.note, recorder.now)
    pace = Pace()
    try:
        await hosts.start()
        doors = Doors({server: hosts.url(server) for server in SERVERS}, token)
        follower = Follower([member.endpoint for member in hosts.etcds.members], recorder)
        nemesis = Nemesis(hosts, doors, census, recorder, lambda: follower.revision)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(follower.run())
            pacing = group.create_task(pace.run())
            await _serving(doors)
            await declare(doors, flows())
            runners = await _chaos(setting, faults, census.path, doors, recorder, nemesis)
            await nemesis.make_whole()
            calming = Calming(doors, follower, nemesis, recorder, setting.resync_s)
            outcome.wrong += await calming.run(pace, setting.settle_s, setting.silent_s)
            outcome.settled_s, outcome.notes = calming.settled_s, calming.notes
            outcome.wrong += await _come_to(doors, runners, recorder)
            recorder.note(Ended(t=recorder.now(), node=NODE))
            following.cancel()
            pacing.cancel()
        outcome.faults, outcome.undone = nemesis.done, nemesis.failed
        outcome.notes += [f"the watch of the store was begun anew: {one}" for one in follower.resumed]
        outcome.notes += [f"{name} ended by itself, and was started again" for name in hosts.restarts]
        await doors.close()
    finally:
        await hosts.close()
        # Tasks end with the census, and then nothing uses the disks.
        census.close()
        sockets.rmdir()
        outcome.wrong += await asyncio.to_thread(betrayed, outcome.directory, token)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(hosts.remove)


async def _serving(doors: Doors) -> None:
    """Wait until every server has every agent."""
    async with asyncio.timeout(60):
        for client in doors.clients:
            while True:
                with suppress(HarpoonError):
                    agents = (await client.get("agents", within=timedelta(seconds=5))).body["items"]
                    if [one["name"] for one in agents if one["link"]["state"] == "connected"] == list(AGENTS):
                        break
                await asyncio.sleep(0.2)


async def _chaos(
    setting: Setting, faults: Sequence[Planned], census: Path, doors: Doors, recorder: Recorder, nemesis: Nemesis
) -> list[Runner]:
    """Break things while clients ask for things; both end together. Return who has started runs."""
    made, forms = jobs(census), set[tuple[str, str, int]]()
    runners = [
        Runner(f"r{number}", doors, recorder, f"{setting.seed}-r{number}", flows())
        for number in range(1, setting.runners + 1)
    ]
    clients = [
        *(
            Session(f"c{number}", doors, recorder, f"{setting.seed}-c{number}", made, forms)
            for number in range(1, setting.sessions + 1)
        ),
        Watcher("v1", doors, recorder, f"{setting.seed}-w1", is_sse=False),
        Watcher("v2", doors, recorder, f"{setting.seed}-w2", is_sse=True),
        *runners,
    ]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(client.run()) for client in clients]
        await nemesis.run(faults)
        for task in running:
            task.cancel()
    return runners


async def _come_to(doors: Doors, runners: Sequence[Runner], recorder: Recorder) -> list[str]:
    """Return what has not come of the runs that were started, as each server exports them."""
    asked = {id_: one for runner in runners for id_, one in runner.runs.items()}
    recorder.counts["runs"] = len(asked)
    wrong, told = [], {}
    for client in doors.clients:
        before, told = told, await exported(client, recorder)
        if before and told != before:
            wrong.append(f"S5: {client.url} exports other runs than the one before")
    recorder.counts |= Counter(f"runs_{run['status']}" for run in told.values())
    return wrong + list(amiss(asked, told, flows()))


def judged(history: Path, terms: Terms, outcome: Outcome | None = None) -> list[str]:
    """Judge a history that was written; return what is wrong. ValueError where there is none."""
    events = read(history)
    if outcome is not None:
        outcome.digest = digest(map(to_line, events))
        outcome.events["executed"] = sum(event.kind == "executed" and not event.label for event in events)
    wrong: list[str] = []
    # One by one, so that what one finds hides nothing from another.
    for check in (*CHECKS, *OF_REAL_RUNS):
        # Starts and ends are noted in the order in which they happened: what runs twice needs no slack.
        judge = Judge(replace(terms, grace_s=0.0) if check is NoDoubleRun else terms, [check])
        try:
            for event in events:
                judge.see(event)
            judge.end()
        except Violation as violation:
            wrong.append(str(violation))
    return wrong


def betrayed(directory: Path, token: str) -> list[str]:
    """Return every file of what was said that holds the token (but the one that is to)."""
    files = [file for file in directory.rglob("*") if file.is_file() and file.name != "token"]
    return [f"S14: the token stands in {file}" for file in files if token.encode() in file.read_bytes()]

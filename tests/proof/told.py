"""A small builder of histories, for tests of what judges them: each verb is something that happens next."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from harpoon.kit import codec
from harpoon.model.agent import Death, Link, LinkState
from harpoon.model.instance import Holder, Instance
from harpoon.model.job import Job
from harpoon.model.task import Placement, Task, TaskState
from tests.builders import T0, a_job, a_link, a_placement, a_task, an_agent
from tests.proof.history import (
    Adopted,
    Answered,
    Applied,
    Booted,
    Calm,
    Committed,
    Ended,
    Event,
    Exited,
    Fault,
    Healed,
    Invoked,
    Pair,
    Sent,
    Settled,
    Started,
    Watched,
)
from tests.proof.judge import Check, Judge, Terms, Violation
from tests.proof.state import ROOT, hold_key

REAL = Terms(is_exact=False, grace_s=0.5)


def refuted(name: str) -> Any:
    """Expect that a property is refuted."""
    return pytest.raises(Violation, match=f"^{name}: ")


class Told:
    """A history being told. The clock stands unless it is said to pass; a revision follows the one before."""

    def __init__(self, terms: Terms | None = None, *checks: type[Check]) -> None:
        """Begin one, judged by all checks, or by these only."""
        self.t = 0.0
        self.revision = 0
        self.events: list[Event] = []
        self._terms = Terms() if terms is None else terms
        self._judge = Judge(self._terms, checks or None)
        self._ops = 0

    def say(self, event: Event) -> Event:
        """Let an event happen now."""
        event = replace(event, t=self.t)
        self.events.append(event)
        self._judge.see(event)
        return event

    def end(self) -> None:
        """Say that this was all."""
        self._judge.end()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.t += seconds

    @property
    def now_ms(self) -> int:
        """What clocks say."""
        return T0 + round(1000 * self.t)

    # The store.

    def commit(self, changes: Mapping[str, Any], *, is_anew: bool = False) -> int:
        """Commit a revision; keys are without the root, values nouns, JSON or None."""
        self.revision += 1
        told = {ROOT + key: _json(value) for key, value in changes.items()}
        self.say(Committed(t=0, node="store", revision=self.revision, changes=told, is_anew=is_anew))
        return self.revision

    def hold(self, what: str, instance: str) -> Pair:
        """Give a hold to an instance."""
        key = "holds/" + hold_key(what)
        return 1, self.commit({key: Holder(instance=instance)})

    def release(self, *whats: str) -> None:
        """Take holds back."""
        self.commit({"holds/" + hold_key(what): None for what in whats})

    def live(self, instance: str) -> None:
        """Have an instance's record appear."""
        self.commit({f"instances/{instance}": Instance(name=instance, url="", version="1", since_ms=self.now_ms)})

    def agent(self, name: str, *, state: LinkState = LinkState.CONNECTED, **fields: Any) -> None:
        """Have an agent registered and its link known."""
        self.commit({f"agents/{name}": an_agent(name, **fields), f"links/{name}": self._link(name, state)})

    def link(self, name: str, state: LinkState, **fields: Any) -> None:
        """Write the state of an agent's link."""
        self.commit({f"links/{name}": replace(self._link(name, state), **fields)})

    def _link(self, name: str, state: LinkState) -> Link:
        return a_link(name, state, since_ms=self.now_ms)

    def dead(self, agent: str, *, drop: Iterable[Placement] = ()) -> None:
        """Declare an agent dead: the word stands, and what is left of it goes."""
        death = Death(agent=agent, uid=f"uid-{agent}", at_ms=self.now_ms)
        gone = dict.fromkeys((f"agents/{agent}", f"links/{agent}", *map(key_of, drop)))
        self.commit({f"dead/{agent}": death} | gone)

    def job(self, job: Job | None = None, **fields: Any) -> int:
        """Commit a job, or another version of it."""
        job = a_job(**fields) if job is None else job
        key = f"{job.namespace}/{job.name}"
        return self.commit({f"jobs/{key}": job, f"versions/{key}/{job.version}": job})

    def place(self, *placements: Placement, drop: Iterable[Placement] = ()) -> None:
        """Commit placements, and delete others with them."""
        self.commit({key_of(one): one for one in placements} | {key_of(one): None for one in drop})

    def placed(self, agent: str = "a1", **fields: Any) -> Placement:
        """Decide a placement on what is committed, and commit it."""
        placement = a_placement(**({"agent": agent, "revision": self.revision, "decided_ms": self.now_ms} | fields))
        self.place(placement)
        return placement

    def report(self, placement: Placement, state: TaskState = TaskState.RUNNING, **fields: Any) -> Task:
        """Have an agent's report of a task written."""
        task = a_task(placement, state=state, **({"since_ms": self.now_ms} | fields))
        self.commit({f"actual/{placement.agent}/{placement.task}": task})
        return task

    def forget(self, placement: Placement) -> None:
        """Have the report of a task deleted."""
        self.commit({f"actual/{placement.agent}/{placement.task}": None})

    def revoke(self, placement: Placement) -> Placement:
        """Revoke an exclusive placement."""
        revoked = replace(placement, is_revoked=True)
        self.place(revoked)
        return revoked

    # Agents.

    def boot(self, agent: str, uid: str | None = None) -> None:
        """Have an agent serve."""
        self.say(Booted(t=0, node=agent, uid=f"uid-{agent}" if uid is None else uid))

    def adopt(self, agent: str, token: Pair, instance: str) -> None:
        """Have an agent take a token."""
        self.say(Adopted(t=0, node=agent, token=token, instance=instance))

    def send(self, agent: str, token: Pair, *commands: tuple[str, str], by: str = "i1") -> None:
        """Have an instance send commands."""
        self.say(Sent(t=0, node=by, agent=agent, token=token, commands=commands))

    def apply(
        self, agent: str, token: Pair, instance: str, command: str, task: str, *, ok: bool = True, denied: bool = False
    ) -> None:
        """Have an agent carry out a command."""
        self.say(
            Applied(
                t=0,
                node=agent,
                token=token,
                instance=instance,
                command=command,
                task=task,
                is_ok=ok,
                is_denied=denied,
            )
        )

    def start(self, agent: str, task: str, run: str = "") -> str:
        """Have a process of a task come to be; return which."""
        run = run or f"r{len(self.events)}"
        self.say(Started(t=0, node=agent, task=task, run=run))
        return run

    def exit(self, agent: str, task: str, run: str) -> None:
        """Have it end."""
        self.say(Exited(t=0, node=agent, task=task, run=run))

    # Clients.

    def invoke(self, verb: str, job: str = "default/web", *, session: str = "", **args: Any) -> str:
        """Have a client ask for something; return the operation."""
        self._ops += 1
        op = f"o{self._ops}"
        self.say(Invoked(t=0, node="c1", op=op, verb=verb, job=job, args=args, session=session))
        return op

    def answer(self, op: str, outcome: str = "done", revision: int = 0, **fields: Any) -> None:
        """Have it answered."""
        self.say(Answered(t=0, node="c1", op=op, outcome=outcome, revision=revision, **fields))

    def watch(self, what: str, revision: int = 0, *keys: str, stream: str = "w1") -> None:
        """Have a watcher told something."""
        self.say(Watched(t=0, node="c1", stream=stream, what=what, revision=revision, keys=keys))

    # The run.

    def fault(self, what: str, target: str = "") -> None:
        """Break something."""
        self.say(Fault(t=0, node="nemesis", what=what, target=target))

    def heal(self, what: str, target: str = "") -> None:
        """Mend it."""
        self.say(Healed(t=0, node="nemesis", what=what, target=target))

    def calm(self, *core: str, whole: bool = True) -> None:
        """Have nothing more broken."""
        self.say(Calm(t=0, node="nemesis", core=core, is_whole=whole))

    def settle(self) -> None:
        """Say that all is to be as desired now."""
        self.say(Settled(t=0, node="nemesis"))

    def finish(self) -> None:
        """End the history."""
        self.say(Ended(t=0, node="nemesis"))
        self.end()


def key_of(placement: Placement) -> str:
    """Return the key of a placement's record."""
    return f"placements/{placement.agent}/{placement.task}"


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, dict) else orjson.loads(codec.dump(value))


def a_house(terms: Terms | None = None, *checks: type[Check]) -> Told:
    """A history in which two agents are there, and one instance schedules."""
    told = Told(terms, *checks)
    told.commit({"meta/cluster": {"cluster": "c1", "incarnation": 1}})
    told.live("i1")
    told.agent("a1")
    told.agent("a2")
    told.hold("scheduler", "i1")
    return told

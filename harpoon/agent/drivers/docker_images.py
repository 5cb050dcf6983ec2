"""Fetching images: one pull of an image at a time however many wait for it, told as it goes, tried for a while."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from harpoon.agent.drivers.docker_credentials import credentials_for, full_name
from harpoon.agent.drivers.docker_engine import Engine, Refused
from harpoon.agent.drivers.docker_rules import DockerRules
from harpoon.kit.clock import Random
from harpoon.kit.errors import Invalid, Unavailable

#: Pulls under way; an engine fetches three layers of each at a time.
_PULLS_MAX: Final = 3
#: Tries of one pull where trying again may help, and the longest wait between two.
_TRIES: Final = 5
_WAIT_FIRST_S: Final = 1.0
_WAIT_MAX_S: Final = 30.0
#: Progress is told so often, and then ever more seldom: what is told is stored.
_TELL_FIRST_S: Final = 1.0
_TELL_MAX_S: Final = 15.0
#: Words of a registry that will say the same again.
_FINAL: Final = ("not found", "manifest unknown", "denied", "unauthorized", "invalid reference", "no matching manifest")
_MB: Final = 1_000_000

Say = Callable[[str], None]


class PullFailed(Exception):
    """An image could not be had; the message says which, and why."""


class _Pull:
    """One image that is being fetched."""

    def __init__(self) -> None:
        self.listeners: list[Say] = []
        self.words = ""
        #: Why it could not be had; None: it can, or it is not over.
        self.failure: PullFailed | Invalid | Unavailable | None = None

    def say(self, words: str) -> None:
        self.words = words
        for say in list(self.listeners):
            say(words)


class Images:
    """Fetches the images of one engine."""

    def __init__(self, rules: DockerRules, rng: Random) -> None:
        self._rules = rules
        self._rng = rng
        self._places = asyncio.Semaphore(_PULLS_MAX)
        self._pulls: dict[str, tuple[_Pull, asyncio.Task[None]]] = {}

    async def fetch(self, engine: Engine, image: str, say: Say, group: asyncio.TaskGroup) -> None:
        """Fetch an image; whoever else asks for it meanwhile waits for the same pull.

        Raises:
            PullFailed: It could not be had.
            Invalid: What its registry wants to see cannot be found out.
            Unavailable: The engine stopped answering.
        """
        if image not in self._pulls:
            pull = _Pull()
            self._pulls[image] = (pull, group.create_task(self._keep(engine, image, pull), name=f"pull-{image}"))
        pull, task = self._pulls[image]
        pull.listeners.append(say)
        try:
            if pull.words:
                say(pull.words)
            # One who no longer waits must not end it for the others.
            await asyncio.wait((task,))
        finally:
            pull.listeners.remove(say)
            if not pull.listeners and not task.done():
                self._pulls.pop(image, None)
                task.cancel()
        if pull.failure is not None:
            raise pull.failure

    async def _keep(self, engine: Engine, image: str, pull: _Pull) -> None:
        """Pull, and keep how it failed for all who wait."""
        try:
            pull.say(f"waits to pull {image}")
            async with self._places:
                await self._try(engine, image, pull)
        except (PullFailed, Invalid, Unavailable) as error:
            pull.failure = error
        finally:
            self._pulls.pop(image, None)

    async def _try(self, engine: Engine, image: str, pull: _Pull) -> None:
        wait = _WAIT_FIRST_S
        for left in reversed(range(_TRIES)):
            try:
                await self._pull(engine, image, pull)
            except Refused as error:
                reason = f"pulling {image}: {error}"
                if not left or any(word in str(error).lower() for word in _FINAL):
                    raise PullFailed(reason) from error
                pull.say(f"{reason}; tries again")
            else:
                return
            await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
            wait = min(_WAIT_MAX_S, wait * 2)

    async def _pull(self, engine: Engine, image: str, pull: _Pull) -> None:
        pull.say(f"pulling {image}")
        auth = await credentials_for(image, self._rules.config)
        progress, due, pause = Progress(), asyncio.get_running_loop().time(), _TELL_FIRST_S
        name = image if auth is None else full_name(image)
        async with contextlib.aclosing(engine.pull(name, auth)) as told:
            async for one in told:
                progress.hear(one)
                now = asyncio.get_running_loop().time()
                if now >= due and progress.words:
                    pull.say(f"pulling {image}: {progress.words}")
                    due, pause = now + pause, min(_TELL_MAX_S, pause * 1.5)


class Progress:
    """How far a pull is, of what the engine tells layer by layer."""

    def __init__(self) -> None:
        #: Layer → bytes that are there, and in all.
        self._layers: dict[str, tuple[int, int]] = {}

    def hear(self, told: Mapping[str, Any]) -> None:
        """Take in one thing that the engine tells."""
        layer, status, detail = str(told.get("id", "")), told.get("status"), told.get("progressDetail") or {}
        known = self._layers.get(layer)
        if status == "Downloading" and isinstance(detail, Mapping) and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif known is not None and status in ("Download complete", "Pull complete", "Extracting"):
            self._layers[layer] = (known[1], known[1])

    @property
    def words(self) -> str:
        """What there is to tell; nothing until a size is known."""
        done = sum(current for current, _ in self._layers.values())
        size = sum(total for _, total in self._layers.values())
        return f"{done // _MB} of {-(-size // _MB)} MB" if size else ""

"""What is called over HTTP under simulation: somebody elsewhere who answers soon, late, with errors, or never."""

import asyncio
import random
from typing import Final

from harpoon.client.outward import Answer, NotReached, Request
from harpoon.kit.errors import NotFound
from harpoon.model.sensitive import Sensitive

#: Longer than any attempt may take.
_NEVER_S: Final = 3600.0
#: Status of an answer, or what there is instead, and how likely it is.
_ANSWERS: Final = {200: 12, 503: 3, 404: 1, "nothing": 2, "never": 2}


class Elsewhere:
    """Whoever is called; the same seed has the same answers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def call(self, request: Request, most: int) -> Answer:
        """Answer some time."""
        told = self._rng.choices(list(_ANSWERS), list(_ANSWERS.values()))[0]
        await asyncio.sleep(_NEVER_S if told == "never" else self._rng.choice((0.0, 0.05, 1.0, 5.0)))
        if not isinstance(told, int):
            raise NotReached("elsewhere.example:80 took no connection")
        return Answer(told, (("content-type", "application/json"),), b'{"ok": true}'[:most], url=request.url)


def no_secrets(namespace: str, reference: str) -> Sensitive:
    """There are none."""
    raise NotFound(f"there is no secret {reference} in namespace {namespace}")

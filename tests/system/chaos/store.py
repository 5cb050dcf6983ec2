"""The history of the store: each revision that touches the registry or a run, whole, in order, by watches of our own."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from harpoon.control.ledger_records import LOG, is_cut, whole
from harpoon.kit.clock import SystemClock
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Change, Compacted, Rewound, SlowWatcher, StoreUnavailable
from harpoon.store.url import EtcdUrl
from tests.proof.history import Committed
from tests.system.chaos.recorder import Recorder

#: The registry, and the logs of runs.
ROOT = "/h/1/"
NODE = "store"


class Follower:
    """Notes what is committed, from the first revision on, as soon as any member tells it.

    There is a watch of each member alone, and each tells everything in order: so whoever is ahead has told all before.
    What the others tell later is compared with it.
    """

    def __init__(self, endpoints: Sequence[str], recorder: Recorder) -> None:
        self._urls = [EtcdUrl(endpoints=(one,)) for one in endpoints]
        self._recorder = recorder
        #: All up to this revision is noted.
        self.revision = 1
        self._told: dict[int, int] = {}
        #: Parts of records of runs that were too large for one commit: stem of their log → name → part.
        self._parts: dict[str, dict[str, bytes]] = {}
        #: Why a watch was begun anew, each time.
        self.resumed: list[str] = []

    async def run(self) -> None:
        """Follow for ever.

        Raises:
            Compacted: What is missing is gone: the history has a hole, and nothing can be judged by it.
        """
        async with asyncio.TaskGroup() as group:
            for url in self._urls:
                group.create_task(self._follow(url))

    async def _follow(self, url: EtcdUrl) -> None:
        while True:
            try:
                await self._follow_once(url)
            except Compacted as error:
                if error.oldest > self.revision:
                    raise
            except (Rewound, SlowWatcher) as error:
                self.resumed.append(f"{url}: {type(error).__name__}: {error}")
            except StoreUnavailable:
                pass
            await asyncio.sleep(0.2)

    async def _follow_once(self, url: EtcdUrl) -> None:
        store = await EtcdStore.open(url, clock=SystemClock())
        try:
            last = self.revision
            async with aclosing(store.watch(ROOT, after=last)) as revisions:
                async for revision, changes in revisions:
                    if changes:
                        assert revision > last, f"{url} told {revision} after {last}"
                        self._take(url, revision, changes)
                    last = max(last, revision)
                    self.revision = max(self.revision, last)
        finally:
            await store.close()

    def _take(self, url: EtcdUrl, revision: int, changes: tuple[Change, ...]) -> None:
        told = {one.key: None if one.entry is None else self._read(one.key, one.entry.value) for one in changes}
        known = hash(json.dumps(told, sort_keys=True))
        if self._told.setdefault(revision, known) != known:
            self._recorder.complain(f"{url} tells revision {revision} otherwise than another member")
        if revision > self.revision:
            self._recorder.note(Committed(t=self._recorder.now(), node=NODE, revision=revision, changes=told))

    def _read(self, key: str, value: bytes) -> Any:
        """Return a record: of one that was cut all of it, of a part of one its size."""
        stem, _, name = key.rpartition("/")
        if key.startswith(LOG) and "." in name:
            self._parts.setdefault(stem, {})[name] = value
            return {"part": len(value)}
        return json.loads(whole(value, self._parts[stem]) if is_cut(value) else value)

"""The history of the store: each revision that touches the registry, whole, in order, by a watch of our own."""

import asyncio
import json
from contextlib import aclosing

from harpoon.kit.clock import SystemClock
from harpoon.store.etcd.store import EtcdStore
from harpoon.store.port import Rewound, SlowWatcher, StoreUnavailable
from harpoon.store.url import EtcdUrl
from tests.proof.history import Committed
from tests.system.chaos.recorder import Recorder

ROOT = "/h/1/ctl/"
NODE = "store"


class Follower:
    """Notes what is committed, from the first revision on."""

    def __init__(self, url: EtcdUrl, recorder: Recorder) -> None:
        self._url = url
        self._recorder = recorder
        #: All up to this revision is noted.
        self.revision = 1
        #: Why the watch was begun anew, each time.
        self.resumed: list[str] = []

    async def run(self) -> None:
        """Follow for ever.

        Raises:
            Compacted: What is missing is gone: the history has a hole, and nothing can be judged by it.
        """
        while True:
            try:
                await self._follow()
            except (Rewound, SlowWatcher, StoreUnavailable) as error:
                self.resumed.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.2)

    async def _follow(self) -> None:
        store = await EtcdStore.open(self._url, clock=SystemClock())
        try:
            async with aclosing(store.watch(ROOT, after=self.revision)) as revisions:
                async for revision, changes in revisions:
                    assert revision > self.revision or not changes, f"{revision} was told after {self.revision}"
                    if changes:
                        told = {one.key: None if one.entry is None else json.loads(one.entry.value) for one in changes}
                        self._recorder.note(
                            Committed(t=self._recorder.now(), node=NODE, revision=revision, changes=told)
                        )
                    self.revision = max(self.revision, revision)
        finally:
            await store.close()

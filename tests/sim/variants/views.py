"""Mistakes in what an instance believes the store to hold, and tells others of it."""

from typing import Final

from harpoon.store.mirror import Mirror
from harpoon.store.recent import Recent
from tests.sim.variants.variant import CONVERGES, Edit, Variant

_LOST_WORDS: Final = frozenset({"S3", "S4", "S11", "S15", "S17", "S18", *CONVERGES})

VIEWS: Final = (
    Variant(
        name="failed_list_is_the_end",
        says="A list that breaks off is taken for one that has ended: what it did not come to is gone.",
        kills=frozenset({"S11", "S18", "S15", *CONVERGES}),
        edits=(
            Edit(
                Mirror._pages,
                "async for page in self._store.list(prefix):\n        if page.revision < known:\n"
                "            raise RolledBack(known, page.revision)\n        yield page",
                "try:\n        async for page in self._store.list(prefix):\n            yield page\n"
                "    except StoreUnavailable:\n        return",
            ),
        ),
    ),
    Variant(
        name="ghosts_kept",
        says="When all is listed anew, what is not there any more is kept.",
        kills=_LOST_WORDS,
        edits=(Edit(Mirror._list, "if table.prefix + key not in present:", "if False:"),),
    ),
    Variant(
        name="resumed_behind_a_gap",
        says="A view whose history was compacted goes on where history begins now.",
        kills=_LOST_WORDS,
        edits=(
            Edit(
                Mirror.run,
                "is_in_step = False\n",
                "is_in_step, self.revision = True, max(self.revision, getattr(error, 'oldest', 0))\n"
                "            await asyncio.sleep(_RETRY_S)\n",
            ),
        ),
    ),
    Variant(
        name="never_verified",
        says="A view is never compared with the store.",
        kills=CONVERGES | {"S15"},
        edits=(Edit(Mirror.verify, "for table in self._tables.values():", "for table in ():"),),
    ),
    Variant(
        name="mended_as_one_revision",
        says="What a view has come to by being mended is told as if one revision had brought it.",
        kills=frozenset({"S11"}),
        edits=(Edit(Mirror._mend, "hear(told)", "pass"),),
    ),
    Variant(
        name="resumed_one_late",
        says="Who goes on after a revision misses the next one.",
        kills=frozenset({"S11"}),
        edits=(Edit(Recent.since, "if revision <= after:", "if revision <= after + 1:"),),
    ),
    Variant(
        name="resumed_before_what_is_kept",
        says="Who goes on after a revision that is not kept any more is told what is kept, as if it were all.",
        kills=frozenset({"S11"}),
        edits=(Edit(Recent.since, "if after < self.oldest:", "if False:"),),
    ),
    Variant(
        name="told_out_of_order",
        says="Who goes on after a revision is told what he missed from the newest back.",
        kills=frozenset({"S11"}),
        edits=(Edit(Recent.since, "return newest_first[::-1]", "return newest_first"),),
    ),
    Variant(
        name="read_from_the_past",
        says="What a session has seen already is not waited for.",
        kills=frozenset({"S12", "S5"}),
        edits=(Edit(Mirror.shows, "if revision <= self.revision:", "if True:"),),
    ),
)

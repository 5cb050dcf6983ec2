"""A reader that does not read: it is cut off with a word, misses nothing silently, and is nobody else's trouble."""

import asyncio

from tests.conformance.events import NDJSON, Violation
from tests.conformance.following import follow
from tests.conformance.judge import changes_of, judge_order, judge_tail
from tests.conformance.promises import opened, reaches
from tests.conformance.stir import Stir
from tests.conformance.wire import Address

#: A value of the environment is at most 128 KiB, and a job 511 KiB.
_ENV = {f"PAD_{number}": "x" * 120_000 for number in range(4)}
#: What is told in all must overflow the server's queue (4 MiB) and what the system buffers for a socket (some MiB).
_WRITES = 32
_BUFFER = 4096


#: The last word waits so long to be read, and is dropped then, with the connection.
_FAREWELL_S = 5.0
_ATTEMPTS = 4


async def a_slow_reader_is_cut_off_with_a_word(address: Address, stir: Stir, encoding: str = NDJSON) -> None:
    """While it stands still another one is told everything; then it is told a part, why it ends, and later the rest."""
    for _ in range(_ATTEMPTS):
        # Where writing takes longer than the word waits, it may come too late for it, and is torn off instead.
        if await _is_told_why(address, stir, encoding):
            return
    raise Violation("a slow reader is torn off, and never told why")


async def _is_told_why(address: Address, stir: Stir, encoding: str) -> bool:
    query = f"namespace={stir.namespace}&kinds=jobs&name=heavy"
    begin = await stir.put("heavy")
    clock = asyncio.get_running_loop().time
    begun = clock()
    async with (
        opened(address.watch(query, encoding, after=begin, buffer=_BUFFER)) as slow,
        opened(address.watch(query, encoding, after=begin)) as quick,
    ):
        writing = asyncio.ensure_future(_write(stir))
        told = []
        try:
            for _ in range(_WRITES):
                # At its own pace: one that stands still beside it must not hold it up.
                told += await quick.until(lambda event: event.type == "change", within_s=5)
        finally:
            until = (await writing)[-1]
        is_late = clock() - begun >= _FAREWELL_S
        late, is_whole = await slow.rest()
    judge_order(told, resumed_after=begin)
    is_told = bool(late) and late[-1].type == "error" and late[-1].body.get("code") == "slow_reader"
    if not (is_told and is_whole) and (is_whole or not is_late):
        raise Violation(f"a slow reader is told {late[-1:]} in the end, and its answer is whole: {is_whole}")
    read = late[:-1] if is_told else late
    cursor = changes_of(read)[-1].revision if changes_of(read) else begin
    judge_order(read, resumed_after=begin)
    judge_tail(told, read, begin, cursor)
    rest = await follow(address, query, encoding, reaches(until), after=cursor)
    judge_tail(told, rest.events, cursor, until)
    return is_told


async def _write(stir: Stir) -> list[str]:
    return [await stir.put("heavy", env=_ENV) for _ in range(_WRITES)]

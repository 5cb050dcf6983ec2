"""The loop of the simulation: virtual time, nodes that stand still, die, and go by wrong clocks."""

import asyncio

import pytest

from tests.sim.loop import NODE, Node, SimClock, SimLoop
from tests.sim.lost import Lost
from tests.sim.network import Network


def run(main):
    loop = SimLoop()
    try:
        return loop.run_until_complete(main(loop)), loop
    finally:
        loop._ready.clear()
        loop.close()


def test_a_day_takes_no_time_and_ends_when_it_should():
    async def main(loop):
        await asyncio.sleep(86_400)
        return SimClock().now().elapsed.total_seconds()

    assert run(main)[0] == 86_400


def test_a_paused_node_does_what_is_overdue_when_it_goes_on():
    async def main(loop):
        heard, node = [], Node("a")

        async def tick():
            for _ in range(5):
                await asyncio.sleep(1)
                heard.append(loop.now)

        loop.start(node, tick())
        await asyncio.sleep(1.5)
        loop.pause(node)
        await asyncio.sleep(8)
        before = list(heard)
        loop.resume(node)
        await asyncio.sleep(5)
        return before, heard

    (before, heard), _ = run(main)
    assert before == [1]
    assert heard == [1, 9.5, 10.5, 11.5, 12.5]


def test_a_dead_node_does_not_even_clean_up():
    async def main(loop):
        cleaned, node = [], Node("a")

        async def work():
            try:
                await asyncio.sleep(1)
            finally:
                cleaned.append(1)

        kept = loop.start(node, work())
        await asyncio.sleep(0.5)
        loop.kill(node)
        await asyncio.sleep(5)
        assert not kept.done()
        kept._log_destroy_pending = False
        return list(cleaned)

    assert run(main)[0] == []


def test_a_node_waits_by_its_own_clock():
    async def main(loop):
        node = Node("a")

        async def wait():
            assert NODE.get() is node
            await asyncio.sleep(10)
            return loop.now, SimClock().now().elapsed.total_seconds()

        node.run_at(1.25, loop.now)
        return await loop.start(node, wait())

    (true, shown), _ = run(main)
    assert (round(true, 6), round(shown, 6)) == (8, 10)


def test_an_answer_that_does_not_get_through_is_not_known_to_have_been_sent():
    async def main(loop):
        net, done = Network(loop, 1), []
        here, there = Node("here"), Node("there")
        net.join(here)
        net.join(there)

        async def work():
            done.append(NODE.get().name)
            return 42

        async def ask():
            first = await net.call("there", work)
            net.cut("there", "here")
            with pytest.raises(Lost) as lost:
                await net.call("there", work, within_s=3)
            net.leave(there)
            net.heal("there", "here")
            with pytest.raises(Lost) as refused:
                await net.call("there", work, within_s=3)
            return first, lost.value.is_sent, refused.value.is_sent

        return (await loop.start(here, ask())), done

    (told, done), loop = run(main)
    assert told == (42, True, False)
    assert done == ["there", "there"]
    assert loop.failures == []


def test_a_stream_is_in_order_and_ends_with_its_node():
    async def main(loop):
        net = Network(loop, 1)
        here, there = Node("here"), Node("there")
        net.join(here)
        net.join(there)

        async def count():
            for number in range(1000):
                yield number
                await asyncio.sleep(0.001)

        async def follow():
            heard = []
            try:
                async for number in net.stream("there", count, connect_s=1, silence_s=2):
                    heard.append(number)
                    if number == 300:
                        net.leave(there)
                        loop.kill(there)
            except Lost as lost:
                return heard, str(lost)

        return await loop.start(here, follow())

    (heard, reason), _ = run(main)
    assert heard == list(range(len(heard))) and len(heard) > 300
    assert "reset" in reason

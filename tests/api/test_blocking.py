"""Reads that wait: for a revision, or for one object to change."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from harpoon.api.limits import Limits
from harpoon.api.stay import STAYS
from harpoon.model.agent import LinkState
from harpoon.model.decision import Pending
from harpoon.store.memory import MemoryStore
from tests.api.rig import PATIENCE_S, Answer, Rig, a_rig
from tests.api.telling import as_problem
from tests.builders import T0, a_cordon, a_job, a_link, a_placement, a_task, an_agent

WEB = "/v1/namespaces/default/jobs/web"
PLACED = a_placement()
TASK = f"/v1/namespaces/default/tasks/{PLACED.task}"
OBJECTS = [WEB, f"{WEB}/status", TASK, "/v1/agents/a1"]

Touch = Callable[[Rig], Awaitable[object]]


async def fill(rig: Rig) -> str:
    """Write one of each, and return the revision."""
    revision = await rig.write(a_job(), PLACED, a_task(PLACED), an_agent(), a_link())
    return rig.view.external(revision)


async def waits(rig: Rig, path: str) -> asyncio.Task[Answer]:
    """Ask, and return once the answer is being waited for."""
    asked = asyncio.ensure_future(rig.get(path))
    registry = rig.doors.registry
    async with asyncio.timeout(PATIENCE_S):
        while not registry.waiters._waiters and not asked.done():
            await asyncio.sleep(0.001)
    return asked


TOUCHES: list[tuple[str, Touch]] = [
    (WEB, lambda rig: rig.write(a_job(scale=3))),
    (WEB, lambda rig: rig.write(a_task(PLACED, ready=False))),
    (f"{WEB}/status", lambda rig: rig.write(a_placement(slot=1))),
    (TASK, lambda rig: rig.write(a_task(PLACED, ready=False))),
    (TASK, lambda rig: rig.write(a_placement(reason="other"))),
    ("/v1/agents/a1", lambda rig: rig.write(a_link(state=LinkState.LOST))),
    ("/v1/agents/a1", lambda rig: rig.write(a_placement(slot=1))),
    ("/v1/agents/a1", lambda rig: rig.write(a_cordon())),
]


@pytest.mark.parametrize(("path", "touch"), TOUCHES)
async def test_a_read_that_waits_is_answered_as_soon_as_its_object_changes(path: str, touch: Touch) -> None:
    async with a_rig() as rig:
        revision = await fill(rig)
        asked = await waits(rig, f"{path}?wait=5m&after={revision}")
        before = rig.view.revision
        await touch(rig)
        answer = await asked
        assert answer.status == 200
        assert answer.headers["Harpoon-Revision"] == rig.view.external(rig.view.revision)
        assert rig.view.revision > before


@pytest.mark.parametrize("path", OBJECTS)
async def test_changes_of_others_do_not_end_the_wait(path: str) -> None:
    async with a_rig() as rig:
        await fill(rig)
        asked = await waits(rig, f"{path}?wait=5m")
        other = a_placement(job="other", agent="a2")
        await rig.write(a_job(name="other"), other, a_task(other), an_agent("a2"), a_link("a2"))
        if path == TASK:
            await rig.write(a_job(scale=9), a_placement(slot=1))
        await rig.get("/v1/health")
        assert not asked.done()
        await rig.write(a_job(scale=5), a_task(PLACED, ready=False))
        assert (await asked).status == 200


@pytest.mark.parametrize("path", OBJECTS)
async def test_what_has_changed_already_is_answered_at_once(path: str) -> None:
    async with a_rig() as rig:
        revision = await fill(rig)
        await rig.write(a_job(scale=3), a_task(PLACED, ready=False))
        await rig.write(a_job(name="later"))
        assert (await rig.get(f"{path}?wait=5m&after={revision}")).status == 200
        # As is what lies so far back that nobody knows any more.
        rig.view.mirror.recent.reset(rig.view.revision)
        assert (await rig.get(f"{path}?wait=5m&after={revision}")).status == 200


@pytest.mark.parametrize("path", OBJECTS)
async def test_when_the_wait_is_over_the_object_is_shown_as_it_is(path: str) -> None:
    async with a_rig() as rig:
        revision = await fill(rig)
        answer = await rig.get(f"{path}?wait=20ms&after={revision}")
        plain = await rig.get(path)
        assert (answer.status, answer.body) == (200, plain.body)


async def test_a_slot_without_a_task_can_be_waited_for() -> None:
    async with a_rig() as rig:
        pending = Pending(namespace="default", job="web", generation="g1", slots=(0,), reason="no room", since_ms=T0)
        await rig.write(a_job(), pending)
        asked = await waits(rig, "/v1/namespaces/default/tasks/default.web.0?wait=5m")
        await rig.write(PLACED, gone=[pending])
        assert (await asked).status == 404


async def test_what_is_gone_after_the_wait_is_not_found_and_what_never_was_is_not_waited_for() -> None:
    async with a_rig() as rig:
        await fill(rig)
        job, agent = await waits(rig, f"{WEB}?wait=5m"), await waits(rig, "/v1/agents/a1?wait=5m")
        await rig.write(a_job(name="other"), gone=[a_job(), an_agent()])
        assert ((await job).status, (await agent).status) == (404, 404)
        for path in (WEB, "/v1/agents/a1"):
            assert (await rig.get(f"{path}?wait=5m")).status == 404


async def test_a_change_can_be_waited_for_step_by_step() -> None:
    async with a_rig() as rig:
        change = (await rig.put(scale=1)).json["change"]
        asked = await waits(rig, f"/v1/changes/{change}?wait=5m&after={rig.view.external(rig.view.revision)}")
        await rig.write(a_placement(generation="other"))
        answer = await asked
        assert (answer.status, answer.json["is_done"]) == (200, False)
        assert "is placed on a1" in answer.json["waiting"][0]


async def test_waits_end_when_the_instance_drains() -> None:
    async with a_rig() as rig:
        await fill(rig)
        asked = await waits(rig, f"{WEB}?wait=5m")
        rig.doors.drain.set()
        assert (await asked).status == 200


@pytest.mark.parametrize(
    "query", ["wait=6m", "wait=x", "after=1.1", "wait=1s&after=x", "wait=1s&after=", "wait=1s&wait=1s"]
)
async def test_a_wait_that_is_none_is_refused(query: str) -> None:
    async with a_rig() as rig:
        await fill(rig)
        for path in OBJECTS:
            as_problem(await rig.get(f"{path}?{query}"), 400, "invalid")


async def test_a_revision_of_another_incarnation_is_gone() -> None:
    async with a_rig() as rig:
        await fill(rig)
        for query in ("wait=1s&after=2.1", "min_revision=2.1"):
            assert "oldest" in as_problem(await rig.get(f"{WEB}?{query}"), 410, "gone")


async def test_head_does_not_wait() -> None:
    async with a_rig() as rig:
        await fill(rig)
        assert (await rig.ask("HEAD", f"{WEB}?wait=5m")).status == 200


async def test_too_many_waits_are_refused() -> None:
    async with a_rig(limits=Limits(stays=1)) as rig:
        await fill(rig)
        asked = await waits(rig, f"{WEB}?wait=5m")
        as_problem(await rig.get(f"{WEB}?wait=1s"), 503, "unavailable")
        await rig.write(a_job(scale=2))
        assert (await asked).status == 200
        assert STAYS


class LateStore(MemoryStore):
    """Tells watchers of what is committed only once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_tell = asyncio.Event()
        self.may_tell.set()

    async def watch(self, prefix: str, *, after: int):
        async for told in super().watch(prefix, after=after):
            await self.may_tell.wait()
            yield told


READS = ["/v1/jobs", WEB, "/v1/tasks", "/v1/agents", "/v1/status", "/v1/health", "/v1/waiting"]


async def test_a_read_waits_until_the_view_has_the_revision_it_asks_for() -> None:
    store = LateStore()
    async with a_rig(store=store) as rig:
        await fill(rig)
        store.may_tell.clear()
        from harpoon.control.view import JOBS
        from harpoon.kit import codec
        from harpoon.store.port import Put

        revision = await store.commit((), [Put(f"{JOBS}default/web", codec.dump(a_job(scale=4)))])
        assert revision is not None
        wanted = rig.view.external(revision)
        asked = [asyncio.ensure_future(rig.get(f"{path}?min_revision={wanted}")) for path in READS]
        assert (await rig.get(WEB)).json["spec"]["scale"] == 1
        assert not any(one.done() for one in asked)
        store.may_tell.set()
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {200}
        assert answers[1].json["spec"]["scale"] == 4


async def test_a_view_that_does_not_catch_up_in_time_says_so() -> None:
    store = LateStore()
    async with a_rig(store=store, limits=Limits(catch_up_s=0.02)) as rig:
        await fill(rig)
        store.may_tell.clear()
        from harpoon.store.port import Put

        revision = await store.commit((), [Put("/h/1/ctl/other/x", b"{}")])
        answer = await rig.get(f"{WEB}?min_revision=1.{revision}")
        as_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
        store.may_tell.set()


async def test_a_revision_that_the_store_itself_does_not_have_is_not_waited_for() -> None:
    async with a_rig() as rig:
        await fill(rig)
        as_problem(await rig.get(f"{WEB}?min_revision=1.999999"), 503, "unavailable")


@pytest.mark.parametrize("query", ["min_revision=x", "min_revision=", "min_revision=1.1&min_revision=1.1"])
async def test_a_minimum_revision_that_is_none_is_refused(query: str) -> None:
    async with a_rig() as rig:
        told = as_problem(await rig.get(f"/v1/jobs?{query}"), 400, "invalid")
        assert told["errors"][0]["pointer"] == "?min_revision"
        as_problem(await rig.ask("DELETE", f"{WEB}?min_revision=1.0"), 400, "invalid")

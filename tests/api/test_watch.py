"""The watch door: everything once, in order, whole revisions, from wherever one was."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from harpoon.api.limits import Limits
from harpoon.model.agent import LinkState
from harpoon.store.memory import MemoryStore
from tests.api.rig import Record, Rig, a_rig, key_of
from tests.builders import T0, a_cordon, a_job, a_link, a_placement, a_task, an_agent

NDJSON, SSE = "application/x-ndjson", "text/event-stream"
Event = dict[str, Any]


def state_after(state: dict[tuple[str, str], Any], event: Event) -> dict[tuple[str, str], Any]:
    """What a client knows after an event."""
    if event["type"] == "snapshot":
        return {(item["kind"], item["key"]): item["object"] for item in event["items"]}
    known = dict(state)
    for change in event.get("changes", ()):
        if change["type"] == "put":
            known[change["kind"], change["key"]] = change["object"]
        else:
            del known[change["kind"], change["key"]]
    return known


async def a_history(rig: Rig, revisions: int, *, seed: int) -> None:
    """Write so many revisions of one to five records each, of every kind, some of them deletions."""
    rng = random.Random(seed)
    there: dict[str, Record] = {}
    for number in range(revisions):
        agent = f"a{rng.randrange(3)}"
        placement = a_placement(job=f"job-{rng.randrange(3)}", slot=rng.randrange(4), agent=agent)
        choices: list[Record] = [
            a_job(name=f"job-{rng.randrange(3)}", version=number + 1),
            placement,
            replace(a_task(placement), since_ms=number),
            an_agent(agent, cpu=1000 + number),
            a_link(agent, rng.choice(list(LinkState)), since_ms=number),
            a_cordon(agent, is_draining=rng.random() < 0.5, since_ms=number),
        ]
        puts = {key_of(record): record for record in rng.sample(choices, rng.randint(1, 5))}
        gone = {}
        if there and rng.random() < 0.4:
            key = rng.choice(sorted(there))
            if key not in puts:
                gone[key] = there.pop(key)
        there |= puts
        await rig.write(*puts.values(), gone=list(gone.values()))


async def test_a_watch_begins_with_all_there_is_and_goes_on_with_what_changes() -> None:
    async with a_rig() as rig:
        placement = a_placement()
        await rig.write(a_job(), an_agent(), a_link(), placement, a_task(placement))
        async with rig.watch() as reader:
            snapshot, synced = await reader.until_type("synced")
            assert snapshot["revision"] == synced["revision"] == "1.1"
            shown = {item["kind"]: item for item in snapshot["items"]}
            assert {kind: item["key"] for kind, item in shown.items()} == {
                "job": "default/web",
                "placement": f"a1/{placement.task}",
                "task": f"a1/{placement.task}",
                "agent": "a1",
            }
            assert shown["job"]["object"]["metadata"]["revision"] == "1.1"
            assert "status" not in shown["job"]["object"]
            assert shown["task"]["object"]["job"] == "web"
            assert shown["agent"]["object"]["link"]["state"] == "connected"
            await rig.write(a_job(scale=7), gone=[a_task(placement)])
            [change] = await reader.changes(1)
            assert change["revision"] == "1.2"
            job, task = change["changes"]
            assert (job["kind"], job["type"], job["object"]["spec"]["scale"]) == ("job", "put", 7)
            assert task == {"kind": "task", "key": f"a1/{placement.task}", "type": "delete"}


async def test_both_encodings_tell_the_same() -> None:
    async with a_rig() as rig:
        await a_history(rig, 10, seed=1)
        async with rig.watch(accept=NDJSON) as lines, rig.watch(accept=SSE) as events, rig.watch(accept="*/*") as third:
            told = [await reader.until_type("synced") for reader in (lines, events, third)]
            await a_history(rig, 20, seed=2)
            last = rig.view.external(rig.view.revision)
            for one, reader in zip(told, (lines, events, third), strict=True):
                one += await reader.until(lambda event: event["revision"] == last)
            assert told[0] == told[1] == told[2]
            assert (third.is_sse, events.is_sse) == (False, True)
            assert events.response.headers["X-Accel-Buffering"] == "no"
            assert events.response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("accept", [NDJSON, SSE])
@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_watch_resumed_after_any_event_misses_nothing_and_repeats_nothing(
    accept: str, is_forgotten: bool
) -> None:
    async with a_rig() as rig:
        async with rig.watch() as reader:
            log = await reader.until_type("synced")
            await a_history(rig, 40, seed=3)
            last = rig.view.external(rig.view.revision)
            log += await reader.until(lambda event: event["revision"] == last)
        changes = [event for event in log if event["type"] == "change"]
        if is_forgotten:
            # As after a restart: the view keeps nothing, the store does.
            rig.view.mirror.recent.reset(rig.view.revision)
        for place, event in enumerate([log[0], *changes[:-1]]):
            async with rig.watch(f"after={event['revision']}", accept) as reader:
                resumed = await reader.until(lambda one: one["revision"] == last)
            told, wanted = resumed, changes[place:]
            if is_forgotten:
                # Beside a record that changed again since, the other half of an agent or task may already be younger.
                told, wanted = outline(resumed), outline(wanted)
                assert state_of(resumed) == state_of(changes[place:])
            assert told == wanted


def outline(events: list[Event]) -> list[Any]:
    return [
        (event["revision"], [(change["kind"], change["key"], change["type"]) for change in event["changes"]])
        for event in events
    ]


def state_of(events: list[Event]) -> dict[Any, Any]:
    """What a client ends with, of what these events touch."""
    known: dict[Any, Any] = {}
    for event in events:
        for change in event["changes"]:
            known[change["kind"], change["key"]] = change.get("object")
    return known


async def test_last_event_id_wins_over_the_query() -> None:
    async with a_rig() as rig:
        for number in range(4):
            await rig.write(a_job(version=number + 1))
        async with rig.watch("after=1.1", SSE, Last_Event_ID="1.3") as reader:
            assert [event["revision"] for event in await reader.changes(1)] == ["1.4"]


async def test_a_watch_resumed_at_the_present_waits_for_what_comes() -> None:
    async with a_rig() as rig:
        revision = await rig.write(a_job())
        async with rig.watch(f"after=1.{revision}") as reader:
            await rig.write(a_job(version=2))
            assert (await reader.next())["revision"] == "1.2"


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_watchers_who_join_while_others_write_get_each_revision_once(is_forgotten: bool) -> None:
    async with a_rig() as rig:
        total, first = 400, await rig.write(a_job())

        async def write() -> None:
            for number in range(total):
                await rig.write(a_job(version=number + 2))
                if is_forgotten and number % 50 == 25:
                    rig.view.mirror.recent.reset(rig.view.revision)

        async def follow(wait_for: int) -> None:
            await rig.view.mirror.reached(wait_for)
            async with rig.watch(f"after=1.{first}") as reader:
                changes = await reader.changes(total)
            assert [event["revision"] for event in changes] == [f"1.{first + 1 + n}" for n in range(total)]

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for number in range(8):
                group.create_task(follow(first + number * 40))


async def test_a_snapshot_taken_while_others_write_is_of_one_revision_and_joined_without_a_gap() -> None:
    async with a_rig() as rig:
        for start in range(0, 900, 90):
            await rig.write(*(a_job(name=f"job-{number}") for number in range(start, start + 90)))

        async def write() -> None:
            # Every revision writes one version into three jobs: a torn snapshot would show two.
            for number in range(200):
                await rig.write(*(a_job(name=f"job-{which}", version=number + 2) for which in (1, 450, 899)))

        async def follow() -> None:
            async with rig.watch("kinds=jobs") as reader:
                state: dict[tuple[str, str], Any] = {}
                async with asyncio.timeout(20):
                    while state.get(("job", "default/job-1"), {}).get("metadata", {}).get("version") != 201:
                        event = await reader.next()
                        assert event is not None
                        state = state_after(state, event)
                        versions = {
                            state["job", f"default/job-{which}"]["metadata"]["version"] for which in (1, 450, 899)
                        }
                        assert len(versions) == 1

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(3):
                group.create_task(follow())


async def test_following_events_leads_to_what_a_new_snapshot_shows() -> None:
    async with a_rig() as rig:
        async with rig.watch() as reader:
            state: dict[tuple[str, str], Any] = {}
            for event in await reader.until_type("synced"):
                state = state_after(state, event)
            await a_history(rig, 60, seed=4)
            last = rig.view.external(rig.view.revision)
            for event in await reader.until(lambda event: event["revision"] == last):
                state = state_after(state, event)
        async with rig.watch() as reader:
            fresh = state_after({}, (await reader.until_type("synced"))[0])
        assert state == fresh


async def test_after_a_restart_a_watch_goes_on_from_the_store() -> None:
    store = MemoryStore()
    async with a_rig(store=store) as rig, rig.watch("kinds=jobs") as reader:
        await reader.until_type("synced")
        await rig.write(a_job())
        cursor = (await reader.changes(1))[0]["revision"]
        await rig.write(a_job(version=2))
        await rig.write(a_job(version=3))
    async with a_rig(store=store) as rig, rig.watch(f"kinds=jobs&after={cursor}") as reader:
        assert [event["revision"] for event in await reader.changes(2)] == ["1.2", "1.3"]
        await rig.write(a_job(version=4))
        assert [event["revision"] for event in await reader.changes(1)] == ["1.4"]


@pytest.mark.parametrize(("after", "word"), [("2.1", "incarnation 2"), ("1.99", "ahead"), ("1.1", "no longer kept")])
async def test_what_cannot_be_resumed_is_gone_and_says_from_where_it_can(after: str, word: str) -> None:
    async with a_rig() as rig:
        for number in range(4):
            await rig.write(a_job(version=number + 1))
        await rig.store.compact(3)
        rig.view.mirror.recent.reset(4)
        await rig.write(a_job(version=5))
        answer = await rig.get(f"/v1/watch?after={after}")
        assert (answer.status, answer.json["code"]) == (410, "gone")
        assert word in answer.json["detail"]
        oldest = answer.json["oldest"]
        assert oldest == ("1.3" if after == "1.1" else "1.4")
        async with rig.watch(f"after={oldest}") as reader:
            assert (await reader.next())["type"] == "change"


@pytest.mark.parametrize(
    "query", ["after=5", "after=x", "kinds=pods", "kinds=", "kinds=jobs,", "name=A", "namespace=..", "tag=x"]
)
async def test_watches_that_cannot_be_read_are_refused(query: str) -> None:
    async with a_rig() as rig:
        answer = await rig.get(f"/v1/watch?{query}")
        assert answer.status == 400
        assert answer.json["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_selections_tell_only_what_they_select() -> None:
    async with a_rig() as rig:
        queries = [
            "kinds=jobs",
            "kinds=tasks,placements&name=api",
            "namespace=other",
            "kinds=agents&name=a2",
            "name=web&namespace=default",
        ]
        async with (
            rig.watch(queries[0]) as one,
            rig.watch(queries[1]) as two,
            rig.watch(queries[2]) as three,
            rig.watch(queries[3]) as four,
            rig.watch(queries[4]) as five,
        ):
            readers = (one, two, three, four, five)
            for reader in readers:
                await reader.until_type("synced")
            api, web = a_placement(job="api"), a_placement()
            elsewhere = replace(web, namespace="other")
            await rig.write(a_job(), a_job(name="api"), a_job(namespace="other"), api, web, elsewhere)
            await rig.write(a_task(api), a_task(web), an_agent("a1"), an_agent("a2"))
            told = []
            for reader in readers:
                events = await reader.changes(1 if reader in (one, four) else 2)
                told.append([f"{c['kind']} {c['key']}" for event in events for c in event["changes"]])
        assert told == [
            ["job default/web", "job default/api", "job other/web"],
            [f"placement a1/{api.task}", f"task a1/{api.task}"],
            ["job other/web", f"placement a1/{elsewhere.task}", "agent a1", "agent a2"],
            ["agent a2"],
            ["job default/web", f"placement a1/{web.task}", f"task a1/{web.task}"],
        ]


async def test_what_leaves_a_selection_is_deleted_from_it_and_what_enters_is_put() -> None:
    async with a_rig() as rig:
        async with rig.watch("tag=team=shop") as reader:
            await reader.until_type("synced")
            await rig.write(a_job())
            await rig.write(replace(a_job(version=2), tags={"team": "shop", "x": "y"}))
            await rig.write(a_placement())
            await rig.write(replace(a_job(version=3), tags={"team": "other"}))
            await rig.write(a_placement(slot=1))
            await rig.write(an_agent(tags={"team": "shop"}))
            told = [(e["revision"], c["kind"], c["type"]) for e in await reader.changes(4) for c in e["changes"]]
        assert told == [
            ("1.2", "job", "put"),
            ("1.3", "placement", "put"),
            ("1.4", "job", "delete"),
            ("1.4", "placement", "delete"),
            ("1.6", "agent", "put"),
        ]
        rig.view.mirror.recent.reset(rig.view.revision)
        async with rig.watch("tag=team=shop&kinds=jobs&after=1.2") as reader:
            [event] = await reader.changes(1)
            assert (event["revision"], event["changes"][0]["type"]) == ("1.4", "delete"), (
                "told though the store knows no before"
            )


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_the_tasks_of_a_job_enter_and_leave_a_selection_with_its_tags(is_forgotten: bool) -> None:
    async with a_rig() as rig:
        shop, desk = {"team": "shop"}, {"team": "desk"}
        kept, moved = a_placement(), a_placement(slot=1)
        await rig.write(kept, moved, a_task(kept), a_task(moved), replace(a_job(), tags=desk))
        async with (
            rig.watch("tag=team=shop&kinds=tasks") as reader,
            rig.watch("kinds=tasks") as untagged,
            rig.watch("name=web&tag=team=desk&kinds=placements") as other,
        ):
            for one in (reader, untagged, other):
                await one.until_type("synced")
            await rig.write(replace(a_job(version=2), tags=shop))
            await rig.write(replace(a_job(version=3), tags=shop | {"x": "y"}))
            # Both at once: the task is told as what the revision makes of it, by the tags that its job had.
            await rig.write(replace(a_job(version=4), tags=desk), gone=[a_task(moved)])
            live = await reader.changes(2)
            assert outline(live) == [
                ("1.2", [("task", f"a1/{kept.task}", "put"), ("task", f"a1/{moved.task}", "put")]),
                ("1.4", [("task", f"a1/{kept.task}", "delete"), ("task", f"a1/{moved.task}", "delete")]),
            ]
            assert outline(await untagged.changes(1)) == [("1.4", [("task", f"a1/{moved.task}", "delete")])]
            assert [event["revision"] for event in await other.changes(2)] == ["1.2", "1.4"]
        if is_forgotten:
            rig.view.mirror.recent.reset(rig.view.revision)
        async with rig.watch("tag=team=shop&kinds=tasks&after=1.1") as reader:
            resumed = await reader.until(lambda event: event["revision"] == "1.4")
        if is_forgotten:
            # The store knows no task that is gone by now, and no former tags: what may have left is told as gone.
            assert state_of(resumed) == {("task", f"a1/{kept.task}"): None, ("task", f"a1/{moved.task}"): None}
        else:
            assert resumed == live


async def test_a_change_of_its_link_is_a_change_of_the_agent() -> None:
    async with a_rig() as rig, rig.watch("kinds=agents") as reader:
        await reader.until_type("synced")
        await rig.write(a_link())
        await rig.write(an_agent(), a_link(since_ms=2))
        await rig.write(a_link(state=LinkState.LOST, reason="silence"))
        await rig.write(gone=[an_agent(), a_link()])
        both, link, gone = await reader.changes(3)
        assert [event["revision"] for event in (both, link, gone)] == ["1.2", "1.3", "1.4"], (
            "a link without an agent is none"
        )
        assert [change["object"]["link"]["state"] for change in both["changes"]] == ["connected"], (
            "one agent, told once"
        )
        assert link["changes"][0]["object"]["link"] == {
            "state": "lost",
            "since_ms": a_link().since_ms,
            "reason": "silence",
        }
        assert gone["changes"] == [{"kind": "agent", "key": "a1", "type": "delete"}]


async def test_a_change_of_its_cordon_is_a_change_of_the_agent() -> None:
    async with a_rig() as rig, rig.watch("kinds=agents") as reader:
        await reader.until_type("synced")
        await rig.write(an_agent(), a_link())
        await rig.write(a_cordon(reason="disks"), a_link(since_ms=2))
        await rig.write(gone=[a_cordon()])
        await rig.write(a_cordon())
        await rig.write(gone=[an_agent(), a_link(), a_cordon()])
        _, cordoned, free, again, gone = await reader.changes(5)
        assert [change["object"]["cordon"] for change in cordoned["changes"]] == [
            {"is_draining": False, "deadline_ms": None, "since_ms": T0, "reason": "disks"}
        ], "one agent, told once"
        assert [change["object"]["cordon"] for change in free["changes"]] == [None]
        assert again["changes"][0]["object"]["cordon"]["reason"] == ""
        assert gone["changes"] == [{"kind": "agent", "key": "a1", "type": "delete"}]


async def test_history_and_live_tell_the_same_of_cordons() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent(), a_link())
        async with rig.watch("kinds=agents") as live:
            await live.until_type("synced")
            await rig.write(a_cordon())
            await rig.write(a_cordon(is_draining=True))
            await rig.write(gone=[a_cordon()])
            told = await live.changes(3)
        rig.view.mirror.recent.reset(rig.view.revision)
        async with rig.watch("kinds=agents&after=1.1") as resumed:
            assert await resumed.changes(3) == told


async def test_an_agent_that_registered_after_its_cordon_was_lifted_is_not_told_before() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent(), a_cordon())
        await rig.write(gone=[a_cordon()])
        await rig.write(gone=[an_agent()])
        await rig.write(an_agent(uid="another"))
        rig.view.mirror.recent.reset(rig.view.revision)
        async with rig.watch("kinds=agents&after=1.1") as resumed:
            gone, new = await resumed.changes(2)
        assert (gone["revision"], gone["changes"][0]["type"]) == ("1.3", "delete")
        assert (new["revision"], new["changes"][0]["object"]["uid"]) == ("1.4", "another")


async def test_history_and_live_tell_the_same_of_tasks() -> None:
    async with a_rig() as rig:
        first, second = a_placement(), a_placement(slot=1)
        async with rig.watch("kinds=tasks") as live:
            await live.until_type("synced")
            await rig.write(first)
            await rig.write(a_task(first), second)
            await rig.write(a_task(second))
            await rig.write(a_task(first, ready=False), gone=[second])
            await rig.write(gone=[first, a_task(second)])
            await rig.write(gone=[a_task(first)])
            told = await live.changes(5)
        # The view forgets what the store still has, as after a restart.
        rig.view.mirror.recent.reset(rig.view.revision)
        async with rig.watch("kinds=tasks&after=1.1") as resumed:
            assert await resumed.changes(5) == told


async def test_a_resumed_watch_shows_agents_as_they_were_at_each_revision() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent(), a_link(reason="zero"))
        for reason in ("one", "two", "three"):
            await rig.write(an_agent(uid=reason))
            await rig.write(a_link(reason=reason))
        async with rig.watch("kinds=agents&after=1.1") as reader:
            shown = [event["changes"][0]["object"] for event in await reader.changes(6)]
        assert [(agent["uid"], agent["link"]["reason"]) for agent in shown] == [
            ("one", "zero"),
            ("one", "one"),
            ("two", "one"),
            ("two", "two"),
            ("three", "two"),
            ("three", "three"),
        ]


async def test_a_bookmark_moves_the_cursor_of_who_is_told_nothing() -> None:
    async with a_rig(limits=Limits(bookmark_s=0.05)) as rig, rig.watch("kinds=agents") as reader:
        await reader.until_type("synced")
        revision = await rig.write(a_job())
        await reader.until(lambda event: event == {"type": "bookmark", "revision": f"1.{revision}"})


async def test_who_waits_for_the_history_of_a_quiet_store_is_given_bookmarks_and_then_what_comes() -> None:
    limits = Limits(bookmark_s=0.05, history_s=0.01)
    async with a_rig(limits=limits) as rig:
        revision = await rig.write(a_job())
        # As if the view had begun later, by a revision of another keyspace.
        rig.view.mirror.recent.reset(revision + 1)
        async with rig.watch(f"after=1.{revision}") as reader:
            assert (await reader.next()) == {"type": "bookmark", "revision": f"1.{revision}"}
            await rig.write(a_job(version=2))
            assert [event["revision"] for event in await reader.changes(1)] == [f"1.{revision + 1}"]
            await rig.write(a_job(version=3))
            assert [event["revision"] for event in await reader.changes(1)] == [f"1.{revision + 2}"]


async def test_head_of_a_watch_ends() -> None:
    async with a_rig() as rig:
        answer = await rig.ask("HEAD", "/v1/watch")
        assert (answer.status, answer.headers["Content-Type"]) == (200, NDJSON)

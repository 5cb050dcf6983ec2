"""The typed verbs, against the doors as they are: what is asked is understood, what is answered is a noun."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harpoon.client import Client
from harpoon.client.watch import Selection
from harpoon.kit import codec
from harpoon.kit.errors import Conflict, HarpoonError, Invalid, NotFound, PreconditionFailed
from harpoon.model.manifest import Manifest
from harpoon.model.plan import PlanAction
from harpoon.model.run_watched import RunChange, RunOver, RunsChange, RunSnapshot, RunsSnapshot, RunSynced
from harpoon.model.shown import Outcome
from harpoon.model.status import ChangeState, JobState
from harpoon.model.task import TaskState
from harpoon.model.watched import Changes, JobItem, Snapshot, Synced
from harpoon.store import backup
from tests.api.rig import Rig, a_manifest, a_rig
from tests.api.runs_rig import PLAIN, a_runs_rig, declare, start
from tests.builders import a_placement, a_task
from tests.cli.fake_server import FakeServer, Told


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with a_rig() as one:
        yield one


@pytest_asyncio.fixture
async def door(rig: Rig) -> AsyncIterator[Client]:
    async with Client(rig.url("")) as client:
        yield client


async def test_a_job_lives_from_schedule_to_delete(door: Client) -> None:
    declared = await door.jobs.schedule(a_manifest("web", scale=2))
    assert (declared.job.metadata.name, declared.job.spec.scale) == ("web", 2)
    with pytest.raises(PreconditionFailed):
        await door.jobs.schedule(a_manifest("web", scale=2))
    assert (await door.jobs.migrate(a_manifest("web", scale=3))).job.spec.scale == 3
    assert (await door.jobs.scale("web", 4)).job.spec.scale == 4
    assert (await door.jobs.rollback("web", 1)).job.spec.scale == 2
    shown = await door.jobs.get("web")
    assert shown.status is not None
    assert shown.status.state in JobState
    assert [kept.version for kept in (await door.jobs.versions("web")).items] == [4, 3, 2, 1]
    assert (await door.jobs.version("web", 3)).spec.scale == 4
    assert [edit.pointer for edit in (await door.jobs.diff("web", 1, 2)).changes] == ["/spec/scale"]
    unscheduled = await door.jobs.delete("web")
    assert (await door.changes.get(unscheduled.change)).job == "web"
    assert (await door.jobs.get("web")).metadata.is_terminating


async def test_a_manifest_may_be_a_noun(door: Client) -> None:
    manifest = codec.load(Manifest, codec.dump(a_manifest("web")))
    assert (await door.jobs.put(manifest)).job.metadata.name == "web"


async def test_a_migrate_of_what_is_not_there_is_refused_and_so_is_one_of_what_was_changed(door: Client) -> None:
    with pytest.raises(NotFound):
        await door.jobs.migrate(a_manifest("web"))
    await door.jobs.put(a_manifest("web"))
    with pytest.raises(PreconditionFailed):
        await door.jobs.migrate(a_manifest("web", scale=7), if_match='"1.99"')
    with pytest.raises(PreconditionFailed):
        await door.jobs.delete("web", if_match='"1.99"')


async def test_a_list_is_read_over_all_its_pages(door: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.client.caller.PAGE", "3")
    for number in range(8):
        await door.jobs.put(a_manifest(f"web-{number}"))
    assert [job.metadata.name async for job in door.jobs.list()] == [f"web-{number}" for number in range(8)]
    assert [job async for job in door.jobs.list(namespace="shop")] == []
    assert [job async for job in door.jobs.list(tags=("team=nobody",))] == []
    assert [task async for task in door.tasks.list(namespace="default")] == []
    assert [agent async for agent in door.agents.list()] == []


async def test_plan_and_apply_take_several(door: Client) -> None:
    manifests = [a_manifest("web"), a_manifest("api")]
    assert [plan.action for plan in (await door.jobs.plan(*manifests)).plans] == [PlanAction.CREATE] * 2
    assert [one.outcome for one in (await door.apply(*manifests)).results] == [Outcome.CREATED] * 2
    assert [one.outcome for one in (await door.apply(*manifests)).results] == [Outcome.UNCHANGED] * 2


async def test_how_a_job_stands_is_told_in_nouns(door: Client) -> None:
    await door.jobs.put(a_manifest("web"))
    assert (await door.jobs.status("web")).scale == 2
    assert (await door.jobs.endpoints("web")).endpoints == ()
    assert (await door.jobs.events("web")).items[0].subject == "job/web"
    assert (await door.jobs.why("web")).subject == "job/web"


async def test_what_an_operator_says_of_an_unclaimed_task_is_told_in_nouns() -> None:
    async with a_rig(incarnation=9) as rig, Client(rig.url("")) as door:
        nobodys = a_task(a_placement(), state=TaskState.UNCLAIMED, reported=TaskState.RUNNING)
        await rig.write(nobodys)
        assert (await door.tasks.get(nobodys.id)).reported is TaskState.RUNNING
        with pytest.raises(Conflict, match="is not connected"):
            await door.tasks.adopt(nobodys.id)
        ruled = await door.tasks.stop(nobodys.id)
        assert (ruled.task, ruled.change) == (nobodys.id, None)


async def test_a_backup_is_told_as_it_comes(door: Client, tmp_path: Path) -> None:
    await door.jobs.put(a_manifest("web"))
    path = tmp_path / "backup"
    path.write_bytes(b"".join([data async for data in door.backup()]))
    assert backup.inspect(path).records == 2


async def test_a_change_that_is_not_done_in_time_is_said_so(door: Client) -> None:
    declared = await door.jobs.put(a_manifest("web"))
    assert not (await door.changes.get(declared.change)).is_done
    with pytest.raises(TimeoutError):
        await door.changes.wait(declared.change, within=timedelta(milliseconds=50))


async def test_what_is_not_there_is_not_found(door: Client) -> None:
    for asked in (door.jobs.get("web"), door.tasks.get("default.web.0.1-9"), door.agents.get("a1")):
        with pytest.raises(NotFound):
            await asked
    with pytest.raises(NotFound):
        await door.agents.delete("a1")


async def test_a_wrong_manifest_names_its_faults(door: Client) -> None:
    with pytest.raises(Invalid) as raised:
        await door.jobs.put({**a_manifest("web"), "spec": {"tusk": {}}})
    assert [fault.pointer for fault in raised.value.problems]
    with pytest.raises(Invalid):
        await door.jobs.put({"metadata": {}})


async def test_a_watch_tells_nouns(door: Client) -> None:
    await door.jobs.put(a_manifest("web"))
    told: list[Any] = []
    async with aclosing(door.watch(Selection(kinds=("jobs",)))) as messages, asyncio.timeout(10):
        async for message in messages:
            told.append(message)
            if isinstance(message, Synced):
                await door.jobs.scale("web", 5)
            if isinstance(message, Changes):
                break
    snapshot, _, changes = told
    assert isinstance(snapshot, Snapshot)
    (before,), (after,) = snapshot.items, changes.changes
    assert isinstance(before, JobItem)
    assert before.object is not None
    assert (before.key, before.object.spec.scale) == ("default/web", 2)
    assert (after.type, after.object.spec.scale) == ("put", 5)


async def test_a_watch_of_runs_tells_nouns() -> None:
    async with a_runs_rig() as rig, Client(rig.url("")) as door, asyncio.timeout(10):
        await declare(rig)
        await start(rig)
        told: list[Any] = []
        selection = Selection(kinds=("workflows", "runs"), namespace="default")
        async with aclosing(door.watch(selection)) as messages:
            async for message in messages:
                told.append(message)
                if isinstance(message, Synced):
                    await declare(rig, PLAIN)
                    await start(rig, "o-2")
                    await rig.ask("POST", "/v1/namespaces/default/runs/o-1/cancel", {})
                if isinstance(message, RunsChange) and any(event.kind == "ended" for event in message.events):
                    break
        assert isinstance(told[0], RunsSnapshot)
        assert [(item.kind, item.key) for item in told[0].items] == [
            ("run", "default/o-1"),
            ("workflow", "default/refund"),
        ]
        assert [(one.type, one.key) for message in told[2:] for one in message.changes] == [("put", "default/flow")]
        begun = next(event for message in told[2:] for event in message.events)
        assert begun.object is not None
        assert (begun.kind, begun.object.workflow) == ("started", "refund")
        one_run = Selection(kinds=("runs",), namespace="default", name="o-1")
        types = [type(message) async for message in door.watch(one_run)]
        assert types == [RunSnapshot, RunSynced, RunOver]
        last = [message async for message in door.watch(replace(one_run, after="1"))]
        assert [type(message) for message in last] == [RunChange, RunOver]


async def test_fields_of_a_newer_server_are_passed_over(client: Client, server: FakeServer) -> None:
    server.tell("GET /v1/changes/c", Told(body={**_change("progressing"), "mood": "good"}))
    assert (await client.changes.get("c")).summary == "1/3 ready"


@pytest.mark.parametrize("body", [{}, [], {"id": 7}])
async def test_an_answer_that_is_no_such_noun_is_an_error(client: Client, server: FakeServer, body: object) -> None:
    server.tell("GET /v1/changes/c", Told(body=body))
    with pytest.raises(HarpoonError, match="something else") as raised:
        await client.changes.get("c")
    assert not isinstance(raised.value, Invalid)


async def test_waiting_for_a_change_goes_on_over_an_outage_and_ends_when_it_is_superseded(
    client: Client, server: FakeServer
) -> None:
    away = Told(status=503, body={"title": "not now"})
    server.tell("GET /v1/changes/c", away, Told(body=_change("progressing")), Told(body=_change("superseded")))
    assert (await client.changes.wait("c")).state is ChangeState.SUPERSEDED


@pytest.mark.parametrize(
    "message",
    [
        {"type": "change", "revision": "1.4"},
        {"type": "change", "changes": []},
        {"type": "change", "revision": "1.4", "changes": [{"kind": "weather", "key": "x"}]},
        {"type": "snapshot", "revision": "1.4", "items": 7},
    ],
)
async def test_a_message_that_lacks_something_is_an_error(
    client: Client, server: FakeServer, message: dict[str, Any]
) -> None:
    server.tell("GET /v1/watch", Told(lines=[message], hangs=True))
    with pytest.raises(HarpoonError, match="lacks something"):
        await anext(client.watch(Selection(kinds=("jobs",))))


def _change(state: str) -> dict[str, Any]:
    return {"id": "c", "namespace": "default", "job": "web", "state": state, "is_done": False, "summary": "1/3 ready"}

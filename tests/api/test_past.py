"""Looking back over HTTP: what stood is told as it was told then, and what is not kept is not made up."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from harpoon.control.explaining import explain_job
from harpoon.model.agent import LinkState
from harpoon.model.decision import Blocker, Pending
from harpoon.model.rebalance import Move, MoveRecord
from harpoon.model.rollout import PausedBy, RolloutRecord
from harpoon.store.past import recorder
from harpoon.store.past.fold import Revision
from harpoon.store.past.transfer import bring
from tests.api.rig import Rig, a_rig
from tests.builders import MIB, T0, a_link, a_placement, a_task, an_agent

WEB = "/v1/namespaces/default/jobs/web"
PLACED = a_placement()
DEED = a_task(PLACED)
#: Every door that takes ``at``.
DOORS = (
    "/v1/jobs",
    "/v1/namespaces/default/jobs",
    WEB,
    f"{WEB}/status",
    f"{WEB}/rollout",
    f"{WEB}/why",
    f"{WEB}/versions",
    f"{WEB}/versions/1",
    f"{WEB}/diff?from=1",
    f"{WEB}/endpoints",
    "/v1/tasks",
    "/v1/namespaces/default/tasks",
    f"/v1/namespaces/default/tasks/{PLACED.task}",
    f"/v1/namespaces/default/tasks/{PLACED.task}/why",
    "/v1/agents",
    "/v1/agents/a1",
    "/v1/agents/a1/why",
    "/v1/namespaces",
    "/v1/namespaces/default",
    "/v1/rebalance",
    "/v1/waiting",
)


def at(path: str, when: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}at={when}"


async def told(rig: Rig) -> dict[str, tuple[int, object]]:
    """What every door tells now."""
    found = {}
    for door in DOORS:
        answer = await rig.get(door)
        found[door] = answer.status, answer.json if answer.status == 200 else None
    return found


async def live(rig: Rig) -> list[tuple[int, dict[str, tuple[int, object]]]]:
    """Let a job be declared, placed, run, fail to be migrated, and go; return what was told at each revision."""
    seen = []

    async def look() -> None:
        seen.append((rig.doors.view.revision, await told(rig)))

    await rig.write(an_agent("a1", memory=1024 * MIB), a_link("a1"))
    assert (await rig.put(scale=1)).status == 202
    await look()
    row = rig.doors.view.jobs.rows["default/web"]
    placed = replace(PLACED, generation=row.value.generation)
    await rig.write(placed)
    await look()
    await rig.write(replace(DEED, generation=row.value.generation))
    await look()
    move = Move(task=placed.task, agent="a1", to="a2", reason="a2 has none", before=1, after=1)
    await rig.write(MoveRecord(move=move, at_ms=T0))
    quota = {"apiVersion": "harpoon/v1", "kind": "Namespace", "metadata": {"name": "default"}}
    assert (await rig.ask("PUT", "/v1/namespaces/default", quota | {"spec": {"quota": {"tasks": 2}}})).status == 200
    await look()
    await rig.put(scale=2, resources={"memory": "8Gi"})
    changed = rig.doors.view.jobs.rows["default/web"].value
    record = RolloutRecord(
        namespace="default", job="web", version=2, generation=changed.generation, stable=1, paused_by=PausedBy.OPERATOR
    )
    await rig.write(record)
    pending = Pending(
        namespace="default",
        job="web",
        generation=rig.doors.view.jobs.rows["default/web"].value.generation,
        slots=(1,),
        reason="no room",
        since_ms=T0,
        blockers=(Blocker(predicate="memory", wanted="8Gi", found="1Gi", agents=("a1",), agents_count=1),),
    )
    await rig.write(pending)
    await look()
    await rig.write(a_link("a1", LinkState.LOST, reason="timed out"), gone=(placed, DEED))
    await look()
    return seen


async def test_every_door_tells_of_each_revision_what_it_told_then(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        seen = await live(rig)
        for revision, doors in seen:
            for door, (status, body) in doors.items():
                answer = await rig.get(at(door, f"1.{revision}"))
                assert answer.status == status, (door, answer.body)
                if status == 200:
                    assert answer.headers["Harpoon-Revision"] == f"1.{revision}"
                    assert answer.headers["Harpoon-At"].endswith("Z")
                    # Moments are told by the clock; only what is told of them in words differs.
                    assert answer.json == body, door
        assert [doors[WEB][0] for _, doors in seen] == [200] * 6


async def test_why_at_a_revision_is_the_scheduler_asked_again_on_what_stood_then(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        for revision, _ in await live(rig):
            moment = await rig.doors.past.at(Revision(1, revision))
            assert moment.state.revision == moment.view.revision == revision
            assert moment.now.wall == moment.state.at_ms
            row = moment.view.jobs.rows["default/web"]
            # Without the index that is kept along: one made of the view alone.
            fresh = await explain_job(moment.view, row, None, moment.now)
            answer = await rig.get(at(f"{WEB}/why", f"1.{revision}"))
            assert answer.json["reasons"] == list(fresh.reasons)
            assert len(answer.json["slots"]) == len(fresh.slots)
        assert fresh.slots, "the last one has something to explain"


async def test_a_time_is_answered_by_the_newest_revision_seen_until_then(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        await rig.put(scale=1)
        await asyncio.sleep(0.3)
        await rig.put(scale=2)
        one = await rig.get(at(WEB, "-150ms"))
        assert (one.status, one.json["spec"]["scale"]) == (200, 1)
        two = await rig.get(at(WEB, "-0ms"))
        assert two.json["spec"]["scale"] == 2
        for spelled in (two.headers["Harpoon-At"], two.headers["Harpoon-At"].replace("Z", "%2B00:00")):
            assert (await rig.get(at(WEB, spelled))).json == two.json
        assert (await rig.get(at(WEB, two.headers["Harpoon-At"].replace("Z", "+00:00")))).json == two.json


async def test_what_was_not_there_then_is_not_found(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        await rig.write(an_agent("a2"))
        before = rig.doors.view.revision
        await rig.put()
        answer = await rig.get(at(WEB, f"1.{before}"))
        assert (answer.status, answer.json["detail"]) == (404, "there was no job web in namespace default")


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("yesterday", "a revision such as 1.42"),
        ("-", "a revision such as 1.42"),
        ("-10", "a revision such as 1.42"),
        ("1.", "a revision such as 1.42"),
        ("", "a revision such as 1.42"),
        ("2026-01-31", "time zone"),
        ("2026-01-31T12:00:00", "time zone"),
        ("2999-01-31T12:00:00Z", "yet to come"),
        ("1.999", "yet to come: this instance is at 1."),
        ("2.1", "yet to come"),
    ],
)
async def test_what_is_no_point_in_the_past_is_refused(tmp_path: Path, when: str, says: str) -> None:
    async with a_rig(history=tmp_path) as rig:
        answer = await rig.get(f"{WEB}?at={when}")
        assert answer.status == 400
        assert says in answer.json["detail"]
        assert answer.json["errors"][0]["pointer"] == "?at"


@pytest.mark.parametrize("beside", ["limit=1", "continue=x", "wait=1s", "min_revision=1.1"])
async def test_what_is_of_the_present_does_not_go_with_it(tmp_path: Path, beside: str) -> None:
    async with a_rig(history=tmp_path) as rig:
        path = "/v1/agents/a1" if "wait" in beside else "/v1/jobs"
        answer = await rig.get(f"{path}?at=-1s&{beside}")
        assert answer.status == 400
        assert [error["pointer"] for error in answer.json["errors"]] == [f"?{beside.partition('=')[0]}"]


@pytest.mark.parametrize("path", ["/v1/watch", "/v1/status", f"{WEB}/events", "/v1/backup", f"{WEB}/logs"])
async def test_a_door_that_tells_of_the_present_only_does_not_take_it(tmp_path: Path, path: str) -> None:
    async with a_rig(history=tmp_path) as rig:
        answer = await rig.get(f"{path}?at=-1s")
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (400, "?at")


async def test_a_stream_of_the_past_is_refused(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        await rig.put()
        answer = await rig.get(f"{WEB}/endpoints?at=-0s", Accept="text/event-stream")
        assert (answer.status, "does not change" in answer.json["detail"]) == (400, True)


async def test_an_instance_without_a_history_says_how_to_have_one() -> None:
    async with a_rig() as rig:
        answer = await rig.get("/v1/jobs?at=-1s")
        assert (answer.status, "--history DIR" in answer.json["detail"]) == (409, True)
        assert (await rig.get("/v1/history/export")).status == 409
        status = await rig.get("/v1/history")
        assert (status.status, status.json["state"]) == (200, "off")


async def test_what_is_not_kept_is_gone_and_the_gaps_are_told(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        await rig.put()
        store, before = rig.store, rig.doors.view.revision
    async with a_rig(store=store) as rig:
        for scale in (3, 4, 5):
            await rig.put(scale=scale)
        missed = rig.doors.view.revision - 1
        await store.compact(missed)
    async with a_rig(store=store, history=tmp_path) as rig:
        await rig.put(scale=6)
        answer = await rig.get(f"{WEB}?at=1.{missed}")
        assert answer.status == 410
        assert "has a gap" in answer.json["detail"]
        (gap,) = answer.json["gaps"]
        assert (gap["after"], gap["before"]) == (f"1.{before}", f"1.{missed + 1}")
        assert (await rig.get(f"{WEB}?at=1.{before}")).json["spec"]["scale"] == 2
        assert (await rig.get(f"{WEB}?at=1.{missed + 1}")).json["spec"]["scale"] == 5
        status = (await rig.get("/v1/history")).json
        assert status["gaps"] == [gap]
        assert status["kept"][0]["end"] == f"1.{before}"
        old = await rig.get("/v1/jobs?at=-9d")
        assert (old.status, old.json["oldest"]) == (410, status["kept"][0]["start"])


async def test_a_time_at_which_nobody_followed_the_store_is_not_guessed(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path) as rig:
        await rig.put()
        store = rig.store
    await asyncio.sleep(0.05)
    async with a_rig(store=store) as rig:
        await rig.put(scale=3)
        changed = rig.doors.view.revision
        then = rig.doors.clock.now().wall
    await asyncio.sleep(0.05)
    async with a_rig(store=store, history=tmp_path) as rig:
        assert (await rig.get(f"{WEB}?at=1.{changed}")).json["spec"]["scale"] == 3
        ago = rig.doors.clock.now().wall - then
        answer = await rig.get(f"{WEB}?at=-{ago}ms")
        assert (answer.status, "is not known" in answer.json["detail"]) == (410, True)


async def test_what_cannot_be_written_is_said_and_the_server_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "past").write_text("a file, and no directory")
    monkeypatch.setattr(recorder, "PAUSE_S", (0.01, 0.01))
    monkeypatch.setattr("harpoon.control.past.WRITTEN_WITHIN_S", 0.2)
    async with a_rig(history=tmp_path / "past") as rig:
        assert (await rig.put()).status == 202
        assert (await rig.get(WEB)).status == 200
        answer = await rig.get(f"{WEB}?at=-0s")
        assert (answer.status, "the history is written up to" in answer.json["detail"]) == (503, True)
        status = (await rig.get("/v1/history")).json
        assert (status["state"], "File exists" in status["reason"]) == ("failing", True)
        (tmp_path / "past").unlink()
        async with asyncio.timeout(10):
            while (await rig.get("/v1/history")).json["state"] != "following":
                await asyncio.sleep(0.01)
        assert (await rig.get(f"{WEB}?at=-0s")).status == 200


async def test_an_export_is_the_history_itself(tmp_path: Path) -> None:
    async with a_rig(history=tmp_path / "past") as rig:
        seen = await live(rig)
        answer = await rig.get("/v1/history/export")
        assert answer.status == 200
        (tmp_path / "export").write_bytes(answer.body)
        brought = bring(tmp_path / "export", tmp_path / "copy")
        spans = rig.doors.past.spans
        assert brought.start == f"1.{spans[0].start}"
        first = (tmp_path / "past" / "0000000001.history").read_bytes()
        assert (tmp_path / "copy" / "0000000001.history").read_bytes() == first[: spans[0].size]
        until = seen[1][0]
        some = await rig.get(f"/v1/history/export?to=1.{until}")
        (tmp_path / "some").write_bytes(some.body)
        assert bring(tmp_path / "some", tmp_path / "part").records < brought.records
        assert (await rig.get("/v1/history/export?from=nonsense")).status == 400
        assert (await rig.get("/v1/history/export?to=-9d")).status == 410


async def test_a_state_that_was_asked_for_is_kept_for_the_next_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    from harpoon.control import past

    fold = past.fold
    monkeypatch.setattr(past, "fold", lambda span, point: made.append(point) or fold(span, point))
    async with a_rig(history=tmp_path) as rig:
        await rig.put()
        revision = rig.doors.view.revision
        for scale in range(1, 7):
            await rig.put(scale=scale)
        for _ in range(3):
            assert (await rig.get(f"{WEB}?at=1.{revision}")).json["spec"]["scale"] == 2
        assert len(made) == 1
        for more in range(past.MOMENTS_MAX):
            await rig.get(f"{WEB}?at=1.{revision + 1 + more}")
        await rig.get(f"{WEB}?at=1.{revision}")
        assert len(made) == past.MOMENTS_MAX + 2

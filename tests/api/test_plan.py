"""Plans over HTTP: what would come of declaring jobs, and that nothing comes of asking."""

import io
import json
from typing import Any

from harpoon.control.planning import bookings_of
from harpoon.core.verify import verify
from harpoon.kit import codec
from harpoon.kit.digest import seal
from harpoon.model.agent import LinkState
from harpoon.model.promise import PlanDocument
from tests.api.rig import Rig, a_manifest, a_rig
from tests.builders import MIB, a_cordon, a_link, a_placement, a_task, an_agent

WEB = "/v1/namespaces/default/jobs/web"


async def plan(rig, *documents):
    answer = await rig.ask("POST", "/v1/plan", {"documents": list(documents)})
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_new_job_is_planned_and_nothing_is_written() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"), an_agent("a2"), a_link("a2"))
        revision = await rig.store.revision()
        told = await plan(rig, a_manifest(scale=2, tags={"team": "shop"}))
        assert (told["revision"], told["has_changes"]) == ("1.1", True)
        (job,) = told["plans"]
        assert (job["namespace"], job["job"], job["action"], job["is_new_generation"]) == (
            "default",
            "web",
            "create",
            True,
        )
        assert [(one["slot"], one["agent"], one["wave"]) for one in job["placements"]] == [(0, "a1", 1), (1, "a2", 1)]
        assert "2 of 2 agents could" in job["placements"][0]["reason"]
        assert (job["drops"], job["pending"], job["waves"], job["is_whole"]) == ([], None, 1, True)
        edits = {edit["pointer"]: edit for edit in job["changes"]}
        assert edits["/metadata/tags/team"] == {
            "pointer": "/metadata/tags/team",
            "op": "add",
            "old": None,
            "new": "shop",
        }
        assert edits["/spec/scale"]["new"] == 2
        assert edits["/spec/task"]["new"]["command"] == ["serve"]
        assert await rig.store.revision() == revision
        assert rig.view.jobs.rows == {}


async def test_a_migrate_is_planned_with_the_difference_and_each_wave() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"))
        job = (await rig.put(scale=2)).json["job"]["metadata"]
        placements = [a_placement(slot=slot, generation=job["generation"]) for slot in range(2)]
        await rig.write(*placements, *(a_task(one) for one in placements))
        (told,) = (await plan(rig, a_manifest(scale=2, env={"A": "1"})))["plans"]
        assert (told["action"], told["is_new_generation"]) == ("change", True)
        assert told["changes"] == [{"pointer": "/spec/task/env/A", "op": "add", "old": None, "new": "1"}]
        assert [(one["slot"], one["wave"]) for one in told["placements"]] == [(0, 1), (1, 2)]
        assert told["placements"][0]["reason"].startswith("version 2 replaces version 1")
        assert [(one["task"], one["wave"]) for one in told["drops"]] == [
            (placements[0].task, 2),
            (placements[1].task, 3),
        ]
        assert told["drops"][0]["reason"] == "replaced by its successor, which is ready"
        assert told["waves"] == 3


async def test_a_job_that_stands_like_that_is_unchanged() -> None:
    async with a_rig() as rig:
        job = (await rig.put(scale=1)).json["job"]["metadata"]
        placement = a_placement(generation=job["generation"])
        await rig.write(an_agent("a1"), a_link("a1"), placement, a_task(placement))
        told = await plan(rig, a_manifest(scale=1))
        assert told["has_changes"] is False
        assert (told["plans"][0]["action"], told["plans"][0]["changes"], told["plans"][0]["waves"]) == (
            "unchanged",
            [],
            0,
        )
        scaled = (await plan(rig, a_manifest(scale=0)))["plans"][0]
        assert (scaled["action"], scaled["is_new_generation"]) == ("change", False)
        assert scaled["drops"][0]["reason"] == "the job is scaled down to 0"


async def test_a_job_that_is_being_unscheduled_would_be_created_again() -> None:
    async with a_rig() as rig:
        job = (await rig.put(scale=1, resources={"cpu": "4"})).json["job"]["metadata"]
        leaving = a_task(a_placement(generation=job["generation"]))
        await rig.write(an_agent("a1"), a_link("a1"), leaving)
        await rig.ask("DELETE", WEB)
        (told,) = (await plan(rig, a_manifest(scale=1, resources={"cpu": "4"})))["plans"]
        assert told["action"] == "create"
        # The agent has room for one of them, and the old one is still there.
        assert [one["wave"] for one in told["placements"]] == [2]


async def test_documents_planned_together_compete_for_room_in_their_order() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1", memory=1024 * MIB), a_link("a1"))
        big = {"resources": {"memory": "1Gi"}}
        first, second = (await plan(rig, a_manifest("zoo", scale=1, **big), a_manifest("api", scale=1, **big)))["plans"]
        assert [one["agent"] for one in first["placements"]] == ["a1"]
        assert second["pending"]["slots"] == [0]
        assert second["pending"]["reason"].startswith("1 of 1 wanted slots cannot be placed")
        assert second["pending"]["blockers"][0]["predicate"] == "memory"


async def test_without_any_agent_everything_is_pending() -> None:
    async with a_rig() as rig:
        (told,) = (await plan(rig, a_manifest(scale=2)))["plans"]
        assert (told["pending"]["slots"], told["waves"]) == ([0, 1], 0)


async def test_a_dependency_that_is_planned_too_is_waited_for() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"))
        web = a_manifest("web", scale=1)
        web["spec"]["depends_on"] = [{"job": "db"}]
        (alone,) = (await plan(rig, web))["plans"]
        assert alone["pending"]["blockers"][0]["found"] == "there is no such job"
        first, second = (await plan(rig, web, a_manifest("db", scale=1)))["plans"]
        assert [one["wave"] for one in second["placements"]] == [1]
        assert [one["wave"] for one in first["placements"]] == [2]


async def test_the_index_that_the_scheduler_keeps_is_read_and_left_as_it_is() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"))
        kept = await bookings_of(rig.view, None)
        kept.book(a_placement(job="other", cpu=4000))
        object.__setattr__(rig.doors, "bookings", lambda: kept)
        before = kept.fleet.fork()
        (told,) = (await plan(rig, a_manifest(scale=1, resources={"cpu": "1"})))["plans"]
        assert told["pending"]["blockers"][0]["predicate"] == "cpu"
        assert kept.fleet == before


async def test_documents_that_apply_would_refuse_are_refused_with_where_and_why() -> None:
    async with a_rig() as rig:

        async def refused(*documents):
            answer = await rig.ask("POST", "/v1/plan", {"documents": list(documents)})
            assert answer.status == 400, answer.body
            return [error["pointer"] for error in answer.json["errors"]]

        assert await refused() == ["/documents"]
        assert await refused(a_manifest(), a_manifest()) == ["/documents/1/metadata/name"]
        wrong = a_manifest()
        wrong["spec"]["scale"] = -1
        wrong["spec"]["cron"] = {}
        assert set(await refused(a_manifest("ok"), wrong)) >= {"/documents/1/spec/cron/at"}
        circle = a_manifest("web")
        circle["spec"]["depends_on"] = [{"job": "web"}]
        assert await refused(circle) == ["/documents/0/spec/depends_on"]
        many = await rig.ask("POST", "/v1/plan", {"documents": [a_manifest(f"j{n}") for n in range(41)]})
        assert (many.status, many.json["detail"]) == (400, "at most 40 documents are taken at once; got 41")
        assert (await rig.ask("POST", "/v1/plan?x=1", {"documents": []})).status == 400


async def promised(rig: Rig, *documents: Any) -> dict[str, Any]:
    answer = await rig.ask("POST", "/v1/plan/promise", {"documents": list(documents)})
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def test_a_plan_is_applied_just_so_once_and_is_unchanged_the_second_time() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"), an_agent("a2"), a_link("a2"))
        document = await promised(rig, a_manifest(scale=2))
        assert (document["kind"], document["v"], document["jobs"][0]["base"]) == ("Plan", 1, None)
        assert document["agents"][0]["names"] == ["a1", "a2"]
        assert verify(codec.load(PlanDocument, json.dumps(document).encode())) == ()
        assert rig.view.jobs.rows == {}
        answer = await rig.ask("POST", "/v1/plan/apply", document)
        assert (answer.status, answer.json["results"][0]["outcome"]) == (202, "created")
        promise = rig.view.jobs.rows["default/web"].value.promise
        assert promise.plan == document["digest"]
        assert promise.agents == {"a1": (0,), "a2": (1,)}
        revision = await rig.store.revision()
        again = await rig.ask("POST", "/v1/plan/apply", document)
        assert (again.status, again.json["results"][0]["outcome"]) == (202, "unchanged")
        assert await rig.store.revision() == revision
        await rig.put(scale=3)
        assert rig.view.jobs.rows["default/web"].value.promise is None


async def refused(rig: Rig, document: Any) -> list[str]:
    before = await rig.store.revision()
    answer = await rig.ask("POST", "/v1/plan/apply", document)
    assert (answer.status, answer.json["code"]) == (409, "plan_outdated"), answer.body
    assert await rig.store.revision() == before
    return [one["detail"] for one in answer.json["changed"]]


async def test_a_plan_is_refused_with_what_has_changed_and_nothing_is_written() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"), an_agent("a2"), a_link("a2"))
        job = (await rig.put(scale=2)).json["job"]["metadata"]
        placements = [a_placement(slot=slot, generation=job["generation"]) for slot in range(2)]
        await rig.write(*placements, *(a_task(one) for one in placements))
        document = await promised(rig, a_manifest(scale=3, env={"A": "1"}))
        told = {one["slot"]: one["agent"] for one in document["jobs"][0]["plan"]["placements"]}
        assert set(told.values()) == {"a1", "a2"}
        await rig.write(a_cordon("a2"))
        changed = await refused(rig, document)
        assert changed[0] == "agent a2 is cordoned now"
        assert any("would go to a1 instead of a2: " in one for one in changed)
        await rig.write(a_cordon("a2", is_draining=True), a_link("a1", LinkState.LOST))
        changed = await refused(rig, document)
        assert changed[:2] == ["agent a1 is lost now", "agent a2 is being drained now"]
        assert any("would be without a place: " in one for one in changed)
        await rig.write(a_link("a1"), gone=[a_cordon("a2")])
        await rig.put(scale=1)
        changed = await refused(rig, document)
        assert changed[0] == "job default/web has changed: version 1 -> 2"
        assert "job default/web would be changed otherwise than the plan shows" in changed


async def test_a_job_that_came_or_went_meanwhile_is_told() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"))
        fresh = await promised(rig, a_manifest(scale=1))
        await rig.put(scale=2)
        assert (await refused(rig, fresh))[0] == "job default/web is there now"
        known = await promised(rig, a_manifest(scale=1))
        await rig.write(gone=[rig.view.jobs.rows["default/web"].value])
        changed = await refused(rig, known)
        assert changed[0] == "job default/web is gone"
        await rig.write(gone=[an_agent("a1")])
        assert "agent a1 is gone" in await refused(rig, fresh)


async def test_of_two_plans_that_compete_for_room_the_second_is_refused() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1", memory=1024 * MIB), a_link("a1"))
        big = {"resources": {"memory": "1Gi"}}
        first, second = [await promised(rig, a_manifest(name, scale=1, **big)) for name in ("one", "two")]
        assert (await rig.ask("POST", "/v1/plan/apply", first)).status == 202
        # As the scheduler does.
        await rig.write(a_placement(job="one", memory=1024 * MIB))
        changed = await refused(rig, second)
        assert changed[0] == "slot 0 of default/two would not be placed"
        assert changed[1].startswith("slots [0] of default/two would be without a place: 1 of 1 wanted slots")


async def test_of_two_plans_that_do_not_interfere_both_are_applied() -> None:
    async with a_rig() as rig:
        for name, zone in (("a1", "north"), ("a2", "south")):
            await rig.write(an_agent(name, tags={"zone": zone}), a_link(name))
        documents = []
        for name, zone in (("one", "north"), ("two", "south")):
            manifest = a_manifest(name, scale=1)
            manifest["spec"]["placement"] = {"require": [{"tag": "zone", "equals": zone}]}
            documents.append(await promised(rig, manifest))
        assert (await rig.ask("POST", "/v1/plan/apply", documents[0])).status == 202
        await rig.write(a_placement(job="one", agent="a1"))
        assert (await rig.ask("POST", "/v1/plan/apply", documents[1])).status == 202


async def send(rig: Rig, body: bytes) -> tuple[int, bytes]:
    """Apply a plan that is too large to be sent at one go."""
    headers = {"Content-Type": "application/json"}
    async with rig.session.post(rig.url("/v1/plan/apply"), data=io.BytesIO(body), headers=headers) as response:
        return response.status, await response.read()


async def test_a_document_that_is_no_plan_of_this_registry_is_refused() -> None:
    async with a_rig() as rig:
        await rig.write(an_agent("a1"), a_link("a1"))
        document = await promised(rig, a_manifest(scale=1))

        async def wrong(told: Any) -> list[str]:
            answer = await rig.ask("POST", "/v1/plan/apply", told)
            assert answer.status == 400, answer.body
            return [error["pointer"] for error in answer.json["errors"]]

        def sealed(**fields: Any) -> Any:
            return json.loads(seal(json.dumps({**document, **fields}).encode()))

        assert await wrong({**document, "made_ms": 1}) == ["/digest"]
        assert await wrong(sealed(v=2)) == ["/v"]
        assert await wrong(sealed(documents=[])) == ["/documents"]
        manifest = json.loads(json.dumps(document["documents"][0]))
        manifest["spec"]["scael"] = 2
        assert "/documents/0/spec/scael" in await wrong(sealed(documents=[manifest]))
        assert await wrong({"kind": "Plan"}) == []
        assert await refused(rig, sealed(revision="9.1")) == []
        assert await refused(rig, sealed(cluster="other")) == []
        # What is told to do otherwise than the documents ask for is not done, though its digest is right.
        jobs = json.loads(json.dumps(document["jobs"]))
        jobs[0]["plan"]["changes"] = []
        assert await refused(rig, sealed(jobs=jobs)) == [
            "job default/web would be changed otherwise than the plan shows"
        ]
        assert (await send(rig, b"x" * ((64 << 20) + 1)))[0] == 413


async def test_a_plan_of_ten_thousand_tasks_is_larger_than_other_bodies_and_applied_all_the_same() -> None:
    async with a_rig() as rig:
        await rig.write(*(one for n in range(20) for one in (an_agent(f"a{n}", cpu=10**6), a_link(f"a{n}"))))
        document = await promised(rig, a_manifest(scale=10_000, resources={"cpu": "1m"}))
        assert len(document["jobs"][0]["plan"]["placements"]) == 10_000
        assert len(json.dumps(document)) > 1 << 20
        assert (await send(rig, json.dumps(document).encode()))[0] == 202
        assert sum(map(len, rig.view.jobs.rows["default/web"].value.promise.agents.values())) == 10_000

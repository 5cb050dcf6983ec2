"""Plans over HTTP: what would come of declaring jobs, and that nothing comes of asking."""

from harpoon.control.planning import bookings_of
from tests.api.rig import a_manifest, a_rig
from tests.builders import MIB, a_link, a_placement, a_task, an_agent

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
        assert set(await refused(a_manifest("ok"), wrong)) >= {"/documents/1/spec/cron"}
        circle = a_manifest("web")
        circle["spec"]["depends_on"] = [{"job": "web"}]
        assert await refused(circle) == ["/documents/0/spec/depends_on"]
        many = await rig.ask("POST", "/v1/plan", {"documents": [a_manifest(f"j{n}") for n in range(41)]})
        assert (many.status, many.json["detail"]) == (400, "at most 40 documents are taken at once; got 41")
        assert (await rig.ask("POST", "/v1/plan?x=1", {"documents": []})).status == 400

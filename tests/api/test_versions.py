"""Versions over HTTP: which are kept, how they differ, and bringing one back."""

from tests.api.rig import a_manifest, a_rig
from tests.builders import a_placement

WEB = "/v1/namespaces/default/jobs/web"


async def test_versions_are_shown_newest_first_with_what_was_declared() -> None:
    async with a_rig() as rig:
        first = (await rig.put(scale=2)).json["job"]["metadata"]
        await rig.put(scale=3)
        await rig.put(scale=3, env={"A": "1"}, tags={"team": "shop"})
        await rig.write(a_placement(slot=0, version=2), a_placement(slot=1, version=2, revision=2))
        shown = await rig.get(f"{WEB}/versions")
        assert shown.status == 200
        assert shown.headers["ETag"] == (await rig.get(WEB)).headers["ETag"]
        items = shown.json["items"]
        assert [item["version"] for item in items] == [3, 2, 1]
        assert [item["is_current"] for item in items] == [True, False, False]
        assert [item["tasks"] for item in items] == [0, 2, 0]
        assert [item["spec"]["scale"] for item in items] == [3, 3, 2]
        assert items[0]["tags"] == {"team": "shop"}
        assert items[2]["generation"] == items[1]["generation"] == first["generation"] != items[0]["generation"]
        assert items[2]["at_ms"] == first["created_ms"]
        assert {item["reverted_from"] for item in items} == {None}
        assert (await rig.get(f"{WEB}/versions/2")).json == items[1]


async def test_a_version_that_is_not_kept_is_not_found_and_those_kept_are_named() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        await rig.put(scale=2)
        for missing in (await rig.get(f"{WEB}/versions/7"), await rig.get(f"{WEB}/diff?from=7")):
            assert missing.status == 404
            assert missing.json["detail"] == "version 7 of job web is not kept; kept are 2, 1"
        assert (await rig.get(f"{WEB}/versions/x")).status == 400


async def test_the_last_ten_versions_are_kept_and_those_that_tasks_run() -> None:
    async with a_rig() as rig:
        await rig.put(scale=1)
        await rig.write(a_placement(version=1))
        for scale in range(2, 22):
            await rig.put(scale=scale)
        kept = [item["version"] for item in (await rig.get(f"{WEB}/versions")).json["items"]]
        assert kept == [*range(21, 11, -1), 1]
        await rig.write(gone=[a_placement(version=1)])
        await rig.put(scale=1)
        assert "default/web/1" not in rig.view.versions.rows


async def test_a_rollback_makes_a_new_version_that_says_where_it_came_from() -> None:
    async with a_rig() as rig:
        first = (await rig.put(scale=2, env={"A": "1"}, tags={"v": "one"})).json["job"]
        etag = (await rig.put(scale=2, env={"A": "2"}, tags={"v": "two"})).headers["ETag"]
        back = await rig.ask("POST", f"{WEB}/rollback", {"version": 1}, If_Match=etag)
        assert back.status == 202
        assert back.json["change"].startswith("default.web.1-")
        job = back.json["job"]
        assert (job["metadata"]["version"], job["metadata"]["tags"]) == (3, {"v": "one"})
        assert job["metadata"]["generation"] == first["metadata"]["generation"]
        assert job["spec"] == first["spec"]
        newest = (await rig.get(f"{WEB}/versions/3")).json
        assert (newest["reverted_from"], newest["is_current"]) == (1, True)
        late = await rig.ask("POST", f"{WEB}/rollback", {"version": 2}, If_Match=etag)
        assert late.status == 412
        assert late.json["current"]["metadata"]["version"] == 3


async def test_a_rollback_without_a_version_takes_the_last_with_another_spec() -> None:
    async with a_rig() as rig:
        await rig.put(scale=2)
        await rig.put(scale=3)
        await rig.put(scale=3, tags={"only": "tags"})
        back = await rig.ask("POST", f"{WEB}/rollback", {})
        assert back.json["job"]["spec"]["scale"] == 2
        assert (await rig.get(f"{WEB}/versions/4")).json["reverted_from"] == 1


async def test_a_rollback_to_how_the_job_stands_changes_nothing() -> None:
    async with a_rig() as rig:
        await rig.put(scale=2)
        same = await rig.ask("POST", f"{WEB}/rollback", {"version": 1})
        assert same.status == 200
        assert same.json["job"]["metadata"]["version"] == 1


async def test_a_rollback_with_nothing_to_go_back_to_is_refused() -> None:
    async with a_rig() as rig:
        assert (await rig.ask("POST", f"{WEB}/rollback", {})).status == 404
        await rig.put(scale=2)
        none = await rig.ask("POST", f"{WEB}/rollback", {})
        assert none.status == 404
        assert "no earlier version of job web is kept that has another spec; kept are 1" in none.json["detail"]
        wrong = await rig.ask("POST", f"{WEB}/rollback", {"version": 0})
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (400, "/version")
        await rig.write(a_placement())
        await rig.ask("DELETE", WEB)
        going = await rig.ask("POST", f"{WEB}/rollback", {"version": 1})
        assert (going.status, "being unscheduled" in going.json["detail"]) == (404, True)


async def test_a_diff_points_at_each_value_that_differs() -> None:
    async with a_rig() as rig:
        await rig.put(scale=2, env={"A": "1"})
        await rig.put(scale=3, env={"A": "1"}, tags={"team": "shop"})
        await rig.put(scale=3, env={"A": "2"}, tags={"team": "shop"})
        shown = await rig.get(f"{WEB}/diff?from=1&to=2")
        assert shown.json == {
            "revision": "1.3",
            "from": 1,
            "to": 2,
            "is_new_generation": False,
            "changes": [
                {"pointer": "/metadata/tags/team", "op": "add", "old": None, "new": "shop"},
                {"pointer": "/spec/scale", "op": "replace", "old": 2, "new": 3},
            ],
        }
        present = (await rig.get(f"{WEB}/diff?from=2")).json
        assert (present["to"], present["is_new_generation"]) == (3, True)
        assert [(edit["pointer"], edit["new"]) for edit in present["changes"]] == [("/spec/task/env/A", "2")]


async def test_a_diff_of_a_version_with_itself_is_empty_and_its_beginning_must_be_said() -> None:
    async with a_rig() as rig:
        await rig.put()
        assert (await rig.get(f"{WEB}/diff?from=1&to=1")).json["changes"] == []
        missing = await rig.get(f"{WEB}/diff")
        assert (missing.status, missing.json["errors"][0]["pointer"]) == (400, "?from")


async def test_a_manifest_is_diffed_by_what_it_means_not_by_how_it_is_spelled() -> None:
    async with a_rig() as rig:
        await rig.put(resources={"cpu": "0.5", "memory": "1024Mi"})
        await rig.ask("PUT", WEB, a_manifest(resources={"cpu": "500m", "memory": "1Gi"}, tags={"t": "1"}))
        edits = (await rig.get(f"{WEB}/diff?from=1&to=2")).json["changes"]
        assert [edit["pointer"] for edit in edits] == ["/metadata/tags/t"]


async def test_a_rollback_asked_for_twice_under_one_key_is_done_once() -> None:
    async with a_rig() as rig:
        await rig.put(scale=2)
        await rig.put(scale=3)
        first = await rig.ask("POST", f"{WEB}/rollback", {}, Idempotency_Key="k1")
        again = await rig.ask("POST", f"{WEB}/rollback", {}, Idempotency_Key="k1")
        assert first.status == 202
        assert first.json["job"]["spec"]["scale"] == 2
        assert again.json == first.json
        assert again.headers["Idempotency-Replayed"] == "true"

"""Namespaces over HTTP: declared, shown with what they use, held to, taken back."""

from typing import Any

import pytest

from tests.api.rig import Answer, Rig, a_manifest, a_rig
from tests.api.test_bulk import bulk

SHOP = "/v1/namespaces/shop"
FULL = {"memory": "64Mi", "cpu": "500m"}


def a_namespace(name: str = "shop", **quota: Any) -> dict[str, Any]:
    return {"apiVersion": "harpoon/v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"quota": quota}}


async def put(rig: Rig, name: str = "web", *, scale: int = 1) -> Answer:
    manifest = a_manifest(name, namespace="shop", scale=scale, resources=FULL)
    return await rig.ask("PUT", f"{SHOP}/jobs/{name}", manifest)


async def test_a_namespace_is_shown_with_its_quota_and_what_its_jobs_use() -> None:
    async with a_rig() as rig:
        declared = await rig.ask("PUT", SHOP, a_namespace(cpu=8, memory="16Gi", tasks=100))
        assert (declared.status, declared.json["outcome"]) == (200, "created")
        assert (await put(rig, scale=3)).status == 202
        shown = (await rig.get(SHOP)).json
        assert shown["spec"]["quota"] == {"cpu": "8000m", "memory": "16Gi", "tasks": 100, "jobs": None}
        assert shown["status"] == {"used": {"cpu": "1500m", "memory": "192Mi", "tasks": 3, "jobs": 1}, "over": []}
        assert shown["metadata"]["name"] == "shop"
        assert (await rig.ask("PUT", SHOP, a_namespace(cpu=8, memory="16Gi", tasks=100))).json["outcome"] == "unchanged"


async def test_all_namespaces_are_listed_declared_or_not() -> None:
    async with a_rig() as rig:
        await rig.put()
        await rig.ask("PUT", SHOP, a_namespace(jobs=1))
        listed = (await rig.get("/v1/namespaces")).json["items"]
        assert [(one["metadata"]["name"], one["metadata"]["created_ms"] is None) for one in listed] == [
            ("default", True),
            ("shop", False),
        ]
        assert (await rig.get("/v1/namespaces/nothing")).status == 404


async def test_what_is_over_the_quota_is_409_and_names_every_limit() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", SHOP, a_namespace(cpu=1, memory="1Gi", tasks=3))
        refused = await put(rig, scale=4)
        assert (refused.status, refused.json["code"]) == (409, "quota_exceeded")
        assert refused.json["detail"] == (
            "quota of namespace shop: cpu 2000m of 1000m (now 0m), tasks 4 of 3 (now 0); "
            "lower scale to 2 or raise the quota"
        )
        assert refused.json["quota"] == [
            {"namespace": "shop", "field": "cpu", "used": "0m", "wanted": "2000m", "limit": "1000m"},
            {"namespace": "shop", "field": "tasks", "used": "0", "wanted": "4", "limit": "3"},
        ]
        assert (await put(rig, scale=2)).status == 202
        for path, body in (("scale", {"scale": 3}),):
            assert (await rig.ask("POST", f"{SHOP}/jobs/web/{path}", body)).json["code"] == "quota_exceeded"
        applied = await rig.ask("POST", "/v1/apply", {"documents": [a_manifest("b", namespace="shop", resources=FULL)]})
        assert applied.json["code"] == "quota_exceeded"
        told = await bulk(rig, a_manifest("b", namespace="shop", scale=0), a_manifest("c", namespace="shop", scale=9))
        assert [one.get("outcome") or one["problem"]["code"] for one in told] == ["created", "quota_exceeded"]


async def test_a_refused_mutation_is_not_kept_under_its_key() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", SHOP, a_namespace(tasks=1))
        await put(rig)
        first = await rig.ask("POST", f"{SHOP}/jobs/web/scale", {"scale": 2}, Idempotency_Key="k")
        await rig.ask("PUT", SHOP, a_namespace(tasks=2))
        again = await rig.ask("POST", f"{SHOP}/jobs/web/scale", {"scale": 2}, Idempotency_Key="k")
        assert (first.status, again.status) == (409, 202)


async def test_a_plan_tells_what_would_be_refused_and_plans_all_the_same() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", SHOP, a_namespace(jobs=0))
        told = (await rig.ask("POST", "/v1/plan", {"documents": [a_manifest(namespace="shop")]})).json
        assert told["refusal"].startswith("quota of namespace shop: jobs 1 of 0 (now 0); unschedule a job")
        assert told["plans"][0]["action"] == "create"


async def test_a_dry_run_tells_what_would_come_of_it_and_declares_nothing() -> None:
    async with a_rig() as rig:
        await put(rig, scale=3)
        told = await rig.ask("PUT", f"{SHOP}?dry_run=true", a_namespace(tasks=2))
        assert (told.status, told.json["outcome"]) == (200, "created")
        assert told.json["namespace"]["status"]["over"] == ["tasks 3 of 2"]
        assert (await rig.get(SHOP)).json["spec"]["quota"]["tasks"] is None


async def test_a_namespace_with_jobs_is_not_taken_back_and_an_empty_one_is() -> None:
    async with a_rig() as rig:
        await rig.ask("PUT", SHOP, a_namespace(tasks=3))
        await put(rig)
        refused = await rig.ask("DELETE", SHOP)
        assert (refused.status, refused.json["code"]) == (409, "conflict")
        assert "unschedule first what is there" in refused.json["detail"]
        await rig.ask("PUT", "/v1/namespaces/empty", a_namespace("empty"))
        assert (await rig.ask("DELETE", "/v1/namespaces/empty")).status == 200
        assert (await rig.ask("DELETE", "/v1/namespaces/empty")).status == 404


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (a_namespace("other"), "/metadata/name", "the path says 'shop'; write the same here, or change the path"),
        (a_namespace(tasks=-1), "/spec/quota", "tasks and jobs are 0 to 1000000000"),
        (a_namespace(memory="much"), "/spec/quota/memory", 'write a size as a number and a unit, such as "64Mi"'),
        (a_namespace(disk="1Gi"), "/spec/quota/disk", "unknown field 'disk'; known here: cpu, memory, tasks, jobs"),
        ({**a_namespace(), "kind": "Job"}, "/kind", "expected 'Namespace', got text 'Job'"),
    ],
)
async def test_a_quota_that_cannot_be_is_told_with_its_field(body: Any, pointer: str, detail: str) -> None:
    async with a_rig() as rig:
        answer = await rig.ask("PUT", SHOP, body)
        assert answer.status == 400
        [fault] = answer.json["errors"]
        assert fault["pointer"] == pointer
        assert fault["detail"].startswith(detail)

"""Lists, page by page."""

import asyncio
from typing import Any

import pytest

from harpoon.api.limits import Limits
from harpoon.api.pages import Listed, Snapshots
from harpoon.model.agent import LinkState
from tests.api.rig import PATIENCE_S, Answer, Rig, a_rig
from tests.api.telling import as_problem
from tests.builders import a_job, a_link, a_placement, a_task, an_agent


async def fill(rig: Rig, count: int = 7) -> None:
    await rig.write(*(a_job(name=f"j{number}") for number in range(count)))


async def pages(rig: Rig, path: str, limit: int) -> list[Answer]:
    """All pages of a list."""
    mark = "&" if "?" in path else "?"
    answers = [await rig.get(f"{path}{mark}limit={limit}")]
    while "continue" in answers[-1].json:
        answers.append(await rig.get(f"{path}{mark}limit={limit}&continue={answers[-1].json['continue']}"))
    assert all(answer.status == 200 for answer in answers)
    return answers


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


async def test_pages_together_are_the_list_and_say_what_remains() -> None:
    async with a_rig() as rig:
        await fill(rig)
        answers = await pages(rig, "/v1/jobs", 3)
        assert [names(answer) for answer in answers] == [["j0", "j1", "j2"], ["j3", "j4", "j5"], ["j6"]]
        assert [answer.json.get("remaining") for answer in answers] == [4, 1, None]
        whole = await rig.get("/v1/jobs")
        assert [one for answer in answers for one in answer.json["items"]] == whole.json["items"]
        assert set(whole.json) == {"revision", "items"}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/namespaces/default/jobs", "/v1/jobs?tag=a=b"])
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_every_list_of_jobs_has_pages(path: str, limit: int) -> None:
    async with a_rig() as rig:
        for number in range(3):
            await rig.put(f"j{number}", tags={"a": "b"})
        answers = await pages(rig, path, limit)
        assert [one for answer in answers for one in names(answer)] == ["j0", "j1", "j2"]
        assert all(len(answer.json["items"]) <= limit for answer in answers)


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/namespaces/default/tasks", "/v1/agents"])
async def test_tasks_and_agents_have_pages(path: str) -> None:
    async with a_rig() as rig:
        job = a_job(scale=3)
        placed = [a_placement(slot=slot, agent=f"a{slot}") for slot in range(3)]
        agents = [an_agent(f"a{slot}") for slot in range(3)]
        await rig.write(job, *placed, *agents, *(a_task(one) for one in placed[:2]))
        whole = (await rig.get(path)).json["items"]
        answers = await pages(rig, path, 2)
        assert [one for answer in answers for one in answer.json["items"]] == whole
        assert len(whole) == 3


async def test_all_pages_are_of_the_revision_of_the_first_whatever_happens_meanwhile() -> None:
    async with a_rig() as rig:
        job = a_job(name="j0", scale=1)
        placed = a_placement(job="j0", agent="a1")
        await rig.write(job, a_job(name="j1"), a_job(name="j2"), placed, an_agent("a1"), an_agent("a2"))
        lists = ("/v1/jobs", "/v1/tasks", "/v1/agents")
        stood = {path: (await rig.get(path)).json for path in lists}
        first = {path: (await rig.get(f"{path}?limit=1")).json for path in lists}
        task, link = a_task(placed), a_link("a2", state=LinkState.CONNECTED)
        await rig.write(
            a_job(name="j1", scale=9), task, link, a_job(name="j3"), gone=[a_job(name="j2"), an_agent("a2")]
        )
        for path in ("/v1/jobs", "/v1/agents"):
            rest = await rig.get(f"{path}?limit=1000&continue={first[path]['continue']}")
            assert rest.json["revision"] == rest.headers["Harpoon-Revision"] == stood[path]["revision"]
            assert first[path]["items"] + rest.json["items"] == stood[path]["items"]
            assert (await rig.get(path)).json["items"] != stood[path]["items"]
        assert first["/v1/tasks"]["items"] == stood["/v1/tasks"]["items"]


async def test_a_page_can_be_asked_for_again_and_of_another_size() -> None:
    async with a_rig() as rig:
        await fill(rig)
        token = (await rig.get("/v1/jobs?limit=2")).json["continue"]
        again = [names(await rig.get(f"/v1/jobs?continue={token}{more}")) for more in ("", "&limit=1", "")]
        assert again == [["j2", "j3"], ["j2"], ["j2", "j3"]]


async def test_a_token_that_is_no_longer_kept_is_gone() -> None:
    async with a_rig(limits=Limits(snapshot_s=0.05)) as rig:
        await fill(rig)
        token = (await rig.get("/v1/jobs?limit=2")).json["continue"]
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await rig.get(f"/v1/jobs?continue={token}")).status == 200:
                await asyncio.sleep(0.01)
        as_problem(answer, 410, "continue_expired")


async def test_a_token_of_another_instance_is_gone() -> None:
    async with a_rig() as rig, a_rig() as other:
        await fill(rig)
        await fill(other)
        token = (await rig.get("/v1/jobs?limit=2")).json["continue"]
        as_problem(await other.get(f"/v1/jobs?continue={token}"), 410, "continue_expired")


async def test_a_token_of_another_list_is_refused() -> None:
    async with a_rig() as rig:
        await fill(rig)
        token = (await rig.get("/v1/jobs?limit=2")).json["continue"]
        for path in ("/v1/agents?", "/v1/jobs?tag=a=b&", "/v1/namespaces/default/jobs?"):
            told = as_problem(await rig.get(f"{path}continue={token}"), 400, "invalid")
            assert told["errors"][0]["pointer"] == "?continue"
        beyond = token.partition(".")[0] + ".999"
        as_problem(await rig.get(f"/v1/jobs?continue={beyond}"), 400, "invalid")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "continue=x", "continue=", "limit=1&limit=1"]
)
async def test_a_limit_or_token_that_is_none_is_refused(query: str) -> None:
    async with a_rig() as rig:
        told = as_problem(await rig.get(f"/v1/jobs?{query}"), 400, "invalid")
        assert told["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_a_page_is_cut_short_before_it_grows_too_large() -> None:
    async with a_rig() as rig:
        for number in range(12):
            large = a_job(name=f"j{number:02}", env=dict.fromkeys("abcd", "x" * 100000))
            await rig.write(large)
        answers = await pages(rig, "/v1/jobs", 1000)
        assert len(answers) > 1
        assert all(len(answer.body) < 5 << 20 for answer in answers)
        assert [one for answer in answers for one in names(answer)] == [f"j{number:02}" for number in range(12)]


async def test_snapshots_are_bounded_in_number_and_items_and_those_read_to_their_end_go_first() -> None:
    snapshots = Snapshots(Limits(snapshots=3, snapshot_items=100))
    kept: list[Any] = [snapshots.add(listed(10), ("/",), 1) for _ in range(3)]
    kept[1][1].is_read = True
    kept.append(snapshots.add(listed(10), ("/",), 1))
    assert [snapshots.find(name) is not None for name, _ in kept] == [True, False, True, True]
    kept.append(snapshots.add(listed(85), ("/",), 1))
    assert [snapshots.find(name) is not None for name, _ in kept] == [False, False, False, True, True]
    huge, _ = snapshots.add(listed(101), ("/",), 1)
    assert (len(snapshots), snapshots.find(huge)) == (0, None)


async def test_a_list_that_fits_its_first_page_keeps_no_snapshot() -> None:
    async with a_rig() as rig:
        await fill(rig, 3)
        assert "continue" not in (await rig.get("/v1/jobs?limit=3")).json


def listed(count: int) -> Listed:
    return Listed(revision=1, items=range(count), encode=lambda _: b"{}")

"""The reference: the OpenAPI document is valid, says what the server really answers, and is the one in the files."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import jsonschema
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from harpoon.api.app import ROUTES
from harpoon.api.openapi import PARTS, TAGS, openapi
from harpoon.api.operation import Answer, Operation
from harpoon.api.published import files, main
from harpoon.control.ledger_records import shard_of
from harpoon.kit import codec
from harpoon.model.cron import Cron
from harpoon.model.decision import Blocker, Pending
from harpoon.model.instance import Instance
from harpoon.model.job import JobType, Update
from harpoon.model.rollout import RolloutRecord
from harpoon.model.secret import SecretChange
from harpoon.model.sensitive import Sensitive
from harpoon.model.shown import ProblemDetails
from harpoon.model.task import TaskState
from harpoon.model.watched import EndpointsStreamEvent, WatchEvent
from tests.api.rig import TOKEN, Rig, a_manifest, a_rig
from tests.api.runs_rig import PLAIN, a_runs_rig, declare, start
from tests.builders import MIB, a_cordon, a_link, a_placement, a_task, an_agent
from tests.control.test_quotas import a_namespace
from tests.control.working import Table
from tests.workflows import a_batch, a_workflow

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = openapi(ROUTES)
BY_ID = {operation.operation_id: operation for operation in ROUTES}
#: What each operation that takes a body is sent; what needs no more than an empty object is not named.
BODIES: dict[str, Any] = {
    "put_job": a_manifest(scale=3),
    "scale_job": {"scale": 3},
    "put_namespace": {
        "apiVersion": "harpoon/v1",
        "kind": "Namespace",
        "metadata": {"name": "default"},
        "spec": {"quota": {"cpu": 8, "memory": "16Gi", "tasks": 100, "jobs": 20}},
    },
    "put_secret": {"data": {"password": "x"}},
    "apply": {"documents": [a_manifest("other")]},
    "put_agent": json.loads(codec.dump(an_agent("a3", endpoint="http://127.0.0.1:10"))),
    "rebalance": {"max_moves": 5},
    "plan": {"documents": [a_manifest(scale=3)]},
    "promise": {"documents": [a_manifest(scale=3)]},
    "exchange_work": {"worker": "w1", "session": "s1", "seq": 1, "handlers": ["pack"], "want": 2},
    "look_for_work": {"handlers": ["pack"]},
    "put_workflow": {**PLAIN, "metadata": {"name": "web"}},
    "bound_workflow": PLAIN,
    "report_permits": {"instance": "s2", "number": 1},
    "start_run": {"workflow": "flow", "id": "r9"},
    "start_batch": a_batch("b9"),
    "signal_run": {"label": "done"},
    "retry_run": {"from": "waits"},
    "fork_run": {"from": "waits", "id": "r9"},
    "move_run": {},
    "skip_in_run": {"op": "waits"},
    "set_in_run": {"op": "waits", "label": "done"},
}
#: Parts of paths of operations about workflows and runs.
OF_RUNS = ("/workflows", "/runs", "/batches", "/signals", "/bounds", "/permits", "/callbacks", "/stats")
#: A workflow that waits for a signal, and to be called back.
WAITING = a_workflow(waits={"wait": {"signal": "go", "key": "k"}}, asks={"wait": {"callback": True}})
#: Query parameters without which an operation cannot be asked.
QUERIES = {"get_diff": "from=1", "signal_key": "key=k"}
WITH_JSON = [
    operation
    for operation in ROUTES
    if any(not isinstance(answer, Answer) or answer.json for answer in operation.answers.values())
]


@asynccontextmanager
async def a_cluster(operation: Operation | None = None) -> AsyncIterator[tuple[Rig, dict[str, str]]]:
    """What an operation can be asked about: runs, if it is about those, else what there is beside them."""
    if operation is not None and any(part in operation.path for part in OF_RUNS):
        async with some_runs() as runs:
            yield runs
        return
    async with a_fleet() as fleet:
        yield fleet


@asynccontextmanager
async def some_runs() -> AsyncIterator[tuple[Rig, dict[str, str]]]:
    """A workflow, and a run of it that waits for a signal; and what the variable parts of paths are there."""
    parts = {"ns": "default", "name": "flow", "run": "r1", "signal": "go"}
    shard = shard_of("default/r1")
    shards = {shard, *(shard_of(f"default/{run}") for run in ("r9", "b1", "b9"))}
    async with a_runs_rig(shards=shards, is_sharing=True) as rig:
        await rig.write(Instance(name="s2", url="", version="1", since_ms=1))
        await declare(rig, WAITING)
        assert (await start(rig, "r1", workflow="flow")).status == 201
        assert (await rig.ask("POST", "/v1/namespaces/default/batches", a_batch("b1"))).status == 201
        url = (await rig.get("/v1/namespaces/default/runs/r1/callbacks")).json["items"][0]["url"]
        yield rig, parts | {"op": "asks", "visit": "1", "token": url.rpartition("/")[2]}


@asynccontextmanager
async def a_fleet() -> AsyncIterator[tuple[Rig, dict[str, str]]]:
    """A job with a task that runs and slots that wait; and what the variable parts of paths are there."""
    table = Table()
    table.plain.start("r1", "a", "b")
    async with a_rig(work=table.exchange) as rig:
        await rig.put(scale=2)
        change = (await rig.put(scale=4)).json["change"]
        row = rig.view.jobs.rows["default/web"].value
        placed = a_placement(revision=7, generation=row.generation, version=row.version, cpu=500, memory=64 * MIB)
        blocker = Blocker(predicate="cpu", wanted="4", found="2", agents=("a1",), agents_count=1)
        pending = Pending(
            namespace="default",
            job="web",
            generation=row.generation,
            slots=(1, 2),
            reason="no room",
            blockers=(blocker,),
        )
        await rig.write(an_agent("a1"), a_link("a1"), an_agent("a2", endpoint="http://127.0.0.1:9"), pending)
        await rig.write(a_cordon("a1", is_draining=True))
        await rig.write(placed, a_task(placed, ports={"http": 8000}))
        nobodys = a_task(replace(placed, slot=3), state=TaskState.UNCLAIMED, reported=TaskState.RUNNING)
        await rig.write(nobodys)
        await rig.doors.registry.quotas.declare(a_namespace("empty", tasks=5))
        await rig.doors.registry.secrets.put("default", "web", SecretChange(data={"a": Sensitive(b"x")}))
        parts = {"ns": "default", "name": "web", "id": placed.task, "n": "1", "change": change}
        yield rig, {**parts, "unclaimed": nobodys.id}


def filled(operation: Operation, parts: dict[str, str]) -> str:
    """The path of an operation on what there is in the cluster."""
    parts = dict(parts)
    if operation.operation_id == "put_workflow":
        parts["name"] = "web"
    if "agents" in operation.path:
        parts["name"] = {"PUT": "a3", "DELETE": "a2"}.get(operation.method, "a1")
    if operation.operation_id == "delete_namespace":
        parts["ns"] = "empty"
    if operation.path.endswith("declare-dead"):
        parts["name"] = "a2"
    if operation.operation_id in ("adopt_task", "stop_task"):
        parts["id"] = parts["unclaimed"]
    if "/batches/" in operation.path and parts["run"] == "r1":
        parts["run"] = "b1"
    if "changes" in operation.path:
        parts["id"] = parts["change"]
    return operation.path.format(**parts) + f"?{QUERIES.get(operation.operation_id, '')}".rstrip("?")


def fits(schema: Any, told: object) -> None:
    """Check JSON against a schema of the document."""
    whole = {"$schema": DOCUMENT["jsonSchemaDialect"], "components": DOCUMENT["components"], **schema}
    jsonschema.Draft202012Validator(whole).validate(told)


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()


def test_every_operation_is_described_under_an_id_of_its_own() -> None:
    assert len(BY_ID) == len(ROUTES)
    for operation in ROUTES:
        assert operation.text, operation
        assert operation.answers, operation
        assert operation.tag in TAGS
        assert set(operation.parts) <= PARTS.keys()
    told = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert [one["operationId"] for one in told].sort() == list(BY_ID).sort()
    assert all(one["summary"] and not one["summary"].endswith(".") for one in told)


@pytest.mark.parametrize("operation", WITH_JSON, ids=lambda operation: operation.operation_id)
async def test_what_is_answered_is_of_the_declared_noun_and_fits_its_schema(operation: Operation) -> None:
    async with a_cluster(operation) as (rig, parts):
        body = None if operation.body is None else BODIES.get(operation.operation_id, {})
        if operation.operation_id == "apply_plan":
            body = (await rig.ask("POST", "/v1/plan/promise", BODIES["promise"])).json
        if operation.operation_id == "promote_rollout":
            job = rig.view.jobs.rows["default/web"].value
            trial = replace(job, spec=replace(job.spec, update=Update(canary=1)))
            await rig.write(
                trial, RolloutRecord(namespace="default", job="web", version=job.version, generation=job.generation)
            )
        if "/cron/" in operation.path:
            job = rig.view.jobs.rows["default/web"].value
            await rig.write(
                replace(job, spec=replace(job.spec, type=JobType.BATCH, scale=0, cron=Cron(at="0 2 * * *")))
            )
        answer = await rig.ask(operation.method, filled(operation, parts), body)
        assert answer.status in operation.answers, answer.body
        declared = operation.answers[answer.status]
        noun = declared.json if isinstance(declared, Answer) else declared
        if noun is not Any:
            codec.decode(noun, answer.body)
        told = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"][str(answer.status)]
        fits(told["content"]["application/json"]["schema"], answer.json)
        assert {name for name in told["headers"] if name not in answer.headers} <= {
            "Idempotency-Replayed",
            "Harpoon-At",
        }
        assert ("ETag" in told["headers"]) == ("ETag" in answer.headers)


@pytest.mark.parametrize(
    "operation", [one for one in ROUTES if one.parts], ids=lambda operation: operation.operation_id
)
async def test_errors_are_of_the_declared_noun_with_a_declared_status(operation: Operation) -> None:
    async with a_cluster(operation) as (rig, parts):
        body = None if operation.body is None else b"not JSON"
        path = filled(
            operation,
            {**parts, "name": "nobody", "run": "nobody", "id": "default.web.9.1-1", "change": "default.web.1-9999"},
        )
        for headers in ({}, {"Accept": "image/png"}, {"If_Match": '"9.9"'}, {"Content_Type": "text/plain"}):
            answer = await rig.ask(operation.method, path + "-" * ("agents" in path), body, **headers)
            if answer.status >= 400:
                assert answer.status in operation.refusals, answer.body
                codec.decode(ProblemDetails, answer.body)
                fits({"$ref": "#/components/schemas/ProblemDetails"}, answer.json)


@pytest.mark.parametrize("operation", ROUTES, ids=lambda operation: operation.operation_id)
async def test_a_parameter_that_is_not_declared_is_refused_and_told_which_are(operation: Operation) -> None:
    async with a_cluster(operation) as (rig, parts):
        path = filled(operation, parts)
        answer = await rig.ask(operation.method, f"{path}{'&' if '?' in path else '?'}nonsense=1")
        assert answer.status == 400
        assert answer.json["errors"][0]["pointer"] == "?nonsense"
        declared = [one.name for one in operation.parameters]
        assert answer.json["errors"][0]["detail"].endswith(", ".join(declared) or "none")


async def test_a_parameter_that_is_required_is_asked_for() -> None:
    required = [(one, name.name) for one in ROUTES for name in one.parameters if name.is_required]
    assert required
    for operation, name in required:
        async with a_cluster(operation) as (rig, parts):
            answer = await rig.ask(operation.method, filled(operation, parts).partition("?")[0])
            assert answer.status == 400
            assert answer.json["errors"][0]["pointer"] == f"?{name}"


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_events_are_of_the_declared_nouns_and_fit_their_schemas(accept: str) -> None:
    job = "/v1/namespaces/{ns}/jobs/{name}"
    async with a_cluster() as (rig, parts):
        for path, noun, last in (
            ("/v1/watch", WatchEvent, "change"),
            (f"{job}/endpoints", EndpointsStreamEvent, "endpoints"),
        ):
            schema = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"][accept]["schema"]["contentSchema"]
            async with rig.watch(path.format(**parts), accept) as reader:
                events = [] if last == "endpoints" else await reader.until_type("synced")
                await rig.write(an_agent("a9"), gone=[an_agent("a2")])
                events += await reader.until_type(last)
            for event in events:
                codec.decode(noun, orjson.dumps(event))
                fits(schema, event)
    assert len(get_args(WatchEvent)) == 6


async def test_lines_are_of_the_declared_noun_and_fit_its_schema() -> None:
    body = b"\n".join([orjson.dumps(a_manifest("other")), b"{}"])
    async with a_cluster() as (rig, _):
        answer = await rig.ask("POST", "/v1/apply?atomic=false", body, Content_Type="application/x-ndjson")
        told = DOCUMENT["paths"]["/v1/apply"]["post"]["responses"]["200"]["content"]["application/x-ndjson"]
        lines = answer.body.splitlines()
        assert [b"problem" in line for line in lines] == [False, True]
        for line in lines:
            codec.decode(BY_ID["apply"].answers[200].lines, line)
            fits(told["schema"]["contentSchema"], orjson.loads(line))


def test_operations_that_follow_each_other_are_linked() -> None:
    put = DOCUMENT["paths"]["/v1/namespaces/{ns}/jobs/{name}"]["put"]["responses"]["202"]["links"]
    assert {"get_job", "delete_job", "scale_job", "get_job_status", "get_change"} <= put.keys()
    assert put["get_change"] == {"operationId": "get_change", "parameters": {"id": "$response.body#/change"}}
    got = DOCUMENT["paths"]["/v1/namespaces/{ns}/jobs/{name}"]["get"]["responses"]["200"]["links"]
    assert got["delete_job"]["parameters"]["header.If-Match"] == "$response.header.ETag"
    links = [
        (link, one["operationId"])
        for methods in DOCUMENT["paths"].values()
        for one in methods.values()
        for answer in one["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    for link, source in links:
        named = {name.removeprefix("path.") for name in link["parameters"] if not name.startswith("header.")}
        assert named == set(BY_ID[link["operationId"]].parts), source


@pytest.mark.parametrize("name", sorted(files()))
def test_the_files_are_those_of_this_release(name: str, tmp_path: Path) -> None:
    main(str(tmp_path))
    made = (tmp_path / name).read_text(encoding="utf-8")
    assert (DOCS / name).read_text(encoding="utf-8") == made, "run: make docs"


async def test_the_reference_is_open_and_the_same_as_in_the_files() -> None:
    async with a_rig(token=TOKEN) as rig:
        rig.headers.clear()
        assert (await rig.get("/v1/openapi.json")).json == json.loads(files()["openapi.json"])
        assert (await rig.get("/v1/schemas/job.json")).json == json.loads(files()["job.schema.json"])
        assert (await rig.get("/v1/schemas/workflow.json")).json == json.loads(files()["workflow.schema.json"])
        assert (await rig.get("/docs")).status == 200
        assert (await rig.ask("HEAD", "/docs")).status == 200


async def test_the_page_runs_nothing_but_its_own_script_and_loads_nothing_from_elsewhere() -> None:
    async with a_rig() as rig:
        answer = await rig.get("/docs")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = answer.headers["Content-Security-Policy"]
        page = answer.body.decode()
        for kind in ("script", "style"):
            inline = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", page, re.DOTALL)
            assert len(inline) == 1
            digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|style=|\son\w+=|https?:", page
        )

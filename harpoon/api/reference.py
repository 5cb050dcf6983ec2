"""The reference: what this server can be asked, as an OpenAPI document, as a page, and the schema of what users write.

All of it is the same for every instance of a release and says nothing of what runs, so it is open to all.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from harpoon.api.answer import answer
from harpoon.api.openapi import openapi
from harpoon.api.operation import Answer, Operation
from harpoon.kit.schema import schema_of
from harpoon.model.manifest import Manifest
from harpoon.model.workflow import WorkflowManifest

_PAGE: Final = Path(__file__).with_name("reference.html")
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Reference:
    """The OpenAPI document of one application's operations; made when it is first asked for."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations

    @cached_property
    def openapi_json(self) -> bytes:
        """The document."""
        return orjson.dumps(openapi(self._operations))


REFERENCE: Final = web.AppKey("reference", Reference)


@cache
def job_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job's manifest."""
    return schema_of(Manifest, title="Harpoon job", identity="urn:harpoon:schema:job:v1")


@cache
def workflow_schema() -> dict[str, Any]:
    """Return the JSON Schema of a workflow's manifest."""
    return schema_of(WorkflowManifest, title="Harpoon workflow", identity="urn:harpoon:schema:workflow:v1")


@cache
def _page() -> tuple[bytes, str]:
    """Return the page, and the policy that lets run what stands in it, and nothing else."""
    text = _PAGE.read_text(encoding="utf-8")
    hashes = {
        kind: base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for kind, body in _INLINE.findall(text)
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), policy


async def get_openapi(request: web.Request) -> web.Response:
    """Describe this API as an OpenAPI 3.1 document."""
    # The first time it takes longer than others should wait.
    return answer(request, await asyncio.to_thread(getattr, request.app[REFERENCE], "openapi_json"))


async def get_job_schema(request: web.Request) -> web.Response:
    """Describe a job's manifest as JSON Schema, for editors and other checks before it is sent."""
    return answer(request, orjson.dumps(job_schema()))


async def get_workflow_schema(request: web.Request) -> web.Response:
    """Describe a workflow's manifest as JSON Schema, for editors and other checks before it is sent."""
    return answer(request, orjson.dumps(workflow_schema()))


async def get_docs(_request: web.Request) -> web.Response:
    """Show this API as a page for people."""
    body, policy = _page()
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


def pretty(value: object) -> str:
    """Return JSON as it is kept in files, for people and for the history of changes."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


ROUTES = (
    Operation("GET", "/v1/openapi.json", get_openapi, tag="instance", answers={200: Answer(json=Any)}, is_open=True),
    Operation(
        "GET", "/v1/schemas/job.json", get_job_schema, tag="instance", answers={200: Answer(json=Any)}, is_open=True
    ),
    Operation(
        "GET",
        "/v1/schemas/workflow.json",
        get_workflow_schema,
        tag="instance",
        answers={200: Answer(json=Any)},
        is_open=True,
    ),
    Operation("GET", "/docs", get_docs, tag="instance", answers={200: Answer(text="text/html")}, is_open=True),
)

"""A registry of one image, on loopback, where engines take plain HTTP: slow, picky or broken as a test wants it."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.ports import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    port: int
    #: What ``docker login`` would be told; None: anybody may pull.
    user: tuple[str, str] | None = None
    #: Bytes of the layer sent before it is waited for `go_on`.
    holds_at: int | None = None
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    #: Answers so many manifests with 503 first.
    failures: int = 0
    pulls: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self.port}/team/web:1"

    def fill(self, size: int) -> None:
        """Make an image with a layer of so many bytes that do not shrink."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("data")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
        plain = packed.getvalue()
        layer = gzip.compress(plain, 1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            }
        ).encode()
        self.blobs = {_digest(one): one for one in (layer, config)}
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(layer),
                        "digest": _digest(layer),
                    }
                ],
            }
        ).encode()

    def _admits(self, request: web.Request) -> bool:
        if self.user is None:
            return True
        shown = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        return request.headers.get("Authorization") == shown

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if not self._admits(request):
            return web.json_response(
                {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]},
                status=401,
                headers={"WWW-Authenticate": 'Basic realm="tests"'},
            )
        path = request.match_info["path"]
        if path.startswith("team/web/manifests/"):
            if self.failures and request.method == "GET":
                self.failures -= 1
                return web.json_response({"errors": [{"code": "X", "message": "busy now"}]}, status=503)
            reference = path.rpartition("/")[2]
            if reference in ("1", _digest(self.manifest)):
                self.pulls += reference == "1"
                headers = {"Docker-Content-Digest": _digest(self.manifest)}
                return web.Response(body=self.manifest, content_type=_MANIFEST, headers=headers)
        elif path.startswith("team/web/blobs/") and (blob := self.blobs.get(path.rpartition("/")[2])) is not None:
            return await self._send(request, blob)
        elif not path:
            return web.json_response({})
        known = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
        return web.json_response({"errors": [known]}, status=404)

    async def _send(self, request: web.Request, blob: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(blob))})
        await response.prepare(request)
        first = len(blob) if self.holds_at is None or len(blob) < self.holds_at else self.holds_at
        with contextlib.suppress(ConnectionError):
            await response.write(blob[:first])
            if first < len(blob):
                await self.go_on.wait()
                await response.write(blob[first:])
        return response


@contextlib.asynccontextmanager
async def a_registry(**told: object) -> AsyncIterator[Registry]:
    registry = Registry(free_port(), **told)  # type: ignore[arg-type]
    app = web.Application()
    app.router.add_route("*", "/v2/{path:.*}", registry.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", registry.port).start()
    try:
        yield registry
    finally:
        registry.go_on.set()
        await runner.cleanup()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

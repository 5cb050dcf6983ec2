"""Writes to a server in a namespace of its own, and remembers what the server has acknowledged."""

import asyncio
import random
import secrets
from typing import Any

from tests.conformance.judge import Acknowledged, Key
from tests.conformance.wire import Address

TASK = {
    "command": ["/bin/sleep", "100000"],
    "resources": {"cpu": "1m", "memory": "1Mi"},
    "stop": {"drain": "0s", "grace": "1s"},
}
TEAMS = ("shop", "desk")


class Stir:
    """Puts jobs, scales them, tags them otherwise, deletes them; alone, and several at once."""

    def __init__(self, address: Address, *, seed: int = 1) -> None:
        self.address = address
        self.namespace = f"conformance-{secrets.token_hex(4)}"
        #: In which the same names mean other jobs.
        self.elsewhere = f"{self.namespace}-b"
        self.acknowledged: list[Acknowledged] = []
        self._rng = random.Random(seed)
        self._count = 0

    def key(self, name: str) -> Key:
        return "job", f"{self.namespace}/{name}"

    def manifest(self, name: str, *, scale: int = 0, **tags: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace, "tags": tags}
        return {"apiVersion": "harpoon/v1", "kind": "Job", "metadata": metadata, "spec": {"scale": scale, "task": TASK}}

    async def put(self, name: str, *, scale: int = 0, env: dict[str, str] | None = None, **tags: str) -> str:
        """Put a job that differs from what was there; return the revision."""
        self._count += 1
        body = self.manifest(name, scale=scale, **tags, count=str(self._count))
        if env:
            body["spec"]["task"] = TASK | {"env": env}
        return (await self._write("PUT", self._path(name), body, name))["revision"]

    async def scale(self, name: str, scale: int) -> None:
        await self._write("POST", f"{self._path(name)}/scale", {"scale": scale}, name)

    async def delete(self, name: str, *, wait: str = "0s") -> None:
        told = await self._write("DELETE", self._path(name), None, name)
        await self.address.get(f"/v1/changes/{told['change']}?wait={wait}")

    async def apply(self, names: list[str], **tags: str) -> str:
        """Put jobs at once, all with one new count; return the revision."""
        self._count += 1
        documents = [self.manifest(name, **tags, count=str(self._count)) for name in names]
        return (await self._write("POST", "/v1/apply", {"documents": documents}, *names))["revision"]

    async def stir(self, steps: int) -> None:
        """Do this and that."""
        names = ["api", "web", "db", "job"]
        there: set[str] = set()
        for _ in range(steps):
            name = self._rng.choice(names)
            match self._rng.randrange(8 if name in there else 3):
                case 0 | 1 | 2 | 3:
                    # A job that is still going away cannot be put again.
                    if await self._is_free(name):
                        await self.put(name, scale=self._rng.randrange(3), team=self._rng.choice(TEAMS))
                        there.add(name)
                case 4 | 5:
                    await self.scale(name, self._rng.randrange(3))
                case 6:
                    await self.apply([f"group-{number}" for number in range(4)], team=self._rng.choice(TEAMS))
                case _:
                    await self.delete(name)
                    there.discard(name)

    async def settle(self, *names: str) -> None:
        """Wait until jobs are as they were declared."""
        for name in names:
            status = await self.address.get(f"{self._path(name)}/status")
            if status["change"]:
                await self.address.get(f"/v1/changes/{status['change']}?wait=15s")

    async def put_elsewhere(self, name: str, **tags: str) -> None:
        """Put a job of the same name in the other namespace."""
        body = self.manifest(name, **tags)
        body["metadata"]["namespace"] = self.elsewhere
        answer = await self.address.ask("PUT", f"/v1/namespaces/{self.elsewhere}/jobs/{name}", body)
        assert answer.status in (200, 202), answer

    async def clean(self, *, wait: str = "15s") -> None:
        """Take away what was put, and wait until it is gone."""
        for namespace in (self.namespace, self.elsewhere):
            await self._clean(f"/v1/namespaces/{namespace}/jobs", wait)

    async def _clean(self, path: str, wait: str) -> None:
        jobs = (await self.address.get(path))["items"]
        gone = [await self.address.ask("DELETE", f"{path}/{job['metadata']['name']}") for job in jobs]
        for answer in gone:
            if answer.status == 202:
                await self.address.get(f"/v1/changes/{answer.json['change']}?wait={wait}")

    async def _is_free(self, name: str) -> bool:
        answer = await self.address.ask("GET", self._path(name))
        return answer.status == 404 or not answer.json["metadata"].get("is_terminating")

    def _path(self, name: str) -> str:
        return f"/v1/namespaces/{self.namespace}/jobs/{name}"

    async def _write(self, method: str, path: str, body: object, *names: str) -> dict[str, Any]:
        answer = await self.address.ask(method, path, body)
        assert answer.status in (200, 202), (method, path, answer)
        if answer.status == 202:
            keys = tuple(self.key(name) for name in names)
            self.acknowledged.append(Acknowledged(answer.json["revision"], keys))
        return answer.json


async def at_once(*works: Any) -> list[Any]:
    """Do several things at once; the first that fails ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]

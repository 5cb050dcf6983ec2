"""Jobs, typed: what is wanted."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from harpoon.client.answer import Answer
from harpoon.client.caller import Caller, noun, pages
from harpoon.kit import codec
from harpoon.kit.errors import HarpoonError
from harpoon.model.edit import Diff
from harpoon.model.manifest import Manifest
from harpoon.model.name import DEFAULT_NAMESPACE
from harpoon.model.parameters import Value
from harpoon.model.plan import Plan
from harpoon.model.rollout import RolloutStatus
from harpoon.model.shown import Declared, EndpointList, JobList, JobObject, Unscheduled
from harpoon.model.status import JobStatus
from harpoon.model.story import EventList
from harpoon.model.versions import ShownVersion, VersionList
from harpoon.model.why import Why

#: A manifest as a noun, or as the mapping that its JSON or YAML is.
Document = Manifest | Mapping[str, Any]

_EVENTS: Final = 100


class Jobs:
    """The jobs of one server.

    Each method raises `HarpoonError` of the kind that the server answered: `NotFound`, `Invalid`, `Conflict`, ….
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> JobObject:
        """Return a job with its status."""
        return noun(JobObject, await self._caller.get(*_path(namespace, name)))

    def list(self, *, namespace: str | None = None, tags: Sequence[str] = ()) -> AsyncIterator[JobObject]:
        """Yield jobs of a namespace, or of all; with all of these tags (``key=value``)."""
        path = ("jobs",) if namespace is None else ("namespaces", namespace, "jobs")
        return pages(self._caller, path, {"tag": tags}, _page)

    async def put(self, manifest: Document, *, if_match: str | None = None, is_new: bool = False) -> Declared:
        """Declare a job, new or changed; with ``if_match`` only over the version with that ETag."""
        body = codec.dump(manifest)
        return noun(Declared, await self._caller.put(*_of(manifest), body=body, if_match=if_match, is_new=is_new))

    async def schedule(self, manifest: Document) -> Declared:
        """Declare a job that is not there yet; `PreconditionFailed` if it is."""
        return await self.put(manifest, is_new=True)

    async def migrate(self, manifest: Document, *, if_match: str | None = None) -> Declared:
        """Change a job that is there; without ``if_match``, over what it is just now.

        Raises:
            NotFound: It is not there.
            PreconditionFailed: Someone else changed it meanwhile.
        """
        if if_match is None:
            if_match = (await self._caller.get(*_of(manifest))).etag
            if if_match is None:
                raise HarpoonError("the server tells no ETag of the job; is another service listening there?")
        return await self.put(manifest, if_match=if_match)

    async def scale(
        self, name: str, scale: int, *, namespace: str = DEFAULT_NAMESPACE, if_match: str | None = None
    ) -> Declared:
        """Change how many tasks a job has."""
        body = {"scale": scale}
        return noun(Declared, await self._caller.post(*_path(namespace, name), "scale", body=body, if_match=if_match))

    async def delete(
        self, name: str, *, namespace: str = DEFAULT_NAMESPACE, if_match: str | None = None
    ) -> Unscheduled:
        """Unschedule a job."""
        return noun(Unscheduled, await self._caller.delete(*_path(namespace, name), if_match=if_match))

    async def rollback(
        self,
        name: str,
        version: int | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        if_match: str | None = None,
    ) -> Declared:
        """Bring an earlier version back, as a new one; without ``version``, the last that was different."""
        body = {} if version is None else {"version": version}
        answer = await self._caller.post(*_path(namespace, name), "rollback", body=body, if_match=if_match)
        return noun(Declared, answer)

    async def rollout(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> RolloutStatus:
        """Return how its rollout stands."""
        return noun(RolloutStatus, await self._caller.get(*_path(namespace, name), "rollout"))

    async def pause(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Declared:
        """Have nothing more replaced by its rollouts until they are resumed."""
        return noun(Declared, await self._caller.post(*_path(namespace, name), "pause", body={}))

    async def resume(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Declared:
        """Let its rollout go on after a pause."""
        return noun(Declared, await self._caller.post(*_path(namespace, name), "resume", body={}))

    async def promote(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Declared:
        """Let its rollout go on beyond its canaries."""
        return noun(Declared, await self._caller.post(*_path(namespace, name), "promote", body={}))

    async def pause_cron(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Declared:
        """Have no due of a cron job fired until it is resumed."""
        return noun(Declared, await self._caller.post(*_path(namespace, name), "cron", "pause", body={}))

    async def resume_cron(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Declared:
        """Have the dues of a cron job fired again."""
        return noun(Declared, await self._caller.post(*_path(namespace, name), "cron", "resume", body={}))

    async def trigger_cron(
        self, name: str, arguments: Mapping[str, Value] | None = None, *, namespace: str = DEFAULT_NAMESPACE
    ) -> Declared:
        """Make a child of a cron job now, with these values of its parameters, and return that."""
        body = {"arguments": dict(arguments or {})}
        return noun(Declared, await self._caller.post(*_path(namespace, name), "cron", "trigger", body=body))

    async def versions(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> VersionList:
        """Return the versions that are kept, newest first."""
        return noun(VersionList, await self._caller.get(*_path(namespace, name), "versions"))

    async def version(self, name: str, version: int, *, namespace: str = DEFAULT_NAMESPACE) -> ShownVersion:
        """Return one version."""
        return noun(ShownVersion, await self._caller.get(*_path(namespace, name), "versions", str(version)))

    async def diff(self, name: str, from_: int, to: int | None = None, *, namespace: str = DEFAULT_NAMESPACE) -> Diff:
        """Return how two versions differ; without ``to``, one and the present."""
        query = {"from": str(from_), "to": None if to is None else str(to)}
        return noun(Diff, await self._caller.get(*_path(namespace, name), "diff", query=query))

    async def plan(self, *manifests: Document) -> Plan:
        """Return what would come of declaring these together; nothing is changed."""
        return noun(Plan, await self._caller.post("plan", body=codec.dump({"documents": list(manifests)})))

    async def status(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> JobStatus:
        """Return how a job stands, with its tasks."""
        return noun(JobStatus, await self._caller.get(*_path(namespace, name), "status"))

    async def why(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Why:
        """Return why a job is as it is, and what would help."""
        return noun(Why, await self._caller.get(*_path(namespace, name), "why"))

    async def endpoints(self, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> EndpointList:
        """Return where its ready tasks are reached."""
        return noun(EndpointList, await self._caller.get(*_path(namespace, name), "endpoints"))

    async def events(self, name: str, *, namespace: str = DEFAULT_NAMESPACE, limit: int = _EVENTS) -> EventList:
        """Return what happened to it and its tasks lately, oldest first."""
        return noun(EventList, await self._caller.get(*_path(namespace, name), "events", query={"limit": str(limit)}))


def _page(answer: Answer) -> tuple[tuple[JobObject, ...], str | None]:
    page = noun(JobList, answer)
    return page.items, page.continue_


def _path(namespace: str, name: str) -> tuple[str, ...]:
    return ("namespaces", namespace, "jobs", name)


def _of(manifest: Document) -> tuple[str, ...]:
    if isinstance(manifest, Manifest):
        return _path(manifest.metadata.namespace, manifest.metadata.name)
    metadata = manifest.get("metadata") or {}
    return _path(str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata.get("name") or ""))

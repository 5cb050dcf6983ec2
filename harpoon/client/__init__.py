"""A client of the REST API: asynchronous, typed, and a watch that resumes by itself.

::

    async with Client("http://127.0.0.1:4450") as client:
        status = await client.jobs.status("web")

Floors, downward: ``client`` (what one calls) over ``jobs``, ``tasks``, ``agents``, ``changes`` (typed verbs) and
``watch`` over ``pool``, ``connection`` (HTTP/1.1 by h11 over asyncio streams) over ``request``, ``answer``, ``origin``.
It imports in half the time of a full HTTP client, so the verbs at the terminal stand on it as well.

`Client` is the one name exported here; errors are those of `harpoon.kit.errors`, nouns those of `harpoon.model`.
"""

from harpoon.client.client import Client

__all__ = ["Client"]

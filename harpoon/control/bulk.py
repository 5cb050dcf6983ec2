"""Many documents, each for itself: packed into few commits, and taken apart again when a pack fails."""

import asyncio
from collections.abc import Sequence
from typing import Final

from harpoon.control.registry import Accepted, Registry
from harpoon.kit.errors import Exceeded, HarpoonError, Invalid
from harpoon.model.manifest import Manifest
from harpoon.store.port import StoreUnavailable

#: Documents of one commit: two writes each, and room to prune a version of most.
PACK_MAX: Final = 33

#: What a document came to: accepted, or why not.
Result = Accepted | HarpoonError | StoreUnavailable


async def apply_each(registry: Registry, manifests: Sequence[Manifest]) -> list[Result]:
    """Create or replace jobs, all of them different; one that cannot be does not keep others from it.

    A pack that is refused as a whole (a job of it was just changed by someone else, it is too large, a document of it
    cannot be, or passes a quota) is tried again document by document, so each is told what is its own.
    """
    try:
        accepted = await registry.try_apply(manifests)
    except (Invalid, Exceeded) as error:
        if len(manifests) == 1:
            return [error]
        accepted = None
    except (HarpoonError, StoreUnavailable) as error:
        return [error] * len(manifests)
    if accepted is not None:
        return list(accepted)
    return list(await asyncio.gather(*(_alone(registry, manifest) for manifest in manifests)))


async def _alone(registry: Registry, manifest: Manifest) -> Result:
    try:
        return await registry.put(manifest)
    except (HarpoonError, StoreUnavailable) as error:
        return error

"""The envelope users write: one document, one noun."""

from dataclasses import dataclass
from typing import Literal

from harpoon.model.job import Metadata, Spec

API_VERSION = "harpoon/v1"

#: Fields that the language has but this release does not: refused with "not supported yet", never ignored.
#: JSON pointers with ``*`` for any index or key.
NOT_YET = frozenset(
    {
        "/spec/completions",
        "/spec/parallel",
        "/spec/deadline",
        "/spec/parameters",
        "/spec/cron",
        "/spec/update/healthy_for",
        "/spec/update/deadline",
        "/spec/update/on_failure",
        "/spec/task/image",
        "/spec/task/volumes",
        "/spec/task/env/*/secret",
    }
)
#: Values likewise: pointer → the values of the language that this release refuses.
NOT_YET_VALUES = {
    "/kind": frozenset({"Workflow", "Batch"}),
    "/spec/type": frozenset({"batch", "system"}),
    "/spec/task/driver": frozenset({"docker"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A job as a user writes it."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Job"]
    metadata: Metadata
    spec: Spec

"""The envelope users write: one document, one noun."""

from dataclasses import dataclass
from typing import Literal

from harpoon.model.cron import CRON_NAME_MAX
from harpoon.model.job import Metadata, Spec

API_VERSION = "harpoon/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A job as a user writes it."""

    apiVersion: Literal["harpoon/v1"]  # noqa: N815 the field's name on the wire
    kind: Literal["Job"]
    metadata: Metadata
    spec: Spec

    def __post_init__(self) -> None:
        if self.spec.cron is not None and len(self.metadata.name) > CRON_NAME_MAX:
            raise ValueError(f"the name of a cron job is at most {CRON_NAME_MAX} long: its children's are made of it")

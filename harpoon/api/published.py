"""Writes the reference into files: ``python -m harpoon.api.published DIRECTORY``."""

import sys
from collections.abc import Mapping
from pathlib import Path

from harpoon.api.app import ROUTES
from harpoon.api.openapi import openapi
from harpoon.api.reference import job_schema, pretty, workflow_schema


def files() -> Mapping[str, str]:
    """Return what is published: names of files, and what they hold."""
    return {
        "openapi.json": pretty(openapi(ROUTES)),
        "job.schema.json": pretty(job_schema()),
        "workflow.schema.json": pretty(workflow_schema()),
    }


def main(directory: str) -> None:
    """Write the files."""
    for name, text in files().items():
        Path(directory, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

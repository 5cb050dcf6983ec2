"""The example in the documentation runs as it stands."""

import asyncio
import re
import sys
from pathlib import Path

from tests.api.rig import a_rig

ROOT = Path(__file__).parents[2]


async def test_the_example_of_the_documentation_runs_as_it_stands() -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("\n## From Python\n")[2]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    async with a_rig() as rig:
        program = example[1].replace("http://127.0.0.1:4450", rig.url(""))
        assert program != example[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    accepted, job, snapshot, synced = told.decode().splitlines()
    assert accepted.startswith("accepted: default.web.")
    assert job.startswith("web ")
    assert snapshot.startswith("snapshot 1.")
    assert synced.startswith("synced 1.")

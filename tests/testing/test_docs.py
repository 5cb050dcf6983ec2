"""The tests in the documentation run as they stand, where they say that they are."""

import asyncio
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_tests_in_the_documentation_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    monkeypatch.chdir(ROOT / "examples" / "workflows")
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "workflows"))
    ran = 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        told: dict[str, object] = {}
        exec(compile(block, "docs/testing.md", "exec"), told)
        for name, test in told.items():
            if name.startswith("test_") and callable(test):
                asyncio.run(test())
                ran += 1
    assert ran == 3

"""The examples of the documentation run as they stand."""

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from harpoon.worker import Worker
from tests.worker.exchange import Exchange, Site
from tests.worker.working import working

ROOT = Path(__file__).parents[2]


def examples() -> dict[str, str]:
    text = (ROOT / "docs" / "workers.md").read_text()
    return {
        code.split("\n")[0].removeprefix("# "): code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    }


async def test_the_worker_does_what_is_told_of_it(exchange: Exchange, site: Site, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(examples()["shop.py"])
    spec = spec_from_file_location("shop", tmp_path / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(shop := module_from_spec(spec))
    app = shop.app
    assert isinstance(app, Worker)
    good = exchange.offer("payments.refund", {"order": "o1", "amount": 5.0})
    bad = exchange.offer("payments.refund", {"order": "o1", "amount": 0.0})
    asked = {"question": "really?", "address": {"city": "Bern", "street": "a"}}
    approved = exchange.offer("desk.ask", asked, labels=("approved", "done", "fail"))
    async with working(app, site):
        closings = await exchange.closed(good, bad, approved)
    assert closings[0]["output"]["id"] == "refund-o1"
    assert (closings[1]["error"], closings[1]["retryable"]) == ("there is nothing to pay back", False)
    assert (closings[2]["label"], closings[2]["output"]) == ("approved", {"by": "ann", "city": "Bern"})


def test_the_workflow_prints_its_manifest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", examples()["flow.py"]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    operations = json.loads(done.stdout)["spec"]["operations"]
    assert operations["pay_back"]["next"] == {"done": "tell", "fail": "ask_human"}

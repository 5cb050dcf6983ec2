"""Break a real fleet for as long as one likes: ``python -m tests.system.chaos --seed N --faults 1000``.

Rounds of some 45 faults, each on a fresh fleet and with the next seed, until there were so many, or the time is over.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.system.chaos.plan import from_text
from tests.system.chaos.run import Outcome, Setting, judged, round_of
from tests.system.chaos.weakened import WEAKENED

#: Faults of a round.
ROUND = 45


def main() -> int:
    told = _told()
    if told.judge:
        try:
            wrong = judged(told.judge, Setting(seed=0, count=0).terms())
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        print("\n".join(wrong) or "nothing is wrong")
        return bool(wrong)
    if os.geteuid() != 0:
        print("it takes root: hosts are network namespaces", file=sys.stderr)
        return 2
    if told.weaken:
        os.environ["HARPOON_WEAKENED"] = told.weaken
    out = told.out or Path(tempfile.mkdtemp(prefix="harpoon-chaos-"))
    print(f"commit {_commit()}; python -m tests.system.chaos {' '.join(sys.argv[1:])}; in {out}", flush=True)
    began, seed, faults, failed = time.monotonic(), told.seed, Counter[str](), []
    while faults.total() < told.faults and (told.minutes is None or time.monotonic() - began < told.minutes * 60):
        setting = Setting(seed=seed, count=min(told.round, max(25, told.faults - faults.total())))
        outcome = _round(setting, out / f"seed-{seed}", told.plan)
        print(outcome.told(), flush=True)
        faults += outcome.faults
        if outcome.wrong:
            failed.append(seed)
            print(
                f"to repeat: python -m tests.system.chaos --plan {outcome.directory}/faults.jsonl --seed {seed} --faults 1"
            )
            if told.stop:
                break
        elif not told.keep:
            shutil.rmtree(outcome.directory)
        seed += 1
        if told.plan:
            break
    kinds = " ".join(f"{what}={number}" for what, number in sorted(faults.items()))
    print(
        f"{faults.total()} faults of {len(faults)} kinds in {seed - told.seed} rounds and {time.monotonic() - began:.0f} s; "
        f"rounds with violations: {failed or 'none'}\n{kinds}"
    )
    return bool(failed)


def _round(setting: Setting, directory: Path, plan: Path | None) -> Outcome:
    if directory.exists():
        raise SystemExit(f"{directory} is there already; name another with --out")
    faults = setting.plan() if plan is None else from_text(plan.read_text())
    print(f"seed {setting.seed}: " + " ".join(f"{one.at:g}:{one.what}({one.target})" for one in faults), flush=True)
    return asyncio.run(round_of(replace(setting, count=len(faults)), directory, faults))


def _told() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--round", type=int, default=ROUND, help="faults of a round")
    parser.add_argument("--minutes", type=float, help="begin no round after so long")
    parser.add_argument("--out", type=Path, help="where histories are written; a new directory unless told")
    parser.add_argument("--plan", type=Path, help="carry out this list of faults instead of the seed's, once")
    parser.add_argument("--judge", type=Path, help="run nothing, judge this history again")
    parser.add_argument("--weaken", choices=WEAKENED, help="take out a guard: it is to be missed")
    parser.add_argument("--keep", action="store_true", help="keep the histories of rounds that went well, too")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    return parser.parse_args()


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

"""Run the simulation by hand: ``python -m tests.sim --seed 7`` shows one run, ``--seeds 0:20000`` searches many."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tests.sim.plan import Plan, draw
from tests.sim.run import Result, run, run_all, shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--plan", type=plan_of, help="run the plan in this file")
    parser.add_argument("--seeds", type=seeds_of, help="run all from FIRST up to, not including, LAST: FIRST:LAST")
    parser.add_argument("--jobs", type=int, default=2, help="so many at a time")
    parser.add_argument("--log", action="store_true", help="show what the code under test logs")
    parser.add_argument("--history", action="store_true", help="show the history")
    parser.add_argument("--shrink", action="store_true", help="leave out faults and requests while it still fails")
    parser.add_argument("--keep", type=Path, help="write the (shrunk) plan into this file")
    given = parser.parse_args()
    if given.seeds:
        return many(given.seeds, given.jobs)
    plan = given.plan or draw(given.seed or 0)
    result = run(plan, keeps=given.history, log=given.log)
    if result.violated and given.shrink:
        plan = shrink(plan, lambda tried: run(tried).violated == result.violated)
        result = run(plan, keeps=given.history, log=given.log)
    if given.keep:
        given.keep.write_text(plan.to_json())
    show(result)
    return 1 if result.violated else 0


def seeds_of(text: str) -> range:
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:LAST, such as 0:500")
    return range(int(first), int(last))


def plan_of(path: str) -> Plan:
    try:
        return Plan.from_json(Path(path).read_text())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{path} holds no plan as --keep writes it: {error}") from None


def show(result: Result) -> None:
    for line in (*result.log, *result.lines):
        print(line)
    plan = result.plan
    print(f"seed {plan.seed}: {len(plan.instances)} instances, {len(plan.agents)} agents, core {plan.core or 'all'}")
    for op in plan.ops:
        print("  op", op)
    for fault in (*plan.faults, *plan.broken):
        print("  fault", fault)
    print(dict(result.happened))
    print(
        f"{result.virtual_s:.0f} s in {result.cpu_s:.2f} s of CPU, {result.turns} turns, {result.events} events, "
        f"digest {result.digest[:16]}"
    )
    print(f"VIOLATED {result.text}" if result.violated else "nothing was violated")


def many(seeds: range, jobs: int) -> int:
    """Run many; the digest of all digests, in the order of the seeds, stands for the whole."""
    start, bad, happened, faults = time.monotonic(), [], Counter[str](), 0
    digests: dict[int, str] = {}
    virtual = cpu = 0.0
    for done, result in enumerate(run_all(_drawn(seeds), jobs=jobs), 1):
        digests[result.plan.seed] = result.digest
        happened += result.happened
        faults += len(result.plan.faults)
        virtual, cpu = virtual + result.virtual_s, cpu + result.cpu_s
        if result.violated:
            bad.append(result)
            print(f"seed {result.plan.seed} VIOLATED {result.text.splitlines()[0][:300]}", flush=True)
        if done % 500 == 0:
            print(f"{done} runs, {len(bad)} bad, {done * 60 / (time.monotonic() - start):.0f} a minute", flush=True)
    whole = sha256("".join(digests[seed] for seed in seeds if seed in digests).encode()).hexdigest()
    minutes = (time.monotonic() - start) / 60
    print(f"seeds {seeds.start}:{seeds.stop}: {len(digests)} runs, {faults} faults, {len(bad)} violations")
    print(
        f"{virtual / 3600:.0f} virtual hours in {minutes:.1f} minutes, {len(digests) / (cpu / 60):.0f} runs a minute of a core"
    )
    print(f"digest {whole}")
    for name, count in sorted(happened.items()):
        print(f"  {count:8} {name}")
    for name, count in Counter(result.violated for result in bad).most_common():
        print(f"  VIOLATED {name}: {count}, such as {[r.plan.seed for r in bad if r.violated == name][:10]}")
    return 1 if bad else 0


def _drawn(seeds: range) -> Iterator[Plan]:
    for seed in seeds:
        yield draw(seed)


if __name__ == "__main__":
    sys.exit(main())

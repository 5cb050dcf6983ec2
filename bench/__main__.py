"""Run every benchmark and print one table: our figure, the raw floor of the same run, the target."""

import importlib
import sys

SUITES = (
    "store",
    "etcd",
    "agent",
    "docker",
    "system",
    "rollouts",
    "doors",
    "instances",
    "watch",
    "scale",
    "placing",
    "fleet",
    "takeover",
    "history",
    "why",
    "steps",
    "work",
    "http",
    "workflows",
    "loopback",
    "batch",
    "killed",
)


def main() -> None:
    """Run the suites named on the command line, or all."""
    names = sys.argv[1:] or list(SUITES)
    table = [("what", "ours", "raw floor, same run", "target")]
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        table += importlib.import_module(f"bench.{name}").rows()
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


main()

"""The command ``harpoon``."""

import os
import signal
import sys

from harpoon import __version__

#: What a shell says of a program that a signal has ended.
_ENDED_BY = 128


def main() -> None:
    """Run the command line; it ends by ``SystemExit`` with one of the documented codes."""
    if os.getpid() == 1:  # of a container: from its first process the kernel keeps what that does not handle
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(_ENDED_BY + number))
    if sys.argv[1:] in (["version"], ["--version"]):  # asked by scripts, often; nothing need be imported for it
        sys.stdout.write(f"harpoon {__version__}\n")
        return
    from harpoon.cli.main import run_verb  # noqa: PLC0415

    run_verb()


if __name__ == "__main__":
    main()

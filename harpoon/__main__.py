"""The command ``harpoon``."""

import sys

from harpoon import __version__


def main() -> None:
    """Run the command line; it ends by ``SystemExit`` with one of the documented codes."""
    if sys.argv[1:] in (["version"], ["--version"]):  # asked by scripts, often; nothing need be imported for it
        sys.stdout.write(f"harpoon {__version__}\n")
        return
    from harpoon.cli.main import run_verb  # noqa: PLC0415

    run_verb()


if __name__ == "__main__":
    main()

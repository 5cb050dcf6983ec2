"""The large models, one of each module: ``python -m tests.specs.large`` checks them and keeps what was found.

A model says the same each time, and to look at all of one takes minutes. So what is kept names the text that it was
found of, and tests see that this is the text which is there.
"""

import json
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final, TypedDict

from tests.specs.checker import SPECS, Verdict, check

#: Fewer would be a model of too little.
STATES_MIN: Final = 1_000_000
LARGE: Final = sorted(config for config in SPECS.glob("*.cfg") if "." not in config.stem)
_KEPT: Final = SPECS / "checked.json"


class Checked(TypedDict):
    """What is known of one that holds."""

    #: SHA-256 of its text.
    text: str
    distinct_states: int


def text_of(config: Path) -> str:
    """Return the SHA-256 of all that a model is made of."""
    module = config.stem
    parts = [SPECS / f"{module}.tla", SPECS / f"{module}MC.tla", config]
    return sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def checked() -> dict[str, Checked]:
    """Return what is kept, by module."""
    return dict(json.loads(_KEPT.read_text()))


def main() -> int:
    """Check all, and keep what was found if all hold."""
    found: dict[str, Checked] = {}
    for config in LARGE:
        verdict = _check(config)
        print(f"{config.stem}: {verdict.distinct:,} distinct states in {verdict.seconds} s", flush=True)
        if verdict.violated or not verdict.is_complete or verdict.distinct < STATES_MIN:
            print(verdict.text, file=sys.stderr)
            return 1
        found[config.stem] = Checked(text=text_of(config), distinct_states=verdict.distinct)
    _KEPT.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _check(config: Path) -> Verdict:
    with tempfile.TemporaryDirectory() as scratch:
        return check(SPECS / f"{config.stem}MC.tla", config, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())

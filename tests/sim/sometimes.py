"""What is to happen at least so often in the schedules that are always run: without it they prove too little."""

from collections.abc import Mapping
from typing import Final

SOMETIMES: Final[Mapping[str, int]] = {}

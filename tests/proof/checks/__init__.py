"""The properties that hold of every history, simulated or real: one small class each."""

from typing import Final

from tests.proof.checks.converging import Converges, CoreConverges
from tests.proof.checks.fencing import Fence, OneOwner
from tests.proof.checks.running import NoDoubleRun, NoOrphans
from tests.proof.judge import Check

CHECKS: Final[tuple[type[Check], ...]] = (
    Fence,
    OneOwner,
    NoDoubleRun,
    NoOrphans,
    Converges,
    CoreConverges,
)

"""The product with one mistake each: what the simulation and its checks must find. See `variant`."""

from collections.abc import Mapping
from typing import Final

from tests.sim.variants.agents import AGENTS
from tests.sim.variants.cron import CRON
from tests.sim.variants.doors import DOORS
from tests.sim.variants.doubles import DOUBLES
from tests.sim.variants.flowing import FLOWING
from tests.sim.variants.holds import HOLDS
from tests.sim.variants.mending import MENDING
from tests.sim.variants.minding import MINDING
from tests.sim.variants.placing import PLACING
from tests.sim.variants.pressing import PRESSING
from tests.sim.variants.rolling import ROLLING
from tests.sim.variants.toiling import TOILING
from tests.sim.variants.variant import Variant, named
from tests.sim.variants.views import VIEWS

VARIANTS: Final[Mapping[str, Variant]] = named(
    *AGENTS,
    *HOLDS,
    *MINDING,
    *PLACING,
    *PRESSING,
    *ROLLING,
    *VIEWS,
    *DOORS,
    *DOUBLES,
    *CRON,
    *TOILING,
    *FLOWING,
    *MENDING,
)

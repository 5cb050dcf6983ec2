"""How many runs go on, and how many of them wait for somebody, as metrics."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harpoon.control.runs import Runs


class RunMetrics(Collector):
    """What the conductors of one instance know, read when it is asked for.

    Args:
        runs: Knows them.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        conductors = tuple(self._runs.conductors.values())
        count = sum(len(conductor.runs) for conductor in conductors)
        yield GaugeMetricFamily("harpoon_runs_open", "Runs that this instance conducts.", value=count)
        parked = "Those of them in which a failure is parked, until somebody repairs it."
        yield GaugeMetricFamily(
            "harpoon_runs_parked", parked, value=sum(len(conductor.parked) for conductor in conductors)
        )

"""How work goes, as metrics: what waits, what workers have, and what they brought and took."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harpoon.control.work import WorkExchange


class WorkMetrics(Collector):
    """What the work exchange of one instance knows, read when it is asked for.

    Args:
        exchange: Is asked.
    """

    def __init__(self, exchange: WorkExchange) -> None:
        self._exchange = exchange

    def collect(self) -> Iterator[Metric]:
        """Yield gauges and counters."""
        exchange = self._exchange
        known, ready = len(exchange.core), exchange.core.ready_count()
        claimed = sum(len(exchange.core.held(one)) for one in exchange.core.holders())
        attempts = GaugeMetricFamily(
            "harpoon_work_attempts",
            "Open attempts of workers' operations, of runs that this instance conducts: that a worker has, that any "
            "may have now, and that wait for a pause or a limit.",
            labels=["state"],
        )
        for state, count in (("claimed", claimed), ("ready", ready), ("later", known - claimed - ready)):
            attempts.add_metric([state], count)
        yield attempts
        if exchange.core.gates.homes is not None:
            here, sure = exchange.core.gates.homes.here()
            homes = GaugeMetricFamily(
                "harpoon_work_limit_homes",
                "Shards whose limits of concurrency this instance keeps: open, or closed until it knows all claims.",
                labels=["state"],
            )
            for state, count in (("open", sure), ("closed", here - sure)):
                homes.add_metric([state], count)
            yield homes
        sessions = "Sessions of workers that this instance has heard and not forgotten."
        yield GaugeMetricFamily("harpoon_work_sessions", sessions, value=len(exchange.sessions))
        under_way = "Requests of workers that are being answered, or wait for work."
        yield GaugeMetricFamily("harpoon_work_requests", under_way, value=len(exchange.under_way))
        claims = "Attempts that were given to workers."
        yield CounterMetricFamily("harpoon_work_claims", claims, value=exchange.claims)
        closings = CounterMetricFamily(
            "harpoon_work_closings", "Closings that workers brought, by what became of them.", labels=["status"]
        )
        for status, count in sorted(exchange.closings.items()):
            closings.add_metric([str(status)], count)
        yield closings
        yield from self._crew()

    def _crew(self) -> Iterator[Metric]:
        """Yield what the engine does itself."""
        crew = self._exchange.crew
        busy = GaugeMetricFamily(
            "harpoon_connector_attempts", "Attempts that the engine carries out itself now.", labels=["handler"]
        )
        for handler, count in sorted(crew.busy().items()):
            busy.add_metric([handler], count)
        yield busy
        closed = CounterMetricFamily(
            "harpoon_connector_closings", "Attempts that the engine has carried out.", labels=["handler", "label"]
        )
        for labels, count in sorted(crew.closed.items()):
            closed.add_metric(labels, count)
        yield closed
        errors = CounterMetricFamily(
            "harpoon_connector_errors", "Errors of what carries them out, beside its failures.", labels=["handler"]
        )
        for handler, count in sorted(crew.errors.items()):
            errors.add_metric([handler], count)
        yield errors

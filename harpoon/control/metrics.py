"""What the control loops count, and the store. Low in cardinality: never a job, a task or an agent as a label."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harpoon.control.runs import SHARD_HOLDS
from harpoon.control.view import AGENT_HOLDS, View
from harpoon.store.hold import SCHEDULER
from harpoon.store.port import StoreHealth, Trouble


class Metrics:
    """Counters of one server instance, in a registry of its own so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes_failed = Counter(
            "harpoon_passes_failed",
            "Passes of a loop that raised and will be tried again.",
            ["loop"],
            registry=self.registry,
        )
        self.commands = Counter("harpoon_commands", "Commands sent to agents.", ["kind"], registry=self.registry)
        self.commands_refused = Counter(
            "harpoon_commands_refused", "Commands that an agent answered with a reason not to.", registry=self.registry
        )
        self.commands_withheld = Counter(
            "harpoon_commands_withheld", "Starts not sent for want of a secret.", registry=self.registry
        )
        self.placements = Counter("harpoon_placements", "Placements decided and durable.", registry=self.registry)
        self.drops = Counter("harpoon_placements_dropped", "Placements withdrawn.", registry=self.registry)
        self.rollouts_ended = Counter(
            "harpoon_rollouts_ended",
            "Rollouts that are complete, or missed their deadline: taken back, paused, or only told.",
            ["outcome"],
            registry=self.registry,
        )
        self.batches_ended = Counter(
            "harpoon_batches_ended", "Batch jobs that ended.", ["outcome"], registry=self.registry
        )
        self.cron_fired = Counter(
            "harpoon_cron_fired", "Children of cron jobs made because they were due.", registry=self.registry
        )
        self.cron_skipped = Counter(
            "harpoon_cron_skipped", "Times that dues of a cron job were not fired.", registry=self.registry
        )
        self.evictions = Counter(
            "harpoon_evictions", "Placements that replaced a task that was lost.", registry=self.registry
        )
        self.evictions_halted = Gauge(
            "harpoon_evictions_halted",
            "Whether so many agents are lost that no lost task is replaced; told by the instance that schedules.",
            registry=self.registry,
        )
        self.published = Counter(
            "harpoon_task_transitions", "Task states written to the registry.", registry=self.registry
        )
        self.fenced = Counter(
            "harpoon_fenced", "Times an agent refused this instance for a higher token.", registry=self.registry
        )
        self.decision_seconds = Histogram(
            "harpoon_decision_seconds",
            "Time a scheduling pass takes to decide, without its commits.",
            buckets=(0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "harpoon_loop_lag_seconds",
            "How late the event loop was, 20 times a second: what its work makes everybody wait.",
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=self.registry,
        )
        self.terms = Counter(
            "harpoon_terms", "Leases that this instance acted under; between them it waits.", registry=self.registry
        )
        self.takeovers = Counter(
            "harpoon_holds_taken", "Holds that this instance took, by what is held.", ["kind"], registry=self.registry
        )
        self.handovers = Counter(
            "harpoon_agents_handed_over", "Agents given to the instance whose they are.", registry=self.registry
        )
        self.shards_handed_over = Counter(
            "harpoon_shards_handed_over", "Shards of runs given to the instance whose they are.", registry=self.registry
        )
        self.runs_purged = Counter(
            "harpoon_runs_purged", "Runs that had ended and are not kept any more.", registry=self.registry
        )
        self.passed_on = Counter(
            "harpoon_agents_passed_on", "Agents not reached from here and left to others.", registry=self.registry
        )
        self.links = Counter(
            "harpoon_link_changes", "Links to agents that came into a state.", ["state"], registry=self.registry
        )
        self.skew = Gauge(
            "harpoon_clock_skew_seconds", "How far this clock is ahead of the other instances'.", registry=self.registry
        )
        self.revision = Gauge("harpoon_registry_revision", "Revision of the view.", registry=self.registry)


class ShareMetrics(Collector):
    """Who is live, and what share one instance has of what there is to do, read when it is asked for.

    Args:
        view: Shows it.
        instance: Whose share.
    """

    def __init__(self, view: View, instance: str) -> None:
        self._view = view
        self._instance = instance

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        view, me = self._view, self._instance
        held = [key for key, row in view.holds.rows.items() if row.value.instance == me]
        agents = sum(key.startswith(AGENT_HOLDS) for key in held)
        live = "Instances that are live, as this one sees them."
        yield GaugeMetricFamily("harpoon_instances", live, value=len(view.instances.rows))
        yield GaugeMetricFamily("harpoon_agents_held", "Agents that this instance holds.", value=agents)
        shards = sum(key.startswith(SHARD_HOLDS) for key in held)
        yield GaugeMetricFamily("harpoon_shards_held", "Shards of runs that this instance holds.", value=shards)
        yield GaugeMetricFamily(
            "harpoon_is_leader", "Whether this instance decides for all.", value=float(SCHEDULER in held)
        )


class StoreMetrics(Collector):
    """What a store tells of itself, read when it is asked for.

    Args:
        health: Of the store.
    """

    def __init__(self, health: Callable[[], StoreHealth]) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield the store's metrics."""
        health = self._health()
        up = "Whether the store is in no trouble that this instance knows of."
        yield GaugeMetricFamily("harpoon_store_up", up, value=float(health.trouble is None))
        errors = CounterMetricFamily("harpoon_store_errors", "Errors of the store, by what was wrong.", labels=["kind"])
        for trouble in Trouble:
            errors.add_metric([trouble.value], health.errors.get(trouble, 0))
        yield errors
        for name, count in health.counts.items():
            yield CounterMetricFamily(f"harpoon_store_{name}", f"The store's {_words(name)}.", value=count)
        for name, value in health.gauges.items():
            yield GaugeMetricFamily(f"harpoon_store_{name}", f"The store's {_words(name)} now.", value=value)


def _words(name: str) -> str:
    return name.replace("_", " ")

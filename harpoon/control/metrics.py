"""What the control loops count. Low in cardinality: never a job, a task or an agent as a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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
        self.placements = Counter("harpoon_placements", "Placements decided and durable.", registry=self.registry)
        self.drops = Counter("harpoon_placements_dropped", "Placements withdrawn.", registry=self.registry)
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
        self.revision = Gauge("harpoon_registry_revision", "Revision of the view.", registry=self.registry)

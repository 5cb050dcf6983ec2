"""What an agent counts. Low in cardinality: never a task or a job as a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters of one agent, in a registry of its own so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.commands = Counter(
            "harpoon_agent_commands", "Commands received with a valid token.", ["kind"], registry=self.registry
        )
        self.fenced = Counter("harpoon_agent_fenced", "Calls refused for their token or uid.", registry=self.registry)
        self.spawns = Counter("harpoon_agent_spawns", "Processes started for tasks.", registry=self.registry)
        self.restarts = Counter(
            "harpoon_agent_restarts", "Tasks started again after they had ended by themselves.", registry=self.registry
        )
        self.memory_kills = Counter(
            "harpoon_agent_memory_kills",
            "Launches that ended because they used too much memory.",
            registry=self.registry,
        )
        self.events = Counter(
            "harpoon_agent_events", "Events made for those who follow, however many follow.", registry=self.registry
        )
        self.streams = Gauge("harpoon_agent_streams", "Servers that follow now.", registry=self.registry)
        self.streams_cut = Counter(
            "harpoon_agent_streams_cut", "Streams ended because their reader was too slow.", registry=self.registry
        )
        self.tasks = Gauge("harpoon_agent_tasks", "Tasks by state.", ["state"], registry=self.registry)
        self.log_rotations = Counter(
            "harpoon_agent_log_rotations", "Logs moved aside for their size.", registry=self.registry
        )

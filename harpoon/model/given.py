"""What a task is given that changes apart from its job: endpoints of other jobs, and secrets."""

from dataclasses import dataclass
from enum import StrEnum

from harpoon.model.name import check_name, check_port_name
from harpoon.model.secret import check_key, check_reference
from harpoon.model.units import FileMode


class OnChange(StrEnum):
    """What becomes of a running task when a value it was started with has changed."""

    #: It is replaced, as in a migrate: the new one is ready before the old one goes.
    RESTART = "restart"
    #: It keeps the value it has; the next task of its slot gets the new one.
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The ready endpoints of another job as a variable: ``address:port``, sorted, with commas between; or empty."""

    #: ``<job>/<port name>``, of a job in the same namespace.
    endpoints: str
    #: What happens to running tasks when they change.
    on_change: OnChange = OnChange.RESTART

    def __post_init__(self) -> None:
        job, mark, port = self.endpoints.partition("/")
        if not mark:
            raise ValueError("endpoints is <job>/<port name>, such as api/http")
        check_name("the job in endpoints", job)
        check_port_name(port)

    @property
    def job(self) -> str:
        """The name of the job."""
        return self.endpoints.partition("/")[0]

    @property
    def port(self) -> str:
        """The name of its port."""
        return self.endpoints.partition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVariable:
    """A value of a secret as a variable. Whoever may see the task's process sees it there: a file is better."""

    #: ``<name>/<key>``, of a secret in the same namespace.
    secret: str
    #: What happens to running tasks when it changes.
    on_change: OnChange = OnChange.RESTART

    def __post_init__(self) -> None:
        check_reference(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A value of a secret as a file in ``$SECRETS_DIR``, kept in memory."""

    #: ``<name>/<key>``, of a secret in the same namespace.
    secret: str
    #: What the file is called.
    at: str
    #: Who may read it, as an octal number.
    mode: FileMode = 0o400
    #: What happens to running tasks when it changes.
    on_change: OnChange = OnChange.RESTART

    def __post_init__(self) -> None:
        check_reference(self.secret)
        check_key("at", self.at)

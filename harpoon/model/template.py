"""What one task of a job is: its command, its environment, its checks, how it is restarted and stopped.

Every ``__post_init__`` checks what one noun can know of itself and raises ``ValueError`` with the fix in the
message; the codec adds the path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from harpoon.model import container
from harpoon.model.amounts import check_amounts
from harpoon.model.check import Check, ExecProbe
from harpoon.model.given import Endpoints, OnChange, SecretFile, SecretVariable
from harpoon.model.lifecycle import DEFAULT_RESTART, DEFAULT_STOP, Restart, Stop
from harpoon.model.name import check_port_name, check_variable
from harpoon.model.parameters import bind_command, bind_text, names_parameters, without_parameters
from harpoon.model.units import Cpu, Size
from harpoon.model.variables import (
    BUILT_IN_VARIABLES,
    HOSTS_VARIABLES,
    SECRETS_DIR,
    expand,
    is_shells_own,
    names_in,
    port_variable,
)
from harpoon.model.volumes import Artifact, Volume, check_places

PORTS_MAX = 32
CHECKS_MAX = 16
ENV_MAX = 256
SECRET_FILES_MAX = 64
TEXT_MAX = 128 * 1024
#: The kernel's own: it numbers no more processes.
PIDS_MAX = 4_194_304
#: A user's name, or a number and perhaps that of a group.
USER_PATTERN = r"^([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10}(:[0-9]{1,10})?)$"
_USER = re.compile(USER_PATTERN, re.ASCII)
#: The highest number but one; the highest stands for none.
_USER_MAX = 2**32 - 2


class Driver(StrEnum):
    """What runs a task on an agent."""

    PROCESS = "process"
    DOCKER = "docker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one task reserves on its agent, and what it is held to there, as far as that host allows."""

    #: Processors, such as ``0.5`` or ``500m``: its share when others want them too, and no more is taken from it.
    cpu: Cpu = 0
    #: Bytes, such as ``64Mi``: a task that uses more is killed.
    memory: Size = 0
    #: How many processes and threads it may have at once; reserved nowhere. 0: as many as it likes.
    pids: int = 0
    #: What agents offer by name, such as ``gpu``: how many of each.
    named: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_amounts(self.named)
        if not 0 <= self.pids <= PIDS_MAX:
            raise ValueError(f"pids is 1 to {PIDS_MAX}, or 0 for as many as it likes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTemplate:
    """What one task is. Its canonical hash is the job's generation: another template, another generation."""

    #: Program and arguments; no shell. ``$NAME`` stands for the task's environment, ``$$`` for a dollar. A container
    #: may do without: its image has one.
    command: tuple[str, ...] = ()
    driver: Driver = Driver.PROCESS
    #: What its container is made of.
    image: str | None = None
    pull: container.Pull = container.Pull.MISSING
    #: Whether its container's own files cannot be changed.
    read_only_root: bool = False
    #: What its container may do beyond a plain program, such as ``NET_BIND_SERVICE``; nothing unless its agent allows.
    capabilities: tuple[str, ...] = ()
    #: The engine's network that its container is in; its bridge when absent.
    network: str | None = None
    #: Variable → text, the endpoints of another job, or a value of a secret.
    env: Mapping[str, str | Endpoints | SecretVariable] = field(default_factory=dict)
    #: Values of secrets that it finds as files in ``$SECRETS_DIR``.
    secrets: tuple[SecretFile, ...] = ()
    #: Name → port; 0 takes a free one of the agent's range. The task finds it in ``$PORT_<NAME>``.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Where the command starts; its scratch directory when absent.
    working_directory: str | None = None
    #: Who it runs as: a name, or a number and perhaps that of a group, such as ``1000:1000``; as the agent
    #: when absent, or as a container's image says.
    user: str | None = None
    resources: Resources = Resources()
    #: What it finds of its host, and scratch space.
    volumes: tuple[Volume, ...] = ()
    #: What is fetched before it is first started.
    artifacts: tuple[Artifact, ...] = ()
    checks: tuple[Check, ...] = ()
    #: Left out by a batch job: never.
    restart: Restart = DEFAULT_RESTART
    stop: Stop = DEFAULT_STOP

    def __post_init__(self) -> None:
        _check_ports(self.ports)
        _check_env(self.env)
        _check_driver(self)
        _check_secrets(self.env, self.secrets)
        if self.command or self.driver is Driver.PROCESS:
            _check_command("command", self.command, self)
        if self.working_directory is not None and (
            not self.working_directory.startswith("/") or "\x00" in self.working_directory
        ):
            raise ValueError("working_directory is an absolute path")
        check_places(self.volumes, self.artifacts)
        if self.user is not None:
            _check_user(self.user)
        if len(self.checks) > CHECKS_MAX:
            raise ValueError(f"checks holds at most {CHECKS_MAX}")
        for index, check in enumerate(self.checks):
            if check.port is not None and check.port not in self.ports:
                raise ValueError(f"a check asks port {check.port!r}, which ports does not name")
            if check.exec_ is not None:
                _check_command(f"checks[{index}].exec.command", check.exec_.command, self)

    def endpoints(self) -> Mapping[str, Endpoints]:
        """Return the variables that are endpoints of other jobs."""
        return {name: value for name, value in self.env.items() if isinstance(value, Endpoints)} if self.env else {}

    def secret_variables(self) -> Mapping[str, SecretVariable]:
        """Return the variables that are values of secrets."""
        return {name: value for name, value in self.env.items() if isinstance(value, SecretVariable)}

    def secret_values(self) -> Mapping[str, OnChange]:
        """Return the values of secrets that it has, each ``<name>/<key>``, and what a change of it does to tasks."""
        if not (self.env or self.secrets):
            return {}
        found: dict[str, OnChange] = {}
        uses: tuple[SecretVariable | SecretFile, ...] = (*self.secret_variables().values(), *self.secrets)
        for used in uses:
            if found.get(used.secret) is not OnChange.RESTART:
                found[used.secret] = used.on_change
        return found

    def bound(self, bindings: Mapping[str, str] | None) -> "TaskTemplate":
        """Return the template with text for the endpoints of other jobs; those without a binding are empty."""
        if not self.endpoints():
            return self
        values = bindings or {}
        env = {
            name: values.get(name, "") if isinstance(value, Endpoints) else value for name, value in self.env.items()
        }
        return replace(self, env=env)

    def names_parameters(self) -> bool:
        """Return whether it names any parameter."""
        texts = (*self.command, *(value for value in self.env.values() if isinstance(value, str)))
        probes = (part for check in self.checks if check.exec_ is not None for part in check.exec_.command)
        return any(map(names_parameters, (*texts, *probes)))

    def given(self, values: Mapping[str, str]) -> "TaskTemplate":
        """Return the template with the values of parameters in their places.

        Raises:
            ValueError: It names one that there is not.
        """
        env = {}
        for name, value in self.env.items():
            try:
                env[name] = _bound(value, values)
            except ValueError as error:
                raise ValueError(f"task.env.{name}: {error}") from error
        checks = tuple(
            check
            if check.exec_ is None
            else replace(
                check, exec_=ExecProbe(command=_given(check.exec_.command, values, f"task.checks[{index}].exec"))
            )
            for index, check in enumerate(self.checks)
        )
        return replace(self, command=_given(self.command, values, "task"), env=env, checks=checks)


def _bound(value: str | Endpoints | SecretVariable, values: Mapping[str, str]) -> str | Endpoints | SecretVariable:
    # Without parameters, what stands there is what the task gets, dollars and all.
    if not isinstance(value, str) or not (values or names_parameters(value)):
        return value
    return bind_text(value, values)


def _given(command: tuple[str, ...], values: Mapping[str, str], where: str) -> tuple[str, ...]:
    parts = []
    for index, part in enumerate(command):
        try:
            parts.append(bind_command(part, values))
        except ValueError as error:
            raise ValueError(f"{where}.command[{index}]: {error}") from error
    return tuple(parts)


def _check_driver(template: TaskTemplate) -> None:
    if template.driver is Driver.DOCKER:
        if template.image is None:
            raise ValueError("driver docker runs an image: name one, such as image: nginx:1.25")
        container.check(template.image, template.network, template.capabilities)
        if template.network == container.NONE and template.ports:
            raise ValueError("a container without a network has no ports")
        if template.artifacts:
            raise ValueError("artifacts is for driver process; put the files into the image, or mount a volume")
        if places := [one.at for one in template.volumes if not one.at.startswith("/")]:
            raise ValueError(
                f"a container has no directory of its own for volumes at {places[0]}; write an absolute path, "
                f"such as /{places[0]}"
            )
        return
    given = {
        "image": template.image is not None,
        "pull": template.pull is not container.Pull.MISSING,
        "read_only_root": template.read_only_root,
        "capabilities": bool(template.capabilities),
        "network": template.network is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise ValueError(f"{name} is for driver docker, and this task's driver is process")


def _check_command(what: str, command: tuple[str, ...], template: TaskTemplate) -> None:
    if not command or not command[0]:
        raise ValueError(f'{what} names a program, such as ["python3", "-m", "http.server"]')
    if sum(map(len, command)) > TEXT_MAX or any("\x00" in part for part in command):
        raise ValueError(f"{what} holds no NUL and at most {TEXT_MAX} characters in all")
    if not any("$" in part for part in command):
        return
    ports = {port_variable(port) for port in template.ports}
    own = {SECRETS_DIR} if template.secrets else set()
    # Those that the image has are not known here.
    known = BUILT_IN_VARIABLES if template.driver is Driver.PROCESS else BUILT_IN_VARIABLES - HOSTS_VARIABLES
    variables = dict.fromkeys(known | template.env.keys() | ports | own, "")
    hidden = template.secret_variables().keys()
    for index, part in enumerate(command):
        if shown := sorted(names_in(part) & hidden):
            raise ValueError(
                f"{what}[{index}]: ${shown[0]} is a secret, and everybody on the host can read a command; have the "
                "program read the variable itself, or give it the secret as a file (secrets)"
            )
        try:
            expand(without_parameters(part), variables)
        except ValueError as error:
            raise ValueError(f"{what}[{index}]: {error}") from error


def _check_user(user: str) -> None:
    numbers = (int(part) for part in user.split(":") if part.isdigit())
    if _USER.fullmatch(user) is None or any(number > _USER_MAX for number in numbers):
        raise ValueError(f'user is a name, or numbers such as "1000" or "1000:1000"; got {user[:80]!r}')


def _check_env(env: Mapping[str, str | Endpoints | SecretVariable]) -> None:
    if len(env) > ENV_MAX:
        raise ValueError(f"env holds at most {ENV_MAX} variables")
    for name, value in env.items():
        check_variable(name)
        if isinstance(value, str) and ("\x00" in value or len(value) > TEXT_MAX):
            raise ValueError(f"the value of {name} holds no NUL and at most {TEXT_MAX} characters")


def _check_secrets(env: Mapping[str, str | Endpoints | SecretVariable], files: tuple[SecretFile, ...]) -> None:
    for name, value in env.items():
        if isinstance(value, SecretVariable) and is_shells_own(name):
            raise ValueError(f"{name} means something to shells and loaders, and cannot be a secret; use another name")
    if len(files) > SECRET_FILES_MAX:
        raise ValueError(f"secrets holds at most {SECRET_FILES_MAX}")
    places = [file.at for file in files]
    if twice := sorted({at for at in places if places.count(at) > 1}):
        raise ValueError(f"two secrets are at {twice[0]}; give each a name of its own")
    if files and SECRETS_DIR in env:
        raise ValueError(f"env names {SECRETS_DIR}, which tells where the files of secrets are; leave it out")


def _check_ports(ports: Mapping[str, int]) -> None:
    if len(ports) > PORTS_MAX:
        raise ValueError(f"ports holds at most {PORTS_MAX}")
    for name, port in ports.items():
        check_port_name(name)
        if not 0 <= port <= 65535:
            raise ValueError(f"port {name!r} is 0 (any free one) to 65535")
    fixed = [port for port in ports.values() if port]
    if len(fixed) != len(set(fixed)):
        raise ValueError("two ports have the same number")

"""From a task's template to what is run: its arguments, its environment and where it starts."""

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from harpoon.agent import users
from harpoon.agent.drivers.box import Box, Mount
from harpoon.agent.drivers.handle import Launch, Program
from harpoon.agent.drivers.programs import MARK
from harpoon.agent.record import Place, Record
from harpoon.agent.vault import Vault
from harpoon.agent.volumes import kept_places
from harpoon.kit.errors import Invalid
from harpoon.model.container import HOST
from harpoon.model.task import parse_task_id
from harpoon.model.template import Driver, TaskTemplate
from harpoon.model.variables import SECRETS_DIR, expand, is_shells_own, port_variable
from harpoon.model.volumes import is_within

#: What a task finds in PATH when the agent itself was started without one.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Sets the variables that the shim's shell would take for its own.
_ENV: Final = "/usr/bin/env"
#: Above a scratch directory: of the task, of all tasks, of the agent.
_OWN_DIRECTORIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """What a task is told about where it is."""

    agent: str
    address: str


def prepare(record: Record, place: Place, whereabouts: Whereabouts, vault: Vault) -> Launch:
    """Make ready what this record's next launch runs.

    Raises:
        Invalid: It cannot be run here, and trying again would not help: no such command, directory or user.
        OSError: Its user cannot be let into its scratch directory, or what it is given is gone.
    """
    if record.template.driver is Driver.DOCKER:
        program = _within(record.template.command, record, place, whereabouts, vault)
    else:
        user = None if record.template.user is None else users.resolve(record.template.user)
        if user is not None:
            users.let_in(user, place.scratch, _OWN_DIRECTORIES)
        program = _resolve(record.template.command, record, place, whereabouts, vault)
        if user is not None and record.template.secrets:
            hint = "a --secrets-dir that everybody can pass to"
            users.check_way(user, vault.files(record.id), "its secrets", hint)
    return Launch(
        arguments=program.arguments,
        environment=program.environment,
        directory=program.directory,
        stdout=place.log("stdout"),
        stderr=place.log("stderr"),
        shim_file=place.shim_file(record.launch),
        resources=record.template.resources,
        container=_box(record, whereabouts, vault) if record.template.driver is Driver.DOCKER else None,
    )


def prepare_check(
    command: tuple[str, ...], record: Record, place: Place, whereabouts: Whereabouts, vault: Vault
) -> Program:
    """Make ready what a check of this task runs: like the task's own command, but marked as not being the task.

    Raises:
        Invalid: It cannot be run here now.
    """
    if record.template.driver is Driver.DOCKER:
        return _within(command, record, place, whereabouts, vault)
    program = _resolve(command, record, place, whereabouts, vault)
    return replace(program, environment={**program.environment, MARK: place.path})


def check_env(template: TaskTemplate) -> dict[str, str]:
    """Return a template's variables, but for those that are values of secrets.

    Raises:
        Invalid: One of them has no value. Who orders a task has found out the endpoints of other jobs before.
    """
    text = {name: value for name, value in template.env.items() if isinstance(value, str)}
    for name, value in template.endpoints().items():
        raise Invalid(f"env {name}: the endpoints of {value.endpoints} were ordered without their value")
    return text


def _resolve(command: tuple[str, ...], record: Record, place: Place, whereabouts: Whereabouts, vault: Vault) -> Program:
    variables = environment(record, place, whereabouts, vault)
    arguments = _expand(command, variables, record.template)
    directory = place.scratch if record.template.working_directory is None else record.template.working_directory
    mounted = kept_places(record.template, place.scratch)
    if not _is_below(directory, mounted):
        _check_directory(directory)
    program = arguments[0]
    # What is in a volume is there only for the task.
    if "/" not in program or not _is_below(f"{directory}/{program}" if program[0] != "/" else program, mounted):
        program = _find_program(program, directory, variables["PATH"])
    own, passed = _split(variables)
    if hidden := record.template.secret_variables().keys() & own.keys():
        raise Invalid(f"env {min(hidden)} means something to shells and loaders, and cannot be a secret")
    if own:
        if "=" in program:
            raise Invalid(f"command {program!r} holds '=', and so cannot be run with {', '.join(sorted(own))} in env")
        arguments = (_ENV, *(f"{name}={value}" for name, value in own.items()), program, *arguments[1:])
    else:
        arguments = (program, *arguments[1:])
    if record.template.user is not None and (user := users.resolve(record.template.user)) is not None:
        arguments = (*user.command(), *arguments)
    return Program(arguments=arguments, environment=passed, directory=directory)


def _expand(command: tuple[str, ...], variables: Mapping[str, str], template: TaskTemplate) -> tuple[str, ...]:
    # Everybody on the host can read a command, and what `_ENV` is given.
    hidden = template.secret_variables().keys()
    shown = {name: value for name, value in variables.items() if name not in hidden}
    try:
        return tuple(expand(part, shown) for part in command)
    except ValueError as error:
        raise Invalid(f"command: {error}") from error


def _within(command: tuple[str, ...], record: Record, place: Place, whereabouts: Whereabouts, vault: Vault) -> Program:
    """Make ready what is run in a container: what its image has, nobody knows here."""
    variables = environment(record, place, whereabouts, vault)
    arguments = _expand(command, variables, record.template)
    return Program(arguments=arguments, environment=variables, directory=record.template.working_directory or "")


def _box(record: Record, whereabouts: Whereabouts, vault: Vault) -> Box:
    template = record.template
    assert template.image is not None, "no template of a container is without"
    files = str(vault.files(record.id)) if template.secrets else ""
    return Box(
        task=record.id,
        cluster=record.cluster,
        image=template.image,
        pull=template.pull,
        user=template.user,
        read_only_root=template.read_only_root,
        capabilities=template.capabilities,
        network=template.network,
        ports=tuple(record.ports.values()),
        address=whereabouts.address,
        mounts=(Mount(host=files, at=files, read_only=True),) if files else (),
    )


def environment(record: Record, place: Place, whereabouts: Whereabouts, vault: Vault) -> dict[str, str]:
    """Return all variables of a task; nothing of the agent's own but ``PATH``, and of a container not even that.

    Raises:
        Invalid: One of them has no value, or it is not kept any more.
    """
    name = parse_task_id(record.id)
    is_container = record.template.driver is Driver.DOCKER
    return {
        **({} if is_container else {"PATH": os.environ.get("PATH") or _PATH, "HOME": place.scratch}),
        **check_env(record.template),
        **vault.variables(record.id, record.template),
        **({SECRETS_DIR: str(vault.files(record.id))} if record.template.secrets else {}),
        **{port_variable(port): str(number) for port, number in record.ports.items()},
        "HARPOON_TASK": record.id,
        "HARPOON_NAMESPACE": name.namespace,
        "HARPOON_JOB": name.job,
        "HARPOON_SLOT": name.place,
        "HARPOON_AGENT": whereabouts.agent,
        # Where its ports are to listen: in a network of its own, everywhere.
        "HARPOON_ADDRESS": "0.0.0.0" if is_container and record.template.network != HOST else whereabouts.address,
    }


def explain_failure(error: OSError) -> tuple[str, bool]:
    """Say why nothing could be spawned, and whether trying again could help."""
    if error.errno == errno.E2BIG:
        return "its command and env are longer than this host lets a program be given", False
    return f"could not be started: {(error.strerror or str(error)).lower()}", True


def _check_directory(directory: str) -> None:
    try:
        mode = os.stat(directory).st_mode  # noqa: PTH116 a hot path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Invalid(f"working directory {directory}: {reason.lower()}") from error
    if not stat.S_ISDIR(mode):
        raise Invalid(f"working directory {directory}: not a directory")
    if not os.access(directory, os.X_OK):
        raise Invalid(f"working directory {directory}: the agent may not enter it")


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(is_within(os.path.normpath(path), place) for place in places)


def _find_program(name: str, directory: str, path: str) -> str:
    """Return the file that a shell would run for ``name``; found here so that a failure has a reason."""
    entries = [""] if "/" in name else path.split(":")
    candidates = [os.path.join(directory, entry, name) for entry in entries]  # noqa: PTH118 a hot path
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and _is_file(candidate):
            return name if "/" in name and not name.startswith("-") else candidate
    for candidate in filter(_is_file, candidates):
        raise Invalid(f"command {name!r}: {candidate} is not executable for the agent")
    if "/" in name:
        raise Invalid(f"command {name!r}: there is no such file")
    raise Invalid(f"command {name!r} is not found in PATH ({path})")


def _is_file(candidate: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(candidate).st_mode)  # noqa: PTH116 a hot path
    except (OSError, ValueError):
        return False


def _split(variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Part the variables that the shim's shell would meddle with from those it passes on."""
    own = {name: value for name, value in variables.items() if is_shells_own(name)}
    return own, {name: value for name, value in variables.items() if name not in own}

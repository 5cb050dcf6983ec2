"""From a task's template to what is run: its arguments, its environment and where it starts."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from harpoon.agent.drivers.handle import Launch, Program
from harpoon.agent.drivers.programs import MARK
from harpoon.agent.record import Place, Record
from harpoon.kit.errors import Invalid
from harpoon.model.task import parse_task_id
from harpoon.model.template import TaskTemplate
from harpoon.model.variables import expand, port_variable

#: What a task finds in PATH when the agent itself was started without one.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Sets the variables that the shim's shell would take for its own.
_ENV: Final = "/usr/bin/env"
#: Variables that one shell or another changes, reads or does not pass on.
_SHELLS_OWN: Final = frozenset(
    (
        *("IFS", "OPTIND", "OPTARG", "PPID", "PWD", "OLDPWD", "LINENO", "PS1", "PS2", "PS4", "ENV", "CDPATH", "_"),
        *("MAIL", "MAILPATH", "MAILCHECK", "HISTSIZE", "FUNCNAME", "RANDOM", "SECONDS", "UID", "EUID", "GROUPS"),
        *("SHLVL", "SHELLOPTS", "BASHOPTS", "BASH_ENV", "BASH_COMPAT", "BASH_XTRACEFD", "POSIXLY_CORRECT"),
        *("HARPOON_SHIM_CODE",),
    )
)
#: Variables that change how programs are loaded: meant for the task, not for its shim.
_LOADERS_OWN: Final = ("LD_", "GLIBC_", "MALLOC_", "BASH_FUNC_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """What a task is told about where it is."""

    agent: str
    address: str


def prepare(record: Record, place: Place, whereabouts: Whereabouts) -> Launch:
    """Make ready what this record's next launch runs.

    Raises:
        Invalid: It cannot be run here, and trying again would not help: no such command or directory.
    """
    program = _resolve(record.template.command, record, place, whereabouts)
    return Launch(
        arguments=program.arguments,
        environment=program.environment,
        directory=program.directory,
        stdout=place.log("stdout"),
        stderr=place.log("stderr"),
        shim_file=place.shim_file(record.launch),
    )


def prepare_check(command: tuple[str, ...], record: Record, place: Place, whereabouts: Whereabouts) -> Program:
    """Make ready what a check of this task runs: like the task's own command, but marked as not being the task.

    Raises:
        Invalid: It cannot be run here now.
    """
    program = _resolve(command, record, place, whereabouts)
    return replace(program, environment={**program.environment, MARK: place.path})


def check_env(template: TaskTemplate) -> dict[str, str]:
    """Return a template's variables.

    Raises:
        Invalid: One of them is not text. Who orders a task has found out the endpoints of other jobs before.
    """
    text = {name: value for name, value in template.env.items() if isinstance(value, str)}
    for name, value in template.endpoints().items():
        raise Invalid(f"env {name}: the endpoints of {value.endpoints} were ordered without their value")
    return text


def _resolve(command: tuple[str, ...], record: Record, place: Place, whereabouts: Whereabouts) -> Program:
    variables = environment(record, place, whereabouts)
    try:
        arguments = tuple(expand(part, variables) for part in command)
    except ValueError as error:
        raise Invalid(f"command: {error}") from error
    directory = place.scratch if record.template.working_directory is None else record.template.working_directory
    _check_directory(directory)
    program = _find_program(arguments[0], directory, variables["PATH"])
    own, passed = _split(variables)
    if own:
        if "=" in program:
            raise Invalid(f"command {program!r} holds '=', and so cannot be run with {', '.join(sorted(own))} in env")
        arguments = (_ENV, *(f"{name}={value}" for name, value in own.items()), program, *arguments[1:])
    else:
        arguments = (program, *arguments[1:])
    return Program(arguments=arguments, environment=passed, directory=directory)


def environment(record: Record, place: Place, whereabouts: Whereabouts) -> dict[str, str]:
    """Return all variables of a task; nothing of the agent's own but ``PATH``.

    Raises:
        Invalid: One of them has no value.
    """
    name = parse_task_id(record.id)
    return {
        "PATH": os.environ.get("PATH") or _PATH,
        "HOME": place.scratch,
        **check_env(record.template),
        **{port_variable(port): str(number) for port, number in record.ports.items()},
        "HARPOON_TASK": record.id,
        "HARPOON_NAMESPACE": name.namespace,
        "HARPOON_JOB": name.job,
        "HARPOON_SLOT": str(name.slot),
        "HARPOON_AGENT": whereabouts.agent,
        "HARPOON_ADDRESS": whereabouts.address,
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
    own = {name: value for name, value in variables.items() if name in _SHELLS_OWN or name.startswith(_LOADERS_OWN)}
    return own, {name: value for name, value in variables.items() if name not in own}

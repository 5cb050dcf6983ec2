"""A task's environment, as its command may refer to it."""

import re
from collections.abc import Mapping

#: Environment variables that every task gets beside its own and ``PORT_<NAME>``.
BUILT_IN_VARIABLES = frozenset(
    {
        "HARPOON_TASK",
        "HARPOON_NAMESPACE",
        "HARPOON_JOB",
        "HARPOON_SLOT",
        "HARPOON_AGENT",
        "HARPOON_ADDRESS",
        "PATH",
        "HOME",
    }
)
#: Where a task finds the files of its secrets, if it has any.
SECRETS_DIR = "SECRETS_DIR"
#: Variables that one shell or another changes, reads or does not pass on.
_SHELLS_OWN = frozenset(
    (
        *("IFS", "OPTIND", "OPTARG", "PPID", "PWD", "OLDPWD", "LINENO", "PS1", "PS2", "PS4", "ENV", "CDPATH", "_"),
        *("MAIL", "MAILPATH", "MAILCHECK", "HISTSIZE", "FUNCNAME", "RANDOM", "SECONDS", "UID", "EUID", "GROUPS"),
        *("SHLVL", "SHELLOPTS", "BASHOPTS", "BASH_ENV", "BASH_COMPAT", "BASH_XTRACEFD", "POSIXLY_CORRECT"),
        *("HARPOON_SHIM_CODE",),
    )
)
#: Variables that change how programs are loaded: meant for the task, not for its shim.
_LOADERS_OWN = ("LD_", "GLIBC_", "MALLOC_", "BASH_FUNC_")
#: Those of them that a container has of its image, or not at all.
HOSTS_VARIABLES = frozenset({"PATH", "HOME"})
_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|(\{)|)")


def port_variable(name: str) -> str:
    """Return the environment variable in which a task finds its port ``name``."""
    return f"PORT_{name.upper()}"


def is_shells_own(name: str) -> bool:
    """Whether the shell that starts a task would meddle with a variable, so that it is handed over in other ways."""
    return name in _SHELLS_OWN or name.startswith(_LOADERS_OWN)


def names_in(text: str) -> frozenset[str]:
    """Return the variables that ``text`` refers to."""
    return frozenset(match[2] for match in _REFERENCE.finditer(text) if match[2])


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$NAME`` by its value and ``$$`` by a dollar.

    Raises:
        ValueError: A name that ``variables`` lacks, a lone dollar, or ``${``, which is kept for expressions.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[3]:
            raise ValueError(
                "of '${…}' expressions only ${parameters.NAME} is supported; write $NAME, or '$$' for a dollar"
            )
        if not match[2]:
            raise ValueError("a lone '$'; write '$$' for a dollar")
        if match[2] not in variables:
            raise ValueError(f"${match[2]} is not in the task's environment; add it to env, or write '$$' for a dollar")
        return variables[match[2]]

    return _REFERENCE.sub(value, text)

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
_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|(\{)|)")


def port_variable(name: str) -> str:
    """Return the environment variable in which a task finds its port ``name``."""
    return f"PORT_{name.upper()}"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$NAME`` by its value and ``$$`` by a dollar.

    Raises:
        ValueError: A name that ``variables`` lacks, a lone dollar, or ``${``, which is kept for expressions.
    """

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[3]:
            raise ValueError("'${…}' expressions are not supported yet; write $NAME, or '$$' for a dollar")
        if not match[2]:
            raise ValueError("a lone '$'; write '$$' for a dollar")
        if match[2] not in variables:
            raise ValueError(f"${match[2]} is not in the task's environment; add it to env, or write '$$' for a dollar")
        return variables[match[2]]

    return _REFERENCE.sub(value, text)

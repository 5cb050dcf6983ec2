"""What things may be called, and the ids made from those names."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NewType

#: Jobs, namespaces and agents. No dot and no slash, so that ids and keys made of names can be split again.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN, re.ASCII)
PORT_NAME_PATTERN = r"^[a-z]([a-z0-9_]{0,30}[a-z0-9])?$"
_PORT_NAME = re.compile(PORT_NAME_PATTERN, re.ASCII)
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_VARIABLE = re.compile(VARIABLE_PATTERN, re.ASCII)

#: ``<namespace>.<job>.<slot>.<placement>``, such as ``default.web.0.1-42``.
TaskId = NewType("TaskId", str)
AgentName = NewType("AgentName", str)

DEFAULT_NAMESPACE = "default"
#: What the workflow of a batch is called, which is declared nowhere; no user's is.
BATCH = ":batch"
NAME_MAX = 63
#: Tags of one thing, and characters of their keys and values.
TAGS_MAX = 64
TAG_KEY_MAX = 63
TAG_MAX = 255


def check_name(what: str, name: str) -> str:
    """Return ``name`` if it is one.

    Raises:
        ValueError: It is not; the message says what would be right.
    """
    # What is longer is not to be remembered, either.
    if len(name) > NAME_MAX or not _is_name(name):
        raise ValueError(
            f"{what} is 1 to 63 of a-z, 0-9 and '-', starts with a letter and does not end with '-'; got {name[:80]!r}"
        )
    return name


def workflow_said(name: str) -> str:
    """Say of which workflow a run is: ``workflow refund``; or that it is of ``a batch``, which has none."""
    return "a batch" if name == BATCH else f"workflow {name}"


def is_name(text: str) -> bool:
    """Return whether a job, a namespace or an agent may be called so."""
    return len(text) <= NAME_MAX and _is_name(text)


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def check_tags(tags: Mapping[str, str]) -> None:
    """Check that something may be found by these.

    Raises:
        ValueError: They are too many, or too long.
    """
    if len(tags) > TAGS_MAX or any(not 0 < len(key) <= TAG_KEY_MAX or len(tags[key]) > TAG_MAX for key in tags):
        raise ValueError(
            f"tags holds at most {TAGS_MAX}, keys of 1 to {TAG_KEY_MAX} and values of at most {TAG_MAX} characters"
        )


def check_port_name(name: str) -> str:
    """Return ``name`` if a port may be called so (it becomes ``PORT_<NAME>``).

    Raises:
        ValueError: It may not.
    """
    if not _PORT_NAME.fullmatch(name):
        raise ValueError(f"a port's name is 1 to 32 of a-z, 0-9 and '_', starting with a letter; got {name[:80]!r}")
    return name


def check_variable(name: str) -> str:
    """Return ``name`` if an environment variable may be called so.

    Raises:
        ValueError: It may not.
    """
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            f"an environment variable is A-Z, a-z, 0-9 and '_', not starting with a digit; got {name[:80]!r}"
        )
    return name

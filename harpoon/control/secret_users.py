"""Who refers to a secret: jobs, workflows, and open runs of what is no workflow, or not as it was when they began."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from harpoon.control.run_reader import RunReader
from harpoon.control.view import View, job_key
from harpoon.model.workflow_secrets import secret_names
from harpoon.store.port import Compacted

#: Of each kind, how many are named.
_NAMED_MAX: Final = 5


class Users(NamedTuple):
    """Names of those who refer to a secret, sorted."""

    jobs: Sequence[str]
    workflows: Sequence[str]
    #: Ids of runs that are open.
    runs: Sequence[str]

    def refusal(self, secret: str) -> str:
        """Say why a secret is not deleted; empty: nobody refers to it."""
        told = []
        if self.jobs:
            told.append(f"{_many(self.jobs, 'job')} could start no task without secret {secret} ({_few(self.jobs)})")
        for what, names in (("workflow", self.workflows), ("open run", self.runs)):
            if names:
                verb, it = "refers" if len(names) == 1 else "refer", "it" if told else f"secret {secret}"
                told.append(f"{_many(names, what)} {verb} to {it} ({_few(names)})")
        return f"{' and '.join(told)}; change what refers to it before, or force it" if told else ""


async def users_of(view: View, reader: RunReader, namespace: str, name: str) -> Users:
    """Return who refers to a secret.

    Args:
        view: Shows jobs and workflows.
        reader: Finds open runs.
        namespace: Of the secret.
        name: Of the secret.

    Raises:
        StoreUnavailable: The store could not answer.
    """
    key = job_key(namespace, name)
    return Users(view.secret_users(key), view.secret_workflows(key), await _runs(view, reader, namespace, name))


async def _runs(view: View, reader: RunReader, namespace: str, name: str) -> list[str]:
    """Return the open runs on generations that refer to a secret and are no workflow's present one."""
    rows, workflows = view.graphs.rows, view.workflows.rows
    former = {
        (row.value.name, row.value.generation)
        for key, row in rows.items()
        if row.value.namespace == namespace and name in secret_names(row.value.spec)
        if (present := workflows.get(key.rpartition("/")[0])) is None
        or present.value.generation != row.value.generation
    }
    if not former:
        return []
    try:
        every = [one async for _, headers in reader.open_headers(namespace) for one in headers]
    except Compacted:
        # There are so many that nobody could look through them.
        return []
    return sorted(one.run for one in every if former & {(one.workflow, one.present), *one.forms.items()})


def _many(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_MAX]) + (", …" if len(names) > _NAMED_MAX else "")

"""Values of secrets, decrypted as they are used: for the agent that starts a task, and for connectors.

They are kept nowhere. Nothing here logs one, and no error holds one.
"""

from collections.abc import Iterable
from dataclasses import replace

from harpoon.control.keyring import Box, Keyring, NoKeys, Unopened
from harpoon.control.view import View, job_key
from harpoon.kit.errors import NotFound
from harpoon.model.agent import SECRETS_FACT
from harpoon.model.command import Command, CommandResult, StartTask
from harpoon.model.secret import Secret, bound_to
from harpoon.model.sensitive import Sensitive
from harpoon.model.task import parse_task_id


def opened(keyring: Keyring, secret: Secret, key: str) -> Sensitive:
    """Decrypt a value that a secret has.

    Raises:
        NoKeys: This server has none.
        Unopened: It does not have the right one, or the record is not what was written.
    """
    sealed = secret.keys[key]
    bound = bound_to(secret.namespace, secret.name, key, sealed)
    return keyring.open(Box(sealed.key_id, sealed.nonce, sealed.data), bound)


def deliver(
    view: View, keyring: Keyring, agent: str, commands: Iterable[Command]
) -> tuple[tuple[Command, ...], tuple[CommandResult, ...]]:
    """Give commands the values of secrets that their tasks refer to; to be called when they are sent, and not before.

    Returns:
        The commands that can be sent, and why others cannot.
    """
    registered = view.agents.rows.get(agent)
    takes = registered is not None and SECRETS_FACT in registered.value.facts
    sent: list[Command] = []
    withheld: list[CommandResult] = []
    for command in commands:
        wanted = command.template.secret_values() if isinstance(command, StartTask) else {}
        if not wanted or not isinstance(command, StartTask):
            sent.append(command)
            continue
        if not takes:
            # One of an earlier release could not read any command that comes along with it.
            reason = f"agent {agent} takes no secrets: it is of an earlier release, or has no memory to keep them in"
            withheld.append(CommandResult(task=command.task, is_ok=False, reason=reason))
            continue
        try:
            sent.append(replace(command, secrets=_values(view, keyring, command, wanted)))
        except (NotFound, NoKeys, Unopened) as error:
            withheld.append(CommandResult(task=command.task, is_ok=False, reason=str(error)))
    return tuple(sent), tuple(withheld)


def _values(view: View, keyring: Keyring, command: StartTask, wanted: Iterable[str]) -> dict[str, Sensitive]:
    namespace = parse_task_id(command.task).namespace
    return {reference: value_of(view, keyring, namespace, reference) for reference in wanted}


def value_of(view: View, keyring: Keyring, namespace: str, reference: str) -> Sensitive:
    """Decrypt a value that is referred to as ``<name>/<key>``; to be called when it is used, and not before.

    Raises:
        NotFound: There is none.
        NoKeys: This server has none.
        Unopened: It does not have the right one, or the record is not what was written.
    """
    name, _, key = reference.partition("/")
    row = view.secrets.rows.get(job_key(namespace, name))
    if row is None or key not in row.value.keys:
        raise NotFound(f"there is no secret {reference} in namespace {namespace}")
    try:
        return opened(keyring, row.value, key)
    except Unopened as error:
        raise Unopened(f"secret {reference}: {error}") from error

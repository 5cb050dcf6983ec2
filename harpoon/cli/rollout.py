"""The verbs of ``rollout``: how one stands, and what an operator decides of it."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from harpoon.cli import at as looking
from harpoon.cli import figures, output, screens, terminal, waiting
from harpoon.cli.changes import take_back
from harpoon.cli.options import Format, JobName, Namespace, Output, Patience, Remote
from harpoon.cli.outcome import EndedInFailure
from harpoon.cli.session import Session
from harpoon.cli.table import Object
from harpoon.cli.verb import verb, verbs
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

rollouts: Final = verbs(
    "rollout",
    "See how a job's rollout stands, and decide how it goes on.",
    examples=("harpoon rollout status web", "harpoon rollout promote web", "harpoon rollout undo web --to 3"),
)


@verb("status", group=rollouts, examples=("harpoon rollout status web", "harpoon rollout status web --at -1h -o json"))
def status(
    remote: Remote,
    name: JobName,
    namespace: Namespace = DEFAULT_NAMESPACE,
    at: looking.At = None,
    form: Format = Output.TABLE,
) -> None:
    """Show how the rollout of a job's present version stands, what it waits for, and how the last one failed.

    Exits with 7 if it has failed.
    """
    if form is Output.NAME:
        raise Invalid("a rollout has no name; write it as table, wide, json or yaml")
    client, path = remote.client(), ("namespaces", namespace, "jobs", name, "rollout")
    told = client.get(*path).body if at is None else looking.read(client, path, at)
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        for line in _screen(told):
            terminal.show(line)
    if told["phase"] == "failed" or told["paused_by"] == "deadline":
        raise EndedInFailure(f"the rollout of job/{name} has failed: {terminal.plain(told['failure']['reason'])}")


@verb("pause", group=rollouts, examples=("harpoon rollout pause web",))
def pause(remote: Remote, name: JobName, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Have nothing more replaced, by this rollout or a later one, until it is resumed. What was replaced stays so.

    Tasks that fail or are lost meanwhile are replaced by the version that served before.
    """
    _steer(remote.client(), namespace, name, "pause")
    terminal.show(f"job/{name} paused; to go on: harpoon rollout resume {name}")


@verb("resume", group=rollouts, examples=("harpoon rollout resume web", "harpoon rollout resume web --no-wait"))
def resume(remote: Remote, name: JobName, patience: Patience, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Let a rollout go on that was paused, by an operator or because it had failed; its deadline begins anew."""
    client = remote.client()
    change = _steer(client, namespace, name, "resume")
    terminal.show(f"job/{name} resumed")
    if patience.wait:
        waiting.wait_changes(client, [change], patience.span)


@verb("promote", group=rollouts, examples=("harpoon rollout promote web", "harpoon rollout promote web --no-wait"))
def promote(remote: Remote, name: JobName, patience: Patience, namespace: Namespace = DEFAULT_NAMESPACE) -> None:
    """Let a rollout go on beyond its canaries: the other slots are replaced, too."""
    client = remote.client()
    change = _steer(client, namespace, name, "promote")
    terminal.show(f"job/{name} promoted")
    if patience.wait:
        waiting.wait_changes(client, [change], patience.span)


@verb("undo", group=rollouts, examples=("harpoon rollout undo web", "harpoon rollout undo web --to 3"))
def undo(
    *,
    remote: Remote,
    name: JobName,
    to: Annotated[
        int | None,
        typer.Option(help="The version to go back to.", min=1, metavar="VERSION", show_default="the one before"),
    ] = None,
    patience: Patience,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Bring an earlier version back, as a new one; the same as `harpoon rollback`. It needs no canaries."""
    take_back(remote.client(), namespace, name, to, patience, form)


def _steer(client: Session, namespace: str, name: str, order: str) -> str:
    """Give an order; return the change that can be waited for."""
    answer = client.post("namespaces", namespace, "jobs", name, order, body={})
    return str(answer.body["change"])


def _screen(told: Object) -> Iterator[str]:
    yield screens.headline(f"rollout of job/{told['job']}", told["phase"], told["summary"])
    yield from screens.pairs_of(
        [
            ("Version", f"{told['version']}, generation {told['generation']}"),
            ("Before it", f"version {told['stable']}" if told["stable"] is not None else ""),
            ("Healthy", f"{told['healthy']} of {told['wanted']}"),
            ("Canaries", _canaries(told)),
            ("Paused by", str(told["paused_by"] or "")),
            ("Fails", figures.until(told["deadline_ms"])),
        ]
    )
    yield from screens.waits_of(told)
    if told["failure"] is not None:
        yield from _failure(told["failure"])


def _canaries(told: Object) -> str:
    if not told["canary"]:
        return ""
    return f"{told['canary']}, {'promoted' if told['is_promoted'] else 'not promoted'}"


def _failure(failure: dict[str, Any]) -> Iterator[str]:
    back = failure["reverted_by"]
    fate = f"; version {back} took it back" if back is not None else ""
    yield ""
    yield f"Version {failure['version']} failed at {figures.until(failure['at_ms'])}{fate}:"
    yield f"  {terminal.plain(failure['reason'])}"
    witness = failure["witness"]
    if witness is None:
        return
    yield from screens.checks_of([{**witness, "id": witness["task"]}])
    if witness["log"]:
        yield ""
        yield f"Last lines of {witness['task']}:"
        yield from screens.indented(map(terminal.plain, witness["log"]))

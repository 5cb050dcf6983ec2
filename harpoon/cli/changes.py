"""Verbs that change what is wanted: apply, schedule, migrate, scale, rollback, unschedule, delete."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import columns, declaring, documents, offers, output, planfile, terminal, waiting
from harpoon.cli.declaring import Accepted
from harpoon.cli.options import Arguments, Format, JobName, Namespace, NamespaceOfFile, Output, Patience, Remote
from harpoon.cli.session import Session
from harpoon.cli.verb import verb
from harpoon.client.answer import Answer
from harpoon.kit.errors import Invalid, NotFound
from harpoon.kit.yaml import Document
from harpoon.model.name import DEFAULT_NAMESPACE

_DELETED: Final = (columns.JOB, columns.AGENT, columns.NAMESPACES, columns.WORKFLOW, columns.BATCH)

File = Annotated[str, typer.Argument(help="A manifest of one job; - reads standard input.", show_default=False)]


@verb(
    "apply",
    examples=(
        "harpoon apply web.yaml",
        "harpoon apply -f manifests/ --timeout 10m",
        "harpoon apply --plan plan.json",
        "kustomize build . | harpoon apply -f - --no-wait",
    ),
)
def apply(  # noqa: PLR0913 each is an option
    *,
    remote: Remote,
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Manifests: files, directories, or - .", metavar="FILE…", show_default=False),
    ] = None,
    file: Annotated[list[str] | None, typer.Option("--file", "-f", help="Likewise; may be repeated.")] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="A plan that `harpoon plan -o FILE` wrote: do just that, or nothing.", metavar="FILE"),
    ] = None,
    patience: Patience,
    namespace: NamespaceOfFile = None,
    form: Format = Output.TABLE,
) -> None:
    """Make jobs and workflows as the manifests say: create those that are new, change those that differ.

    Up to 40 jobs are one commit: all of them or none. Namespaces and workflows are declared before, each for itself;
    batches are started after them, each once.
    With --plan, exit code 4: something else would come of it now than the plan says; it is told what, and nothing is
    changed.
    """
    named = [*(files or ()), *(file or ())]
    if (plan is None) == (not named):
        raise Invalid("name what to apply: manifests, harpoon apply FILE…, or a plan with --plan FILE")
    if plan is not None and namespace is not None:
        raise Invalid("a plan says the namespaces of its jobs; leave --namespace out")
    client = remote.client()
    if plan is not None:
        answer = client.post("plan", "apply", body=planfile.read(plan))
        _finish(client, declaring.results(answer), patience, form)
        return
    accepted, beside = declaring.declare(client, documents.read_documents(named), namespace, form)
    _finish(client, accepted, patience, form, beside)


@verb(
    "schedule",
    examples=(
        "harpoon schedule web.yaml",
        "harpoon schedule web.yaml -n shop --no-wait",
        "harpoon schedule report.yaml --set day=2026-01-31",
    ),
)
def schedule(
    *,
    remote: Remote,
    file: File,
    patience: Patience,
    given: Arguments = None,
    namespace: NamespaceOfFile = None,
    form: Format = Output.TABLE,
) -> None:
    """Declare a job that is not there yet.

    Of a batch job, wait until it has succeeded (exit code 7: it has failed).
    """
    client = remote.client()
    document = documents.read_job(file)
    manifest = documents.with_arguments(document, documents.manifest_of(document, namespace), given or ())
    answer = _put(client, document, manifest, is_new=True)
    _finish(client, [_accepted(*_where(manifest), answer, "created")], patience, form)


@verb("migrate", examples=("harpoon migrate web-v2.yaml", "harpoon migrate web-v2.yaml --timeout 2m"))
def migrate(
    *,
    remote: Remote,
    file: File,
    patience: Patience,
    given: Arguments = None,
    namespace: NamespaceOfFile = None,
    form: Format = Output.TABLE,
) -> None:
    """Change a job that is there; refused if someone else changes it at the same time.

    New tasks are ready before old ones are drained and stopped.
    """
    client = remote.client()
    document = documents.read_job(file)
    manifest = documents.with_arguments(document, documents.manifest_of(document, namespace), given or ())
    place, name = _where(manifest)
    try:
        present = client.get("namespaces", place, "jobs", name)
    except NotFound as error:
        raise NotFound(f"there is no job {name} in namespace {place} to migrate; use schedule to declare it") from error
    answer = _put(client, document, manifest, if_match=present.etag)
    _finish(client, [_accepted(place, name, answer, "changed")], patience, form)


@verb("scale", examples=("harpoon scale web 5", "harpoon scale web 0 -n shop"))
def scale(
    remote: Remote,
    name: JobName,
    count: Annotated[int, typer.Argument(help="How many tasks.", min=0, metavar="N", show_default=False)],
    patience: Patience,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Change how many tasks a job has."""
    client = remote.client()
    answer = client.post("namespaces", namespace, "jobs", name, "scale", body={"scale": count})
    _finish(client, [_accepted(namespace, name, answer, "changed")], patience, form)


@verb("rollback", examples=("harpoon rollback web", "harpoon rollback web --to 3 --timeout 2m"))
def rollback(
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
    """Make a job what it was: the version before the present one that differs from it, or the one named.

    It becomes a new version, and is rolled out as any other: new tasks are ready before old ones are stopped.
    """
    take_back(remote.client(), namespace, name, to, patience, form)


@verb("unschedule", examples=("harpoon unschedule web", "harpoon unschedule web -n shop --no-wait"))
def unschedule(
    remote: Remote,
    name: JobName,
    patience: Patience,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Take a job away; done when its last task is gone."""
    _unschedule(remote.client(), namespace, name, patience, form)


@verb(
    "delete",
    examples=(
        "harpoon delete job/web",
        "harpoon delete agent/a3",
        "harpoon delete namespace/shop",
        "harpoon delete workflow/refund",
    ),
)
def delete(
    remote: Remote,
    what: Annotated[
        str,
        typer.Argument(
            help="job/NAME, agent/NAME, namespace/NAME, workflow/NAME or batch/NAME.",
            metavar="KIND/NAME",
            show_default=False,
            autocompletion=offers.subjects("job", "agent", "namespace", "workflow", "batch"),
        ),
    ],
    patience: Patience,
    namespace: Namespace = DEFAULT_NAMESPACE,
    form: Format = Output.TABLE,
) -> None:
    """Take a job away, forget an agent that is not connected any more, or take back a namespace that has no jobs.

    Of a workflow, no run is started any more; those that there are go on. A batch is cancelled.
    """
    word, _, name = what.partition("/")
    kind = next((kind for kind in _DELETED if kind.is_called(word)), None)
    if not name or kind is None:
        known = "job/NAME, agent/NAME, namespace/NAME, workflow/NAME or batch/NAME"
        raise Invalid(f"write what to delete as {known}; got {what!r}")
    if kind is columns.JOB:
        _unschedule(remote.client(), namespace, name, patience, form)
        return
    where = ("namespaces", namespace) if kind in (columns.WORKFLOW, columns.BATCH) else ()
    told = remote.client().delete(*where, kind.plural, name).body
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
        return
    done = told["status"] if kind is columns.BATCH else "deleted"
    terminal.show(f"{kind.name}/{name}" if form is Output.NAME else f"{kind.name}/{name} {done}")


def take_back(client: Session, namespace: str, name: str, to: int | None, patience: Patience, form: Output) -> None:
    """Bring an earlier version of a job back, and wait for it: the one named, or the last that differs."""
    path = ("namespaces", namespace, "jobs", name)
    present = client.get(*path)
    body = {} if to is None else {"version": to}
    answer = client.post(*path, "rollback", body=body, if_match=present.etag)
    _finish(client, [_accepted(namespace, name, answer, "rolled back")], patience, form)


def _unschedule(client: Session, namespace: str, name: str, patience: Patience, form: Output) -> None:
    answer = client.delete("namespaces", namespace, "jobs", name)
    _finish(client, [_accepted(namespace, name, answer, "unscheduled")], patience, form)


def _put(
    client: Session,
    document: Document,
    manifest: Mapping[str, Any],
    *,
    if_match: str | None = None,
    is_new: bool = False,
) -> Answer:
    namespace, name = _where(manifest)
    try:
        return client.put("namespaces", namespace, "jobs", name, body=manifest, if_match=if_match, is_new=is_new)
    except Invalid as error:
        raise documents.placed(error, documents.place_in(document)) from error


def _where(manifest: Mapping[str, Any]) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata["name"])


def _accepted(namespace: str, name: str, answer: Answer, outcome: str) -> Accepted:
    done = "unchanged" if answer.status == 200 else outcome
    return Accepted(namespace=namespace, job=name, change=answer.body["change"], outcome=done)


def _finish(
    client: Session,
    accepted: Sequence[Accepted],
    patience: Patience,
    form: Output,
    beside: declaring.Beside = declaring.NOTHING,
) -> None:
    """Write what was accepted, which is durable whatever becomes of the wait; then wait."""
    declaring.tell(accepted, form, beside)
    if patience.wait and accepted:
        waiting.wait_changes(client, [one.change for one in accepted], patience.span)

"""What ``apply`` does with documents, kind by kind, and what is told of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from harpoon.cli import documents, namespaces, output, run_batches, terminal, workflows
from harpoon.cli.options import Output
from harpoon.cli.session import Session
from harpoon.client.answer import Answer
from harpoon.config import APPLY_DOCUMENTS_MAX
from harpoon.kit.errors import HarpoonError, Invalid
from harpoon.kit.yaml import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A mutation of a job that the server took."""

    namespace: str
    job: str
    change: str
    outcome: str


class Beside(NamedTuple):
    """What became of the documents that declare no jobs."""

    declared: Sequence[namespaces.Outcome] = ()
    defined: Sequence[workflows.Outcome] = ()
    started: Sequence[run_batches.Outcome] = ()


NOTHING: Final = Beside()


def declare(
    client: Session, read: Sequence[Document], namespace: str | None, form: Output
) -> tuple[Sequence[Accepted], Beside]:
    """Declare namespaces, then workflows, then jobs, and start batches; nothing before each document is one of these.

    Raises:
        HarpoonError: One of them cannot be; what was done before it stays, and has been written.
    """
    own, rest = namespaces.split(read)
    batches, rest = run_batches.split(rest)
    flows, jobs = workflows.split(rest)
    manifests = [documents.manifest_of(document, namespace) for document in jobs]
    for document in own:
        documents.manifest_of(document, None)
    for document in (*flows, *batches):
        documents.manifest_of(document, namespace)
    accepted: list[Accepted] = []
    declared: list[namespaces.Outcome] = []
    defined: list[workflows.Outcome] = []
    started: list[run_batches.Outcome] = []
    beside = Beside(declared, defined, started)
    try:
        for document in own:
            declared += namespaces.declare(client, [document])
        for document in flows:
            defined += workflows.declare(client, [document], namespace)
        for start in range(0, len(manifests), APPLY_DOCUMENTS_MAX):
            part = slice(start, start + APPLY_DOCUMENTS_MAX)
            accepted += _apply_some(client, manifests[part], jobs[part])
            if len(manifests) > APPLY_DOCUMENTS_MAX:
                terminal.say(f"{len(accepted)} of {len(manifests)} documents accepted")
        for document in batches:
            started += run_batches.start(client, [document], namespace)
    except HarpoonError:
        if accepted or any(beside):
            tell(accepted, form, beside)
        raise
    return accepted, beside


def results(answer: Answer) -> list[Accepted]:
    """Return what a server says of jobs that it took together."""
    return [
        Accepted(namespace=one["namespace"], job=one["job"], change=one["change"], outcome=one["outcome"])
        for one in answer.body["results"]
    ]


def tell(accepted: Sequence[Accepted], form: Output, beside: Beside) -> None:
    """Write what was accepted, which is durable."""
    if form in (Output.JSON, Output.YAML):
        declared, defined, started = beside
        told: dict[str, Any] = {"namespaces": [one._asdict() for one in declared]} if declared else {}
        told |= {"workflows": [one.told() for one in defined]} if defined else {}
        told |= {"batches": [one._asdict() for one in started]} if started else {}
        output.write({**told, "results": [asdict(one) for one in accepted]}, form)
    else:
        for named in beside.declared:
            terminal.show(f"namespace/{named.namespace}" + (f" {named.outcome}" if form is not Output.NAME else ""))
        for flow in beside.defined:
            terminal.show(f"workflow/{flow.workflow}" + (f" {flow.outcome}" if form is not Output.NAME else ""))
        for one in accepted:
            terminal.show(f"job/{one.job}" if form is Output.NAME else f"job/{one.job} {one.outcome}")
        for batch in beside.started:
            terminal.show(f"batch/{batch.batch}" + (f" {batch.outcome}" if form is not Output.NAME else ""))
    for line in (*namespaces.warnings(beside.declared), *workflows.elder_lines(beside.defined)):
        terminal.say(line)


def _apply_some(client: Session, manifests: Sequence[object], read: Sequence[Document]) -> list[Accepted]:
    try:
        answer = client.post("apply", body={"documents": manifests})
    except Invalid as error:
        raise documents.placed(error, documents.place_in_many(read)) from error
    return results(answer)

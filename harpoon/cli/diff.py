"""The verb ``diff``: what differs between manifests, versions and times."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from harpoon.cli import at as looking
from harpoon.cli import documents, namespaces, output, run_batches, terminal, workflows
from harpoon.cli.options import Format, NamespaceOfFile, Output, Remote
from harpoon.cli.plan import ask, end, told_difference, told_namespaces, write_names
from harpoon.cli.session import Session
from harpoon.cli.verb import verb
from harpoon.core.diff import diff as difference_of
from harpoon.kit.errors import Invalid, NotFound
from harpoon.model.edit import Edit
from harpoon.model.name import DEFAULT_NAMESPACE

_VERSION: Final = re.compile(r"(?:job/)?(?P<name>[a-z0-9-]+)@(?P<version>[1-9][0-9]{0,8})")
_NAME: Final = re.compile(r"(?:job/)?(?P<name>[a-z0-9-]+)")


class _Version(NamedTuple):
    """A version of a job, written ``NAME@N``."""

    name: str
    number: int


@verb(
    "diff",
    examples=(
        "harpoon diff web.yaml",
        "harpoon diff web@3",
        "harpoon diff web@3 web@5 -n shop",
        "harpoon diff web --at -1h",
        "harpoon diff web --at 1.42 --to 1.57",
    ),
)
def diff(
    remote: Remote,
    what: Annotated[
        list[str],
        typer.Argument(
            help="Manifests; NAME@VERSION, once or twice; or NAME with --at.",
            metavar="FILE…|NAME@N|NAME",
            show_default=False,
        ),
    ],
    at: looking.At = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="With --at: how it stood then.", metavar=looking.METAVAR, show_default="now"),
    ] = None,
    namespace: NamespaceOfFile = None,
    form: Format = Output.TABLE,
) -> None:
    """Show what differs between manifests and the jobs as they are, between versions of a job, or between two times.

    With one version, it is compared with the present one. With --at, what was declared of a job then is compared with
    what is declared now, or was at --to. Exit code 0: nothing differs; 10: something does.
    """
    if to is not None and at is None:
        raise Invalid("--to ends what --at begins; give --at as well")
    client, versions = remote.client(), () if at is not None else _versions(what)
    beside: list[str] = []
    if at is not None:
        answer = _compare_times(client, namespace or DEFAULT_NAMESPACE, what, at, to)
        differing, found = [answer], bool(answer["changes"])
    elif versions:
        answer = _compare(client, namespace or DEFAULT_NAMESPACE, versions)
        differing, found = [answer], bool(answer["changes"])
    else:
        answer, beside, found = _compare_files(client, namespace, what)
        differing = answer["plans"]
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME and not versions and at is None:
        write_names(answer)
    else:
        for line in beside:
            terminal.show(line)
        for one in differing:
            for line in told_difference(one):
                terminal.show(line)
        for line in run_batches.lines(answer.get("batches") or (), is_terse=True):
            terminal.show(line)
    end(has_changes=found)


#: What of a plan is its difference.
_DIFFERENCE: Final = ("namespace", "job", "action", "is_new_generation", "changes")


def _compare_files(
    client: Session, namespace: str | None, files: Sequence[str]
) -> tuple[dict[str, Any], list[str], bool]:
    """Return what differs between manifests and what is there; what is told of those of no jobs; and whether it does.

    Raises:
        Invalid: They cannot be declared so.
    """
    own, rest = namespaces.split(documents.read_documents(files))
    flows, read = workflows.split(rest)
    declared = namespaces.declare(client, own, is_dry=True)
    told: Mapping[str, Any] = {"has_changes": False, "plans": []}
    if rest:
        told = ask(client, [*flows, *read], namespace)
    differing = [{key: one[key] for key in _DIFFERENCE if key in one} for one in told["plans"]]
    answer = {**told, "plans": differing}
    if declared:
        answer["namespaces"] = [one._asdict() for one in declared]
    found = (
        told["has_changes"]
        or any(one["changes"] for one in differing)
        or any(one["action"] != "unchanged" for one in told.get("batches") or ())
        or any(one.outcome != "unchanged" for one in declared)
    )
    lines = [*told_namespaces(declared), *workflows.lines(workflows.planned(answer), is_terse=False)]
    return answer, lines, found


def _versions(words: Sequence[str]) -> list[_Version]:
    """Return the versions that these words name; none if they name files.

    Raises:
        Invalid: They name both, too many, or those of several jobs.
    """
    matches = [None if Path(word).exists() else _VERSION.fullmatch(word) for word in words]
    found = [_Version(match["name"], int(match["version"])) for match in matches if match is not None]
    if found and (len(found) < len(words) or len(found) > 2):
        raise Invalid("compare files with what is there, or one or two versions: harpoon diff web@3 web@5")
    if len({version.name for version in found}) > 1:
        raise Invalid(f"{words[0]} and {words[1]} are of different jobs; only versions of one are compared")
    return found


def _compare(client: Session, namespace: str, versions: Sequence[_Version]) -> dict[str, Any]:
    query = {"from": str(versions[0].number), "to": str(versions[1].number) if len(versions) > 1 else None}
    answer = client.get("namespaces", namespace, "jobs", versions[0].name, "diff", query=query).body
    return {"job": versions[0].name, **answer}


def _compare_times(client: Session, namespace: str, what: Sequence[str], at: str, to: str | None) -> dict[str, Any]:
    """Return what differs between what was declared of a job at one time and at another.

    Raises:
        Invalid: The words do not name one job.
        NotFound: It was there at neither.
    """
    match = _NAME.fullmatch(what[0])
    if match is None or len(what) > 1:
        raise Invalid("--at compares one job, by its name: harpoon diff web --at -1h")
    path = ("namespaces", namespace, "jobs", match["name"])
    (then, began), (now, ended) = (_declared(client, path, point) for point in (at, to))
    if then is None and now is None:
        raise NotFound(f"there was no job {match['name']} in namespace {namespace} at either time")
    # What is not there has no tags and no spec.
    forms = [{} if one is None else {"metadata": {"tags": one[0]}, "spec": one[1]} for one in (then, now)]
    generations = [None if one is None else one[2] for one in (then, now)]
    return {
        "job": match["name"],
        "from_revision": began,
        "to_revision": ended,
        "was_there": then is not None,
        "is_there": now is not None,
        "is_new_generation": None not in generations and generations[0] != generations[1],
        "changes": [_edit(one) for one in difference_of(*forms)],
    }


def _declared(
    client: Session, path: Sequence[str], at: str | None
) -> tuple[tuple[Mapping[str, Any], Mapping[str, Any], str] | None, str | None]:
    """Return tags, spec and generation of a job at a time, or None if it was not there; and the revision of that."""
    try:
        answer = client.get(*path, query=looking.query(at))
    except NotFound:
        return None, client.get("jobs", query=looking.query(at)).revision
    metadata = answer.body["metadata"]
    return (metadata.get("tags") or {}, answer.body["spec"], metadata["generation"]), answer.revision


def _edit(edit: Edit) -> dict[str, Any]:
    return {"pointer": edit.pointer, "op": edit.op.value, "old": edit.old, "new": edit.new}

"""Verbs that say what a manifest would change, and change nothing: plan, diff."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from harpoon.cli import difference, documents, output, screens, terminal
from harpoon.cli.options import Format, NamespaceOfFile, Output, Remote
from harpoon.cli.outcome import ExitCode
from harpoon.cli.session import Session
from harpoon.cli.table import Column
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

_VERSION: Final = re.compile(r"(?:job/)?(?P<name>[a-z0-9-]+)@(?P<version>[1-9][0-9]{0,8})")
_PLACEMENTS: Final = (
    Column("WAVE", lambda row: str(row["wave"])),
    Column("SLOT", lambda row: str(row["slot"])),
    Column("AGENT", lambda row: str(row["agent"])),
    Column("REPLACES", lambda row: ", ".join(row.get("replaces") or ())),
    Column("WHY", lambda row: str(row["reason"]), is_sentence=True),
)
_DROPS: Final = (
    Column("WAVE", lambda row: str(row["wave"])),
    Column("TASK", lambda row: str(row["task"])),
    Column("AGENT", lambda row: str(row["agent"])),
    Column("WHY", lambda row: str(row["reason"]), is_sentence=True),
)
_COLOURS: Final = {"create": "green", "change": "yellow"}

Files = Annotated[
    list[str], typer.Argument(help="Manifests: files, directories, or - .", metavar="FILE…", show_default=False)
]


class _Version(NamedTuple):
    """A version of a job, written ``NAME@N``."""

    name: str
    number: int


@verb("plan", examples=("harpoon plan web.yaml", "harpoon plan manifests/ -o json", "harpoon plan - < web.yaml"))
def plan(remote: Remote, files: Files, namespace: NamespaceOfFile = None, form: Format = Output.TABLE) -> None:
    """Say what applying these manifests would change, where tasks would run and why, and change nothing.

    Of a job that is new, the manifest is repeated, with all defaults, only with -o wide.
    Exit code 0: nothing would change; 10: something would; 8: and some slot has no agent that could run it.
    """
    answer = _plan(remote.client(), files, namespace)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME:
        _write_names(answer)
    else:
        for one in answer["plans"]:
            for line in _told(one, is_wide=form is Output.WIDE):
                terminal.show(line)
        terminal.say(_summary(answer["plans"]))
    if any(one["pending"] for one in answer["plans"]):
        raise typer.Exit(ExitCode.NOT_PLACED)
    _end(has_changes=answer["has_changes"])


@verb("diff", examples=("harpoon diff web.yaml", "harpoon diff web@3", "harpoon diff web@3 web@5 -n shop"))
def diff(
    remote: Remote,
    what: Annotated[
        list[str],
        typer.Argument(help="Manifests; or NAME@VERSION, once or twice.", metavar="FILE…|NAME@N", show_default=False),
    ],
    namespace: NamespaceOfFile = None,
    form: Format = Output.TABLE,
) -> None:
    """Show what differs between manifests and the jobs as they are, or between two versions of a job.

    With one version, it is compared with the present one. Exit code 0: nothing differs; 10: something does.
    """
    client, versions = remote.client(), _versions(what)
    if versions:
        answer = _compare(client, namespace or DEFAULT_NAMESPACE, versions)
        differing, found = [answer], bool(answer["changes"])
    else:
        told = _plan(client, what, namespace)
        differing = [{key: one[key] for key in _DIFFERENCE if key in one} for one in told["plans"]]
        answer = {**told, "plans": differing}
        found = any(one["changes"] or one["action"] != "unchanged" for one in differing)
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME and not versions:
        _write_names(answer)
    else:
        for one in differing:
            for line in _difference(one):
                terminal.show(line)
    _end(has_changes=found)


#: What of a plan is its difference.
_DIFFERENCE: Final = ("namespace", "job", "action", "is_new_generation", "changes")


def _plan(client: Session, files: Sequence[str], namespace: str | None) -> Mapping[str, Any]:
    read = documents.read_documents(files)
    manifests = [documents.manifest_of(document, namespace) for document in read]
    try:
        answer: Mapping[str, Any] = client.post("plan", body={"documents": manifests}).body
    except Invalid as error:
        raise documents.placed(error, documents.place_in_many(read)) from error
    return answer


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


def _write_names(answer: Mapping[str, Any]) -> None:
    """Write the jobs that would change."""
    for one in answer["plans"]:
        if one["action"] != "unchanged":
            terminal.show(f"job/{one['job']}")


def _difference(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs of one job, under its name."""
    if "action" in one:
        title, action = f"job/{one['job']}", str(one["action"])
    else:
        title, action = f"job/{one['job']}", f"version {one['from']} -> {one['to']}"
        action += "" if one["changes"] else ", unchanged"
    generation = ", new generation" if one["is_new_generation"] and action != "create" else ""
    yield f"{terminal.paint(title, 'bold')}: {terminal.paint(action, _COLOURS.get(action, ''))}{generation}"
    yield from screens.indented(difference.lines(one["changes"]))


def _told(one: Mapping[str, Any], *, is_wide: bool) -> Iterator[str]:
    """Yield the plan for one job: what differs, what would be placed, what would go, and what could not be placed."""
    is_terse = one["action"] == "create" and not is_wide  # all of it is new, and stands in the manifest
    yield from _difference({**one, "changes": ()} if is_terse else one)
    placements, drops, pending = one["placements"], one["drops"], one["pending"]
    if placements:
        yield "  Places:"
        yield from screens.indented(screens.indented(screens.table(_PLACEMENTS, placements, is_wide=is_wide)))
    if drops:
        yield "  Stops:"
        yield from screens.indented(screens.indented(screens.table(_DROPS, drops, is_wide=is_wide)))
    if pending:
        slots = ", ".join(map(str, pending["slots"]))
        yield f"  {terminal.paint('Cannot place', 'red')} slots {slots}: {terminal.plain(pending['reason'])}"
        yield from (f"    - {terminal.plain(text)}" for text in screens.blockers(pending["blockers"]))
    if not one["is_whole"]:
        yield f"  and so on: only the first {one['waves']} waves are shown"


def _summary(plans: Sequence[Mapping[str, Any]]) -> str:
    counts = {
        "to create": sum(one["action"] == "create" for one in plans),
        "to change": sum(one["action"] == "change" for one in plans),
        "unchanged": sum(one["action"] == "unchanged" for one in plans),
    }
    jobs = ", ".join(f"{count} {told}" for told, count in counts.items() if count) or "none"
    placed, dropped = (sum(len(one[what]) for one in plans) for what in ("placements", "drops"))
    pending = sum(len(one["pending"]["slots"]) for one in plans if one["pending"])
    without = f", {pending} without an agent" if pending else ""
    return f"jobs: {jobs}; tasks: {placed} to start, {dropped} to stop{without}"


def _end(*, has_changes: bool) -> None:
    if has_changes:
        raise typer.Exit(ExitCode.DIFFERS)

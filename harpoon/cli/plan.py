"""Verbs that say what a manifest would change, and change nothing: plan, diff."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from harpoon.cli import difference, documents, namespaces, output, planfile, run_batches, screens, terminal, workflows
from harpoon.cli.options import NamespaceOfFile, Output, Remote
from harpoon.cli.outcome import ExitCode
from harpoon.cli.session import Session
from harpoon.cli.table import Column
from harpoon.cli.verb import verb
from harpoon.kit.errors import Invalid
from harpoon.kit.yaml import Document

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
_ACTIONS: Final = {"created": "create", "changed": "change", "unchanged": "unchanged"}
_COLOURS: Final = {"create": "green", "change": "yellow"}


@verb(
    "plan",
    examples=("harpoon plan web.yaml", "harpoon plan manifests/ -o json", "harpoon plan -f web.yaml -o plan.json"),
)
def plan(
    *,
    remote: Remote,
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Manifests: files, directories, or - .", metavar="FILE…", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", "-f", help="Manifests, as apply takes them; may be repeated.")
    ] = None,
    namespace: NamespaceOfFile = None,
    output_: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="How to write it; or a file, such as plan.json, for `harpoon apply --plan`.",
            metavar="[table|wide|json|yaml|name]|FILE",
            autocompletion=lambda: [one.value for one in Output],
        ),
    ] = "table",
    out: Annotated[
        str | None, typer.Option(help="A file for `harpoon apply --plan`, whatever its name.", metavar="FILE")
    ] = None,
) -> None:
    """Say what applying these manifests would change, where tasks would run and why, and change nothing.

    Of a job that is new, the manifest is repeated, with all defaults, only with -o wide. A file gets the plan as a
    document that `harpoon verify-plan` checks, and `harpoon apply --plan` does just so or not at all.
    Exit code 0: nothing would change; 10: something would; 8: and some slot has no agent that could run it, a quota
    would refuse it, or a batch has a name that is taken.
    """
    named = [*(files or ()), *(file or ())]
    if not named:
        raise Invalid("name the manifests: harpoon plan FILE…")
    form, place = _form(output_, out)
    client = remote.client()
    own, rest = namespaces.split(documents.read_documents(named))
    flows, read = workflows.split(rest)
    if place is not None:
        _check_promisable([*own, *flows, *run_batches.split(rest)[0]], read)
    declared = namespaces.declare(client, own, is_dry=True)
    answer: Mapping[str, Any] = {"has_changes": False, "refusal": None, "plans": []}
    if rest:
        answer = ask(client, [*flows, *read], namespace, is_promise=place is not None)
    if place is not None:
        planfile.write(answer, place)
        answer = {
            "revision": answer["revision"],
            "has_changes": any(one["plan"]["action"] != "unchanged" for one in answer["jobs"]),
            "refusal": None,
            "plans": [one["plan"] for one in answer["jobs"]],
        }
    if declared:
        answer = {**answer, "namespaces": [one._asdict() for one in declared]}
    _show(answer, declared, form)
    if place is not None:
        terminal.say(f"written to {place}; to do just that: harpoon apply --plan {place}")
    _refuse(answer, declared)
    if any(one["pending"] for one in answer["plans"]):
        raise typer.Exit(ExitCode.NOT_PLACED)
    end(has_changes=answer["has_changes"] or any(one.outcome != "unchanged" for one in declared))


@verb("verify-plan", examples=("harpoon verify-plan plan.json",))
def verify_plan(
    file: Annotated[str, typer.Argument(help="A plan; - reads standard input.", metavar="FILE", show_default=False)],
) -> None:
    """Check a plan by itself, without a server: that every task may run where it is to go, wave by wave.

    Nothing of what made it is used for that. Exit code 0: it holds together; 1: it does not, and every fault is told.
    """
    faults, checked = planfile.check(file)
    for place, detail in faults:
        terminal.show(f"{terminal.paint(terminal.plain(place), 'bold')}: {terminal.plain(detail)}")
    if faults:
        terminal.say(f"{file} does not hold together: {len(faults)} faults")
        raise typer.Exit(ExitCode.FAILED)
    for line in checked:
        terminal.say(line)


def _show(
    answer: Mapping[str, Any],
    declared: Sequence[namespaces.Outcome],
    form: Output,
) -> None:
    if form in (Output.JSON, Output.YAML):
        output.write(answer, form)
    elif form is Output.NAME:
        write_names(answer)
    else:
        is_wide, batches = form is Output.WIDE, answer.get("batches") or ()
        defined = workflows.planned(answer)
        for line in (*told_namespaces(declared), *workflows.lines(defined, is_terse=not is_wide)):
            terminal.show(line)
        for one in answer["plans"]:
            for line in _told(one, is_wide=is_wide):
                terminal.show(line)
        for line in run_batches.lines(batches, is_terse=not is_wide):
            terminal.show(line)
        if answer["plans"] or not (defined or batches):
            terminal.say(_summary(answer["plans"]))


def _form(written: str, out: str | None) -> tuple[Output, str | None]:
    """Return how to write a plan, and the file for it, if one is named.

    Raises:
        Invalid: It is neither a form nor a file, or two files are named.
    """
    if written in [one.value for one in Output]:
        return Output(written), out
    if out is not None:
        raise Invalid(f"-o {written} and --out {out} both name a file; leave one out")
    if written.endswith(".json") or "/" in written:
        return Output.TABLE, written
    forms = ", ".join(one.value for one in Output)
    raise Invalid(f"-o {written}: it is one of {forms}, or a file whose name ends in .json; any other: --out {written}")


def _check_promisable(own: Sequence[Document], read: Sequence[Document]) -> None:
    """Refuse to write a plan of what a plan cannot promise.

    Raises:
        Invalid: There is something else than jobs among the manifests, or no jobs.
    """
    if own:
        raise Invalid("a plan in a file is of jobs only; leave out the rest, and apply namespaces and workflows first")
    if not read:
        raise Invalid("there is no job in these manifests to write a plan of")


def ask(
    client: Session, read: Sequence[Document], namespace: str | None, *, is_promise: bool = False
) -> Mapping[str, Any]:
    """Return the server's plan for documents; of jobs as a document that can be applied, if it is to be a promise.

    Raises:
        Invalid: They would be refused.
    """
    manifests = [documents.manifest_of(document, namespace) for document in read]
    try:
        path = ("plan", "promise") if is_promise else ("plan",)
        answer: Mapping[str, Any] = client.post(*path, body={"documents": manifests}).body
    except Invalid as error:
        raise documents.placed(error, documents.place_in_many(read)) from error
    return answer


def write_names(answer: Mapping[str, Any]) -> None:
    """Write the namespaces, workflows and jobs that would change, and the batches that would be started."""
    for one in answer.get("namespaces") or ():
        if one["outcome"] != "unchanged":
            terminal.show(f"namespace/{one['namespace']}")
    for flow in answer.get("workflows") or ():
        if flow["outcome"] != "unchanged":
            terminal.show(f"workflow/{flow['workflow']}")
    for one in answer["plans"]:
        if one["action"] != "unchanged":
            terminal.show(f"job/{one['job']}")
    for one in answer.get("batches") or ():
        if one["action"] == "start":
            terminal.show(f"batch/{one['batch']}")


def told_difference(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs of one job, under its name."""
    if "action" in one:
        title, action = f"job/{one['job']}", str(one["action"])
    elif "from_revision" in one:
        title, action = f"job/{one['job']}", f"revision {one['from_revision']} -> {one['to_revision']}"
        action += "" if one["was_there"] else ", new since"
        action += "" if one["is_there"] else ", gone since"
        action += "" if one["changes"] else ", unchanged"
    else:
        title, action = f"job/{one['job']}", f"version {one['from']} -> {one['to']}"
        action += "" if one["changes"] else ", unchanged"
    generation = ", new generation" if one["is_new_generation"] and action != "create" else ""
    yield f"{terminal.paint(title, 'bold')}: {terminal.paint(action, _COLOURS.get(action, ''))}{generation}"
    yield from screens.indented(difference.lines(one["changes"]))


def _told(one: Mapping[str, Any], *, is_wide: bool) -> Iterator[str]:
    """Yield the plan for one job: what differs, what would be placed, what would go, and what could not be placed."""
    is_terse = one["action"] == "create" and not is_wide  # all of it is new, and stands in the manifest
    yield from told_difference({**one, "changes": ()} if is_terse else one)
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


def told_namespaces(declared: Sequence[namespaces.Outcome]) -> Iterator[str]:
    """Yield what would become of namespaces."""
    for one in declared:
        action = _ACTIONS[one.outcome]
        title = terminal.paint(f"namespace/{one.namespace}", "bold")
        over = f", over its quota: {', '.join(one.over)}" if one.over else ""
        yield f"{title}: {terminal.paint(action, _COLOURS.get(action, ''))}{over}"


def _refuse(answer: Mapping[str, Any], declared: Sequence[namespaces.Outcome]) -> None:
    """Say that applying would be refused.

    Raises:
        Exit: It would.
    """
    if answer.get("refusal"):
        is_moving = any(one.outcome != "unchanged" for one in declared)
        now = "; quotas as they are now" if is_moving else ""
        terminal.say(f"{terminal.paint('Refused', 'red')}: {terminal.plain(answer['refusal'])}{now}")
        raise typer.Exit(ExitCode.NOT_PLACED)
    if any(one["action"] == "refuse" for one in answer.get("batches") or ()):
        raise typer.Exit(ExitCode.NOT_PLACED)


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


def end(*, has_changes: bool) -> None:
    """End a verb that compares.

    Raises:
        Exit: Something differs.
    """
    if has_changes:
        raise typer.Exit(ExitCode.DIFFERS)

"""What a screen shows of a job, a task or an agent: its state in a sentence first, then what explains it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harpoon.cli import cells, columns, figures, results, terminal
from harpoon.cli.fields import inline
from harpoon.cli.table import STATE_COLOURS, Column, Object, Table
from harpoon.model.job import PRIORITY

Pairs = Iterable[tuple[str, str]]


def job(value: Object, *, is_wide: bool) -> Iterator[str]:
    """Yield the screen of a job, ``status`` with its tasks included."""
    metadata, spec, status = value["metadata"], value["spec"], value["status"]
    task_template, tasks = spec["task"], status.get("tasks") or []
    batch = status.get("batch")
    yield headline(f"job/{metadata['name']}", status["state"], status["summary"])
    created, changed = figures.age(metadata.get("created_ms")), figures.age(metadata.get("updated_ms"))
    yield from pairs_of(
        [
            ("Namespace", metadata["namespace"]),
            ("Tags", figures.pairs(metadata.get("tags"))),
            ("Version", f"{metadata['version']}, generation {metadata['generation']}"),
            ("Changed", f"{changed or '-'} ago by {status['change']}; created {created or '-'} ago"),
            *_cron(spec, status, metadata.get("owner")),
            ("Made by", _attempt(metadata.get("run_owner") or {})),
            ("Wanted", _wanted(spec)),
            ("Run", "" if batch is None else results.run(batch)),
            ("Actual", "" if spec.get("cron") else _actual(status)),
            ("Image", str(task_template.get("image") or "")),
            ("Command", " ".join(task_template.get("command") or ())),
            ("Parameters", figures.pairs(results.arguments(spec))),
            ("Ports", figures.pairs(task_template.get("ports"))),
            *(("Placement", line) for line in _placement(spec.get("placement") or {})),
            ("Priority", _priority(spec)),
            ("Update", "" if spec.get("type") == "batch" else _update(spec)),
            *(("Depends on", inline(one)) for one in spec.get("depends_on") or ()),
        ]
    )
    yield from waits_of(status)
    if tasks:
        yield ""
        yield from table(columns.TASK.columns, tasks, is_wide=is_wide)
    yield from checks_of([one for one in tasks if is_wide or not one.get("ready")])
    if batch is not None:
        yield from results.screen(batch, is_wide=is_wide)
        if lines := list(results.last_words(batch)):
            yield from ("", *lines)


def _priority(spec: Object) -> str:
    """Return what is said of a job's priority where that is not the usual one, or makes room."""
    told = str(spec.get("priority", PRIORITY))
    if spec.get("preempt"):
        return f"{told}, and tasks of lower priority make room"
    return "" if told == str(PRIORITY) else told


def task(value: Object) -> Iterator[str]:
    """Yield the screen of a task."""
    readiness = "ready" if value.get("ready") else "not ready"
    reason = f": {value['reason']}" if value.get("reason") else ""
    since = figures.age(value.get("since_ms"))
    yield headline(f"task/{cells.name_of(value)}", str(value["state"]), readiness + reason)
    yield from pairs_of(
        [
            ("Since", f"{since} ago" if since else ""),
            ("Job", f"{value['namespace']}/{value['job']}, slot {value['slot']}" if "job" in value else ""),
            ("Version", _version(value)),
            ("Agent", str(value.get("agent") or "")),
            ("Placed", str(value.get("placement_reason") or "")),
            ("Address", cells.addresses(value)),
            ("Process", f"pid {value['pid']}" if value.get("pid") else ""),
            ("Restarts", str(value.get("restarts") or 0)),
            ("Last exit", exit_of(value.get("exit_code"))),
            *(("Limits", limit_line(one)) for one in value.get("limits") or ()),
        ]
    )
    if volumes := value.get("volumes"):
        yield from ("", "Volumes:")
        yield from (f"  {terminal.plain(str(one['at']))}   {terminal.plain(str(one['detail']))}" for one in volumes)
    yield from checks_of([value])


def agent(value: Object, tasks: Sequence[Object], *, is_wide: bool) -> Iterator[str]:
    """Yield the screen of an agent and of the tasks on it."""
    link = value.get("link") or {}
    since = figures.age(link.get("since_ms"))
    told = (f"for {since}" if since else "", str(link.get("reason") or ""))
    yield headline(f"agent/{value['name']}", str(link.get("state")), ": ".join(filter(None, told)))
    capacity, reserved = value.get("capacity") or {}, value.get("reserved") or {}
    yield from pairs_of(
        [
            ("Endpoint", str(value.get("endpoint") or "")),
            ("Tags", figures.pairs(value.get("tags"))),
            ("Facts", figures.pairs(value.get("facts"))),
            ("Drivers", ", ".join(value.get("drivers") or ())),
            ("Cpu", f"{reserved.get('cpu', '0')} reserved of {capacity.get('cpu', '0')}"),
            ("Memory", f"{_size(reserved)} reserved of {_size(capacity)}"),
            ("Resources", cells.resources(value)),
            ("Task ports", f"{value['ports']['low']}-{value['ports']['high']}" if value.get("ports") else ""),
            ("Host paths", _host_paths(value)),
            ("Scheduling", _cordon(value)),
            ("Tasks", str(len(tasks))),
        ]
    )
    if sentences := (value.get("drain") or {}).get("waiting"):
        yield from ("", "The drain waits for:")
        yield from (f"  - {terminal.plain(sentence)}" for sentence in sentences)
    if tasks:
        yield ""
        yield from table(columns.TASK.columns, tasks, is_wide=is_wide)
    yield from checks_of([one for one in tasks if not one.get("ready")])


def table(titles: Sequence[Column], rows: Sequence[Object], *, is_wide: bool) -> Iterator[str]:
    """Yield rows under their titles."""
    return Table(titles, is_wide=is_wide).lines(rows)


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Yield these lines moved to the right."""
    return (f"  {line}".rstrip() for line in lines)


def blockers(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each predicate that agents failed, with both values."""
    for one in found:
        told = agents_of(one)
        yield f"{one['predicate']}: wants {one['wanted']}, finds {one['found']}" + (f" on {told}" if told else "")


def agents_of(group: Mapping[str, Any]) -> str:
    """Name the agents of a group, and count those that are not named."""
    names = group.get("agents") or ()
    more = int(group.get("agents_count") or 0) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def exit_of(code: object) -> str:
    """Say how a process ended: its exit code, or the signal that killed it."""
    if not isinstance(code, int):
        return ""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def headline(name: str, state: str, sentence: str) -> str:
    """Return the first line: what it is, its state, and that in a sentence."""
    sentence = terminal.plain(sentence.removeprefix(f"{state}, "))
    return f"{terminal.paint(name, 'bold')}   {terminal.paint(state, STATE_COLOURS.get(state, ''))}" + (
        f", {sentence}" if sentence else ""
    )


def pairs_of(pairs: Pairs) -> Iterator[str]:
    """Yield a line for each pair that says something; a title is not repeated."""
    last = ""
    for title, text in pairs:
        if text and text != "-":
            yield f"  {(title if title != last else '').ljust(12)}{terminal.plain(text)}"
            last = title


def _wanted(spec: Object) -> str:
    reserved = spec["task"].get("resources") or {}
    resources = {name: given for name, given in reserved.items() if given and name != "named"}
    resources |= reserved.get("named") or {}
    each = f", each with {inline(resources)}" if resources else ""
    wanted = f"{spec['scale']} tasks"
    if spec.get("type") == "batch":
        wanted = results.wanted(spec)
    elif spec.get("type") == "system":
        wanted = "a task on each agent that meets its requirements"
    return f"{'a child at each due, of ' if spec.get('cron') else ''}{wanted}{each}"


def _attempt(owner: Object) -> str:
    """Tell which attempt of a workflow's operation a job is the task of."""
    return f"run/{owner['run']}, {owner['op']} (visit {owner['visit']}, attempt {owner['attempt']})" if owner else ""


def _cron(spec: Object, status: Object, owner: Object | None) -> Pairs:
    """Say when a cron job is due and what came of its dues; of a child, whose it is."""
    if owner:
        what = "triggered at" if owner["is_triggered"] else "due at"
        return [("Made by", f"job/{owner['job']}, {what} {figures.until(owner['due_ms'])}")]
    if not spec.get("cron"):
        return []
    cron, told = spec["cron"], status["cron"]
    fired, triggered, skipped = told["fired"], told["triggered"], told["skipped"]
    zone = cron["timezone"]
    return [
        ("Schedule", f"{cron['at']} in {zone}, overlap {cron['overlap']}, catch_up {cron['catch_up']}"),
        ("Next", figures.in_zone(told["next_ms"], zone)),
        ("Paused", f"since {figures.in_zone(told['paused_ms'], zone)}" if told["paused_ms"] else ""),
        ("Running", ", ".join(f"job/{child}" for child in told["running"])),
        ("Last", f"{figures.in_zone(fired['due_ms'], zone)}: job/{fired['job']}" if fired else ""),
        ("Triggered", f"{figures.in_zone(triggered['due_ms'], zone)}: job/{triggered['job']}" if triggered else ""),
        ("Skipped", f"{figures.in_zone(skipped['due_ms'], zone)}: {skipped['reason']}" if skipped else ""),
        ("Missed", f"{told['missed']} in all" if told["missed"] else ""),
    ]


def _update(spec: Object) -> str:
    update = spec.get("update") or {}
    if not spec.get("exclusive"):
        return inline(update)
    slots = max(1, int(update.get("unavailable") or 0))
    return f"exclusive: a task is gone before its successor is placed, in {slots} slot{'s' * (slots > 1)} at a time"


def _actual(status: Object) -> str:
    counts = [f"{status[name]} {name}" for name in ("placed", "running", "ready") if name in status]
    odd = {"outdated": "of older generations", "failed": "failed"}
    counts += [f"{status[name]} {told}" for name, told in odd.items() if status.get(name)]
    return ", ".join(counts)


def _placement(rules: Mapping[str, Any]) -> Iterator[str]:
    for rule, given in rules.items():
        if rule == "agents":
            continue  # who they are is told with what is wanted
        for one in given if isinstance(given, list) else [given]:
            if one not in (None, "", {}):
                yield f"{rule} {inline(one)}"


def _host_paths(value: Object) -> str:
    told = [
        f"{one['path']} (read only)" if one.get("read_only") else one["path"] for one in value.get("host_paths") or ()
    ]
    return ", ".join(told) + ("" if value.get("mounts") or not told else "; it cannot mount them")


def _cordon(value: Object) -> str:
    """Say whether an agent takes new tasks, and how far its drain is."""
    cordon, drain = value.get("cordon") or {}, value.get("drain") or {}
    if not cordon:
        return "yes"
    told = f"{cells.scheduling(value)} for {figures.age(cordon.get('since_ms'))}"
    if drain:
        told += ", no task left" if drain["is_done"] else f", {drain['left']} tasks left"
    if due := figures.until(cordon.get("deadline_ms")):
        told += f", until {due} at the latest"
    return told + (f": {cordon['reason']}" if cordon.get("reason") else "")


def _size(resources: Mapping[str, Any]) -> str:
    return figures.rounded(str(resources.get("memory") or "0"))


def _version(value: Object) -> str:
    if not value.get("generation"):
        return ""
    return f"{value['version']}, generation {value['generation']}" if value.get("version") else value["generation"]


def waits_of(status: Object) -> Iterator[str]:
    """Yield what the job waits for, and what each slot without an agent lacks."""
    if sentences := status.get("waiting") or []:
        yield from ("", "Waits for:")
        yield from (f"  - {terminal.plain(sentence)}" for sentence in sentences)
    if pending := status.get("pending") or {}:
        slots = ", ".join(map(str, pending.get("slots") or ()))
        yield f"Not placed: slots {slots}, for {figures.age(pending.get('since_ms')) or 'a moment'}"
        yield from (f"  - {terminal.plain(text)}" for text in blockers(pending.get("blockers") or ()))


def limit_line(limit: Mapping[str, Any]) -> str:
    """Say whether a task is held to one of its limits."""
    verdict = "enforced" if limit.get("is_enforced") else "not enforced"
    return f"{limit['name']} {verdict}" + (f": {limit['detail']}" if limit.get("detail") else "")


def checks_of(tasks: Iterable[Object]) -> Iterator[str]:
    """Yield the latest result of every check of these tasks."""
    results = [(task_, check) for task_ in tasks for check in task_.get("checks") or ()]
    if results:
        yield from ("", "Checks:")
    for task_, check in results:
        yield f"  {check_line(check)}" + f"   ({cells.name_of(task_)})"


def check_line(check: Mapping[str, Any]) -> str:
    """Say how one check stands."""
    is_passing = check.get("is_passing")
    verdict = terminal.paint("passing", "green") if is_passing else terminal.paint("failing", "red")
    detail = f": {check['detail']}" if check.get("detail") else ""
    return f"{terminal.plain(str(check['name']))} {verdict}{terminal.plain(detail)}"

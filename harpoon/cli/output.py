"""Writing objects in the form that was asked for."""

import json
from collections.abc import Sequence
from typing import Any

from harpoon.cli import cells, columns, terminal
from harpoon.cli.options import Output
from harpoon.cli.table import Column, Object, Table


def write(value: Any, output: Output) -> None:
    """Write one value of the API as JSON, or as YAML."""
    if output is Output.YAML:
        import yaml  # noqa: PLC0415 only this form needs it

        terminal.show(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())
    else:
        terminal.show(json.dumps(value, indent=2, ensure_ascii=False))


def write_one(value: Any, output: Output) -> None:
    """Write one of many values: as JSON on a line of its own, or as a YAML document."""
    if output is Output.YAML:
        terminal.show("---")
        write(value, output)
    else:
        terminal.show(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def write_name(kind: columns.Kind, row: Object) -> None:
    """Write an object's ``kind/name``; for a group, those of all in it."""
    names = row.get("subjects") or () if kind is columns.WAITING else (f"{kind.name}/{cells.name_of(row)}",)
    for name in names:
        terminal.show(terminal.plain(name))


def table_of(kind: columns.Kind, output: Output, *, has_namespaces: bool) -> Table:
    """Return the table that shows objects of this kind."""
    first = (columns.NAMESPACE,) if has_namespaces else ()
    return Table((*first, *kind.columns), is_wide=output is Output.WIDE)


def write_table(titles: Sequence[Column], rows: Sequence[Object], output: Output) -> None:
    """Write rows under these titles."""
    for line in Table(titles, is_wide=output is Output.WIDE).lines(rows):
        terminal.show(line)


def write_rows(kind: columns.Kind, rows: Sequence[Object], output: Output, *, has_namespaces: bool) -> None:
    """Write objects as a table, or as names."""
    if output is Output.NAME:
        for row in rows:
            write_name(kind, row)
        return
    if not rows:
        terminal.say("nothing waits" if kind is columns.WAITING else f"no {kind.plural}")
        return
    for line in table_of(kind, output, has_namespaces=has_namespaces).lines(rows):
        terminal.show(line)

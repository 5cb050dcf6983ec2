"""Going on with what changes, ``get -w``: every change is read anew, so what is shown is never half of one."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from harpoon.cli import cells, output, terminal
from harpoon.cli.columns import Kind
from harpoon.cli.options import Output
from harpoon.cli.session import Session
from harpoon.cli.table import Object, Table
from harpoon.cli.wakeup import Wakeups
from harpoon.client.watch import Selection
from harpoon.kit.errors import NotFound, Unavailable

#: A server that is away is read again after so long, changed or not.
RETRY_AFTER: Final = timedelta(seconds=1)

#: What is there now.
Read = Callable[[], Sequence[Object]]


def follow(client: Session, selection: Selection, read: Read, show: Callable[[Sequence[Object]], None]) -> None:
    """Read and show, and again after each change, for ever; a server that is away is waited for.

    Raises:
        HarpoonError: It cannot be read at first, or the watch cannot go on.
    """
    wakeups = Wakeups(client, selection)
    show(read())
    is_away = False
    while True:
        wakeups.wait(RETRY_AFTER if is_away else None)
        try:
            rows = read()
        except Unavailable as error:
            if not is_away:
                terminal.say(f"interrupted, resuming: {error}")
            is_away = True
            continue
        except NotFound:
            rows = ()
        is_away = False
        show(rows)


class Changing:
    """Shows rows, then each that changes, then what is gone."""

    def __init__(self, kind: Kind, form: Output, *, has_namespaces: bool) -> None:
        self._kind = kind
        self._form = form
        self._table: Table = output.table_of(kind, form, has_namespaces=has_namespaces)
        self._shown: dict[tuple[str, str], str] | None = None

    def show(self, rows: Sequence[Object]) -> None:
        """Show what of these rows differs from the ones before."""
        now = {(cells.namespace_of(row) or str(row.get("kind", "")), cells.name_of(row)): row for row in rows}
        written = {key: json.dumps(row, sort_keys=True) for key, row in now.items()}
        before, self._shown = self._shown, written
        changed = [now[key] for key, text in written.items() if (before or {}).get(key) != text]
        gone = sorted((before or {}).keys() - now.keys())
        if self._form in (Output.TABLE, Output.WIDE):
            for line in self._table.lines(changed, has_titles=before is None) if changed or before is None else ():
                terminal.show(line)
            for _, name in gone:
                terminal.show(f"{terminal.plain(name)}   gone")
            return
        for row in changed:
            self._put(row)
        for namespace, name in gone if self._form is not Output.NAME else ():
            lost = {"type": "delete", "kind": self._kind.name, "namespace": namespace, "name": name}
            output.write_one(lost, self._form)

    def _put(self, row: Object) -> None:
        if self._form is Output.NAME:
            output.write_name(self._kind, row)
        else:
            output.write_one({"type": "put", "kind": self._kind.name, "object": row}, self._form)

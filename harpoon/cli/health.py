"""``health``: whether a server or an agent answers, as whoever looks after it asks: an exit code, and no token."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from harpoon.cli import output, terminal
from harpoon.cli.ending import at_end
from harpoon.cli.options import Format, Output
from harpoon.cli.session import Session
from harpoon.cli.verb import verb
from harpoon.kit.errors import HarpoonError, Unavailable, Unreachable

#: Where a server and an agent listen unless told otherwise: one that runs in a container is found by itself.
HERE: Final = ("http://127.0.0.1:4450", "http://127.0.0.1:4451")
#: One that takes longer is not well.
WITHIN: Final = timedelta(seconds=4)


@verb("health", examples=("harpoon health", "harpoon health http://10.0.0.1:4450"))
def health(
    url: Annotated[
        str | None,
        typer.Argument(
            envvar="HARPOON_HEALTH",
            help="The server or the agent.",
            metavar="URL",
            show_default="what is here: a server at port 4450, or an agent at 4451",
        ),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Ask a server or an agent whether it is well: 0 if so, 9 if it does not answer or is about to stop.

    It needs no token. This is what a container's health check runs.
    """
    where, told = _ask(HERE if url is None else (url,))
    if form in (Output.JSON, Output.YAML):
        output.write(told, form)
    else:
        terminal.show(f"{_who(told, where)} is well, at {where}")


def _ask(urls: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """Return the first place at which somebody answers, and what.

    Raises:
        Unavailable: Nobody does, or it is about to stop.
        HarpoonError: Somebody else does.
    """
    for url in urls:
        session = Session(url)
        at_end(session.close)
        try:
            told = session.get("health", timeout=WITHIN).body
        except Unreachable as error:
            if len(urls) == 1:
                raise Unavailable(str(error)) from error
            continue
        if not isinstance(told, dict) or told.get("status") != "ok":
            raise HarpoonError(f"{url} does not answer as harpoon does; is another service listening there?")
        return session.url, told
    raise Unavailable(f"nothing answers at {' or '.join(urls)}; name another place: harpoon health URL")


def _who(told: Mapping[str, Any], url: str) -> str:
    kind = next((kind for kind in ("agent", "instance") if told.get(kind)), None)
    if kind is None:
        raise HarpoonError(f"{url} does not answer as harpoon does; is another service listening there?")
    return f"{'agent' if kind == 'agent' else 'server'} {told[kind]}"

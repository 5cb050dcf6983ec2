"""The verb that runs a worker: handlers of the user's own module, for workflows."""

import json
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harpoon.cli import terminal
from harpoon.cli.options import span_of, token_of
from harpoon.cli.server_options import TokenFile
from harpoon.cli.values import told
from harpoon.cli.verb import verb
from harpoon.config import DEFAULT_LISTEN
from harpoon.kit.errors import Invalid
from harpoon.model.name import DEFAULT_NAMESPACE

if TYPE_CHECKING:  # the other verbs do without it
    from harpoon.worker import Worker

#: What a module's worker is called unless it is named.
_APP: Final = "app"


@verb(
    "worker",
    examples=(
        "harpoon worker shop",
        "harpoon worker shop.payments:app --concurrency 20",
        "harpoon worker shop:app --server http://10.0.0.1:4450 --server http://10.0.0.2:4450 --token-file token",
        "harpoon worker shop:app --schemas",
    ),
)
def worker(  # noqa: PLR0913 each is an option
    *,
    module: Annotated[
        str,
        typer.Argument(
            help="Where it is: a module that can be imported from here, and the name of the worker in it.",
            metavar="MODULE[:APP]",
            show_default=False,
        ),
    ],
    server: Annotated[
        list[str] | None,
        typer.Option(
            envvar="HARPOON_SERVER",
            help="A server to have work from; may be repeated, any will do.",
            metavar="URL",
            show_default=DEFAULT_LISTEN.url,
        ),
    ] = None,
    token_file: TokenFile = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where the runs are.", metavar="NS")
    ] = DEFAULT_NAMESPACE,
    name: Annotated[
        str | None,
        typer.Option(
            help="What this process calls itself, unlike any other.",
            metavar="NAME",
            show_default="after the worker, the host and the process",
        ),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Attempts at once.", metavar="N", min=1, show_default="as the worker says: 100")
    ] = None,
    grace: Annotated[
        str, typer.Option(help="Told to stop, it lets attempts run on for so long.", metavar="DURATION")
    ] = "30s",
    schemas: Annotated[
        bool, typer.Option("--schemas", help="Print what its handlers take and return as JSON Schema, and end.")
    ] = False,
) -> None:
    """Run a worker until SIGTERM or Ctrl-C: it lets what it has begun run on for the grace; a second time, not.

    Its handlers carry out the operations of workflows.
    """
    span, token = span_of(grace), token_of(token_file)
    app = _found(module)
    if schemas:
        terminal.show(json.dumps(app.schemas(), indent=2, ensure_ascii=False))
        return
    from harpoon.worker import Settings, process  # noqa: PLC0415 see above

    servers = tuple(server or (DEFAULT_LISTEN.url,))
    settings = told(
        lambda: Settings(
            servers=servers, token=token, namespace=namespace, name=name, concurrency=concurrency, grace=span
        )
    )
    raise typer.Exit(process.run(app, settings))


def _found(place: str) -> "Worker":
    """Return the worker at ``MODULE:APP``.

    Raises:
        Invalid: There is none.
    """
    from harpoon.worker import Worker  # noqa: PLC0415 see above

    name, _, app = place.partition(":")
    if not all(part.isidentifier() for part in name.split(".")):
        raise Invalid(f"write the name of a module, such as shop or shop.payments:app, and no file; got {place!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = import_module(name)
    except Exception as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}.")):
            terminal.say(traceback.format_exc().rstrip())
        raise Invalid(f"{name} cannot be imported: {error or type(error).__name__}") from error
    for part in (app or _APP).split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Worker):
        raise Invalid(f"{place}: there is no worker {app or _APP} in {name}; write {app or _APP} = Worker(…) there")
    return found

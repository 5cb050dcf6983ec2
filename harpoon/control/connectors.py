"""The connectors of a server: what carries out each kind of operation that no worker does."""

from functools import partial

from harpoon import __version__
from harpoon.control.connector_port import Connector
from harpoon.control.controller import Controller
from harpoon.control.http_connector import Caller, HttpConnector
from harpoon.control.means import Means
from harpoon.control.secrets import value_of


def connectors_of(means: Means, controller: Controller, caller: Caller) -> tuple[Connector, ...]:
    """Make the connectors of one life of an instance; to add one takes a line here.

    Args:
        means: Ways out of the process.
        controller: Of this instance.
        caller: Makes calls over HTTP.
    """
    secret_of = partial(value_of, controller.view, means.keyring)
    return (HttpConnector(caller, secret_of, f"harpoon/{__version__}"),)

"""The connectors of a server: what carries out each kind of operation that no worker does."""

from functools import partial

from harpoon import __version__
from harpoon.control.connector_port import Connector
from harpoon.control.controller import Controller
from harpoon.control.http_connector import Caller, HttpConnector
from harpoon.control.job_connector import JobConnector
from harpoon.control.means import Means
from harpoon.control.secret_values import value_of
from harpoon.control.task_connector import TaskConnector


def connectors_of(means: Means, controller: Controller, caller: Caller) -> tuple[Connector, ...]:
    """Make the connectors of one life of an instance; to add one takes a line here.

    Args:
        means: Ways out of the process.
        controller: Of this instance.
        caller: Makes calls over HTTP.
    """
    view, registry, runs = controller.view, controller.registry, controller.runs
    secret_of = partial(value_of, view, means.keyring)
    return (
        HttpConnector(caller, secret_of, f"harpoon/{__version__}"),
        TaskConnector(means, view, registry, runs, controller.sweeper),
        JobConnector(means, view, registry, controller.steering, runs, controller.sweeper),
        controller.calls,
    )

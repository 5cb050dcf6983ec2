"""Wake-ups from the watch: they say that something has changed and never what; whoever is woken reads for itself."""

import math
import threading
import time
from datetime import timedelta
from typing import Final

from harpoon.cli import terminal
from harpoon.cli.session import Session
from harpoon.client.watch import Selection
from harpoon.kit.errors import Gone, HarpoonError, Unavailable

#: Changes within so long of each other wake once, so that a busy registry is not read for every one of them.
QUIET: Final = timedelta(milliseconds=50)
#: A server that cannot be reached yet is tried again after so long.
RETRY_AFTER: Final = timedelta(milliseconds=250)
#: A Ctrl-C that comes in the moment before a thread begins to wait, or to another thread, is heeded after so long.
_HEED_S: Final = 0.25


class Wakeups:
    """A watch in a thread and a session of its own; it ends with the process."""

    def __init__(self, session: Session, selection: Selection) -> None:
        self._session = session.another()
        self._selection = selection
        self._woken = threading.Event()
        self._failure: HarpoonError | None = None
        threading.Thread(target=self._listen, name="wakeups", daemon=True).start()

    def wait(self, timeout: timedelta | None = None) -> None:
        """Return once something has changed since the last call, or the timeout is over.

        Raises:
            HarpoonError: The watch cannot go on.
        """
        left = math.inf if timeout is None else max(0.0, timeout.total_seconds())
        while not self._woken.wait(min(left, _HEED_S)) and left > _HEED_S:
            left -= _HEED_S
        _pause(QUIET)
        self._woken.clear()
        if self._failure is not None:
            raise self._failure

    def _listen(self) -> None:
        with self._session as session:
            while self._failure is None:
                try:
                    for _ in session.watch(self._selection, lost=_tell):
                        self._woken.set()
                except Gone:
                    continue  # what was missed need not be known: whoever is woken reads everything
                except Unavailable:
                    _pause(RETRY_AFTER)  # whoever waits finds out by reading; here it only matters to be back in time
                except HarpoonError as error:
                    self._failure = error
                    self._woken.set()


def _tell(error: HarpoonError) -> None:
    terminal.say(f"watch interrupted, resuming: {error}")


def _pause(span: timedelta) -> None:
    time.sleep(span.total_seconds())

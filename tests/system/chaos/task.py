"""What each task runs: it tells the census that it is there, and stays until it is ended.

Run with ``python -S -E`` by its path: it starts in some milliseconds. The census learns of its end from the kernel.
"""

import _socket
import os
import signal
import time


def main() -> None:
    told = f"{os.environ['HARPOON_AGENT']} {os.environ['HARPOON_TASK']}\n"
    census = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
    census.connect(os.environ["CENSUS"])
    census.sendall(told.encode())
    lingers_s = float(os.environ.get("LINGERS", "0"))

    def end(*_: object) -> None:
        time.sleep(lingers_s)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    # It ends with the census, too.
    census.recv(1)


main()

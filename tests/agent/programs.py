"""Small programs for tasks to run."""

import sys

#: Prints what it was given, and stays.
SHOW = """
import json, os, sys, time
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
                  "open": sorted(map(int, os.listdir("/proc/self/fd")))}), flush=True)
time.sleep(1000)
"""
#: Answers HTTP on $PORT_HTTP with the status that the file named by its argument holds; absent: 200.
WEB = """
import http.server, os, sys, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        file = pathlib.Path(sys.argv[1])
        self.send_response(int(file.read_text()) if file.exists() else 200)
        self.end_headers()
    def log_message(self, *arguments): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Handler).serve_forever()
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs a Python program, as quickly as Python starts."""
    return (sys.executable, "-I", "-S", "-c", program.replace("$", "$$"), *arguments)


def sh(script: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs a shell script; dollars are the script's."""
    return ("/bin/sh", "-c", script.replace("$", "$$"), "sh", *arguments)

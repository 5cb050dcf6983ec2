"""Bad inputs to an agent, as a server that means harm would send them: name → (bytes, statuses that are right)."""

import gzip
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.api.bad_http import REFUSED, Row
from tests.fuzz.target import CANARY, TOKEN, http_bytes

FINE = frozenset({200})
#: What a task that means harm would leave behind, were any of it given to a shell.
TRACE = "harm-was-done"


def order(uid: str, *commands: Mapping[str, Any], **changes: Any) -> bytes:
    token = {"incarnation": 1, "revision": 5}
    whole = {"token": token, "instance": "i", "uid": uid, "commands": commands, **changes}
    return http_bytes("POST", "/v1/commands", json.dumps(whole).encode())


def start(uid: str, task: str = "default.bad.0.1-1", **template: Any) -> bytes:
    never = {"policy": "never"}
    command = {
        "kind": "start",
        "task": task,
        "generation": "g",
        "template": {"command": ["/bin/true"], "restart": never, **template},
        "reason": "r",
    }
    return order(uid, command)


def adopt(uid: str, **changes: Any) -> bytes:
    whole = {"token": {"incarnation": 1, "revision": 5}, "instance": "i", "uid": uid, "cluster": "c", **changes}
    return http_bytes("POST", "/v1/adopt", json.dumps(whole).encode())


#: Given to programs as they are; each with a number, for each is a task of its own.
WORDS = (
    f"; touch {TRACE}",
    f"$$(touch {TRACE})",
    f"`touch {TRACE}`",
    f"a\ntouch {TRACE}\n",
    f"| touch {TRACE}",
    f"&& touch {TRACE}",
    f"' ; touch {TRACE} ; '",
    f'" ; touch {TRACE} ; "',
    f"> {TRACE}",
    "-rf",
    "--privileged",
    "--",
    "\x1b]0;title\x07",
    "exit 0",
    "{{config}}",
    "%s%n",
    "\u202e",
    "x" * 120_000,
)
#: Commands that cannot be, or not here.
PROGRAMS = (
    "",
    "-c",
    "-rf",
    "../../../bin/sh",
    "/dev/null",
    "/etc/passwd",
    "/proc/self/exe",
    ".",
    "/",
    "x" * 5000,
    "a=b",
)
ENVS: tuple[dict[str, str], ...] = (
    {"LD_PRELOAD": "/nonexistent.so"},
    {"PATH": "/nonexistent"},
    {"PYTHONPATH": "/tmp", "PYTHONSTARTUP": "/etc/passwd"},
    {"ENV": f"$(touch {TRACE})", "BASH_ENV": f"$(touch {TRACE})"},
    {"IFS": "x", "PS4": f"$(touch {TRACE})", "SHELLOPTS": "xtrace"},
    {"BASH_FUNC_true%%": f"() {{ touch {TRACE}; }}"},
    {"A": f"() {{ :;}}; touch {TRACE}"},
    {"HARPOON_TASK": "default.other.0.1-1"},
    {"HOME": "\n\r\x1b"},
)
TASK_IDS = (
    "..",
    "../../x.0.1-1",
    "default.../x.0.1-1",
    "/etc/passwd",
    "default.web.0.1-1/../../x",
    "default.web.\u00b2.1-1",
    "default.web.0.1-" + "9" * 5000,
    "default.web." + "0" * 300 + ".1-1",
    "default.web.0.1-1\x00",
    "default.web.0.1-1\n",
    "",
    ".",
    "x" * 255,
)


@cache
def rows(uid: str) -> dict[str, Row]:
    """The table, for the agent of this uid."""
    return {
        **{
            f"a word {w[:20]!r}": (start(uid, f"default.w{n}.0.1-1", command=["/bin/echo", w]), FINE)
            for n, w in enumerate(WORDS)
        },
        **{
            f"a program {p[:20]!r}": (start(uid, f"default.p{n}.0.1-1", command=[p]), ACCEPTED)
            for n, p in enumerate(PROGRAMS)
        },
        **{
            f"env {' '.join(env)}": (start(uid, f"default.e{n}.0.1-1", command=["/bin/true"], env=env), ACCEPTED)
            for n, env in enumerate(ENVS)
        },
        **{f"a task called {t[:30]!r}": (start(uid, t), ACCEPTED) for t in TASK_IDS},
        "NUL in a word": (start(uid, "default.n1.0.1-1", command=["/bin/echo", "a\x00b"]), ACCEPTED),
        "NUL in env": (start(uid, "default.n2.0.1-1", env={"A": f"{CANARY}\x00"}), ACCEPTED),
        "NUL in an env name": (start(uid, "default.n3.0.1-1", env={"A\x00B": "1"}), ACCEPTED),
        "= in an env name": (start(uid, "default.n4.0.1-1", env={"A=B": "1"}), ACCEPTED),
        "NUL in the directory": (start(uid, "default.n5.0.1-1", working_directory="/tmp\x00"), ACCEPTED),
        "a directory of 5,000 characters": (start(uid, "default.n6.0.1-1", working_directory="/x" * 2500), ACCEPTED),
        "a file as directory": (start(uid, "default.n7.0.1-1", working_directory="/etc/passwd"), ACCEPTED),
        "a port's name of harm": (start(uid, "default.n8.0.1-1", ports={"../x": 0}), ACCEPTED),
        "a stranger's port": (start(uid, "default.n9.0.1-1", ports={"a": 1}), ACCEPTED),
        "words of 4 MiB": (start(uid, "default.n10.0.1-1", command=["/bin/echo", *["x" * 1024] * 4096]), ACCEPTED),
        "a signal that is none": (start(uid, "default.n11.0.1-1", stop={"signal": "NOPE"}), REFUSED),
        "a driver that is none": (start(uid, "default.n12.0.1-1", driver="docker"), REFUSED),
        "a lone surrogate": (order(uid, {"kind": "stop", "task": "\ud800", "reason": "r"}), REFUSED),
        "a generation above": (order(uid, {"kind": "forget", "task": "../../etc", "reason": "r"}), FINE),
        "stop of what is not there": (order(uid, {"kind": "stop", "task": "../..", "reason": "r" * 100_000}), FINE),
        "a kind that is none": (order(uid, {"kind": "exec", "task": "t", "command": ["id"]}), REFUSED),
        "10,000 commands": (order(uid, *[{"kind": "forget", "task": "t", "reason": "r"}] * 10_000), FINE),
        "another uid": (order("other"), frozenset({409})),
        "a uid that breaks lines": (order("a\r\nX-Injected: 1\r\n" + "x" * 100_000), frozenset({409})),
        "a token of text": (order(uid, token={"incarnation": "9", "revision": "9"}), REFUSED),
        "a token of 10**30": (adopt(uid, token={"incarnation": 1, "revision": 10**30}), REFUSED),
        "a token of 2**63": (adopt(uid, token={"incarnation": 1, "revision": 2**63}), REFUSED),
        "a token below zero": (adopt(uid, token={"incarnation": -1, "revision": -1}), frozenset({400, 409})),
        "a lower token": (adopt(uid, token={"incarnation": 1, "revision": 1}), frozenset({409})),
        "another instance": (adopt(uid, instance="other"), frozenset({409})),
        "depth of 100,000": (http_bytes("POST", "/v1/commands", b"[" * 100_000), REFUSED),
        "no JSON": (http_bytes("POST", "/v1/commands", b"\xff\xfe"), REFUSED),
        "text": (http_bytes("POST", "/v1/commands", b"{}", Content_Type="text/plain"), REFUSED),
        "gzip bomb": (
            http_bytes("POST", "/v1/commands", gzip.compress(bytes(300 << 20), 9), Content_Encoding="gzip"),
            REFUSED,
        ),
        "a broken chunk": (
            http_bytes("POST", "/v1/commands", Content_Type="application/json", Transfer_Encoding="chunked")
            + b"zz\r\n",
            REFUSED,
        ),
        "two lengths": (
            http_bytes("POST", "/v1/commands", b"{}").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
            REFUSED,
        ),
        "no token": (http_bytes("GET", "/v1/tasks", Authorization=None), frozenset({401})),
        "a token of bytes": (http_bytes("GET", "/v1/tasks", Authorization="Bearer \xff"), frozenset({401})),
        "a token in the query": (http_bytes("GET", f"/v1/tasks?token={TOKEN}"), REFUSED),
        "a token in the query in capitals": (http_bytes("GET", f"/v1/tasks?TOKEN={TOKEN}"), REFUSED),
        "a path that is no UTF-8": (http_bytes("GET", "/v1/\xff"), frozenset({400, 404})),
        "logs above": (http_bytes("GET", "/v1/tasks/..%2f..%2f/logs"), frozenset({400, 404})),
        "logs of NUL": (http_bytes("GET", "/v1/tasks/%00/logs"), frozenset({400, 404})),
        "logs of a stream above": (http_bytes("GET", "/v1/tasks/default.w1.0.1-1/logs?stream=../task.json"), REFUSED),
        "a tail of other digits": (http_bytes("GET", "/v1/tasks/default.w1.0.1-1/logs?tail=%c2%b2"), REFUSED),
        "a URL of 64 KiB": (http_bytes("GET", "/" + "x" * 65536), REFUSED),
        "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600, REFUSED),
    }


#: Taken as a command that cannot be carried out, with the reason in its result; or refused whole.
ACCEPTED = frozenset({200, 400})

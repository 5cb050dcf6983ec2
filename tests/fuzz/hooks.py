"""Hooks of schemathesis: what is generated stays within what one small machine does in minutes, and reaches the store.

Waits are made short, what is scheduled small, and nothing is followed. Right data that would be refused by a rule
between fields, or for a made-up revision, is mostly helped over that.
"""

import re
from typing import Any

import schemathesis
from schemathesis import GenerationMode

_WAIT = re.compile(r"\d{1,12}(ms|s|m|h|d)", re.ASCII)
_REVISION = re.compile(r"\d{1,18}\.\d{1,18}", re.ASCII)
SCALE_MAX = 2
#: One in so many is left as it was generated.
LEFT = 5


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Bound one request before it is sent, and help it on."""
    query = case.query
    if isinstance(query, dict):
        for endless in ("follow", "watch"):
            if query.get(endless) in (True, "true"):
                query[endless] = "false"
        if _WAIT.fullmatch(str(query.get("wait", ""))):
            query["wait"] = "1ms"
        if case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE:
            # Each document is then answered for itself, with 200 however wrong they are.
            query.pop("atomic", None)
        if _REVISION.fullmatch(str(query.get("min_revision", ""))):
            # It would be waited for until it is given up.
            query["min_revision"] = "1.1"
    _shrink(case.body)
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE and len(repr(case.body)) % LEFT:
        _help(case)


def _help(case: Any) -> None:
    path = case.path_parameters or {}
    for header in ("If-Match", "If-None-Match"):
        if case.headers and header in case.headers:
            del case.headers[header]
    if case.method.upper() != "PUT" or not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("metadata"), dict):
        case.body["metadata"] |= {"name": path.get("name"), "namespace": path.get("ns")}
        if isinstance(spec := case.body.get("spec"), dict) and isinstance(task := spec.get("task"), dict):
            # Most rules between fields are about these.
            kept = {name: task[name] for name in ("resources", "stop") if name in task}
            case.body["spec"] = {"scale": 1, "task": {"command": ["/bin/sleep", "1000"], **kept}}
    elif "endpoint" in case.body:
        case.body |= {"name": path.get("name"), "endpoint": "http://127.0.0.1:1"}


def _shrink(value: Any) -> None:
    if isinstance(value, dict):
        scale = value.get("scale")
        if isinstance(scale, int) and scale > SCALE_MAX:
            value["scale"] = scale % (SCALE_MAX + 1)
        if _WAIT.fullmatch(str(value.get("wait", ""))):
            value["wait"] = "1ms"
        for inner in value.values():
            _shrink(inner)
    elif isinstance(value, list):
        for inner in value:
            _shrink(inner)

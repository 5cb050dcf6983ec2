"""Links between operations: what can be asked next about what was answered, with the parameters for it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from harpoon.api.operation import IF_MATCH, Answer, Operation
from harpoon.model.shown import AgentList, JobList, NamespaceList, TaskList

#: Where the variable parts of paths are found in the first item of a list, and what reads that item.
_ITEMS: Final[Mapping[Any, tuple[str, Mapping[str, str]]]] = {
    JobList: ("get_job", {"ns": "metadata/namespace", "name": "metadata/name"}),
    TaskList: ("get_task", {"ns": "namespace", "id": "id"}),
    NamespaceList: ("get_namespace", {"ns": "metadata/name"}),
    AgentList: ("get_agent", {"name": "name"}),
}


def links_of(operation: Operation, operations: Sequence[Operation], answer: Answer) -> dict[str, Any]:
    """Return the links of an operation's answer, by the ids of the operations that they lead to."""
    links: dict[str, Any] = {}
    if answer.has_tag:
        links |= _about_the_same(operation, operations)
    if answer.json in _ITEMS:
        target, places = _ITEMS[answer.json]
        links[target] = _link(target, {part: f"$response.body#/items/0/{place}" for part, place in places.items()})
    if is_dataclass(answer.json) and any(field.name == "change" for field in fields(answer.json)):
        links["get_change"] = _link("get_change", {"id": "$response.body#/change"})
    known = {other.operation_id for other in operations}
    return {target: link for target, link in links.items() if target in known}


def _about_the_same(operation: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Return links to all that can be asked of the same object; what reads it lets others change just that."""
    links = {}
    for other in operations:
        is_same = other.parts == operation.parts and f"{other.path}/".startswith(f"{operation.path}/")
        if other is operation or not is_same:
            continue
        parameters = {f"path.{part}": f"$request.path.{part}" for part in operation.parts}
        if operation.method == "GET" and IF_MATCH in other.headers:
            parameters[f"header.{IF_MATCH.name}"] = "$response.header.ETag"
        links[other.operation_id] = _link(other.operation_id, parameters)
    return links


def _link(target: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"operationId": target, "parameters": dict(parameters)}

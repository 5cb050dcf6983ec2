"""Which secrets a workflow refers to, found without evaluating anything."""

from typing import Any

import pytest

from harpoon.model.http import Http, SecretHeader
from harpoon.model.operation import Operation
from harpoon.model.orders import JobOrder, TaskOrder
from harpoon.model.workflow import WorkflowSpec
from harpoon.model.workflow_secrets import secret_names


def names(*operations: Operation) -> list[str]:
    return sorted(secret_names(WorkflowSpec(operations={f"o{n}": one for n, one in enumerate(operations)})))


def test_headers_variables_and_files_refer_to_secrets() -> None:
    headers = {"Authorization": SecretHeader(secret="api/token"), "X-Other": "plain"}
    task = {
        "command": ["x"],
        "env": {"A": {"secret": "db/password"}, "B": "text", "C": {"endpoints": "web/http"}},
        "secrets": [{"secret": "tls/key", "at": "key.pem"}, {"secret": "tls/cert", "at": "cert.pem"}],
    }
    told = names(
        Operation(http=Http(url="https://a.example/", headers=headers)),
        Operation(task=TaskOrder(task=task)),
        Operation(worker="w"),
    )
    assert told == ["api", "db", "tls"]


def test_jobs_that_it_declares_or_changes_refer_to_them() -> None:
    env = {"env": {"A": {"secret": "db/password"}}}
    assert names(Operation(job=JobOrder(schedule="web", spec={"task": env}))) == ["db"]
    assert names(Operation(job=JobOrder(migrate="web", set_={"task": env}))) == ["db"]
    assert names(Operation(job=JobOrder(migrate="web", set_={"scale": 3}))) == []
    assert names(Operation(job=JobOrder(unschedule="web"))) == []


@pytest.mark.parametrize(
    "task",
    [
        {"env": {"A": {"secret": "${inputs.which}/password"}}},
        {"env": "${inputs.env}", "secrets": "${inputs.files}"},
        {"env": {"A": {"secret": 5}}, "secrets": [7]},
    ],
)
def test_what_expressions_come_to_is_not_known(task: Any) -> None:
    assert names(Operation(task=TaskOrder(task=task))) == []


def test_a_key_that_an_expression_comes_to_leaves_the_name_known() -> None:
    assert names(Operation(task=TaskOrder(task={"env": {"A": {"secret": "db/${inputs.key}"}}}))) == ["db"]

"""Every field of the language can be explained, from the root down."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest

from harpoon.kit.errors import NotFound
from harpoon.kit.explain import TOPICS, explain, type_name
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.workflow import WorkflowManifest


def paths(path: str = "") -> Iterator[str]:
    """Every path of a job."""
    yield path
    for field in explain(Manifest, path).fields:
        yield from paths(f"{path}.{field.name}".lstrip("."))


def test_every_field_can_be_reached_and_is_explained() -> None:
    found = list(paths())
    assert "spec.task.checks.http.port" in found
    assert "spec.placement.require.in" in found
    assert len(found) > 60
    silent = {path for path in found if not explain(Manifest, path).description}
    # Names that say it all.
    assert {path.rpartition(".")[2] for path in silent} <= {
        "apiVersion", "kind", "name", "namespace", "tags", "scale", "tag", "equals", "in", "not_in", "exists", "job",
        "port", "path", "every", "timeout", "attempts", "within", "initial", "factor", "max", "drain", "grace",
    }  # fmt: skip


def test_every_field_of_a_workflow_is_explained() -> None:
    def within(path: str) -> Iterator[str]:
        yield path
        for field in explain(WorkflowManifest, path).fields:
            # Schemas hold schemas.
            if field.name not in ("items", "properties") or path.endswith(".inputs"):
                yield from within(f"{path}.{field.name}".lstrip("."))

    found = set(within(""))
    assert {"spec.operations.retry.backoff.factor", "spec.inputs.items.type", "spec.operations.choose.else"} <= found
    silent = {path for path in found if not explain(WorkflowManifest, path).description}
    # Names that say it all.
    assert {path.rpartition(".")[2] for path in silent} <= {
        "apiVersion", "kind", "name", "namespace", "tags", "initial", "factor", "max", "for", "limit", "label",
        "description", "method",
    }  # fmt: skip


def test_how_an_operation_is_written_is_told() -> None:
    operation = {field.name: field for field in explain(WorkflowManifest, "spec.operations").fields}
    assert operation["next"].type == "mapping of name or list of names"
    assert (operation["visits"].type, operation["visits"].default) == ("whole number", "1")
    assert (operation["output_max"].type, operation["output_max"].default) == ("size", "64Ki")
    assert operation["warn"].type == "percent"
    assert operation["end"].type == "failed"
    assert explain(TOPICS["workflow"], "spec.inputs", root="workflow").type == "mapping of InputSchema"
    assert explain(WorkflowManifest, "spec.on_failure").type == "cancel or continue or park"


def test_the_root_is_explained_by_its_noun_and_its_fields() -> None:
    root = explain(TOPICS["job"])
    assert (root.path, root.type, root.is_required) == ("job", "Manifest", True)
    assert [field.name for field in root.fields] == ["apiVersion", "kind", "metadata", "spec"]
    assert all(field.is_required for field in root.fields)
    assert [field.type for field in root.fields][:2] == ["harpoon/v1", "Job"]


def test_a_field_says_its_type_default_and_meaning() -> None:
    check = {field.name: field for field in explain(Manifest, "spec.task.checks").fields}
    assert (check["every"].type, check["every"].default, check["every"].is_required) == ("duration", "2s", False)
    assert (check["ready_after"].type, check["ready_after"].default) == ("whole number", "1")
    assert check["ready_after"].description == "Passes in a row that make it ready."
    assert (check["http"].type, check["http"].default) == ("HttpProbe", None)
    assert check["http"].description.startswith("GET `path`")
    assert check["on_fail"].type == "unready or restart"


def test_lists_and_mappings_are_passed_through() -> None:
    assert explain(Manifest, "spec.task.checks").type == "list of Check"
    assert explain(Manifest, "spec.task.checks.tcp.port").path == "job.spec.task.checks.tcp.port"
    env = explain(Manifest, "spec.task.env")
    assert env.type == "mapping of text or Endpoints or SecretVariable"
    assert [field.name for field in env.fields] == ["endpoints", "on_change", "secret"]
    assert explain(Manifest, "spec.task.env.secret").description == "`<name>/<key>`, of a secret in the same namespace."
    assert explain(Manifest, "spec.task.ports").type == "mapping of whole number"


def test_the_words_of_a_choice_are_explained() -> None:
    told = explain(Manifest, "spec.on_lost")
    assert told.type == "replace or wait"
    assert "- wait: Its slot waits for the agent." in told.description
    assert explain(Manifest, "spec.placement.distinct").description.startswith("What no two slots")
    assert told.fields == ()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("spec.taks", "job.spec has no field 'taks'; did you mean task?"),
        ("metadata.zzz", "job.metadata has no field 'zzz'; it has name, namespace, tags"),
        ("spec.scale.up", "job.spec.scale has no fields"),
        ("spec..task", "job.spec has no field ''; it has task, "),
    ],
)
def test_an_unknown_path_is_told_what_is_near(path: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        explain(Manifest, path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("hint", "name"), [(TaskId, "text"), (Literal["a", "b"], "a or b"), (Any, "anything"), (float | None, "number")]
)
def test_types_have_plain_names(hint: Any, name: str) -> None:
    assert type_name(hint) == name

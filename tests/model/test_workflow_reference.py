"""The reference of workflows: its example is one, and its tables have every field, with its default."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

import orjson

from harpoon.core.graph import compile_graph
from harpoon.kit import codec, yaml
from harpoon.kit.complaint import fields_of, wire_name
from harpoon.kit.expression import Names, compile_template
from harpoon.kit.expression_names import RUN
from harpoon.kit.plain import writer_of
from harpoon.model.inputs import InputSchema
from harpoon.model.job import Metadata
from harpoon.model.operation import Choice, Concurrency, Operation
from harpoon.model.workflow import WorkflowManifest, WorkflowSpec
from tests.documents import FENCED, ROOT
from tests.workflows import REFUND

TEXT = (ROOT / "docs" / "workflows.md").read_text().split("\n## The manifest\n", 1)[1].split("\n## ", 1)[0]
OF_WORKFLOW, _, REST = TEXT.partition("\n### Operations\n")
OF_OPERATION, _, REST = REST.partition("\n### Expressions\n")
OF_EXPRESSIONS, _, OF_INPUTS = REST.partition("\n### Inputs\n")
#: What has rows or a table of its own.
APART = (Concurrency, InputSchema, Operation)
#: The first cells of the table of names.
_NAMES = re.compile(r"^(\| `.*?) \|", re.MULTILINE)
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*?) ?\|", re.MULTILINE)


def test_the_example_is_the_refund_and_compiles() -> None:
    example, _ = [body for language, body in FENCED.findall(TEXT) if language == "yaml"]
    (document,) = yaml.load_documents(example, "docs/workflows.md")
    data = orjson.dumps(document.value)
    manifest = codec.decode(WorkflowManifest, data)
    assert manifest == codec.decode(WorkflowManifest, orjson.dumps(REFUND))
    assert compile_graph(manifest.spec).starts == ("pay_back",)


def test_the_table_of_a_workflow_has_every_field_with_its_default() -> None:
    known = dict([*told("metadata.", Metadata), *told("spec.", WorkflowSpec)])
    assert dict(_ROW.findall(OF_WORKFLOW)) == known


def test_the_table_of_operations_has_every_field_with_its_default() -> None:
    known = dict(told("", Operation))
    known |= {"retry.fail.attempts": "`1`", "retry.timeout.attempts": "`1`", "retry.lost.attempts": "`5`"}
    known |= {f"choose[].{name}": default for name, default in told("", Choice)}
    known |= {f"concurrency.{name}": default for name, default in told("", Concurrency)}
    assert dict(_ROW.findall(OF_OPERATION)) == {
        name: one for name, one in known.items() if name not in ("choose", "concurrency")
    }


def test_the_table_of_inputs_has_every_field_with_its_default() -> None:
    assert dict(_ROW.findall(OF_INPUTS)) == dict(told("", InputSchema))


def test_what_an_expression_may_name_is_told() -> None:
    told = re.findall(r"`([a-z]+\.[A-Za-z.]+)`", "\n".join(_NAMES.findall(OF_EXPRESSIONS)))
    names = Names(inputs={"NAME": {"type": "string"}}, ops=("NAME",), callbacks=("NAME",))
    assert {name.partition(".")[0] for name in told} == {*names.roots()} - {"item", "index"}
    of_run = {name.removesuffix(".NAME") for name in told if name.startswith("run.")}
    assert of_run == {f"run.{name}" for name in RUN}
    for name in told:
        compile_template(f"${{{name}}}", names)


def told(path: str, kind: Any) -> Iterator[tuple[str, str]]:
    """Yield every field of a noun, and of those in it, with its default; what has a table of its own is left to that."""
    for field in fields(kind):
        hint = fields_of(kind)[wire_name(field.name)]
        inner = [
            one
            for one in (hint, *get_args(hint))
            if isinstance(one, type) and is_dataclass(one) and one is not InputSchema
        ]
        name = f"{path}{wire_name(field.name)}"
        if inner and inner[0] not in APART:
            yield from told(f"{name}.", inner[0])
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield name, written(default, writer_of(hint))


def written(default: object, write: Any) -> str:
    if default is MISSING:
        return "required"
    plain = orjson.loads(codec.dump_full(default if write is None or default is None else write(default)))
    if isinstance(plain, bool):
        return f"`{plain}`".lower()
    if plain in (None, ""):
        return ""
    return f"`{plain:g}`" if isinstance(plain, float) else f"`{plain}`"

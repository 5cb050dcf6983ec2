"""The schema says what the codec takes: all that is accepted fits it, and what fits it is refused by a noun's own check at most."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpoon.kit import codec
from harpoon.kit.bounds import FIELDS
from harpoon.kit.complaint import fields_of
from harpoon.kit.errors import Invalid
from harpoon.kit.schema import Definitions, schema_of
from harpoon.model.check import Check
from harpoon.model.manifest import Manifest
from harpoon.model.name import TaskId
from harpoon.model.rules import Requirement
from harpoon.model.shown import Scaling
from harpoon.model.workflow import WorkflowManifest
from tests.kit.test_codec import nouns
from tests.workflows import REFUND, SEVEN, a_workflow

JOB = schema_of(Manifest, title="Job", identity="urn:test:job")
FITS = jsonschema.Draft202012Validator(JOB)
WORKFLOW = jsonschema.Draft202012Validator(schema_of(WorkflowManifest, title="Workflow", identity="urn:test:workflow"))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
#: How the codec tells that a document is not of the form that the types have: nothing that fits a schema is so.
OF_FORM = re.compile(r"unknown field|required, but missing|expected |not UTF-8|not JSON|nested deeper")


def documents(schema: Any, definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Everything that fits a schema, of those that are made here; small rather than large."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: documents(definitions[name], definitions))
    for word, strategy in (("const", st.just), ("enum", st.sampled_from)):
        if word in schema:
            return strategy(schema[word])
    if "anyOf" in schema:
        return st.one_of([documents(one, definitions) for one in schema["anyOf"]])
    if isinstance(schema["type"], list):
        return st.one_of([documents(schema | {"type": one}, definitions) for one in schema["type"]])
    return of_type(schema, definitions)


def of_type(schema: Any, definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    match schema["type"]:
        case "string" if "pattern" in schema:
            return st.from_regex(re.compile(schema["pattern"].replace("$", r"\Z"), re.ASCII)).filter(
                lambda text: "\x00" not in text and len(text) <= schema.get("maxLength", len(text))
            )
        case "string":
            return TEXT
        case "integer":
            low, high = schema.get("minimum", -9), schema.get("maximum", 9)
            return st.integers(low, high).filter(lambda number: number != schema.get("not", {}).get("const"))
        case "number":
            low, high = schema.get("minimum", -9), schema.get("maximum", 9)
            return st.floats(low, high, allow_nan=False) | st.integers(int(low), int(high))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(documents(schema["items"], definitions), min_size=schema.get("minItems", 0), max_size=3)
        case _ if "properties" not in schema:
            keys = documents({"type": "string"} | schema.get("propertyNames", {}), definitions).filter(bool)
            return st.dictionaries(keys, documents(schema["additionalProperties"], definitions), max_size=2)
    parts = {name: documents(part, definitions) for name, part in schema["properties"].items()}
    required = schema.get("required", [])
    if "oneOf" not in schema:
        return objects(parts, required)
    return st.one_of([one_test(parts, required, schema["oneOf"], one) for one in schema["oneOf"]])


def objects(parts: Mapping[str, Any], required: list[str]) -> st.SearchStrategy[Any]:
    """Objects with a few of their members: with half of all, most would be larger than Hypothesis draws."""
    optional = sorted(parts.keys() - set(required))
    some = st.lists(st.sampled_from(optional), max_size=4, unique=True) if optional else st.just([])
    return some.flatmap(lambda names: st.fixed_dictionaries({name: parts[name] for name in (*required, *names)}))


def one_test(parts: Mapping[str, Any], required: list[str], tests: list[Any], one: Any) -> st.SearchStrategy[Any]:
    """An object of which exactly one of some members is there, and not null."""
    name = one["required"][0]
    others = {other["required"][0] for other in tests} - {name}
    mine = {key: part for key, part in parts.items() if key not in others}
    mine[name] = mine[name].filter(lambda value: value is not None)
    return objects(mine, [*required, name])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(JOB, JOB["$defs"]))
def test_what_fits_the_schema_is_taken_or_refused_by_a_noun_that_says_where(document: Any) -> None:
    assert FITS.is_valid(document)
    try:
        codec.decode(Manifest, orjson.dumps(document))
    except Invalid as refused:
        assert refused.problems
        for problem in refused.problems:
            assert problem.pointer.startswith(("/spec", "/metadata"))
            assert not OF_FORM.match(problem.detail), problem


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(nouns(Manifest))
def test_every_manifest_that_is_taken_fits_the_schema_in_both_forms_it_is_written_in(manifest: Manifest) -> None:
    for data in (codec.dump(manifest), codec.dump_full(manifest)):
        FITS.validate(orjson.loads(data))


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/spec/task/resources/memory", 1024),
        ("/spec/task/resources/cpu", 0.5),
        ("/spec/task/resources/cpu", 2),
        ("/spec/task/env", {"A": "b", "API": {"endpoints": "api/http"}}),
        ("/spec/task/checks", [{"http": None, "tcp": {"port": "http"}}]),
        ("/spec/placement", {"require": [{"tag": "zone", "in": ["a"], "equals": None}], "distinct": None}),
    ],
)
def test_every_way_to_write_a_value_fits_the_schema(pointer: str, value: object) -> None:
    document = with_value(pointer, value)
    codec.decode(Manifest, orjson.dumps(document))
    FITS.validate(document)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/spec/sclae", 1),
        ("/spec/scale", "1"),
        ("/spec/scale", None),
        ("/spec/task/stop", {"grace": "10"}),
        ("/spec/task/resources/memory", "1 GB"),
        ("/spec/task/checks", [{"http": {"port": "http"}, "tcp": {"port": "http"}}]),
        ("/spec/task/checks", [{}]),
        ("/spec/task/checks", [{"http": None}]),
        ("/spec/task/env", {"A": 1}),
        ("/kind", "Batch"),
    ],
)
def test_what_is_refused_for_its_form_does_not_fit_the_schema(pointer: str, value: object) -> None:
    document = with_value(pointer, value)
    with pytest.raises(Invalid):
        codec.decode(Manifest, orjson.dumps(document))
    assert not FITS.is_valid(document)


def with_value(pointer: str, value: object) -> dict[str, Any]:
    """A manifest with a value put where a pointer says."""
    document: dict[str, Any] = {
        "apiVersion": "harpoon/v1",
        "kind": "Job",
        "metadata": {"name": "web"},
        "spec": {"task": {"command": ["serve"], "ports": {"http": 0}}},
    }
    at: Any = document
    *way, last = pointer.split("/")[1:]
    for part in way:
        at = at.setdefault(part, {})
    at[last] = value
    return document


@pytest.mark.parametrize(("kind", "name"), [key for key, bounds in FIELDS.items() if "maximum" in bounds])
def test_a_bound_is_the_noun_s_own_at_both_edges(kind: Any, name: str) -> None:
    bounds = FIELDS[kind, name]
    least: dict[Any, dict[str, Any]] = {
        "Preference": {"tag": "zone", "exists": True},
        "Check": {"http": {"port": "http"}},
        "PortRange": {"low": 1, "high": 65535},
        "Spec": {"task": {"command": ["serve"]}},
        "Update": {"surge": 1, "unavailable": 1},
        "Operation": {"worker": "w"},
        "Concurrency": {"key": "k"},
    }
    given = least.get(kind.__name__, {})
    for inside in (bounds["minimum"], bounds["maximum"]):
        codec.decode(kind, orjson.dumps(given | {name: inside}))
    if kind is Scaling:  # the job's own check follows
        return
    for outside in (bounds["minimum"] - 1, bounds["maximum"] + 1):
        with pytest.raises(Invalid):
            codec.decode(kind, orjson.dumps(given | {name: outside}))


def test_bounds_are_about_fields_that_there_are() -> None:
    assert all(name in fields_of(kind) for kind, name in FIELDS)


def test_comments_docstrings_and_defaults_are_told() -> None:
    check = JOB["$defs"]["Check"]
    assert check["description"].startswith("How an agent finds out")
    assert check["properties"]["ready_after"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "description": "Passes in a row that make it ready.",
        "default": 1,
    }
    assert check["properties"]["every"]["default"] == "2s"
    assert "in" in JOB["$defs"]["Requirement"]["properties"]
    assert "- `keep`: It keeps the value" in JOB["$defs"]["OnChange"]["description"]


ORDER = {
    "type": "object",
    "properties": {"lines": {"type": ["array", "null"], "items": {"type": "number", "minimum": 0.5}}},
    "required": ["lines"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "document",
    [
        REFUND,
        SEVEN,
        a_workflow(a={"worker": "w", "next": {"done": ["b", "c"]}, "warn": "80%", "end": "failed", "output_max": 1024}),
        a_workflow(a={"choose": [{"when": "${true}", "label": "x"}, {"else": "y"}], "visits": 1000}),
        a_workflow(a={"wait": {"for": "10m"}}, b={"worker": None, "wait": {"signal": "s", "key": "${run.id}"}}),
        REFUND | {"spec": REFUND["spec"] | {"inputs": {"order": ORDER, "n": {"type": "integer", "default": 3}}}},
    ],
)
def test_a_workflow_that_is_taken_fits_its_schema_in_all_forms_it_is_written_in(document: dict[str, Any]) -> None:
    WORKFLOW.validate(document)
    manifest = codec.decode(WorkflowManifest, orjson.dumps(document))
    for data in (codec.dump(manifest), codec.dump_full(manifest)):
        WORKFLOW.validate(orjson.loads(data))


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"worker": "w", "wait": {"for": "1m"}},
        {"worker": "W"},
        {"worker": "w", "visits": 0},
        {"worker": "w", "http": {}},
        {"worker": "w", "next": {"Done": "b"}},
        {"worker": "w", "next": {"done": []}},
        {"worker": "w", "next": {"done": ["b", "b"]}},
        {"worker": "w", "warn": "100%"},
        {"worker": "w", "end": "done"},
        {"worker": "w", "retry": {"lost": {}}},
        {"wait": {}},
        {"wait": {"signal": "s", "until": "${run.started}"}},
        {"wait": {"signal": "s", "callback": True}},
        {"choose": []},
        {"choose": [{"label": "x"}]},
    ],
)
def test_an_operation_that_is_refused_for_its_form_does_not_fit(operation: dict[str, Any]) -> None:
    document = a_workflow(a=operation)
    with pytest.raises(Invalid):
        codec.decode(WorkflowManifest, orjson.dumps(document))
    assert not WORKFLOW.is_valid(document)


class Word(StrEnum):
    """One of two."""

    A = "a"
    B = "b"


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A noun of every form."""

    id: TaskId
    word: Word | None = None
    one: Literal["x", "y"] = "x"
    size: Annotated[int, "no unit"] = 0
    any: Any = None
    like: "Odd | None" = None


def test_what_is_told_is_open_and_every_form_of_type_has_a_schema() -> None:
    definitions = Definitions()
    assert definitions.refer(Odd, is_closed=False) == {"$ref": "#/$defs/Odd"}
    odd = definitions.schemas["Odd"]
    assert "additionalProperties" not in odd
    assert odd["required"] == ["id"]
    assert odd["properties"] == {
        "id": {"type": "string"},
        "word": {"anyOf": [{"$ref": "#/$defs/Word"}, {"type": "null"}], "default": None},
        "one": {"enum": ["x", "y"], "default": "x"},
        "size": {"type": "integer", "default": 0},
        "any": {"default": None},
        "like": {"anyOf": [{"$ref": "#/$defs/Odd"}, {"type": "null"}], "default": None},
    }
    assert definitions.schemas["Word"] == {"type": "string", "enum": ["a", "b"], "description": "One of two."}


def test_a_noun_without_a_field_that_is_needed_requires_none() -> None:
    definitions = Definitions()
    definitions.refer(Requirement, is_closed=True)
    definitions.refer(Check, is_closed=True)
    assert definitions.schemas["Requirement"]["required"] == ["tag"]
    assert "required" not in definitions.schemas["Check"]


def test_two_nouns_of_one_name_cannot_be_in_one_document() -> None:
    definitions = Definitions()
    definitions.refer(Odd, is_closed=False)
    another = dataclass(type("Odd", (), {"__annotations__": {"id": str}}))
    with pytest.raises(ValueError, match="two nouns are called Odd"):
        definitions.refer(another, is_closed=False)

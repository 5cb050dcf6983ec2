"""What runs may be started with."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit import codec
from harpoon.kit.errors import Invalid
from harpoon.model.inputs import PROBLEMS_MAX, InputSchema, WrongInputs, as_json_schema, check_inputs, depth_of


def read(**fields: Any) -> InputSchema:
    return codec.decode(InputSchema, orjson.dumps(fields))


def check(values: dict[str, Any], **schemas: dict[str, Any]) -> dict[str, Any]:
    return check_inputs({name: read(**schema) for name, schema in schemas.items()}, values)


def problems(values: dict[str, Any], **schemas: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(WrongInputs) as caught:
        check(values, **schemas)
    return [tuple(problem) for problem in caught.value.problems]


def test_a_schema_is_stored_as_it_was_written() -> None:
    told = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 9},
            "lines": {"type": ["array", "null"], "items": {"type": "number", "minimum": 0.5, "maximum": 9}},
        },
        "required": ["id"],
        "additionalProperties": False,
        "description": "An order.",
        "default": {"id": "a"},
    }
    schema = read(**told)
    assert orjson.loads(codec.dump(schema)) == told
    assert codec.load(InputSchema, codec.dump(schema)) == schema
    assert depth_of(schema) == 3


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, None),
        ({}, [1, {"a": 2}]),
        ({"type": "string"}, "x"),
        ({"type": "integer"}, 1),
        ({"type": "number"}, 1),
        ({"type": "number"}, 1.5),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, None),
        ({"type": "array"}, [1, "a"]),
        ({"type": "object"}, {"a": 1}),
        ({"enum": ["a", 1, None]}, None),
        ({"enum": [1]}, 1.0),
        ({"enum": [[1, 2]]}, [1, 2]),
        ({"type": "integer", "minimum": 1, "maximum": 1}, 1),
        ({"type": "string", "minLength": 1, "maxLength": 1}, "ä"),
        ({"type": "string", "pattern": "^[a-z]+-[0-9]{2}$"}, "order-12"),
        ({"pattern": "x"}, 5),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 1, "b": 2}),
    ],
)
def test_a_value_that_fits_is_taken(schema: dict[str, Any], value: object) -> None:
    assert check({"a": value}, a=schema) == {"a": value}


@pytest.mark.parametrize(
    ("schema", "value", "path", "message"),
    [
        ({"type": "string"}, 1, (), "it is of type string; got integer"),
        ({"type": "integer"}, 1.5, (), "it is of type integer; got number"),
        ({"type": "integer"}, True, (), "it is of type integer; got boolean"),
        ({"type": "number"}, "1", (), "it is of type number; got string"),
        ({"type": ["string", "null"]}, [], (), "it is of type string or null; got array"),
        ({"type": "string"}, None, (), "it is of type string; got null"),
        ({"type": "array"}, {}, (), "it is of type array; got object"),
        ({"enum": ["a", 1]}, "b", (), 'it is one of "a", 1; got "b"'),
        ({"enum": [1]}, True, (), "it is one of 1; got true"),
        ({"type": "integer", "minimum": 1}, 0, (), "it is at least 1; got 0"),
        ({"type": "number", "maximum": 1.5}, 2, (), "it is at most 1.5; got 2"),
        ({"type": "string", "minLength": 2}, "a", (), "it has at least 2 characters; got 1"),
        ({"type": "string", "maxLength": 2}, "abc", (), "it has at most 2 characters; got 3"),
        ({"type": "string", "pattern": "^[a-z]+-[0-9]{2}$"}, "order-123", (), "it matches ^[a-z]+-[0-9]{2}$"),
        ({"type": "string", "pattern": "a"}, "a" * 1025, (), "it has at most 1024 characters; got 1025"),
        ({"type": "string", "pattern": "a", "maxLength": 5000}, "a" * 1025, (), "it has at most 1024 characters; got 1025"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "a"], (1,), "it is of type integer; got string"),
        ({"type": "object", "required": ["b"]}, {}, ("b",), "it has no value; give it one"),
        ({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}, {}, ("b",), "it has no value; give it one"),
        ({"type": "object", "properties": {"b": {"type": "string"}}}, {"b": 1}, ("b",), "it is of type string; got integer"),
        ({"type": "object", "properties": {"name": {}}, "additionalProperties": False}, {"nmae": 1}, ("nmae",), "there is no such key; did you mean 'name'?"),
        ({"type": "object", "additionalProperties": False}, {"z" * 90: 1}, ("z" * 90,), "there is no such key; there is none"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(schema: dict[str, Any], value: object, path: Any, message: str) -> None:
    assert problems({"a": value}, a=schema) == [(("a", *path), message)]


def test_all_that_is_wrong_is_told_at_once_and_where() -> None:
    schemas = {"order": {"type": "string"}, "amount": {"type": "number"}, "left": {}}
    with pytest.raises(WrongInputs, match=r"^ordr: there is no such input; did you mean 'order'\? \(and 3 more\)$"):
        check({"ordr": 1, "amount": "x"}, **schemas)
    assert problems({"ordr": 1, "amount": "x"}, **schemas) == [
        (("ordr",), "there is no such input; did you mean 'order'?"),
        (("order",), "it has no value; give it one, or a default"),
        (("amount",), "it is of type number; got string"),
        (("left",), "it has no value; give it one, or a default"),
    ]
    with pytest.raises(WrongInputs, match=r"^a\[2\]\.b: it is of type integer; got null$"):
        check({"a": [{}, {}, {"b": None}]}, a={"items": {"properties": {"b": {"type": "integer"}}}})


def test_what_a_schema_says_of_types_is_told_to_expressions() -> None:
    schema = read(
        type="object",
        properties={"a": {"type": ["string", "null"]}, "b": {"items": {"enum": [1]}}},
        additionalProperties=False,
    )
    assert as_json_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "additionalProperties": True},
            "b": {"items": {"additionalProperties": True}, "additionalProperties": True},
        },
        "additionalProperties": False,
    }


def test_no_more_problems_are_told_than_anybody_reads() -> None:
    assert len(problems({"a": ["x"] * 1000}, a={"items": {"type": "integer"}})) == PROBLEMS_MAX


def test_what_is_left_out_has_its_default_or_is_null_where_it_may_be() -> None:
    assert check({}, a={"default": 3}, b={"type": ["string", "null"]}) == {"a": 3, "b": None}
    address = {"properties": {"city": {"default": "Ulm"}, "street": {"type": "string"}}, "required": ["city"]}
    assert check({"a": {"x": 1}}, a=address) == {"a": {"x": 1, "city": "Ulm"}}
    assert check({"a": [{"city": "Bonn"}, {}]}, a={"items": address}) == {"a": [{"city": "Bonn"}, {"city": "Ulm"}]}


def test_values_are_limited_in_bytes() -> None:
    [(path, message)] = problems({"a": "ä" * (128 << 10)}, a={})
    assert (path, message) == ((), "all together have 262152 bytes; 262144 at most")


@pytest.mark.parametrize(
    ("schema", "pointer", "detail"),
    [
        ({"type": "text"}, "/type", "type is one of string, integer, number, boolean, object, array, null, or a list of them"),
        ({"type": []}, "/type", "type is one of string, integer, number, boolean, object, array, null, or a list of them"),
        ({"type": [1]}, "/type", "type is one of string, integer, number, boolean, object, array, null, or a list of them"),
        ({"typ": "string"}, "/typ", "unknown field 'typ'; did you mean 'type'?"),
        ({"oneOf": []}, "/oneOf", "unknown field 'oneOf'; known here: type, description, default, enum, minimum, maximum, minLength, maxLength, pattern, items, properties, required, additionalProperties"),
        ({"items": {"minimum": "1"}}, "/items/minimum", "expected a number, got text '1'"),
        ({"properties": {"a": {"typ": "string"}}}, "/properties/a/typ", "unknown field 'typ'; did you mean 'type'?"),
        ({"type": "string", "minimum": 1}, "", "minimum is for type: integer or number; leave it out"),
        ({"type": "array", "required": ["a"]}, "", "required is for type: object; leave it out"),
        ({"minimum": 2, "maximum": 1}, "", "minimum is at most maximum"),
        ({"minLength": 2, "maxLength": 1}, "", "minLength is at most maxLength"),
        ({"type": "integer", "pattern": "a"}, "", "pattern is for type: string; leave it out"),
        ({"pattern": "(a"}, "", "pattern: character 3: a group is not closed; write ')'"),
        ({"maxLength": -1}, "", "minLength and maxLength are 0 or more"),
        ({"enum": list(range(101))}, "", "enum, properties and required hold at most 100 each"),
        ({"type": "string", "default": 1}, "", "default: it is of type string; got integer"),
        ({"items": {"enum": [1]}, "default": [1, 2]}, "", "default[1]: it is one of 1; got 2"),
    ],
)  # fmt: skip
def test_a_schema_that_means_nothing_is_refused(schema: dict[str, Any], pointer: str, detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**schema)
    assert {problem.pointer: problem.detail for problem in caught.value.problems} == {pointer: detail}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_what_its_own_type_describes_fits(value: object) -> None:
    def described(one: object) -> dict[str, Any]:
        match one:
            case dict():
                return {
                    "type": "object",
                    "properties": {key: described(item) for key, item in one.items()},
                    "required": [*one],
                    "additionalProperties": False,
                }
            case list():
                return {"type": "array", "enum": [one]}
            case _:
                return {"enum": [one]}

    assert check({"a": value}, a=described(value)) == {"a": value}

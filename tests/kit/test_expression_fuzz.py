"""Whatever is written and whatever it is given: a value, or one of two errors."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpoon.kit.errors import Invalid
from harpoon.kit.expression import Failed, Names, compile_template
from harpoon.kit.expression_text import split
from harpoon.kit.strict import INT_MAX, INT_MIN

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
INPUTS = {"s": "string", "n": "number", "i": "integer", "b": "boolean", "l": "array", "o": "object"}
NAMES = Names(inputs={name: {"type": kind} for name, kind in INPUTS.items()} | {"x": {}}, ops={"a", "b"}, has_item=True)
TOKENS = st.sampled_from(
    (
        *("inputs.s", "inputs.n", "inputs.i", "inputs.b", "inputs.l", "inputs.o", "inputs.x", "inputs", "inputs['s']"),
        *("ops.a.output", "ops.a.label", "ops.b.visits", "ops", "run.id", "run.started", "item", "index", "v", "w"),
        *("has(", "size(", "string(", "int(", "double(", "dyn(", "type(", "timestamp(", "duration(", "matches("),
        *(".map(v, ", ".filter(w, ", ".all(v, ", ".exists(w, ", ".exists_one(v, ", ".size()", ".x", ".contains("),
        *("(", ")", "[", "]", "{", "}", ",", ":", "?", ".", "+", "-", "*", "/", "%", "!", "==", "!=", "<", ">="),
        *("&&", "||", " in ", "1", "0", "-1", "2.5", "1u", "'a'", '"}"', "'''", '"', "r'\\'", "b'x'", "null", "true"),
        *("false", "// c", "\n", " ", "$", "${", "$${", "`", "\\", "é", "😀", "9223372036854775807", "1e400", "as"),
    )
)
SENSIBLE = st.recursive(
    st.sampled_from(
        (
            *("inputs.s", "inputs.n", "inputs.i", "inputs.b", "inputs.l", "inputs.o", "inputs.x", "ops.a.output"),
            *("ops.a.label", "ops.b.visits", "run.id", "run.started", "item", "index", "1", "2.5", "'a'", "null", "[]"),
            *("true", "{'k': 1}", "inputs.x.y", "item[0]", "has(ops.b.output)", "has(inputs.x.y)", "duration('1s')"),
        )
    ),
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "==", "<", "&&", "||", "in"]), inner
        ),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds(
            "{}({})".format, st.sampled_from(["size", "string", "int", "double", "dyn", "type", "!", "-"]), inner
        ),
        st.builds(
            "{}.{}(v, {})".format, inner, st.sampled_from(["map", "filter", "all", "exists"]), inner | st.just("v")
        ),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{'a': {}, 'b': {}}}".format, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}.f".format, inner),
    ),
    max_leaves=8,
)


def scopes() -> st.SearchStrategy[dict[str, Any]]:
    inputs = st.fixed_dictionaries(
        {},
        optional={
            "s": TEXT,
            "n": SCALARS,
            "i": st.integers(INT_MIN, INT_MAX),
            "b": st.booleans(),
            "l": st.lists(VALUES, max_size=4),
            "o": st.dictionaries(TEXT, VALUES, max_size=4),
            "x": VALUES,
        },
    )
    op = st.fixed_dictionaries({"output": VALUES, "label": TEXT, "visits": st.integers(1, 1000)})
    return st.fixed_dictionaries(
        {
            "inputs": inputs,
            "ops": st.dictionaries(st.sampled_from(["a", "b"]), op),
            "run": st.just({"id": "r", "namespace": "n", "workflow": "w", "started_ms": 0}),
            "item": VALUES,
            "index": st.integers(0, 9),
        }
    )


def check(template: Any, scope: dict[str, Any]) -> None:
    try:
        compiled = compile_template(template, NAMES)
        value = compiled.value(scope)
    except (Invalid, Failed):
        return
    assert orjson.loads(orjson.dumps(value)) == value
    # A list that is made of the fields of a mapping may come in any order.
    assert compiled.value(scope) == value or ".map(" in str(template) or ".filter(" in str(template)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_a_value_without_expressions_yields_itself(value: Any) -> None:
    if "${" not in str(value):
        template = compile_template(value, Names())
        assert template.is_constant
        assert template.value({}) is value


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS, max_size=12).map("".join), scopes())
def test_no_heap_of_tokens_breaks_anything(text: str, scope: dict[str, Any]) -> None:
    check("${" + text + "}", scope)
    check("a ${" + text + "} b", scope)
    check(text, scope)


@settings(max_examples=150, deadline=None)
@given(SENSIBLE, scopes())
def test_no_expression_breaks_anything(text: str, scope: dict[str, Any]) -> None:
    check("${" + text + "}", scope)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_no_text_breaks_anything(text: str) -> None:
    check("${" + text + "}", {})
    check(text, {})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["${'}'}", "${1}", "$${", "$", "{", "}", "x", "${ {'a': {}}.a }"]), max_size=8))
def test_texts_are_split_where_expressions_are(parts: list[str]) -> None:
    # A dollar right before "${" would make it another thing.
    text = " ".join(parts)
    told = split(text)
    assert sum(piece.is_expression for piece in told) == sum(part.endswith("}") and len(part) > 1 for part in parts)
    again = "".join("${" + one.text + "}" if one.is_expression else one.text.replace("${", "$${") for one in told)
    assert again == text


@pytest.mark.parametrize(
    "text", ['"""\\' * 1_000, "'\\''" * 1_000, "r'" * 2_000, "{" * 4_000, "//" * 2_000, "((" * 2_000]
)
def test_no_text_takes_long(text: str) -> None:
    check("${" + text + "}", {})
    check("${" + text, {})

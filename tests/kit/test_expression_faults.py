"""What authors of expressions are told when one is wrong."""

from typing import Any

import pytest

from harpoon.kit.errors import Invalid
from harpoon.kit.expression import DEPTH_MAX, Names, Type, compile_template
from harpoon.kit.expression_faults import failed, wrong
from harpoon.kit.expression_names import type_of

NAMES = Names(
    inputs={
        "order": {"type": "string"},
        "amount": {"type": "number"},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
        "open": {"type": "object", "properties": {"a": True}, "additionalProperties": {"type": "string"}},
        "odd": {"type": "object", "properties": 1, "additionalProperties": False},
        "closed": {"type": "object", "properties": {"any": True}, "additionalProperties": False},
        "tags": {"type": "array", "items": True},
    },
    ops=["pay_back", "tell"],
)


def refused(value: Any, names: Names = NAMES) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as caught:
        compile_template(value, names, ("spec", "operations", "x", "input"))
    told: dict[str, list[str]] = {}
    for problem in caught.value.problems:
        told.setdefault(problem.pointer, []).append(problem.detail)
    return told


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("inputs.odrer", "inputs has no input 'odrer'; did you mean 'order'?"),
        ("inputs.zzz", "known here: order, amount, address, open, odd, closed, tags"),
        ("inputs['zzz'].x + 1", "inputs has no input 'zzz'"),
        ("inputs[0]", "inputs has no input '0'"),
        ("has(inputs.zzz)", "inputs has no input 'zzz'"),
        ("inputs.address.citi", "inputs.address has no field 'citi'; did you mean 'city'?"),
        ("has(inputs.address.x)", "inputs.address has no field 'x'; known here: city"),
        ("inputs.closed.x", "inputs.closed has no field 'x'"),
        ("inputs.order.length", "at character 13: text has no fields"),
        ("inputs.tags.length", "at character 12: a list has no fields"),
        ("inputs.tags['x']", "'[]' does not take a list and text"),
        ("inputs.address[0]", "inputs.address has no field '0'"),
        ("inputs.open[0]", "'[]' does not take a mapping and a whole number"),
        ("has(inputs.order.x)", "text has no fields"),
        ("ops.pay_bakc.output", "ops has no operation 'pay_bakc'; did you mean 'pay_back'?"),
        ("ops.pay_back.result", "ops.pay_back has no field 'result'; known here: output, label, visits"),
        ("ops['tell'].outptu", "ops.tell has no field 'outptu'; did you mean 'output'?"),
        ("ops", "name an operation, such as ops.NAME.output"),
        ("ops[inputs.order].output", "name an operation, such as ops.NAME.output"),
        ("(ops).tell.output", "write ops.tell plainly, without brackets or escapes in it"),
        ("ops['t\\x65ll'].label", "write ops.tell plainly, without brackets or escapes in it"),
        ("ops.tell.label + 1", "'+' does not take text and a whole number; convert with string()"),
        ("ops.tell.visits + 1.0", "'+' does not take a whole number and a number; write 1.0 for 1, or convert with"),
        ("run", "name a field of the run: run.id, run.namespace, run.workflow, run.started"),
        ("run.nr", "run has no field 'nr'; known here: id, namespace, workflow, started, callbacks"),
        (
            "run.callbacks.tell",
            "run.callbacks is empty: no operation waits for a callback, or this is seen by too many",
        ),
        ("(run).id", "write run.id plainly"),
        ("run.started + 1", "'+' does not take a point in time and a whole number"),
        ("run.started.x", "a point in time has no fields"),
        ("item", "there is no 'item' here; known here: inputs, ops, run"),
        ("foo", "unknown name 'foo'; known here: inputs, ops, run"),
        ("foo.bar(1)", "unknown name 'foo'"),
        ("[1].map(x, y)", "unknown name 'y'; known here: @result, inputs, ops, run, x"),
        ("google.protobuf.Duration{seconds: 1}", "unknown type 'google.protobuf.Duration'; mappings are written"),
        ("inputs.amount > 100", "'>' does not take a number and a whole number; write 1.0 for 1"),
        ("inputs.order + 1", "at character 14: '+' does not take text and a whole number; convert with string()"),
        ("inputs.order * 2", "at character 14: '*' does not take text and a whole number"),
        ("!inputs.order", "'!' does not take text"),
        ("-inputs.order", "'-' does not take text"),
        ("1 in 2", "'in' does not take a whole number and a whole number"),
        ("size(1)", "'size' does not take a whole number"),
        ("{'a': [1]} + 1u", "'+' does not take a mapping and a whole number without sign"),
        ("size()", "size() does not take so many values"),
        ("[1].map(1)", "map() does not take so many values"),
        ("inputs.open.in", "did not expect '.in'"),
        ("inputs.order.startsWith(1)", "'startsWith' does not take text and a whole number"),
        ("type(1) + b'x' ", "'+' does not take a type and bytes"),
        ("null + 1 + duration('1s')", "'+' does not take null and a whole number"),
        ("1 + duration('1s')", "'+' does not take a whole number and a span of time"),
        ("true < [1, 2]", "'<' does not take true or false and a list"),
        ("true ? 1 : 'a'", "the outcomes of '? :' are a whole number and text; put one of them in dyn()"),
        ("inputs.order ? 1 : 2", "what stands before '?' is text; expected true or false"),
        ("inputs.order.startWith('a')", "there is no function 'startWith'; did you mean 'startsWith'?"),
        ("qqq(1)", "there is no function 'qqq'; there are all, bool, contains, double, duration, dyn, endsWith,"),
        ("1 +", "it ends too early"),
        ("", "it ends too early"),
        ("1 2", "did not expect '2'"),
        ("a.", "did not expect '.'"),
        ("1\n + $", "at line 2, character 4: did not expect '$'"),
        ("9223372036854775808", "a number beyond 64 bits"),
        ("'\\ud800'", "at character 1: Invalid string literal"),
        ("'x' + \x00", "holds a NUL character; remove it"),
        ("(" * 40 + "1" + ")" * 40, "nested deeper than 32, or as many operators in a row"),
        ("+".join(["1"] * 40), "nested deeper than 32, or as many operators in a row"),
        ("1 +" * 2_000, "an expression is not closed by '}' within 4 KiB"),
        ("'" + "é" * 2_100 + "'", "longer than 4 KiB; make it shorter"),
        ("[1].map(inputs, 1)", "call the variable 'inputs' of a loop by another name"),
        ("[1].map(_64, _64)", "call the variable '_64' of a loop by another name"),
        ("[1].map(a, [1].map(b, [1].map(c, 1)))", "more than 2 loops (map, filter, all, exists) within each other"),
        ("'a'.matches(inputs.order)", "the pattern of matches() is written out"),
        ("matches(inputs.order, 1)", "the pattern of matches() is written out"),
        ("run.started.getHours(inputs.order)", "the time zone of getHours() is written out, such as 'Europe/Berlin'"),
        ("run.started.getHours('file:/dev/tty')", "the time zone of getHours() is written out"),
        ("run.started.getHours('../x')", "the time zone of getHours() is written out"),
        ("{'a': 1}.b.c + [1]", "a whole number has no fields"),
        ("[inputs.amount, " + ", ".join(f"inputs.open.a{n}" for n in range(65)) + "]", "it uses more than 64 values"),
    ],
)
def test_each_fault_says_what_would_be_right(text: str, detail: str) -> None:
    told = refused("${" + text + "}")
    assert list(told) == ["/spec/operations/x/input"]
    assert detail in told["/spec/operations/x/input"][0]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("${inputs.order", "'${' is not closed; add '}', or write '$${' for a literal '${'"),
        ("${'abc}", "a text within '${…}' is not closed; add the quotation mark"),
        ('${"""abc}', "a text within '${…}' is not closed; add the quotation mark"),
        ("a ${inputs.tags}", "${inputs.tags}: a list has no place in text; name a field of it, or let it stand alone"),
        ("a ${inputs.address}", "a mapping has no place in text"),
        ("a ${null}", "null has no place in text"),
        ("a\ud800${1}", "holds half of a surrogate pair"),
        (["${1}", 1 << 70], "it holds something that JSON does not, or numbers beyond 64 bits"),
    ],
)
def test_a_template_that_is_wrong_is_refused(value: Any, told: str) -> None:
    assert told in refused(value)["/spec/operations/x/input"][0]


def test_all_faults_are_told_each_where_it_is() -> None:
    value = {"a": "${foo} and ${inputs.zzz + bar}", "b": ["ok", "${1 +}"], "${c}": 1}
    told = refused(value)
    assert [len(details) for details in told.values()] == [1, 2, 1]
    assert set(told) == {f"/spec/operations/x/input/{rest}" for rest in ("a", "b/1", "${c}")}
    with pytest.raises(Invalid, match=r"^/spec/operations/x/input/\$\{c\}: .* \(and 3 more\)$"):
        compile_template(value, NAMES, ("spec", "operations", "x", "input"))


def test_the_root_of_a_value_is_told_too() -> None:
    with pytest.raises(Invalid, match=r"^/: \$\{foo\}: unknown name 'foo'; known here: nothing$"):
        compile_template("${foo}", Names(inputs=None, ops=None, has_run=False))


def test_long_expressions_are_cut_and_stay_on_one_line() -> None:
    (detail,) = refused("${foo +\n" + "1 + " * 25 + "1}")["/spec/operations/x/input"]
    assert detail.startswith("${foo +\\n1 + 1 +")
    assert "…}: " in detail


@pytest.mark.parametrize("root", ["inputs.order", "ops.tell", "run.id", "item", "index"])
def test_what_is_not_there_is_unknown(root: str) -> None:
    told = refused("${" + root + "}", Names(inputs=None, ops=None, has_run=False))
    assert (
        f"there is no '{root.split('.', maxsplit=1)[0]}' here; known here: nothing"
        in told["/spec/operations/x/input"][0]
    )


def test_without_inputs_and_operations_none_is_known() -> None:
    assert "inputs has no input 'a'; known here: none" in refused("${inputs.a}", Names())["/spec/operations/x/input"][0]
    assert "ops has no operation 'a'; known here: none" in refused("${ops.a}", Names())["/spec/operations/x/input"][0]


def test_among_very_many_names_none_is_suggested() -> None:
    names = Names(ops=frozenset(f"op_{number}" for number in range(1_001)))
    assert refused("${ops.op_x.label}", names)["/spec/operations/x/input"] == [
        "${ops.op_x.label}: ops has no operation 'op_x'"
    ]


def test_what_schemas_leave_open_is_let_through() -> None:
    for text in ("inputs.open.x.y", "inputs.closed.any.x", "inputs.odd.x", "inputs.tags[0].x", "inputs.open.a.b"):
        assert text == "inputs.open.x.y" or not compile_template("${" + text + "}", NAMES).is_constant
    assert "text has no fields" in refused("${inputs.open.x.y}")["/spec/operations/x/input"][0]


def test_types_come_from_schemas() -> None:
    assert type_of({"type": "array", "items": {"type": "integer"}}) is Type.LIST
    assert type_of({"type": "array", "items": True}) is Type.LIST
    assert type_of({"type": ["string"]}) is Type.ANY
    assert type_of({"type": "null"}) is Type.ANY
    assert type_of({"type": "unheard of"}) is Type.ANY


def test_a_value_that_is_too_deep_is_refused() -> None:
    value: Any = "${1}"
    for _ in range(DEPTH_MAX + 1):
        value = [value]
    with pytest.raises(Invalid, match=f"nested deeper than {DEPTH_MAX} lists and mappings; make it"):
        compile_template(value, NAMES)


def test_what_the_library_may_yet_say_is_told_as_it_is() -> None:
    assert wrong("something new") == "not an expression: something new"
    assert wrong("ERROR: <input>:1:2: something new\n | x") == "at character 2: something new"
    assert wrong("ERROR: <input>:1:2: Syntax error: new\n | x") == "at character 2: not an expression: new"
    overload = "ERROR: <input>:1:2: found no matching overload for 'f' applied to '(wrapper(int), list(map(a, b)), x)'"
    assert wrong(overload) == "at character 2: 'f' does not take a whole number and a list and a value"
    assert failed("something new", (), {}) == "it could not be evaluated"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("run.callbacks", "name an operation that waits for a callback, such as run.callbacks.NAME"),
        ("run.callbacks.aks", "run.callbacks has no operation that waits for a callback 'aks'; did you mean 'ask'?"),
        ("has(run.callbacks.tell)", "run.callbacks has no operation that waits for a callback 'tell'"),
        ("(run).callbacks.ask", "write run.callbacks plainly"),
        ("run.callbacks.ask + 1", "'+' does not take text and a whole number"),
    ],
)
def test_what_is_no_callback_is_named_with_what_there_is(text: str, detail: str) -> None:
    names = Names(ops=("ask", "tell"), callbacks=("ask",))
    with pytest.raises(Invalid) as caught:
        compile_template(f"${{{text}}}", names)
    assert detail in str(caught.value)

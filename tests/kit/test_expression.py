"""Expressions and templates: what they give, and what they use."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harpoon.kit.errors import Invalid
from harpoon.kit.expression import Failed, Names, Template, Type, compile_template

NAMES = Names(
    inputs={
        "order": {"type": "string", "maxLength": 64},
        "amount": {"type": "number"},
        "count": {"type": "integer"},
        "is_big": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "prices": {"type": "array", "items": {"type": "number"}},
        "flags": {"type": "array", "items": {"type": "boolean"}},
        "ids": {"type": "array", "items": {"type": "integer"}},
        "any_list": {"type": "array"},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
            "additionalProperties": False,
        },
        "extra": {"type": "object"},
        "maybe": {"type": ["string", "null"]},
        "ship-to": {"type": "string"},
        "strange": {"type": "null"},
    },
    ops={"pay_back", "tell", "ask"},
    callbacks={"ask", "later"},
)
SCOPE: dict[str, Any] = {
    "inputs": {
        "order": "o-1",
        "amount": 5,
        "count": 5.0,
        "is_big": True,
        "tags": ["a", "b"],
        "prices": [1, 2.5],
        "flags": [True, False],
        "ids": [1, 2.0],
        "any_list": [1, None, "x", {"deep": [True]}],
        "address": {"city": "Berlin", "zip": 10115},
        "extra": {"a": {"b": None}, "order-id": 7, "package": "reserved"},
        "maybe": None,
        "ship-to": "home",
        "strange": None,
    },
    "ops": {"pay_back": {"output": {"id": 7, "lines": [{"n": 1}, {"n": None}]}, "label": "done", "visits": 2}},
    "run": {
        "id": "r1",
        "namespace": "shop",
        "workflow": "refund",
        "started_ms": 1_700_000_000_123,
        "callbacks": {"ask": "/c/1"},
    },
}


def compiled(value: Any, names: Names = NAMES, **more: Any) -> Template:
    return compile_template(value, names, ("spec", "x"), **more)


def value_of(value: Any) -> Any:
    return compiled(value).value(SCOPE)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${inputs.order}", "o-1"),
        ("${ inputs.order }", "o-1"),
        ("${inputs.amount}", 5),
        ("${inputs.amount > 100.0}", False),
        ("${inputs.amount / 2.0}", 2.5),
        ("${inputs.count + 1}", 6),
        ("${inputs.is_big ? 'big' : 'small'}", "big"),
        ("${inputs.tags[1] + '!'}", "b!"),
        ("${inputs.prices.map(p, p * 2.0)}", [2.0, 5.0]),
        ("${inputs.flags.exists(f, !f)}", True),
        ("${inputs.ids[1] + 1}", 3),
        ("${inputs.ids.map(i, i + i)}", [2, 4.0]),
        ("${inputs.any_list}", [1, None, "x", {"deep": [True]}]),
        ("${inputs.any_list + [null]}", [1, None, "x", {"deep": [True]}, None]),
        ("${inputs.any_list[3].deep[0]}", True),
        ("${inputs.address.city}", "Berlin"),
        ("${inputs.address.zip * 2}", 20230),
        ("${inputs.extra.a.b}", None),
        ("${inputs.extra['order-id']}", 7),
        ('${inputs["extra"]["order-id"] + 1}', 8),
        ("${inputs.`ship-to`}", "home"),
        ("${inputs['ship-to'] + '?'}", "home?"),
        ("${inputs.maybe}", None),
        ("${inputs.maybe == null}", True),
        ("${inputs.extra.package}", "reserved"),
        ("${inputs.strange}", None),
        ("${ops.pay_back.output}", {"id": 7, "lines": [{"n": 1}, {"n": None}]}),
        ("${ops.pay_back.output.lines[1].n}", None),
        ("${ops.pay_back.output.lines.map(l, l)}", [{"n": 1}, {"n": None}]),
        ("${ops.pay_back.label + '/' + string(ops.pay_back.visits)}", "done/2"),
        ("${ops.pay_back}", SCOPE["ops"]["pay_back"]),
        ('${ops["pay_back"].output.id + 1}', 8),
        ("${run.callbacks.ask}", "/c/1"),
        ("${run.callbacks['ask'] + '?label=done'}", "/c/1?label=done"),
        ("${run.callbacks['a\\x73k']}", "/c/1"),
        ("to: https://x${run.callbacks.ask}", "to: https://x/c/1"),
        ("${run.id + run.namespace + run.workflow}", "r1shoprefund"),
        ("${run.started}", "2023-11-14T22:13:20.123000Z"),
        ("${run.started + duration('1h')}", "2023-11-14T23:13:20.123000Z"),
        ("${run.started.getFullYear('Europe/Berlin')}", 2023),
        ("${timestamp('2024-01-01T00:00:00Z')}", "2024-01-01T00:00:00Z"),
        ("${[duration('90s'), duration('1500ms')]}", [90, 1.5]),
        ("${null}", None),
        ("${[null, {'a': null}]}", [None, {"a": None}]),
        ('${ {"a": 1}.a }', 1),
        ("${ '}' + \"}\" + '''}''' + r'\\}' + \"\"\"{\"\"\" }", "}}}\\}{"),
        ("${1 // a comment with } in it\n + 1}", 2),
        ("${ops\n .pay_back . // here\n output.id}", 7),
        ("${-9223372036854775808}", -(1 << 63)),
        ("${'é😀' + inputs.order}", "é😀o-1"),
        ("${(inputs).order}", "o-1"),
        ("${inputs.size()}", 14),
        ("${'order' in inputs}", True),
        ("${type(inputs.order) == string}", True),
        ("${inputs.order.matches('^o-[0-9]+$')}", True),
        ("${[1, 2, 3].filter(x, x > 1).map(x, [x].map(y, x + y))}", [[4], [6]]),
        ("${inputs.tags.exists_one(t, t == 'a') && inputs.tags.all(t, t != '')}", True),
        ("${inputs.any_list.filter(x, type(x) == int)}", [1]),
        ("${18446744073709551615u - 18446744073709551614u}", 1),
        ("${{'b': 1, 'a': {'d': 2, 'c': 3}}}", {"a": {"c": 3, "d": 2}, "b": 1}),
    ],
)
def test_a_text_that_is_one_expression_gives_its_value(template: str, value: Any) -> None:
    given = value_of(template)
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("order ${inputs.order}, ${inputs.amount} EUR", "order o-1, 5 EUR"),
        ("${inputs.order}${inputs.order}", "o-1o-1"),
        (" ${inputs.order}", " o-1"),
        ("${1.0} ${2.5} ${1e20} ${true} ${false}", "1 2.5 1e+20 true false"),
        ("${run.started}!", "2023-11-14T22:13:20.123000Z!"),
        ("$${inputs.order} is ${inputs.order}", "${inputs.order} is o-1"),
        ("$$${inputs.order}", "$${inputs.order}"),
        ("$${", "${"),
        ("$ {} $$ } {", "$ {} $$ } {"),
        ("cost: $5", "cost: $5"),
    ],
)
def test_within_text_it_gives_text(template: str, value: str) -> None:
    assert value_of(template) == value


def test_a_template_may_be_any_value() -> None:
    template = compiled({"a": ["x", "${inputs.order}", {"b": "${inputs.count}"}], "c": 1, "d": "$${", "e": [{}]})
    assert template.value(SCOPE) == {"a": ["x", "o-1", {"b": 5.0}], "c": 1, "d": "${", "e": [{}]}
    assert template.refs == {"inputs.order", "inputs.count"}
    assert [expression.text for expression in template.expressions] == ["inputs.order", "inputs.count"]
    assert [expression.pointer for expression in template.expressions] == ["/spec/x/a/1", "/spec/x/a/2/b"]
    assert template.expressions[0].value(SCOPE) == "o-1"
    assert template.expressions[0].refs == {"inputs.order"}
    assert not template.is_constant


def test_a_value_without_expressions_is_given_as_it_is() -> None:
    value = {"a": [1, None, "x"], "b": {}}
    template = compiled(value)
    assert template.is_constant
    assert template.value({}) is value
    assert not template.refs


def test_an_escape_alone_makes_no_expression() -> None:
    template = compiled(["$${x}", 1])
    assert template.is_constant
    assert template.value({}) == ["${x}", 1]


@pytest.mark.parametrize(
    ("template", "refs"),
    [
        ("${inputs.order}", {"inputs.order"}),
        ("${inputs.address.city + inputs.order}", {"inputs.address", "inputs.order"}),
        ("${inputs['ship-to']}", {"inputs.ship-to"}),
        ("${inputs}", {"inputs"}),
        ("${has(inputs.extra)}", {"inputs.extra"}),
        ("${has(inputs.extra.a.b)}", {"inputs.extra"}),
        ("${ops.pay_back.output.id}", {"ops.pay_back.output"}),
        ("${has(ops.tell.output)}", {"ops.tell.output"}),
        ("${has(ops.tell)}", {"ops.tell"}),
        ('${ops["tell"].label}', {"ops.tell.label"}),
        ("${ops.tell}", {"ops.tell"}),
        ("${run.id}", {"run.id"}),
        ("${item.x + item.y}", {"item"}),
        ("${index + 1}", {"index"}),
        ("a ${run.id} ${inputs.order}", {"run.id", "inputs.order"}),
        ("${[1].map(x, x + inputs.count)}", {"inputs.count"}),
        ("${1}", set()),
    ],
)
def test_it_tells_what_it_uses(template: str, refs: set[str]) -> None:
    assert compiled(template, Names(inputs=NAMES.inputs, ops=NAMES.ops, has_item=True)).refs == refs


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${has(ops.pay_back.output) ? ops.pay_back.output.id : null}", 7),
        ("${has(ops.tell.output) ? ops.tell.output.id : null}", None),
        ("${has(ops.tell) || has(ops.ask.label)}", False),
        ("${has(ops.pay_back) && has(ops.pay_back.label) && has(ops.pay_back.visits)}", True),
        ('${has(ops["tell"].output)}', False),
        ('${has(ops["pay_back"].output.id)}', True),
        ("${has(ops.pay_back.output.nope)}", False),
        ("${has(ops.pay_back.output.id.deeper)}", False),
        ("${has(ops.tell.output.on.the.way)}", False),
        ("${has(inputs.order)}", True),
        ("${has(inputs.extra.a) && !has(inputs.extra.z) && has(inputs.extra.a.b)}", True),
        ("${has(run.started) && has(run.id)}", True),
        ("${has(run.callbacks.ask)}", True),
        ("${has(run.callbacks.later) || !has(run.callbacks.ask)}", False),
        ("${has(ops.tell.output) ? ops.tell.label : ops.pay_back.label}", "done"),
        ("${ops.pay_back.output.lines.filter(l, has(l.n)).size()}", 2),
    ],
)
def test_has_tells_what_is_there(template: str, value: Any) -> None:
    assert value_of(template) == value


def test_loops_go_over_the_fields_of_a_mapping_in_their_order() -> None:
    fields = {name: number for number, name in enumerate("hgfedcba")}
    scope = {"inputs": {"extra": fields, "maybe": fields}, "ops": {"ask": {"output": {"x": fields}}}}
    for path in ("inputs.extra", "ops.ask.output.x", "inputs.maybe"):
        assert compiled(f"${{{path}.map(k, k)}}").value(scope) == list("hgfedcba")
        assert compiled(f"${{{path}.map(k, {path}[k])}}").value(scope) == list(range(8))
        assert compiled(f"${{{path}.filter(k, k != 'c').map(k, k + '!').size()}}").value(scope) == 7
        assert compiled(f"${{has({path}.a) && {path}.exists(k, k == 'a') && size({path}) == 8}}").value(scope) is True
    assert compiled("${inputs.map(k, k)}").value(scope) == ["extra", "maybe"]


def test_an_input_that_is_absent_can_be_asked_for() -> None:
    template = compiled("${has(inputs.order) ? inputs.order : 'none'}")
    assert template.value({**SCOPE, "inputs": {}}) == "none"


def test_items_are_there_where_they_are_told_to_be() -> None:
    names = Names(has_item=True)
    scope = {"item": {"n": 2}, "index": 3}
    assert compile_template("${item.n + index}", names).value(scope) == 5
    assert compile_template("${item}", names).value({"item": [1], "index": 0}) == [1]
    assert compile_template("${index}", names).value(scope) == 3


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("${inputs.order}", Type.TEXT),
        ("a ${inputs.order}", Type.TEXT),
        ("${inputs.amount + 1.0}", Type.NUMBER),
        ("${inputs.count}", Type.WHOLE),
        ("${inputs.count > 1}", Type.BOOLEAN),
        ("${ops.tell.output}", Type.ANY),
        ("${inputs.tags}", Type.TEXTS),
        ("${inputs.tags + []}", Type.LIST),
        ("${{'a': 1}}", Type.MAPPING),
        ("${null}", Type.NULL),
        ("${run.started}", Type.TIME),
        ("${duration('1s')}", Type.SPAN),
        ("${b'x'}", Type.OTHER),
        (["${1}"], Type.LIST),
        ({"a": "${1}"}, Type.MAPPING),
        (1, Type.WHOLE),
        (1.5, Type.NUMBER),
        (True, Type.BOOLEAN),
        ("x", Type.TEXT),
        (None, Type.NULL),
    ],
)
def test_it_tells_its_type(template: Any, kind: Type) -> None:
    assert compiled(template).type is kind


def test_a_type_may_be_expected() -> None:
    assert compiled("${inputs.is_big}", expects=Type.BOOLEAN).value(SCOPE) is True
    assert compiled("${ops.tell.output}", expects=Type.BOOLEAN).type is Type.ANY
    with pytest.raises(Invalid, match="/spec/x: expected true or false, got a whole number"):
        compiled("${1}", expects=Type.BOOLEAN)
    with pytest.raises(Invalid, match="expected text, got a value of another type"):
        compiled("${b'x'}", expects=Type.TEXT)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("${ops.tell.output}", "/spec/x: ${ops.tell.output}: ops.tell.output is not there; has() tells"),
        ("${ops.pay_back.output.nope}", "ops.pay_back.output.nope is not there"),
        ("${ops.pay_back.output.lines[2]}", "ops.pay_back.output.lines[2] is not there"),
        ("${ops.pay_back.output.id[0]}", "ops.pay_back.output.id[0] is not there"),
        ("${inputs.extra['a b']}", "inputs.extra['a b'] is not there"),
        ("${ops.tell.label + ''}", "ops.tell.label is not there"),
        ("${run.started + duration('1s')}", "run.started is not there"),
        ("${run.started}", "run.started is not there"),
        ("${ops.pay_back.output.lines[inputs.count].n}", "an element that the list does not have"),
        ("${ops.pay_back.output.lines[dyn('x')]}", "an element of a list by something that is not a whole number"),
        ("${inputs.any_list.map(k, k.nope)}", "a field of something that is not a mapping"),
        ("${[inputs.extra][0].nope}", "there is no field 'nope'"),
        ("${inputs.extra[inputs.order]}", "there is no such field"),
        ("${1 / 0}", "a division by zero"),
        ("${1 % 0}", "a division by zero"),
        ("${9223372036854775807 + 1}", "a result too large for its type"),
        ("${int(1e300)}", "a number too large for its type"),
        ("${int(inputs.order)}", "text that is not a number"),
        ("${bool(inputs.order)}", "a value that cannot be converted"),
        ("${timestamp(inputs.order)}", "text that is not a time"),
        ("${string(b'\\xff')}", "bytes that are not text"),
        ("${ops.pay_back.output.id + 'x'}", "a value of a type that is not fit for what is done with it"),
        ("${ops.pay_back.output.lines.map(l, l.n.deep)}", "a field of something that is not a mapping"),
        ("${{string(inputs.count): 1, '5': 2}}", "a mapping with the same field twice"),
        ("${inputs.order.matches('(')}", "a wrong pattern"),
        ("${run.started.getHours('No/Where')}", "an unknown time zone"),
        ("${{dyn(1.5): 1}}", "a field's name that is not text"),
        ("${18446744073709551615u}", "the result is a number beyond 64 bits"),
        ("${1.0 / 0.0}", "the result is not a number that JSON has"),
        ("${[0.0 / 0.0]}", "the result is not a number that JSON has"),
        ("${b'x'}", "the result is bytes; convert them with string()"),
        ("${type(1)}", "the result is a type, not a value"),
        ("${[type(1)]}", "the result is a type, not a value"),
        ("${{1: 2}}", "the result has a mapping whose fields are not named by text"),
        ("a ${ops.pay_back.output}", "it is a list or a mapping, which has no place in text"),
        ("a ${inputs.maybe}", "it is null, which has no place in text"),
    ],
)
def test_an_evaluation_that_fails_says_why(template: str, why: str) -> None:
    scope = {**SCOPE, "run": {}} if "run.started is" in why else SCOPE
    with pytest.raises(Failed) as caught:
        compiled(template).value(scope)
    assert why in str(caught.value)
    assert "o-1" not in str(caught.value), "no values"


@pytest.mark.parametrize(
    ("name", "value"),
    [("order", 1), ("amount", "x"), ("count", 1.5), ("count", "x"), ("is_big", "yes"), ("tags", {}), ("prices", ["x"])],
)
def test_an_input_that_is_not_of_its_type_fails(name: str, value: Any) -> None:
    with pytest.raises(Failed, match="a value that is not of its declared type"):
        compiled(f"${{[inputs.{name}]}}").value({"inputs": {name: value}})


def test_a_value_that_json_does_not_have_fails() -> None:
    for value in ("\ud800", ["\ud800"], [1 << 70], {1, 2}, [object()]):
        for template in ("${[inputs.maybe]}", "${inputs.maybe}"):
            with pytest.raises(Failed, match=r"JSON|could not be|of its declared type|beyond 64 bits"):
                compiled(template).value({"inputs": {"maybe": value}})


def test_null_may_come_out_any_number_of_times() -> None:
    """The library gives away references to None that it does not have."""
    template = compiled(
        {"a": "${null}", "b": "${[null, null]}", "c": "${{'a': null}}", "d": "${ops.tell.output + [1]}"}
    )
    scope = {"ops": {"tell": {"output": [None] * 2_000}}}
    before = sys.getrefcount(None)
    for _ in range(100):
        template.value(scope)
    assert sys.getrefcount(None) > before - 1_000


def test_threads_may_share_a_template() -> None:
    template = compiled("${inputs.prices.map(p, p * 2.0)}")

    def use(number: int) -> bool:
        fresh = compile_template(f"${{inputs.amount > {number}.0}}", NAMES)
        scope = {"inputs": {"prices": [number, 1.5], "amount": number + 0.5}}
        return template.value(scope) == [number * 2.0, 3.0] and fresh.value(scope) is True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(400)))
